"""The scans of jax_tuned and jax_machine in chunks for a GPU."""

from __future__ import annotations

import numpy as np

from baselines.jax_chunked import enumerate_states
from baselines.jax_machine import _machine
from baselines.jax_tuned import softplus

CHUNK = 1 << 13  # states times 10,000 data: 655 MB
MACHINE_CHUNK = 1 << 20


def log_marginal(
    weights: np.ndarray, bias: np.ndarray, prior_logits: np.ndarray, x: np.ndarray
) -> np.ndarray:
    """log p(x_n), shape (N,), of binary x (N, D) under weights (D, d), bias (D,), prior_logits (d,)."""
    chunk = min(CHUNK, 2 ** len(prior_logits))
    return np.asarray(enumerate_states(weights, bias, prior_logits, x, chunk, softplus))


def log_partition(couplings: np.ndarray, bias: np.ndarray) -> float:
    """log sum_z exp(z^T J z / 2 + h^T z) of symmetric couplings (d, d) and bias (d,)."""
    return float(_machine(couplings, bias, min(MACHINE_CHUNK, 2 ** len(bias))))
