"""Annealed importance sampling of a restricted Boltzmann machine's log Z, NumPy: all chains at once."""

from __future__ import annotations

import numpy as np


def log_partition(
    weights: np.ndarray,
    visible_bias: np.ndarray,
    hidden_bias: np.ndarray,
    num_temperatures: int,
    num_chains: int,
    seed: int,
    dtype: str = "float64",
) -> tuple[float, float]:
    """Estimate of log Z and its standard error by the delta method. Weights are summed in float64."""
    rng = np.random.default_rng(seed)
    weights, visible_bias, hidden_bias = (
        np.asarray(array, dtype) for array in (weights, visible_bias, hidden_bias)
    )
    num_visible, num_hidden = weights.shape
    transposed = np.ascontiguousarray(weights.T)
    v = (rng.random((num_chains, num_visible), dtype) < _sigmoid(visible_bias)).astype(dtype)
    log_w = np.zeros(num_chains)
    for step in range(1, num_temperatures + 1):
        before, beta = (step - 1) / num_temperatures, step / num_temperatures
        a = v @ weights + hidden_bias
        size = np.abs(a)
        # softplus(beta a) - softplus(before a)
        log_w += (
            (beta - before) * np.maximum(a, 0.0)
            + np.log1p(np.exp(-beta * size))
            - np.log1p(np.exp(-before * size))
        ).sum(axis=1, dtype=np.float64)
        if step < num_temperatures:
            h = (rng.random(a.shape, dtype) < _sigmoid(beta * a)).astype(dtype)
            fields = visible_bias + beta * (h @ transposed)
            v = (rng.random(v.shape, dtype) < _sigmoid(fields)).astype(dtype)
    log_w += np.logaddexp(0.0, visible_bias).sum() + num_hidden * np.log(2.0)
    largest = log_w.max()
    scaled = np.exp(log_w - largest)
    std_error = scaled.std(ddof=1) / np.sqrt(num_chains) / scaled.mean()
    return float(largest + np.log(scaled.mean())), float(std_error)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-logits))
