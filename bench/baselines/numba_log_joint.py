"""log p(x) for a scalar log p(x, z) in Numba: the log joint of a network, and the loops around it by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np


@numba.njit
def _softplus(value: float) -> float:
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))


def network(weights: np.ndarray, bias: np.ndarray, prior_logits: np.ndarray) -> Callable[..., Any]:
    """log p(x, z) of a sigmoid belief network for one datum and one state, compiled at its first call."""
    num_pixels, num_latents = weights.shape
    log_normaliser = np.logaddexp(0.0, prior_logits).sum()

    @numba.njit
    def log_joint(x_n: np.ndarray, z: np.ndarray) -> float:
        total = -log_normaliser
        for k in range(num_latents):
            total += prior_logits[k] * z[k]
        for j in range(num_pixels):
            eta = bias[j]
            for k in range(num_latents):
                eta += weights[j, k] * z[k]
            total += x_n[j] * eta - _softplus(eta)
        return total

    return log_joint


@numba.njit
def _one(log_joint: Any, x_n: np.ndarray, num_latents: int) -> float:
    z = np.zeros(num_latents)
    largest, total = -np.inf, 0.0
    for index in range(1 << num_latents):
        for k in range(num_latents):
            z[k] = (index >> k) & 1
        value = log_joint(x_n, z)
        if value > largest:
            total = total * math.exp(largest - value) + 1.0
            largest = value
        else:
            total += math.exp(value - largest)
    return largest + math.log(total)


@numba.njit
def on_one_thread(log_joint: Any, x: np.ndarray, num_latents: int) -> np.ndarray:
    """log p(x_n), (N,)."""
    out = np.empty(len(x))
    for n in range(len(x)):
        out[n] = _one(log_joint, x[n], num_latents)
    return out


@numba.njit(parallel=True)
def on_all_threads(log_joint: Any, x: np.ndarray, num_latents: int) -> np.ndarray:
    """The same, data side by side."""
    out = np.empty(len(x))
    for n in numba.prange(len(x)):
        out[n] = _one(log_joint, x[n], num_latents)
    return out
