"""Command ``fastvi plan``: time and memory of a question about a saved model."""

from __future__ import annotations

from dataclasses import asdict

import click

import fastvi
from fastvi.cli.command import Command
from fastvi.cli.errors import WrongInput, as_wrong_input
from fastvi.cli.options import Run, load_model, model_argument, run_options_of
from fastvi.cli.output import Output
from fastvi.core.options import METHODS, QUESTIONS, Method, Question
from fastvi.core.registry import has_latents


@click.command(cls=Command)
@model_argument
@click.option("--num-data", type=click.IntRange(0), default=1, show_default=True, help="Number of data.")
@click.option(
    "--question", type=click.Choice(QUESTIONS), default=QUESTIONS[0], show_default=True,
    help="Question that would be asked.",
)  # fmt: skip
@click.option("--top-k", type=click.IntRange(0), default=0, help="Most probable states of exact_posterior.")
@click.option("--pairwise", is_flag=True, help="Second moments of exact_posterior.")
@click.option("--unnormalized", is_flag=True, help="Leave out log Z of a Boltzmann machine.")
@click.option(
    "--method", type=click.Choice(METHODS), default=METHODS[0], show_default=True,
    help="Way of summing; auto takes the one of the fewest operations.",
)  # fmt: skip
@click.option(
    "--epochs", "--num-epochs", "num_epochs", type=click.IntRange(0), help="Epochs of fit. [default: 50]"
)
@click.option("--batch-size", type=click.IntRange(1), help="Data a step of fit. [default: 100]")
@run_options_of("dtype")
@click.pass_obj
def command(
    out: Output, model_path: str, num_data: int, question: Question, top_k: int, pairwise: bool,
    unnormalized: bool, method: Method, num_epochs: int | None, batch_size: int | None, run: Run,
) -> None:  # fmt: skip
    """Predict states, memory, shards and time of an exact question about a saved MODEL.

    A moment of the work is measured and the rest extrapolated, right within a factor of two on a quiet
    machine. The question fit is fastvi fit by exact likelihood, scored by all NUM_DATA data.

    \b
    Examples:
      fastvi plan results/model/model_12_latents.npz --num-data 10000
      fastvi plan machine.npz --question log_partition --method elimination
      fastvi plan model.npz --question fit --num-data 60000 --epochs 20 --batch-size 500
    """
    model = load_model(model_path)
    if not has_latents(model):
        raise WrongInput(f"MODEL must hold a model whose latents are bits or real numbers, got {model!r}")
    with as_wrong_input(), run.started() as where:
        found = fastvi.plan(
            model, num_data, question=question, normalized=not unnormalized, top_k=top_k, pairwise=pairwise,
            method=method, num_epochs=num_epochs, batch_size=batch_size, **where,
        )  # fmt: skip
    out.facts(model=repr(model), **asdict(found))
    out.say(f"{model!r}\n{found}")
