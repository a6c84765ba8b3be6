"""Command ``fastvi evaluate``: exact log p(x) of a saved model on a data file."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

import fastvi
from fastvi.cli.answers import check_answer_files, csv_option, write_answers
from fastvi.cli.command import Command
from fastvi.cli.errors import as_wrong_input
from fastvi.cli.options import (
    FILE,
    DataFile,
    Run,
    data_argument,
    files_of,
    load_model,
    model_argument,
    run_options,
)
from fastvi.cli.output import Output


@click.command(cls=Command)
@model_argument
@data_argument
@csv_option
@click.option("--checkpoint", type=FILE, help="Keep what is finished in this file, and go on from it.")
@click.option("--unnormalized", is_flag=True, help="Leave out log Z of a Boltzmann machine.")
@run_options
@click.pass_obj
def command(
    out: Output, model_path: str, data: DataFile, csv_path: str | None, checkpoint: Path | None,
    unnormalized: bool, run: Run,
) -> None:  # fmt: skip
    """Print exact log p(x) of a saved MODEL on DATA.

    A model's save method writes MODEL. DATA holds one datum a row: .npy, .npz, IDX or IDX.gz, CSV or TSV, a
    folder of .png pictures, or - for standard input; images (N, height, width) are flattened. The sum runs
    over all 2^d latent states.

    \b
    Examples:
      fastvi evaluate results/model/model_12_latents.npz results/model/held_out.npz
      fastvi evaluate model.npz digits.npy --csv log_marginal.csv
      fastvi evaluate mnist_model.npz t10k-images-idx3-ubyte.gz --threshold 128 --limit 100
      fastvi evaluate model.npz survey.csv --observed auto --json
      cat digits.npy | fastvi evaluate model.npz - --csv -
      fastvi evaluate large.npz digits.npy --executor processes:4 --checkpoint run.npz
    """
    check_answer_files(out, {"MODEL": model_path, **files_of(data)}, csv_path, {"--checkpoint": checkpoint})
    model = load_model(model_path)
    x, observed = data.read()
    with as_wrong_input(), run.started() as where, out.progress("evaluate") as report:
        values = fastvi.log_marginal(
            model, x, observed=observed, checkpoint=checkpoint, normalized=not unnormalized,
            progress=lambda done, total: report("states", done, total), **where,
        )  # fmt: skip
    name = "log p(x) + log Z" if unnormalized else "log p(x)"
    out.facts(model=repr(model), normalized=not unnormalized)
    out.note(f"{model!r} on {len(values)} data of {data.path}")
    if observed is not None:
        out.note(f"{np.count_nonzero(~observed):,} pixels were not observed, and are summed out")
    if len(values):
        summary = {
            f"mean {name}, nats": values.mean(),
            "standard deviation": _std(values),
            "smallest": values.min(),
            "median": np.median(values),
            "largest": values.max(),
        }
        out.table(name, {"": list(summary), "value": [f"{float(v):.6f}" for v in summary.values()]})
    write_answers(out, {"log_marginal": values}, csv_path)


def _std(values: NDArray[np.float64]) -> float:
    """Return the standard deviation: NaN, without a warning, where a datum is impossible."""
    with np.errstate(invalid="ignore"):
        return float(values.std())
