"""Pairs of x and z, and data, taken some at a time, so that temporaries stay small."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# numbers in the largest temporary array of log_joint and sample: 8 MiB of float64
BLOCK = 1 << 20


def cut(array: np.ndarray, axis: int, part: slice) -> np.ndarray:
    """``part`` of ``axis`` (counted from the right), or the whole array where that axis broadcasts."""
    if -axis > array.ndim or array.shape[axis] == 1:
        return array
    index: list[slice] = [slice(None)] * array.ndim
    index[axis] = part
    return array[tuple(index)]


def in_blocks(
    update: Callable[[np.ndarray, np.ndarray, np.ndarray], None],
    x: np.ndarray,
    z: np.ndarray,
    out: np.ndarray,
    width: int,
    block: int,
) -> None:
    """``update(x, z, out)``, whose temporaries hold ``width`` numbers for each of ``out``.

    The longest leading axis is halved until the temporaries hold ``block`` numbers or fewer.
    """
    if out.size * width <= block or out.size <= 1:
        update(x, z, out)
        return
    axis = int(np.argmax(out.shape)) - out.ndim  # counted from the right, as broadcasting does
    for half in (slice(None, out.shape[axis] // 2), slice(out.shape[axis] // 2, None)):
        in_blocks(update, cut(x, axis - 1, half), cut(z, axis - 1, half), cut(out, axis, half), width, block)
