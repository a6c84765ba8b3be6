"""Annealed importance sampling of a sigmoid belief network's log p(x), NumPy: all chains and data at once."""

from __future__ import annotations

import numpy as np


def log_marginal(
    weights: np.ndarray,
    bias: np.ndarray,
    prior_logits: np.ndarray,
    x: np.ndarray,
    num_temperatures: int,
    num_chains: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Estimates of log p(x_n) (N,) and their standard errors by the delta method, from the prior."""
    rng = np.random.default_rng(seed)
    num_data, num_latents = len(x), len(prior_logits)
    shape = (num_data, num_chains)
    linear = x @ weights  # of z in log p(x | z)
    z = (rng.random((*shape, num_latents)) < _sigmoid(prior_logits)).astype(np.float64)
    log_w = np.zeros(shape)
    for step in range(1, num_temperatures + 1):
        eta = z @ weights.T + bias
        cost = _softplus_sums(eta)
        gain = (x @ bias)[:, None] + (z * linear[:, None]).sum(axis=2) - cost
        log_w += gain / num_temperatures
        if step == num_temperatures:
            break
        beta = step / num_temperatures
        uniforms = rng.random((num_latents, *shape))
        for i, column in enumerate(weights.T):
            sign = 1.0 - 2.0 * z[:, :, i]
            flipped = eta + sign[:, :, None] * column
            other = _softplus_sums(flipped)
            change = sign * (other - cost)  # of the cost where the latent goes from off to on
            on = uniforms[i] < _sigmoid(prior_logits[i] + beta * (linear[:, i, None] - change))
            moved = on != (z[:, :, i] > 0.5)
            eta[moved], cost[moved] = flipped[moved], other[moved]
            z[:, :, i] = on
    largest = log_w.max(axis=1, keepdims=True)
    scaled = np.exp(log_w - largest)
    mean = scaled.mean(axis=1)
    return largest[:, 0] + np.log(mean), scaled.std(axis=1, ddof=1) / np.sqrt(num_chains) / mean


def _softplus_sums(eta: np.ndarray) -> np.ndarray:
    """Sums over pixels."""
    return np.asarray((np.maximum(eta, 0.0) + np.log1p(np.exp(-np.abs(eta)))).sum(axis=-1))


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 / (1.0 + np.exp(-logits)))
