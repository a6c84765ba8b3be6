"""Exact log p(x) of a sigmoid belief network and log Z of a Boltzmann machine, PyTorch on a GPU."""

from __future__ import annotations

import numpy as np
import torch

MOST = 1 << 27  # numbers of a chunk's largest array: 1 GiB
EXACT = 40.0  # softplus(v) = v above the threshold


def _place() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _states(start: int, stop: int, num: int) -> torch.Tensor:
    index = torch.arange(start, stop, device=_place())
    return ((index[:, None] >> torch.arange(num, device=_place())) & 1).to(torch.float64)


@torch.inference_mode()
def log_marginal(
    weights: np.ndarray, bias: np.ndarray, prior_logits: np.ndarray, x: np.ndarray
) -> np.ndarray:
    """log p(x_n), shape (N,), of binary x (N, D) under weights (D, d), bias (D,), prior_logits (d,)."""
    w, b, prior, data = (torch.from_numpy(array).to(_place()) for array in (weights, bias, prior_logits, x))
    d, projected = len(prior), data @ w
    log_normaliser = torch.nn.functional.softplus(prior, threshold=EXACT).sum()
    total = torch.full((len(data),), -torch.inf, dtype=torch.float64, device=_place())
    chunk = max(1, MOST // max(len(data), len(b)))
    for start in range(0, 2**d, chunk):
        states = _states(start, min(start + chunk, 2**d), d)
        shared = states @ prior - log_normaliser
        eta = torch.addmm(b, states, w.T)
        shared -= torch.nn.functional.softplus(eta, threshold=EXACT).sum(dim=1)
        total = torch.logaddexp(total, torch.logsumexp(projected @ states.T + shared, dim=1))
    return (total + data @ b).cpu().numpy()


@torch.inference_mode()
def log_partition(couplings: np.ndarray, bias: np.ndarray) -> float:
    """log sum_z exp(z^T J z / 2 + h^T z) of symmetric couplings (d, d) and bias (d,)."""
    j, h = (torch.from_numpy(array).to(_place()) for array in (couplings, bias))
    d, parts = len(bias), []
    chunk = MOST // max(8, d)
    for start in range(0, 2**d, chunk):
        states = _states(start, min(start + chunk, 2**d), d)
        parts.append(torch.logsumexp(((0.5 * (states @ j) + h) * states).sum(dim=1), dim=0))
    return float(torch.logsumexp(torch.stack(parts), dim=0))
