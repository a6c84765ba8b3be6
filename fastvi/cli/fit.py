"""Command ``fastvi fit``: a model learned from a data file by exact maximum likelihood."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

import fastvi
from fastvi.cli.data import rows_of
from fastvi.cli.group import INTERRUPTED, WrongInput
from fastvi.cli.outputs import (
    check_files,
    check_is_new,
    free_name,
    is_standard_output,
    is_taken,
    write_output,
)
from fastvi.cli.terminal import print_table
from fastvi.core.registry import has_latents
from fastvi.core.storage import write_model
from fastvi.fitting.starting_network import starting_network


def starting_model(x: NDArray[Any], num_latents: int, seed: int) -> fastvi.SigmoidBeliefNetwork:
    """Return a sigmoid belief network with small random weights and the pixels' shares as biases."""
    if not np.isin(x, (0, 1)).all():
        raise WrongInput("DATA must hold 0 and 1 for --latents, got other numbers: use --threshold")
    return starting_network(x, num_latents, seed)


def fit_file(
    data_path: Path,
    out: str,
    *,
    start_path: Path | None,
    num_latents: int | None,
    key: str | None,
    threshold: float | None,
    limit: int | None,
    held_out: float,
    num_epochs: int,
    batch_size: int,
    learning_rate: float,
    patience: int | None,
    seed: int,
    checkpoint: Path | None,
    force: bool,
) -> None:
    """Fit, save the best model to ``out`` and print the outcome."""
    if (start_path is None) == (num_latents is None):
        raise WrongInput("fit takes exactly one of --start and --latents")
    check_files({"DATA": data_path, "--start": start_path}, {"OUT": out, "--checkpoint": checkpoint})
    check_is_new(out, "OUT", force=force)
    try:
        x = rows_of(data_path, key, threshold, limit)
        read = {"data_file_sha256": _sha256(data_path), "key": key, "threshold": threshold, "limit": limit}
        read["held_out"] = held_out
        order = np.random.Generator(np.random.Philox(key=seed)).permutation(len(x))
        num_judged = round(held_out * len(x))
        train, judged = x[order[num_judged:]], x[order[:num_judged]]
        if start_path is not None:
            model = fastvi.load(start_path)
            if not has_latents(model):
                raise WrongInput(
                    f"--start must hold a model whose latents are bits or real numbers, got {model!r}"
                )
        else:
            if x.ndim != 2 or not len(train):
                raise WrongInput(f"DATA must hold at least 1 row to be trained on, got shape {x.shape}")
            model = starting_model(train, int(num_latents or 0), seed)
        fit = fastvi.fit_model(
            model, train, held_out=judged if num_judged else None, num_epochs=num_epochs,
            batch_size=batch_size, learning_rate=learning_rate, patience=patience, seed=seed,
            checkpoint=checkpoint, progress=True,
        )  # fmt: skip
    except (ValueError, TypeError) as error:
        raise WrongInput(str(error)) from error
    fit.model.made_by({**fit.model.made, **read})
    if not force and is_taken(out):  # another run has made it meanwhile
        click.echo(f"fastvi: {out} was made by another program meanwhile and is left as it is", err=True)
        out = free_name(out)
    write_output(out, partial(write_model, fit.model))
    aside = is_standard_output(out)  # the model alone is there
    epochs = range(fit.history.size)
    best = fit.best_epoch
    shown = sorted({0, best, fit.history.size - 1, *list(epochs)[:: max(1, fit.history.size // 8)]})
    judged_by = f"{num_judged} held-out data" if num_judged else "the training data"
    print_table(
        f"mean log p(x) of {judged_by}, nats",
        {"epoch": [str(e) for e in shown], "value": [f"{float(fit.history[e]):.6f}" for e in shown]},
        stderr=aside,
    )
    click.echo(f"written: {out} (epoch {best})", err=aside)
    if fit.interrupted:
        if checkpoint is not None:
            click.echo("to go on: the same command with --force", err=True)
        raise click.exceptions.Exit(INTERRUPTED)


def _sha256(path: Path) -> str:
    """Return a file's SHA-256 as sha256sum prints it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
