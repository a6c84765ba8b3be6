"""``fastvi evaluate``: a saved model on a data file."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

import fastvi
from fastvi.cli.data import rows_of
from fastvi.cli.group import WrongInput
from fastvi.cli.terminal import print_table
from fastvi.models.enumerable import Enumerable
from fastvi.models.joint_table import JointTable
from fastvi.models.storage import write_whole


def evaluate_file(
    model_path: Path,
    data_path: Path,
    *,
    key: str | None,
    threshold: float | None,
    limit: int | None,
    csv_path: Path | None,
    checkpoint: Path | None = None,
    normalized: bool = True,
) -> None:
    """Print a summary of log p(x); write it per datum where ``csv_path`` is given."""
    try:
        model = fastvi.load(model_path)
        if not isinstance(model, Enumerable | JointTable):
            raise WrongInput(f"MODEL must hold a model, got {model!r}")
        x = rows_of(data_path, key, threshold, limit)
        values = fastvi.log_marginal(model, x, checkpoint=checkpoint, normalized=normalized)
    except (ValueError, TypeError) as error:
        raise WrongInput(str(error)) from error
    if csv_path is not None:
        lines = ["index,log_marginal", *(f"{n},{value!r}" for n, value in enumerate(values.tolist()))]
        write_whole(csv_path, lambda file: file.write(("\n".join(lines) + "\n").encode()))
    click.echo(f"{model!r} on {len(values)} data of {data_path}")
    if len(values):
        summary = {
            "mean log p(x), nats": values.mean(),
            "standard deviation": values.std(),
            "smallest": values.min(),
            "median": np.median(values),
            "largest": values.max(),
        }
        print_table("log p(x)", {"": list(summary), "value": [f"{float(v):.6f}" for v in summary.values()]})
    if csv_path is not None:
        click.echo(f"written: {csv_path}")
