"""Data files of the command line: what a file is follows from its first bytes, not from its name."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastvi.cli.errors import WrongInput
from fastvi.cli.files.inputs import STANDARD_INPUT, opened
from fastvi.cli.files.pictures import read_pictures
from fastvi.cli.files.text import read_text
from fastvi.core.archives import Archive, DamagedError, TooLargeError, read_npy
from fastvi.datasets.idx import read_idx

KINDS = ".npy, .npz, IDX or IDX.gz, CSV or TSV of numbers, or a folder of .png pictures"
_NAMES_OF_DATA = ("x", "images")
_NAMES_OF_MASKS = ("observed",)
_START = 512  # bytes by which a kind is known


class Rows(NamedTuple):
    """Data as a model takes them.

    Attributes
    ----------
    x : ndarray, (N, ...)
        One datum a row.
    observed : ndarray of bool, (N, D), or None
        True where a pixel was seen; None: everywhere.
    image_shape : tuple of int, or None
        Rows and columns of a datum, where the file holds pictures.
    """

    x: NDArray[Any]
    observed: NDArray[np.bool_] | None
    image_shape: tuple[int, int] | None


def read_array(path: str | os.PathLike[str], key: str | None, name: str = "DATA") -> NDArray[Any]:
    """Return the array in a file of any of :data:`KINDS`. ``name`` is that of the argument, in errors."""
    text = os.fspath(path)
    try:
        if text != STANDARD_INPUT and os.path.isdir(text):
            _refuse_key(key, text)
            return read_pictures(text, name)
        with opened(text, name) as file:
            start = file.read(_START)
            file.seek(0)
            if start[:2] == b"PK":
                archive = Archive(file)
                return archive.read(_choose_key(text, name, archive.names, key))
            _refuse_key(key, text)
            return _reader(start, text, name)(file)
    except DamagedError as error:
        raise WrongInput(f"{name} must be a whole file, got {text!r}: {error}") from error
    except TooLargeError as error:
        raise WrongInput(f"{name} must fit in memory, got {text!r}: {error}") from error


def _reader(start: bytes, text: str, name: str) -> Callable[[IO[bytes]], NDArray[Any]]:
    """Return what reads a file that begins with ``start``."""
    if start[:6] == b"\x93NUMPY":
        return read_npy
    if start[:2] in (b"\x1f\x8b", b"\0\0"):
        return lambda file: _idx(file, text, name)
    if start.strip() and not set(start) & _NEVER_IN_TEXT:
        return lambda file: read_text(file, text, name)
    shown = start[:4].hex(" ") or "nothing"
    raise WrongInput(f"{name} must be one of {KINDS}, got {text!r}, which begins with {shown}")


def _idx(file: IO[bytes], text: str, name: str) -> NDArray[Any]:
    """Return an IDX file's array. Its reader calls a file "path", the command line by the argument's name."""
    try:
        return read_idx(file, text)
    except ValueError as error:
        raise WrongInput(str(error).replace("path", name, 1)) from error


_NEVER_IN_TEXT = set(range(32)) - set(b"\t\n\r\f")


def _refuse_key(key: str | None, text: str) -> None:
    if key is not None:
        raise WrongInput(f"--key is for .npz files, got {text!r}")


def _choose_key(text: str, argument: str, names: list[str], key: str | None) -> str:
    """Return the name of the array to read."""
    of_mask = argument == "--observed"  # which has no key
    usual: tuple[str, ...] = _NAMES_OF_MASKS if of_mask else _NAMES_OF_DATA
    wanted = [key] if key is not None else [*usual, *names[: len(names) == 1]]
    for name in wanted:
        if name in names:
            return name
    several = f"several arrays and none is named {' or '.join(usual)}"
    asked = several if key is None else f"no array {key!r}"
    found = ", ".join(names)
    advice = f"it holds {found}" if of_mask else f"choose one of {found} by --key"
    raise WrongInput(f"{argument} {text!r} has {asked}: {advice}")


def read_rows(
    path: str | os.PathLike[str], key: str | None, threshold: float | None, limit: int | None,
    observed: str | None,
) -> Rows:  # fmt: skip
    """Return the first ``limit`` data of a file, one a row, binary where there is a ``threshold``.

    ``observed`` is the file of a mask, "auto" (NaN was not seen) or None: then NaN, which would fall below
    any threshold, is refused.
    """
    if threshold is not None and not math.isfinite(threshold):
        raise WrongInput(f"--threshold must be finite, got {threshold}")
    text = os.fspath(path)
    x = read_array(text, key)
    if x.ndim == 0:
        raise WrongInput(f"DATA must hold one datum a row, got a single {x.dtype} in {text!r}")
    image_shape = (int(x.shape[1]), int(x.shape[2])) if x.ndim == 3 else None
    x = _flat(x)[:limit]
    if threshold is not None and x.dtype.kind not in "biuf":
        raise WrongInput(f"DATA must hold numbers for --threshold, got dtype {x.dtype}")
    missing = np.isnan(x) if x.dtype.kind == "f" else np.zeros(x.shape, bool)
    mask = None
    if observed == "auto":
        mask = ~missing if missing.any() else None
    elif observed is not None:
        mask = _mask(observed, x.shape, limit)
    if mask is not None:
        if x.ndim != 2:
            raise WrongInput(f"--observed is for data of pixels, got shape {x.shape}")
        missing &= mask
    if threshold is not None and missing.any():
        index = tuple(int(i) for i in np.argwhere(missing)[0])
        seen = "" if mask is None else " where a pixel is observed"
        raise WrongInput(f"DATA must hold no NaN for --threshold{seen}, got one at index {index}")
    return Rows(x if threshold is None else np.asarray(x >= threshold), mask, image_shape)


def _flat(x: NDArray[Any]) -> NDArray[Any]:
    """Return images (N, h, w) as rows."""
    return x.reshape(len(x), int(np.prod(x.shape[1:]))) if x.ndim > 2 else x


def _mask(path: str, shape: tuple[int, ...], limit: int | None) -> NDArray[np.bool_]:
    """Return a mask of the data's shape from a file that has one a datum, or one for all data."""
    found = read_array(path, None, "--observed")
    if found.dtype.kind not in "biuf" or not np.isin(found, (0, 1)).all():
        raise WrongInput(f"--observed must hold 0 and 1 alone, got others in {path!r}")
    mask = found.astype(bool)
    if mask.size == math.prod(shape[1:]):
        mask = np.broadcast_to(mask.reshape(shape[1:]), shape).copy()
    elif mask.ndim > 1:
        mask = _flat(mask)[:limit]
    if mask.shape != shape:
        allowed = f"{shape} or {shape[1:]}"
        raise WrongInput(f"--observed must have the shape of the data, {allowed}, got {found.shape}")
    return mask
