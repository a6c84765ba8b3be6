"""Exact log p(x) of a sigmoid belief network and log Z of a Boltzmann machine, CuPy on a GPU."""

from __future__ import annotations

from typing import Any

import cupy as cp
import numpy as np

MOST = 1 << 27  # numbers of a chunk's largest array: 1 GiB


def _states(start: int, stop: int, num: int) -> Any:
    return ((cp.arange(start, stop)[:, None] >> cp.arange(num)) & 1).astype(cp.float64)


def _log_sum(values: Any, axis: int) -> Any:
    largest = values.max(axis=axis, keepdims=True)
    return cp.log(cp.exp(values - largest).sum(axis=axis)) + largest.squeeze(axis)


def log_marginal(
    weights: np.ndarray, bias: np.ndarray, prior_logits: np.ndarray, x: np.ndarray
) -> np.ndarray:
    """log p(x_n), shape (N,), of binary x (N, D) under weights (D, d), bias (D,), prior_logits (d,)."""
    w, b, prior, data = (cp.asarray(array) for array in (weights, bias, prior_logits, x))
    d, projected = len(prior), data @ w
    log_normaliser = cp.logaddexp(0.0, prior).sum()
    total = cp.full(len(data), -cp.inf)
    chunk = max(1, MOST // max(len(data), len(b)))
    for start in range(0, 2**d, chunk):
        states = _states(start, min(start + chunk, 2**d), d)
        shared = states @ prior - log_normaliser - cp.logaddexp(0.0, states @ w.T + b).sum(axis=1)
        total = cp.logaddexp(total, _log_sum(projected @ states.T + shared, 1))
    return cp.asnumpy(total + data @ b)


def log_partition(couplings: np.ndarray, bias: np.ndarray) -> float:
    """log sum_z exp(z^T J z / 2 + h^T z) of symmetric couplings (d, d) and bias (d,)."""
    j, h = cp.asarray(couplings), cp.asarray(bias)
    d, parts = len(bias), []
    chunk = MOST // max(8, d)
    for start in range(0, 2**d, chunk):
        states = _states(start, min(start + chunk, 2**d), d)
        parts.append(_log_sum(((0.5 * (states @ j) + h) * states).sum(axis=1), 0))
    return float(_log_sum(cp.stack(parts), 0))
