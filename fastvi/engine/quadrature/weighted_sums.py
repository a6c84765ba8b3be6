"""Sums over the nodes of a rule: of exp(f), and of what its moments need, relative to the largest."""

from __future__ import annotations

import math

import numpy as np

from fastvi.core.arrays import Array
from fastvi.kernels.cpu.states.normal_nodes import add_moments

ONES = np.empty(0)  # weights that are 1


class WeightedSums:
    """Running sums of w exp(f) and of this times f, v and v v^T, over nodes v (S, d) with values f."""

    def __init__(self, d: int) -> None:
        self._d, self._peak, self._sums = d, -math.inf, np.zeros(2 + d + d * d)

    def add(self, v: Array, f: Array, weights: Array = ONES) -> None:
        """Add nodes v (S, d), f (S,), and weights (S,), 1 where they are left out."""
        peak = float(f.max(initial=-math.inf))
        if peak == -math.inf:
            return
        if peak > self._peak:
            self._sums *= math.exp(self._peak - peak)
            self._peak = peak
        add_moments(v, f, weights, self._peak, np.empty(len(f)), self._sums)

    @property
    def log_mass(self) -> float:
        """Log of the sum of w exp(f)."""
        return self._peak + math.log(self._sums[0]) if self._sums[0] > 0.0 else -math.inf

    @property
    def mean_value(self) -> float:
        """Mean of f."""
        return float(self._sums[1] / self._sums[0])

    @property
    def mean(self) -> Array:
        """Mean of v (d,)."""
        return np.asarray(self._sums[2 : 2 + self._d] / self._sums[0])

    @property
    def covariance(self) -> Array:
        """Covariance of v (d, d)."""
        lower = np.tril(self._sums[2 + self._d :].reshape(self._d, self._d)) / self._sums[0]
        mean = self.mean
        return np.asarray(lower + np.tril(lower, -1).T - mean[:, None] * mean)
