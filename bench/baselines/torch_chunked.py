"""Exact log p(x) of a sigmoid belief network, PyTorch over chunks of states."""

from __future__ import annotations

import numpy as np
import torch

CHUNK = 256
EXACT = 40.0  # softplus(v) = v above the threshold: exp(-40) is below a rounding, the default 20 is not


@torch.inference_mode()
def log_marginal(
    weights: np.ndarray, bias: np.ndarray, prior_logits: np.ndarray, x: np.ndarray
) -> np.ndarray:
    """log p(x_n), shape (N,), of binary x (N, D) under weights (D, d), bias (D,), prior_logits (d,)."""
    w, b, prior, data = (torch.from_numpy(array) for array in (weights, bias, prior_logits, x))
    num_latents = len(prior)
    bits = torch.arange(num_latents)
    projected = data @ w
    log_normaliser = torch.nn.functional.softplus(prior, threshold=EXACT).sum()
    total = torch.full((len(data),), -torch.inf, dtype=torch.float64)
    for start in range(0, 2**num_latents, CHUNK):
        index = torch.arange(start, min(start + CHUNK, 2**num_latents))
        states = ((index[:, None] >> bits) & 1).to(torch.float64)
        eta = torch.addmm(b, states, w.T)
        shared = states @ prior - log_normaliser
        shared -= torch.nn.functional.softplus(eta, threshold=EXACT).sum(dim=1)
        total = torch.logaddexp(total, torch.logsumexp(projected @ states.T + shared, dim=1))
    return (total + data @ b).numpy()
