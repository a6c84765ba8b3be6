"""Data files of the command line."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvi.cli.errors import WrongInput
from fastvi.core.archives import Archive, DamagedError, TooLargeError, read_npy
from fastvi.core.files import open_regular
from fastvi.datasets.idx import load_idx

_USUAL_KEYS = ("x", "images")


def read_data(path: Path, key: str | None) -> NDArray[Any]:
    """Return the array in an .npz, .npy or IDX file. The first bytes tell which of them it is."""
    with open_regular(str(path), "DATA") as file:
        start = file.read(6)
        file.seek(0)
        is_archive = start[:2] == b"PK"
        if key is not None and not is_archive:
            raise WrongInput(f"--key is for .npz files, got {str(path)!r}")
        if start != b"\x93NUMPY" and not is_archive:
            return load_idx(path)
        try:
            if not is_archive:
                return read_npy(file)
            archive = Archive(file)
            return archive.read(_choose_key(path, archive.names, key))
        except DamagedError as error:
            raise WrongInput(f"DATA must be a whole NumPy file, got {str(path)!r}: {error}") from error
        except TooLargeError as error:
            raise WrongInput(f"DATA must fit in memory, got {str(path)!r}: {error}") from error


def _choose_key(path: Path, names: list[str], key: str | None) -> str:
    """Return the name of the array to read."""
    wanted = [key] if key is not None else [*_USUAL_KEYS, *names[: len(names) == 1]]
    for name in wanted:
        if name in names:
            return name
    asked = f"no array {key!r}" if key is not None else "several arrays and none is named x or images"
    raise WrongInput(f"DATA {str(path)!r} has {asked}: choose one of {', '.join(names)} by --key")


def rows_of(path: Path, key: str | None, threshold: float | None, limit: int | None) -> NDArray[Any]:
    """Return the first ``limit`` data of a file, one a row.

    NaN would be a 0 by a ``threshold``, and is refused.
    """
    return observed_rows_of(path, key, threshold, limit, nan_missing=False)[0]


def observed_rows_of(
    path: Path, key: str | None, threshold: float | None, limit: int | None, *, nan_missing: bool
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Return the first ``limit`` data of a file, one a row, and where they are not NaN.

    They are made binary where there is a ``threshold``. The mask (N, D) is None where no datum is NaN.
    Without ``nan_missing`` NaN, which would fall below any threshold, is refused.
    """
    if threshold is not None and not math.isfinite(threshold):
        raise WrongInput(f"--threshold must be finite, got {threshold}")
    x = read_data(path, key)
    if x.ndim == 0:
        raise WrongInput(f"DATA must hold one datum a row, got a single {x.dtype} in {str(path)!r}")
    if x.ndim > 2:
        x = x.reshape(len(x), int(np.prod(x.shape[1:])))
    x = x[:limit]
    if threshold is not None and x.dtype.kind not in "biuf":
        raise WrongInput(f"DATA must hold numbers for --threshold, got dtype {x.dtype}")
    observed = None
    if x.dtype.kind == "f" and np.isnan(x).any():
        if nan_missing:
            if x.ndim != 2:
                raise WrongInput(f"--nan-missing is for data of pixels, got shape {x.shape}")
            observed = ~np.isnan(x)
        elif threshold is not None:
            index = tuple(int(i) for i in np.argwhere(np.isnan(x))[0])
            raise WrongInput(f"DATA must hold no NaN for --threshold, got one at index {index}")
    return (x if threshold is None else np.asarray(x >= threshold)), observed
