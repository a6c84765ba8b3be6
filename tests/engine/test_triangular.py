"""Triangular equations and factors against exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from fastvi.engine.linalg.triangular import solve_rows, solve_transposed_rows, upper_triangle

RNG = np.random.default_rng(3)


def times(matrix, vector):
    """Matrix times vector in fractions."""
    return [
        sum((Fraction(a) * Fraction(b) for a, b in zip(row, vector, strict=True)), Fraction(0))
        for row in matrix.tolist()
    ]


@pytest.mark.parametrize("d", [1, 2, 7])
@pytest.mark.parametrize("solve", [solve_rows, solve_transposed_rows])
def test_rows_solve_the_equations(solve, d):
    """Residuals of substitution are below d |R| |y| 2^-52 (Higham 2002, theorem 8.5)."""
    upper = np.triu(RNG.normal(size=(d, d))) + 3 * np.eye(d)
    right = RNG.normal(size=(4, d))
    found = solve(upper, right)
    matrix = upper if solve is solve_rows else upper.T
    assert found.shape == right.shape
    assert found.flags.c_contiguous
    for y, wanted in zip(found, right, strict=True):
        sizes = np.abs(matrix) @ np.abs(y)
        for got, want, size in zip(times(matrix, y.tolist()), wanted.tolist(), sizes, strict=True):
            assert abs(got - Fraction(want)) <= Fraction(float(d * size)) / 2**52


def test_the_triangle_s_square():
    """R^T R = I + A^T A; each of D + d reflections is off by some 2^-50 of the columns' sizes."""
    scaled = RNG.normal(size=(9, 4))
    factor = upper_triangle(scaled)
    assert np.array_equal(factor, np.triu(factor))
    assert (np.diagonal(factor) > 0).all()
    square = np.eye(4) + scaled.T @ scaled
    assert np.abs(factor.T @ factor - square).max() <= 13 * 2.0**-50 * np.abs(square).max()
