"""Divergences between a normal q and the posterior of a linear Gaussian model, which is normal too.

The posterior of covariance (I + A^T A)^-1, A = W / s, enters by K, lower triangular with K^T K = I + A^T A:
K^-1 is its Cholesky factor, and neither a covariance nor an inverse is formed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvi.bounds.kl_divergence import triangular_kl
from fastvi.distributions.multivariate_normal import moments_of
from fastvi.engine.linalg.triangular import solve_lower, times_vectors, upper_triangle
from fastvi.inputs.bound_parts import Part
from fastvi.models.linear_gaussian import LinearGaussian


def linear_divergence(model: LinearGaussian, part: Part, *, from_posterior: bool) -> np.ndarray:
    """KL(q || p(z | x)), or KL(p(z | x) || q), (N,)."""
    scaled, _, mean, _ = model._solved(model._spread(part.x, part.pixels), part.pixels)
    # with the latents in reverse order the factor of I + A^T A is upper triangular: R^T R
    root = upper_triangle(scaled[:, ::-1])[::-1, ::-1]
    own_mean, own = moments_of(part.q, len(part.members))
    # each at least 1: the inverses are the diagonal of the posterior's factor
    of_posterior, diagonal = 1.0 / np.diagonal(root), np.diagonal(own, axis1=-2, axis2=-1)
    if from_posterior:
        factor = solve_lower(root, np.eye(len(root)))
        shift = solve_lower(own, (mean - own_mean)[..., None])[..., 0]
        return triangular_kl(of_posterior, diagonal, solve_lower(own, factor), shift)
    shift = times_vectors(root, own_mean - mean)
    return triangular_kl(diagonal, of_posterior, _product(root, own), shift)


def _product(matrix: np.ndarray, others: np.ndarray) -> Any:
    """matrix (d, d) times others (N, d, d), a sum over k in its order; not by BLAS, whose bits depend on
    threads.
    """
    out = np.zeros(others.shape)
    for k in range(len(matrix)):
        out += matrix[:, k, None] * others[:, k, None, :]
    return out
