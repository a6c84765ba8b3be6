"""Exact log p(x) of a sigmoid belief network, NumPy over chunks of states."""

from __future__ import annotations

import numpy as np

CHUNK = 256  # 256 states x 784 pixels in float64 are 1.6 MB; 128 to 1024 took the same time within 10 %


def log_marginal(
    weights: np.ndarray, bias: np.ndarray, prior_logits: np.ndarray, x: np.ndarray
) -> np.ndarray:
    """log p(x_n), shape (N,), of binary x (N, D) under weights (D, d), bias (D,), prior_logits (d,)."""
    num_latents = len(prior_logits)
    bits = np.arange(num_latents)
    projected = x @ weights
    log_normaliser = np.logaddexp(0.0, prior_logits).sum()
    total = np.full(len(x), -np.inf)
    for start in range(0, 2**num_latents, CHUNK):
        index = np.arange(start, min(start + CHUNK, 2**num_latents))
        states = ((index[:, None] >> bits) & 1).astype(np.float64)
        eta = states @ weights.T + bias
        shared = states @ prior_logits - log_normaliser - np.logaddexp(0.0, eta).sum(axis=1)
        log_joint = projected @ states.T + shared
        largest = log_joint.max(axis=1)
        chunk_total = largest + np.log(np.exp(log_joint - largest[:, None]).sum(axis=1))
        total = np.logaddexp(total, chunk_total)
    return total + x @ bias
