"""Householder reflections of rows: what a matrix spans is turned into the first coordinates."""

from __future__ import annotations

import numpy as np

from fastvi.kernels.jit import inline, kernel

_LANES = 32  # partial sums of a dot product: D / 32 roundings follow one another, not D


@inline
def _reflect(vector, first, row, lanes):
    """row -= <vector, row> vector, both of which begin at ``first``."""
    for c in range(_LANES):
        lanes[c] = 0.0
    whole = first + (row.size - first) // _LANES * _LANES
    for start in range(first, whole, _LANES):
        for c in range(_LANES):
            lanes[c] += vector[start + c] * row[start + c]
    for j in range(whole, row.size):
        lanes[j - whole] += vector[j] * row[j]
    width = _LANES // 2
    while width:
        for c in range(width):
            lanes[c] += lanes[c + width]
        width //= 2
    for j in range(first, row.size):
        row[j] -= lanes[0] * vector[j]


@kernel
def reflect_rows(vectors, begin, backwards, rows):
    """Rows (N, D) through the reflections 1 - v v^T of ``vectors`` (K, D), v_k 0 before k, from number
    ``begin`` on, or in the opposite order.
    """
    lanes = np.empty(_LANES)
    for n in range(rows.shape[0]):
        for step in range(begin, vectors.shape[0]):
            k = vectors.shape[0] - 1 - (step - begin) if backwards else step
            _reflect(vectors[k], k, rows[n], lanes)
