"""Divergences between a normal q and a posterior that is normal too.

The posterior enters by K, lower triangular, K^T K the inverse of its covariance: K^-1 is the covariance's
Cholesky factor, and neither a covariance nor an inverse is formed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvi.bounds.kl_divergence import triangular_kl
from fastvi.distributions.multivariate_normal import MultivariateNormal, moments_of
from fastvi.distributions.normal import Normal
from fastvi.engine.linalg.triangular import solve_lower, times_vectors
from fastvi.rules.base import NormalPosterior


def divergence_of_normal_posterior(
    posterior: NormalPosterior, q: Normal | MultivariateNormal, *, from_posterior: bool
) -> np.ndarray:
    """KL(q || p(z | x)), or KL(p(z | x) || q), (N,)."""
    mean, root = posterior
    own_mean, own = moments_of(q, len(mean))
    # each at least 1: the inverses are the diagonal of the posterior's factor
    of_posterior, diagonal = 1.0 / np.diagonal(root), np.diagonal(own, axis1=-2, axis2=-1)
    if from_posterior:
        factor = solve_lower(root, np.eye(len(root)))
        shift = solve_lower(own, (mean - own_mean)[..., None])[..., 0]
        return triangular_kl(of_posterior, diagonal, solve_lower(own, factor), shift)
    shift = times_vectors(root, own_mean - mean)
    return triangular_kl(diagonal, of_posterior, _product(root, own), shift)


def _product(matrix: np.ndarray, others: np.ndarray) -> Any:
    """Matrix (d, d) times others (N, d, d), a sum over k in its order.

    Not by BLAS, whose bits depend on threads.
    """
    out = np.zeros(others.shape)
    for k in range(len(matrix)):
        out += matrix[:, k, None] * others[:, k, None, :]
    return out
