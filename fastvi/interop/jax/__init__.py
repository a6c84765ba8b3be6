"""Exact likelihoods and bounds as functions of JAX, with gradients.

Values and gradients are computed in float64 by fastvi on the CPU, called back from compiled functions, and
come back in the dtype of what they are functions of. They work under ``jit``, ``grad``, ``vmap`` and
``scan``, with and without x64. Log p(x) and the ELBO have first derivatives in reverse mode only.
"""

from __future__ import annotations

from fastvi.core.extras import how_to_install

try:
    import jax as _jax  # noqa: F401
except ImportError as error:
    raise ImportError(f"fastvi.interop.jax needs JAX: {how_to_install('jax')}") from error

from fastvi.interop.jax.elbo import elbo
from fastvi.interop.jax.log_marginal import log_marginal
from fastvi.interop.jax.log_weights import (
    effective_sample_size,
    importance_weighted_bound,
    log_mean_exp,
    pareto_k,
    psis,
)

__all__ = [
    "effective_sample_size",
    "elbo",
    "importance_weighted_bound",
    "log_marginal",
    "log_mean_exp",
    "pareto_k",
    "psis",
]
