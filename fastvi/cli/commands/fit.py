"""Command ``fastvi fit``: a model learned from a data file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

import fastvi
from fastvi.cli.command import Command
from fastvi.cli.errors import INTERRUPTED, WrongInput, as_wrong_input
from fastvi.cli.files.outputs import (
    check_files,
    check_is_new,
    free_name,
    is_standard_output,
    is_taken,
    write_output,
)
from fastvi.cli.options import FILE, OUTPUT_FILE, SEED, DataFile, Run, data_argument, files_of, run_options_of
from fastvi.cli.output import Output
from fastvi.cli.starts import Start, check_objective, start_options
from fastvi.core.options import MODEL_OBJECTIVES, SCORES, ModelObjective, Score
from fastvi.core.storage import write_model

_SHARE, _BATCH, _RATE = 0.1, 100, 0.05


@click.command(cls=Command)
@data_argument
@click.argument("out_path", type=OUTPUT_FILE, metavar="OUT")
@start_options
@click.option(
    "--save-encoder", "encoder_out", type=OUTPUT_FILE, help="Save the trained encoder to this file."
)
@click.option(
    "--objective", type=click.Choice(MODEL_OBJECTIVES), default=MODEL_OBJECTIVES[0], show_default=True,
    help="What is climbed: exact log p(x) by gradients or by EM, or a bound on it.",
)  # fmt: skip
@click.option("--num-samples", type=click.IntRange(1), help="Samples of a datum and step, for a bound.")
@click.option(
    "--score", type=click.Choice(SCORES), default=SCORES[0], show_default=True,
    help="What decides which epoch is kept: exact log p(x), or the sampled bound.",
)  # fmt: skip
@click.option(
    "--held-out", type=click.FloatRange(0, 1, max_open=True),
    help="Share of the data that is not trained on, and decides which epoch is kept. "
    f"[default: {_SHARE}; 0 with --observed]",
)  # fmt: skip
@click.option(
    "--epochs", "--num-epochs", "num_epochs", type=click.IntRange(0), default=50, show_default=True,
    help="Passes over the data.",
)  # fmt: skip
@click.option("--batch-size", type=click.IntRange(1), help=f"Data a step; em has none. [default: {_BATCH}]")
@click.option(
    "--learning-rate", type=click.FloatRange(0, min_open=True), help=f"Rate; em has none. [default: {_RATE}]"
)
@click.option("--patience", type=click.IntRange(1), help="Stop after so many epochs without a better one.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Same seed, same model.")
@click.option("--checkpoint", type=FILE, help="Keep what is finished in this file, and go on from it.")
@run_options_of("dtype")
@click.option("--force", is_flag=True, help="Replace OUT where it exists.")
@click.pass_obj
def command(
    out: Output, data: DataFile, out_path: str, start: Start, encoder_out: str | None,
    objective: ModelObjective, num_samples: int | None, score: Score, held_out: float | None,
    num_epochs: int, batch_size: int | None, learning_rate: float | None, patience: int | None, seed: int,
    checkpoint: Path | None, run: Run, force: bool,
) -> None:  # fmt: skip
    """Learn a model from DATA and save it to OUT.

    By exact maximum likelihood: every step takes the exact gradient of log p(x), summed over all 2^d latent
    states. --objective climbs bounds in its place, most of them with an encoder. Pixels that --observed
    leaves out are summed out, too.

    Ctrl-C and SIGTERM save the best model so far and the checkpoint (exit status 130 and 143). OUT (.npz) may
    be - for standard output.

    \b
    Examples:
      fastvi fit digits.npy model.npz --latents 12
      fastvi fit t10k-images-idx3-ubyte.gz model.npz --latents 10 --threshold 128 --epochs 20
      fastvi fit digits.npy better.npz --start model.npz --learning-rate 0.01 --checkpoint run.npz
      fastvi fit grey.npy ppca.npz --model-class LinearGaussian --latents 5 --objective em
      fastvi fit digits.npy iwae.npz --latents 8 --objective importance_weighted --encoder-hidden 32
    """
    start.check(summed=score == "exact" or objective == "exact")
    start.check_encoder(objective, num_samples)
    if held_out is None:
        held_out = _SHARE if data.observed is None else 0.0
    elif held_out and data.observed is not None:
        raise WrongInput(f"--held-out must be 0 with --observed: it is of whole data, got {held_out}")
    if encoder_out is not None and not start.has_encoder:
        raise WrongInput("--save-encoder must come with --encoder or --encoder-hidden")
    check_files(
        {**files_of(data), "--start": start.path, "--encoder": start.encoder_path},
        {"OUT": out_path, "--save-encoder": encoder_out, "--checkpoint": checkpoint},
    )  # fmt: skip
    for path, name in ((out_path, "OUT"), (encoder_out, "--save-encoder")):
        if path is not None:
            check_is_new(path, name, force=force)
    if is_standard_output(out_path) or is_standard_output(encoder_out):
        out.stand_aside()
    x, observed = data.read()
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(len(x))
    num_judged = round(held_out * len(x))
    model = start.model(x, observed, order[num_judged:], seed)
    train, judged = x[order[num_judged:]], x[order[:num_judged]]
    seen = None if observed is None else observed[order]
    check_objective(model, objective)
    if objective != "em":
        batch_size, learning_rate = batch_size or _BATCH, learning_rate or _RATE
    with as_wrong_input(), run.started() as where, out.progress("fit") as report:
        fit = fastvi.fit_model(
            model, train, objective=objective, encoder=start.encoder(model, seed), num_samples=num_samples,
            held_out=judged if num_judged else None, score=score, observed=seen, num_epochs=num_epochs,
            batch_size=batch_size, learning_rate=learning_rate, patience=patience, seed=seed,
            checkpoint=checkpoint, progress=lambda done, total: report("epochs", done, total), **where,
        )  # fmt: skip
    made = {**data.source(), "held_out": held_out}
    out_path = _save(fit.model, made, out_path, force=force)
    out.facts(written=out_path)
    if encoder_out is not None:
        encoder_out = _save(fit.encoder, made, encoder_out, force=force)
        out.facts(encoder_written=encoder_out)
    best = fit.best_epoch
    out.facts(best_epoch=best, history=fit.history, interrupted=fit.interrupted)
    shown = sorted(
        {0, best, fit.history.size - 1, *range(0, fit.history.size, max(1, fit.history.size // 8))}
    )
    judged_by = f"{num_judged} held-out data" if num_judged else "the training data"
    what = "mean log p(x)" if score == "exact" else "mean bound on log p(x)"
    out.table(
        f"{what} of {judged_by}, nats",
        {"epoch": [str(e) for e in shown], "value": [f"{float(fit.history[e]):.6f}" for e in shown]},
    )
    for path in filter(None, (out_path, encoder_out)):
        out.note(f"written: {path} (epoch {best})")
    if fit.interrupted:
        if checkpoint is not None:
            click.echo("to go on: the same command with --force", err=True)
        raise click.exceptions.Exit(INTERRUPTED)


def _save(learned: Any, made: dict[str, Any], path: str, *, force: bool) -> str:
    """Save a model or an encoder, and return the name of the file."""
    learned.made_by({**learned.made, **made})
    if not force and is_taken(path):  # another run has made it meanwhile
        click.echo(f"fastvi: {path} was made by another program meanwhile and is left as it is", err=True)
        path = free_name(path)
    write_output(path, partial(write_model, learned))
    return path
