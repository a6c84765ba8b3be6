"""Householder reflections of rows in two words: they turn a matrix's span into first coordinates.

In one word each reflection rounds all coordinates: with 4 of them distances came out with up to ten times the
error of residuals that were never turned.
"""

from __future__ import annotations

import numpy as np

from fastvi.kernels.double_word import add_words, multiply_words, product_rest, two_sum, upper_half
from fastvi.kernels.jit import inline, kernel

_LANES = 8  # partial sums of a dot product, so that it is vectorised


@inline
def _add_products(vector, row, row_low, lanes, lanes_low):
    """Add products to compensated sums, each of ``_LANES`` columns."""
    for c in range(vector.size):
        product = vector[c] * row[c]
        a, b = upper_half(vector[c]), upper_half(row[c])
        rest = product_rest(product, a, vector[c] - a, b, row[c] - b)
        lanes[c], lost = two_sum(lanes[c], product)
        lanes_low[c] += (lost + rest) + vector[c] * row_low[c]


@inline
def _reflect(vector, row, row_low, lanes, lanes_low):
    """Subtract <vector, row> vector from a row."""
    for c in range(_LANES):
        lanes[c], lanes_low[c] = 0.0, 0.0
    for start in range(0, row.size, _LANES):
        end = min(start + _LANES, row.size)
        _add_products(vector[start:end], row[start:end], row_low[start:end], lanes, lanes_low)
    dot, low = 0.0, 0.0
    for c in range(_LANES):
        dot, low = add_words(dot, low, lanes[c], lanes_low[c])
    dot_half = upper_half(dot)
    dot_rest = dot - dot_half
    for j in range(row.size):
        product = dot * vector[j]
        half = upper_half(vector[j])
        rest = product_rest(product, dot_half, dot_rest, half, vector[j] - half) + low * vector[j]
        high, lost = two_sum(row[j], -product)
        lost += row_low[j] - rest
        row[j] = high + lost
        row_low[j] = lost - (row[j] - high)


@kernel
def reflect_rows(vectors, backwards, rows, rows_low):
    """Reflect rows (N, D) in two words by 1 - v v^T for each of ``vectors`` (K, D).

    v_k is 0 before coordinate k. Reflections come in their order, or in the opposite one if ``backwards``.
    """
    lanes, lanes_low, num = np.empty(_LANES), np.empty(_LANES), vectors.shape[0]
    for n in range(rows.shape[0]):
        for step in range(num):
            k = num - 1 - step if backwards else step
            _reflect(vectors[k, k:], rows[n, k:], rows_low[n, k:], lanes, lanes_low)


@kernel
def subtract_bias(x, bias, unit, rows, rows_low):
    """Set rows to (x - bias) unit in two words, ``unit`` a power of two."""
    for n in range(x.shape[0]):
        for j in range(x.shape[1]):
            high, low = two_sum(x[n, j], -bias[j])
            rows[n, j], rows_low[n, j] = high * unit, low * unit


@kernel
def scale_rows(rows, rows_low, factor):
    """Multiply rows in two words by ``factor`` and round once."""
    for n in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            rows[n, j], _ = multiply_words(rows[n, j], rows_low[n, j], factor, 0.0)
