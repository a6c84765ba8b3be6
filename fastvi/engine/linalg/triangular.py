"""Triangular factors, and equations with them."""

from __future__ import annotations

import math

import numpy as np

from fastvi.core.arrays import Array


def lower_factor(matrix: Array) -> tuple[Array, Array]:
    """Lower triangular L with L L^T = matrix (..., d, d), and the squares of its diagonal (..., d).

    A square that is not positive says that there is no L.
    """
    out = matrix.copy()
    pivots = np.empty(matrix.shape[:-1])
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        for k in range(matrix.shape[-1]):
            pivots[..., k] = out[..., k, k]
            out[..., k, k] = np.sqrt(out[..., k, k])
            out[..., k + 1 :, k] /= out[..., k, k, None]
            column = out[..., k + 1 :, k]
            out[..., k + 1 :, k + 1 :] -= column[..., :, None] * column[..., None, :]
            out[..., k, k + 1 :] = 0.0
    return out, pivots


def solve_lower(factor: Array, right: Array) -> Array:
    """X with L X = right for lower triangular L (..., d, d) and right (..., d, k); leading axes broadcast."""
    leading = np.broadcast_shapes(factor.shape[:-2], right.shape[:-2])
    out = np.broadcast_to(right, (*leading, *right.shape[-2:])).copy(order="C")
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(factor.shape[-1]):
            out[..., k, :] /= factor[..., k, k, None]
            out[..., k + 1 :, :] -= factor[..., k + 1 :, k, None] * out[..., k, None, :]
    return out


def solve_transposed_rows(upper: Array, right: Array) -> Array:
    """Rows y_n with R^T y_n = right_n, that is y = right R^-1, for upper triangular R and rows (N, d)."""
    return solve_lower(upper.T, right.T).T.copy()


def solve_rows(upper: Array, right: Array) -> Array:
    """Rows y_n with R y_n = right_n for upper triangular R and rows (N, d)."""
    return solve_lower(upper[::-1, ::-1], right.T[::-1])[::-1].T.copy()


def times_vectors(matrix: Array, vectors: Array) -> Array:
    """Matrix (..., d, d) times vectors (..., d), columns added in their order; leading axes broadcast."""
    out = matrix[..., 0] * vectors[..., 0, None]
    for k in range(1, vectors.shape[-1]):
        out += matrix[..., k] * vectors[..., k, None]
    return out


def upper_triangle(scaled: Array) -> Array:
    """R (d, d), upper triangular with a positive diagonal, R^T R = I + A^T A for A (D, d).

    By Householder reflections of A over I, never forming A^T A, whose condition number is the square of A's.
    """
    d = scaled.shape[1]
    # a reflection leaves rows alone that are 0 in its column: those of the identity stay exact until they
    # are used
    rows = np.concatenate([np.eye(d), scaled])
    for k in range(d):
        column = rows[k:, k].copy()
        size = math.sqrt(np.square(column).sum())
        column[0] += math.copysign(size, column[0])
        rows[k, k], rows[k + 1 :, k] = -math.copysign(size, column[0]), 0.0
        # v (v^T rest) 2 / |v|^2, and |v|^2 = 2 size |v_0|
        rest = rows[k:, k + 1 :]
        rest -= column[:, None] * (np.einsum("ij,i->j", rest, column) / (size * abs(column[0])))
    factor = rows[:d]
    return factor * np.where(np.diagonal(factor) < 0, -1.0, 1.0)[:, None]
