"""Sums over all states of a machine, one state after the other in NumPy; nothing of fastvi is imported."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np


class Sums(NamedTuple):
    log_sum: float
    mean: np.ndarray  # (f,)
    pairs: np.ndarray  # (f, f) E[z_i z_j]
    entropy: float
    states: np.ndarray  # (2^f, f)
    log_weights: np.ndarray  # (2^f,)


def sums(couplings, fields):
    """All sums for one vector of fields; couplings and fields may be -inf, which count where units are on."""
    num = len(fields)
    states = np.array(list(itertools.product((0, 1), repeat=num)), float).reshape(-1, num)
    on = states > 0
    log_weights = np.zeros(len(states))
    for i in range(num):
        log_weights += np.where(on[:, i], fields[i], 0.0)
        for j in range(i):
            log_weights += np.where(on[:, i] & on[:, j], couplings[i, j], 0.0)
    log_sum = np.logaddexp.reduce(log_weights)
    p = np.exp(log_weights - log_sum)
    entropy = -(p * np.where(p > 0, log_weights - log_sum, 0.0)).sum()
    return Sums(
        log_sum, p @ states, np.einsum("s,si,sj->ij", p, states, states), entropy, states, log_weights
    )
