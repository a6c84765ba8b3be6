"""Exact log p(x) of a sigmoid belief network: the two loops of the definition, compiled, on one thread."""

from __future__ import annotations

import math

import numba
import numpy as np


@numba.njit
def _softplus(value: float) -> float:
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))


@numba.njit
def _enumerate(
    weights: np.ndarray, bias: np.ndarray, prior_logits: np.ndarray, projected: np.ndarray
) -> np.ndarray:
    num_pixels, num_latents = weights.shape
    num_data = len(projected)
    largest = np.full(num_data, -np.inf)
    total = np.zeros(num_data)
    log_normaliser = 0.0
    for k in range(num_latents):
        log_normaliser += _softplus(prior_logits[k])
    state = np.zeros(num_latents)
    for index in range(1 << num_latents):
        shared = -log_normaliser
        for k in range(num_latents):
            state[k] = (index >> k) & 1
            shared += state[k] * prior_logits[k]
        for j in range(num_pixels):
            eta = bias[j]
            for k in range(num_latents):
                eta += weights[j, k] * state[k]
            shared -= _softplus(eta)
        for n in range(num_data):
            value = shared
            for k in range(num_latents):
                value += projected[n, k] * state[k]
            if value > largest[n]:
                total[n] = total[n] * math.exp(largest[n] - value) + 1.0
                largest[n] = value
            else:
                total[n] += math.exp(value - largest[n])
    return largest + np.log(total)


def log_marginal(
    weights: np.ndarray, bias: np.ndarray, prior_logits: np.ndarray, x: np.ndarray
) -> np.ndarray:
    """log p(x_n), shape (N,), of binary x (N, D) under weights (D, d), bias (D,), prior_logits (d,)."""
    return _enumerate(weights, bias, prior_logits, x @ weights) + x @ bias
