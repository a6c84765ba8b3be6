"""Weighted sums over data of x and of x times means, some pixels at a time."""

from __future__ import annotations

import numpy as np

from fastvi.core.blocks import BLOCK

_FEWEST_COLUMNS = 8  # at a time: einsum sums rows in order only where there are several columns


def weighted_sums(x: np.ndarray, weights: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums over n of weights_n x_nj mean_ni, (D, d), and of weights_n x_nj, (D,).

    Some pixels at a time, so that the order of n, and with it every bit, is that of all pixels at once.
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
