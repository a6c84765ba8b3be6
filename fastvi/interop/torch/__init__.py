"""PyTorch: exact log p(x) and bounds as operators with gradients, a model as a module, log weights."""

from __future__ import annotations

from fastvi.core.extras import how_to_install

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError(f"fastvi.interop.torch needs PyTorch: {how_to_install('torch')}") from error

from fastvi.interop.torch.elbo import elbo
from fastvi.interop.torch.log_marginal import log_marginal
from fastvi.interop.torch.log_weights import (
    effective_sample_size,
    importance_weighted_bound,
    log_mean_exp,
    pareto_k,
    psis,
)
from fastvi.interop.torch.module import Module

__all__ = [
    "Module",
    "effective_sample_size",
    "elbo",
    "importance_weighted_bound",
    "log_marginal",
    "log_mean_exp",
    "pareto_k",
    "psis",
]
