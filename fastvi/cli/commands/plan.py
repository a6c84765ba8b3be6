"""Command ``fastvi plan``: time and memory of a question about a saved model."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

import fastvi
from fastvi.cli.command import Command
from fastvi.cli.errors import WrongInput, as_wrong_input
from fastvi.cli.options import load_model, model_argument
from fastvi.cli.output import Output
from fastvi.core.options import QUESTIONS, Question
from fastvi.core.registry import has_latents


@click.command(cls=Command)
@model_argument
@click.option("--num-data", type=click.IntRange(0), default=1, show_default=True, help="Number of data.")
@click.option(
    "--question", type=click.Choice(QUESTIONS), default=QUESTIONS[0], show_default=True,
    help="Question that would be asked.",
)  # fmt: skip
@click.pass_obj
def command(out: Output, model_path: Path, num_data: int, question: Question) -> None:
    """Predict states, memory, shards and time of an exact question about a saved MODEL.

    A moment of the work is measured and the rest extrapolated, right within a factor of two on a quiet
    machine.

    \b
    Examples:
      fastvi plan results/model/model_12_latents.npz --num-data 10000
      fastvi plan machine.npz --question log_partition
    """
    model = load_model(model_path)
    if not has_latents(model):
        raise WrongInput(f"MODEL must hold a model whose latents are bits or real numbers, got {model!r}")
    with as_wrong_input():
        found = fastvi.plan(model, num_data, question=question)
    out.facts(model=repr(model), **asdict(found))
    out.say(f"{model!r}\n{found}")
