"""Exact log p(x) of a sigmoid belief network, NumPy and SciPy's logsumexp and log_expit, in chunks."""

from __future__ import annotations

import numpy as np
from scipy.special import log_expit, logsumexp

CHUNK = 256


def log_marginal(
    weights: np.ndarray, bias: np.ndarray, prior_logits: np.ndarray, x: np.ndarray
) -> np.ndarray:
    """log p(x_n), shape (N,), of binary x (N, D) under weights (D, d), bias (D,), prior_logits (d,)."""
    num_latents = len(prior_logits)
    bits = np.arange(num_latents)
    projected = x @ weights
    log_normaliser = -log_expit(-prior_logits).sum()
    totals = []
    for start in range(0, 2**num_latents, CHUNK):
        index = np.arange(start, min(start + CHUNK, 2**num_latents))
        states = ((index[:, None] >> bits) & 1).astype(np.float64)
        eta = states @ weights.T + bias
        shared = states @ prior_logits - log_normaliser + log_expit(-eta).sum(axis=1)
        totals.append(logsumexp(projected @ states.T + shared, axis=1))
    return logsumexp(totals, axis=0) + x @ bias
