"""Machines with pairwise couplings by all their states at once, in NumPy; and grids by their columns."""

from __future__ import annotations

import numpy as np


def log_sum(values):
    """Log of a sum of exponentials over the last axis; -inf where all are."""
    largest = values.max(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.log(np.exp(values - largest).sum(axis=-1)) + largest[..., 0]
    return np.where(np.isneginf(largest[..., 0]), -np.inf, found)


def all_states(d):
    """Every state, (2^d, d)."""
    return ((np.arange(1 << d)[:, None] >> np.arange(d)) & 1).astype(float)


def log_weights(couplings, bias):
    """z' J z / 2 + h' z of every state; -inf where a pair is on that excludes each other."""
    z = all_states(len(bias))
    never = np.isneginf(couplings)
    value = 0.5 * ((z @ np.where(never, 0.0, couplings)) * z).sum(axis=1) + z @ bias
    value[((z @ never) * z).sum(axis=1) > 0] = -np.inf
    return value


def log_marginals(couplings, bias, x, observed):
    """Log of the sum of the weights of the states that agree with each x where it was observed."""
    value, z = log_weights(couplings, bias), all_states(len(bias))
    agree = ((z[None] == x[:, None]) | ~observed[:, None]).all(axis=-1)
    return log_sum(np.where(agree, value, -np.inf))


def posteriors(couplings, bias, x, observed):
    """p(z | observed part of x) of every state, (N, 2^d); NaN where nothing is possible."""
    value, z = log_weights(couplings, bias), all_states(len(bias))
    agree = ((z[None] == x[:, None]) | ~observed[:, None]).all(axis=-1)
    value = np.where(agree, value, -np.inf)
    with np.errstate(invalid="ignore"):
        return np.exp(value - log_sum(value)[:, None])


def grid_log_partition(across, down, bias):
    """Log Z of a grid (rows, columns), column by column.

    across[i, j] couples (i, j) with (i, j + 1), down[i, j] couples (i, j) with (i + 1, j).
    """
    rows, columns = bias.shape
    z = all_states(rows)
    message = np.zeros(len(z))
    for j in range(columns):
        own = z @ bias[:, j] + (z[:, :-1] * z[:, 1:]) @ down[:, j]
        if j:
            pairs = (z * across[:, j - 1]) @ z.T
            message = log_sum(message[None] + pairs)
        message = message + own
    return float(log_sum(message[None])[0])
