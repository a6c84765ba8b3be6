"""``fastvi evaluate``: a saved model on a data file."""

from __future__ import annotations

import zipfile
from pathlib import Path

import click
import numpy as np

import fastvi
from fastvi.cli.group import WrongInput
from fastvi.cli.terminal import print_table
from fastvi.datasets import load_idx
from fastvi.models.enumerable import Enumerable
from fastvi.models.joint_table import JointTable
from fastvi.models.storage import write_whole

_USUAL_KEYS = ("x", "images")


def read_data(path: Path, key: str | None) -> np.ndarray:
    """The array in an .npz, .npy or IDX file; which of them it is follows from its first bytes."""
    if path.is_dir():
        raise WrongInput(f"DATA must be a file, got the directory {str(path)!r}")
    with open(path, "rb") as file:
        start = file.read(6)
    is_archive = start[:2] == b"PK"
    if key is not None and not is_archive:
        raise WrongInput(f"--key is for .npz files, got {str(path)!r}")
    if start != b"\x93NUMPY" and not is_archive:
        return load_idx(path)
    try:
        loaded = np.load(path, allow_pickle=False)
        if not is_archive:
            return np.asarray(loaded)
        with loaded as archive:
            return np.asarray(archive[_choose_key(path, archive.files, key)])
    except (ValueError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise WrongInput(f"DATA must be a whole NumPy file, got {str(path)!r}: {error}") from error


def _choose_key(path: Path, names: list[str], key: str | None) -> str:
    wanted = [key] if key is not None else [*_USUAL_KEYS, *names[: len(names) == 1]]
    for name in wanted:
        if name in names:
            return name
    asked = f"no array {key!r}" if key is not None else "several arrays and none is named x or images"
    raise WrongInput(f"DATA {str(path)!r} has {asked}: choose one of {', '.join(names)} by --key")


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
        x = read_data(data_path, key)
        if x.ndim == 0:
            raise WrongInput(f"DATA must hold one datum a row, got a single {x.dtype} in {str(data_path)!r}")
        if x.ndim > 2:
            x = x.reshape(len(x), int(np.prod(x.shape[1:])))
        x = x[:limit]
        if threshold is not None:
            if x.dtype.kind not in "biuf":
                raise WrongInput(f"DATA must hold numbers for --threshold, got dtype {x.dtype}")
            x = x >= threshold
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
