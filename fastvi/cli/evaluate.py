"""Command ``fastvi evaluate``: a saved model on a data file."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

import fastvi
from fastvi.cli.data import observed_rows_of
from fastvi.cli.group import WrongInput
from fastvi.cli.outputs import check_files, check_holds_no_arrays, is_standard_output, write_output
from fastvi.cli.terminal import print_table
from fastvi.core.registry import find_rules


def evaluate_file(
    model_path: Path,
    data_path: Path,
    *,
    key: str | None,
    threshold: float | None,
    nan_missing: bool = False,
    limit: int | None,
    csv_path: str | None,
    checkpoint: Path | None = None,
    normalized: bool = True,
) -> None:
    """Print a summary of log p(x), and write it per datum where ``csv_path`` is given."""
    check_files({"MODEL": model_path, "DATA": data_path}, {"--csv": csv_path, "--checkpoint": checkpoint})
    if csv_path is not None:
        check_holds_no_arrays(csv_path, "--csv")
    try:
        model = fastvi.load(model_path)
        if find_rules(model) is None:
            raise WrongInput(f"MODEL must hold a model, got {model!r}")
        x, observed = observed_rows_of(data_path, key, threshold, limit, nan_missing=nan_missing)
        values = fastvi.log_marginal(
            model, x, observed=observed, checkpoint=checkpoint, normalized=normalized
        )
    except (ValueError, TypeError) as error:
        raise WrongInput(str(error)) from error
    if csv_path is not None:
        lines = ["index,log_marginal", *(f"{n},{value!r}" for n, value in enumerate(values.tolist()))]
        write_output(csv_path, lambda file: file.write(("\n".join(lines) + "\n").encode()))
    aside = is_standard_output(csv_path)  # the CSV alone is there
    click.echo(f"{model!r} on {len(values)} data of {data_path}", err=aside)
    if observed is not None:
        click.echo(f"{np.count_nonzero(~observed):,} pixels are NaN: not seen, and summed out", err=aside)
    if len(values):
        summary = {
            "mean log p(x), nats": values.mean(),
            "standard deviation": values.std(),
            "smallest": values.min(),
            "median": np.median(values),
            "largest": values.max(),
        }
        shown = {"": list(summary), "value": [f"{float(v):.6f}" for v in summary.values()]}
        print_table("log p(x)", shown, stderr=aside)
    if csv_path is not None and not aside:
        click.echo(f"written: {csv_path}")
