"""Linear equations with a symmetric matrix that may be singular."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvi.core.arrays import Array

_SWEEPS = 40  # of Jacobi's method, at most: 6 to 10 are taken at n = 2 ... 200
_EPS = float(np.finfo(np.float64).eps)


def eigen(matrix: Array) -> tuple[Array, Array]:
    """Eigenvalues (n,), in no order, and eigenvectors (n, n), in columns, of a symmetric matrix (n, n).

    By Jacobi's rotations, n / 2 pairs of rows at a time, each pair once a sweep.

    References
    ----------
    G. H. Golub, C. F. Van Loan (2013), Matrix Computations, 4th edition, section 8.5.
    """
    n = len(matrix)
    largest = float(np.abs(matrix).max(initial=0.0)) or 1.0  # divided out, so that no square underflows
    a, vectors = matrix / largest, np.eye(n)
    negligible = _EPS**2 * float(np.square(a).sum())
    players = np.arange(n + n % 2)  # of a round-robin tournament, where one rests if n is odd
    for _ in range(_SWEEPS):
        off = a.copy()
        np.fill_diagonal(off, 0.0)
        if float(np.square(off).sum()) <= negligible:
            break
        for _ in range(len(players) - 1):
            half = len(players) // 2
            p, q = players[:half], players[half:][::-1]
            both = (p < n) & (q < n)
            _rotate(a, vectors, p[both], q[both])
            players = np.concatenate([players[:1], players[-1:], players[1:-1]])
    return np.diagonal(a) * largest, vectors


def _rotate(a: Array, vectors: Array, p: NDArray[Any], q: NDArray[Any]) -> None:
    """Make a[p, q] 0 for pairs of indices that have none in common."""
    across = a[p, q]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        tau = (a[q, q] - a[p, p]) / (2.0 * across)
        tangent = np.where(tau < 0.0, -1.0, 1.0) / (np.abs(tau) + np.hypot(1.0, tau))
    tangent = np.where(across == 0.0, 0.0, tangent)
    cosine = 1.0 / np.hypot(1.0, tangent)
    sine = tangent * cosine
    for rows in (a, a.T, vectors.T):  # views: the columns of a and of the vectors are turned in place
        first, second = rows[p], rows[q]
        rows[p] = cosine[:, None] * first - sine[:, None] * second
        rows[q] = sine[:, None] * first + cosine[:, None] * second
    a[p, q] = a[q, p] = 0.0


def solve_rows(right: Array, matrix: Array, cutoff: float) -> Array:
    """The shortest rows y_n that make y_n M closest to right_n: (N, n) for M (n, n), positive semidefinite.

    Eigenvalues of at most ``cutoff`` times the largest count as 0.
    """
    values, vectors = eigen(matrix)
    kept = values > cutoff * values.max(initial=0.0)
    basis = vectors[:, kept]
    return np.einsum("nk,ik->ni", np.einsum("ni,ik->nk", right, basis) / values[kept], basis)
