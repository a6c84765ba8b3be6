"""Data files of the command line."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from fastvi.cli.group import WrongInput
from fastvi.datasets import load_idx

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


def rows_of(path: Path, key: str | None, threshold: float | None, limit: int | None) -> np.ndarray:
    """The first ``limit`` data of a file, one a row, made binary where there is a ``threshold``."""
    x = read_data(path, key)
    if x.ndim == 0:
        raise WrongInput(f"DATA must hold one datum a row, got a single {x.dtype} in {str(path)!r}")
    if x.ndim > 2:
        x = x.reshape(len(x), int(np.prod(x.shape[1:])))
    x = x[:limit]
    if threshold is None:
        return x
    if x.dtype.kind not in "biuf":
        raise WrongInput(f"DATA must hold numbers for --threshold, got dtype {x.dtype}")
    return np.asarray(x >= threshold)
