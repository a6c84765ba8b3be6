"""Command ``fastvi fit``: a model learned from a data file by exact maximum likelihood."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

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
from fastvi.cli.options import FILE, OUTPUT_FILE, SEED, DataFile, data_argument, load_model
from fastvi.cli.output import Output
from fastvi.core.registry import has_latents
from fastvi.core.storage import write_model
from fastvi.fitting.starting_network import starting_network


@click.command(cls=Command)
@data_argument
@click.argument("out_path", type=OUTPUT_FILE, metavar="OUT")
@click.option(
    "--latents", "num_latents", type=click.IntRange(1, 30),
    help="Begin with a new network of so many latents.",
)  # fmt: skip
@click.option("--start", "start_path", type=FILE, help="Begin with this saved model (.npz).")
@click.option(
    "--held-out", type=click.FloatRange(0, 1, max_open=True), default=0.1, show_default=True,
    help="Share of the data that is not trained on, and decides which epoch is kept.",
)  # fmt: skip
@click.option("--epochs", "num_epochs", type=click.IntRange(0), default=50, show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=100, show_default=True)
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), default=0.05, show_default=True)
@click.option("--patience", type=click.IntRange(1), help="Stop after so many epochs without a better one.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Same seed, same model.")
@click.option("--checkpoint", type=FILE, help="Keep what is finished in this file, and go on from it.")
@click.option("--force", is_flag=True, help="Replace OUT where it exists.")
@click.pass_obj
def command(
    out: Output, data: DataFile, out_path: str, num_latents: int | None, start_path: Path | None,
    held_out: float, num_epochs: int, batch_size: int, learning_rate: float, patience: int | None, seed: int,
    checkpoint: Path | None, force: bool,
) -> None:  # fmt: skip
    """Learn a model from DATA and save it to OUT.

    Exact maximum likelihood: every step takes the exact gradient of log p(x), summed over all 2^d latent
    states. Ctrl-C and SIGTERM save the best model so far and the checkpoint (exit status 130 and 143). OUT
    (.npz) may be - for standard output.

    \b
    Examples:
      fastvi fit digits.npy model.npz --latents 12
      fastvi fit t10k-images-idx3-ubyte.gz model.npz --latents 10 --threshold 128 --epochs 20
      fastvi fit digits.npy better.npz --start model.npz --learning-rate 0.01 --checkpoint run.npz
    """
    if (start_path is None) == (num_latents is None):
        raise WrongInput("fit takes exactly one of --start and --latents")
    check_files({"DATA": data.path, "--start": start_path}, {"OUT": out_path, "--checkpoint": checkpoint})
    check_is_new(out_path, "OUT", force=force)
    if is_standard_output(out_path):
        out.stand_aside()
    x, _ = data.read()
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(len(x))
    num_judged = round(held_out * len(x))
    train, judged = x[order[num_judged:]], x[order[:num_judged]]
    model = _start(start_path, x, train, num_latents, seed)
    with as_wrong_input(), out.progress("fit") as report:
        fit = fastvi.fit_model(
            model, train, held_out=judged if num_judged else None, num_epochs=num_epochs,
            batch_size=batch_size, learning_rate=learning_rate, patience=patience, seed=seed,
            checkpoint=checkpoint, progress=lambda done, total: report("epochs", done, total),
        )  # fmt: skip
    fit.model.made_by({**fit.model.made, **data.source(), "held_out": held_out})
    if not force and is_taken(out_path):  # another run has made it meanwhile
        click.echo(f"fastvi: {out_path} was made by another program meanwhile and is left as it is", err=True)
        out_path = free_name(out_path)
    write_output(out_path, partial(write_model, fit.model))
    best = fit.best_epoch
    out.facts(written=out_path, best_epoch=best, history=fit.history, interrupted=fit.interrupted)
    shown = sorted(
        {0, best, fit.history.size - 1, *range(0, fit.history.size, max(1, fit.history.size // 8))}
    )
    judged_by = f"{num_judged} held-out data" if num_judged else "the training data"
    out.table(
        f"mean log p(x) of {judged_by}, nats",
        {"epoch": [str(e) for e in shown], "value": [f"{float(fit.history[e]):.6f}" for e in shown]},
    )
    out.note(f"written: {out_path} (epoch {best})")
    if fit.interrupted:
        if checkpoint is not None:
            click.echo("to go on: the same command with --force", err=True)
        raise click.exceptions.Exit(INTERRUPTED)


def _start(
    path: Path | None, x: NDArray[Any], train: NDArray[Any], num_latents: int | None, seed: int
) -> Any:
    """Return the model that a fit begins with."""
    if path is not None:
        model = load_model(path, "--start")
        if not has_latents(model):
            raise WrongInput(
                f"--start must hold a model whose latents are bits or real numbers, got {model!r}"
            )
        return model
    if x.ndim != 2 or not len(train):
        raise WrongInput(f"DATA must hold at least 1 row to be trained on, got shape {x.shape}")
    if not np.isin(train, (0, 1)).all():
        raise WrongInput("DATA must hold 0 and 1 for --latents, got other numbers: use --threshold")
    return starting_network(train, int(num_latents or 0), seed)
