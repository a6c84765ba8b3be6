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


_FEWEST_COLUMNS = 8  # at a time: einsum sums rows in order only where there are several columns


def weighted_sums(x: np.ndarray, weights: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums over n of weights_n x_nj mean_ni, (D, d), and of weights_n x_nj, (D,).

    Some pixels at a time, so that the order of n, and with it every bit, is that of all pixels at once. Not
    by BLAS, so that the bits do not depend on threads.
    """
    num_pixels = x.shape[1]
    both, alone = np.empty((num_pixels, mean.shape[1])), np.empty(num_pixels)
    for first, last in _column_ranges(*x.shape):
        both[first:last], alone[first:last] = _block_sums(x[:, first:last], weights, mean)
    return both, alone


def _block_sums(x: np.ndarray, weights: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    weighted = weights[:, None] * x
    return np.einsum("nj,ni->ji", weighted, mean), weighted.sum(axis=0)


def _column_ranges(num_rows: int, num_columns: int) -> list[tuple[int, int]]:
    parts = max(1, min(num_columns // _FEWEST_COLUMNS, -(-num_rows * num_columns // BLOCK)))
    return [(num_columns * k // parts, num_columns * (k + 1) // parts) for k in range(parts)]


def weighted_sums_bytes(num_data: int, num_pixels: int) -> int:
    """Peak of ``weighted_sums`` beside what it returns."""
    ranges = _column_ranges(num_data, num_pixels)
    return 8 * num_data * max(last - first for first, last in ranges)
