"""Householder reflections of tall matrices, in sums of two words."""

from __future__ import annotations

import math

import numpy as np

from fastvi.core.arrays import Array
from fastvi.kernels.cpu.dense.reflections import reflect_rows, scale_rows


def reflections(a: Array, factor: float) -> tuple[Array, Array]:
    """R (K, K) of factor A (M, K), M > K, and the vectors v (K, M) of the reflections 1 - v v^T it takes."""
    rows = np.ascontiguousarray(a.T)
    vectors, low = np.zeros_like(rows), np.zeros_like(rows)
    for k in range(len(rows)):
        column = rows[k, k:].copy()
        largest = np.abs(column).max()
        if largest > 0.0:
            column /= largest
            size = math.sqrt(np.square(column).sum())
            column[0] += math.copysign(size, column[0])
            vectors[k, k:] = column / math.sqrt(size * abs(column[0]))
        own = np.ascontiguousarray(rows[k:, k:]), np.ascontiguousarray(low[k:, k:])
        reflect_rows(vectors[k : k + 1, k:], False, *own)
        rows[k:, k:], low[k:, k:] = own
        rows[k, k + 1 :], low[k, k + 1 :] = 0.0, 0.0
    scale_rows(rows, low, factor)
    return np.ascontiguousarray(rows[:, : len(rows)].T), vectors
