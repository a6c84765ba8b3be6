"""Eigenvalues and least squares of symmetric matrices against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

from fastvi.engine.linalg.symmetric import eigen, solve_rows

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 8, 21])
@pytest.mark.parametrize("scale", [1.0, 1e-250, 1e250])
def test_eigen(n, scale):
    """Jacobi's error is a few n 2^-53 of the largest eigenvalue."""
    matrix = RNG.normal(size=(n, n)) * scale
    matrix += matrix.T
    values, vectors = eigen(matrix)
    largest = np.abs(values).max(initial=0.0)
    assert np.allclose(np.sort(values), np.linalg.eigvalsh(matrix), rtol=0, atol=1e-13 * largest)
    assert np.allclose(vectors.T @ vectors, np.eye(n), rtol=0, atol=1e-13)
    assert np.allclose((vectors * values) @ vectors.T, matrix, rtol=0, atol=1e-13 * largest)


@pytest.mark.parametrize(("n", "rank"), [(1, 1), (1, 0), (4, 4), (5, 3), (12, 7)])
def test_the_shortest_of_the_best_solutions(n, rank):
    """Against the pseudo-inverse; eigenvalues that are not 0 lie within a factor of 100."""
    basis = np.linalg.qr(RNG.normal(size=(n, n)))[0][:, :rank]
    matrix = (basis * RNG.uniform(0.1, 10.0, rank)) @ basis.T
    right = RNG.normal(size=(6, n))  # not in the range of the matrix
    expected = right @ np.linalg.pinv(matrix, rcond=1e-12)
    found = solve_rows(right, matrix, 1e-12)
    assert np.allclose(found, expected, atol=1e-11)
    assert solve_rows(right[:0], matrix, 1e-12).shape == (0, n)


def test_equal_and_absent_unknowns_share_and_stay():
    matrix = np.array([[2.0, 2.0, 0.0], [2.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    assert np.allclose(solve_rows(np.array([[4.0, 4.0, 1.0]]), matrix, 1e-12), [[1.0, 1.0, 0.0]], atol=1e-15)
