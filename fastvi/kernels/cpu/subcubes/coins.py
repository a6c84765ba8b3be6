"""A coin by its logit: what the bounds of subcubes are made of."""

from __future__ import annotations

from fastvi.kernels.jit import inline
from fastvi.kernels.scalar import exp_of_negative, log_fast


@inline
def softplus_of(logit):
    """Return log(1 + exp(logit)) to a unit in the last place of 1, where sums of it are as large."""
    return max(logit, 0.0) + log_fast(1.0 + exp_of_negative(-abs(logit)))


@inline
def sigmoid_of(logit):
    """Return the probability of the coin."""
    small = exp_of_negative(-abs(logit))
    return (1.0 if logit >= 0.0 else small) / (1.0 + small)
