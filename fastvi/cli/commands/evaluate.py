"""Command ``fastvi evaluate``: exact log p(x) of a saved model on a data file."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

import fastvi
from fastvi.cli.command import Command
from fastvi.cli.errors import as_wrong_input
from fastvi.cli.files.outputs import check_files, check_holds_no_arrays, is_standard_output, write_output
from fastvi.cli.options import (
    FILE,
    OUTPUT_FILE,
    DataFile,
    Run,
    data_argument,
    load_model,
    model_argument,
    run_options,
)
from fastvi.cli.output import Output


@click.command(cls=Command)
@model_argument
@data_argument
@click.option(
    "--csv", "csv_path", type=OUTPUT_FILE,
    help="Write log p(x) of each datum to this CSV file; - is standard output.",
)  # fmt: skip
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
    check_files({"MODEL": model_path, "DATA": data.path}, {"--csv": csv_path, "--checkpoint": checkpoint})
    if csv_path is not None:
        check_holds_no_arrays(csv_path, "--csv")
        if is_standard_output(csv_path):
            out.stand_aside()
    model = load_model(model_path)
    x, observed = data.read()
    with as_wrong_input(), run.started() as where, out.progress("evaluate") as report:
        values = fastvi.log_marginal(
            model, x, observed=observed, checkpoint=checkpoint, normalized=not unnormalized,
            progress=lambda done, total: report("states", done, total), **where,
        )  # fmt: skip
    if csv_path is not None:
        lines = ["index,log_marginal", *(f"{n},{value!r}" for n, value in enumerate(values.tolist()))]
        write_output(csv_path, lambda file: file.write(("\n".join(lines) + "\n").encode()))
    name = "log p(x) + log Z" if unnormalized else "log p(x)"
    out.facts(model=repr(model), normalized=not unnormalized, num_data=len(values), log_marginal=values)
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
    if csv_path is not None and not is_standard_output(csv_path):
        out.note(f"written: {csv_path}")


def _std(values: NDArray[np.float64]) -> float:
    """Return the standard deviation: NaN, without a warning, where a datum is impossible."""
    with np.errstate(invalid="ignore"):
        return float(values.std())
