"""Sampled entries of a joint table."""

from __future__ import annotations

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.importance.targets import Target
from fastvi.kernels.cpu.random.draws import fill_uniforms, split_seed


class JointTableTarget(Target):
    """log p(x, z) - log q(z) of a table; the proposal is "uniform" or "prior"."""

    def __init__(self, probabilities: Array) -> None:
        self.probabilities = probabilities

    def bind(self, x: Array, numbers: Array, proposal: str, seed: int, part: str) -> _TableFiller:
        return _TableFiller(self.probabilities, x[:, 0], numbers, proposal, seed)


class _TableFiller:
    def __init__(self, probabilities: Array, x: Array, numbers: Array, proposal: str, seed: int) -> None:
        num_z, column_sums = probabilities.shape[1], probabilities.sum(axis=0)
        q = np.full(num_z, 1.0 / num_z) if proposal == "uniform" else column_sums / column_sums.sum()
        self._cumulative = np.cumsum(q)
        self._last = int(np.flatnonzero(q > 0)[-1])  # rounding of the sum may leave numbers beyond it
        with np.errstate(divide="ignore", invalid="ignore"):
            self._log_weights = np.where(q > 0, np.log(probabilities) - np.log(q), -np.inf)
        self._x, self._numbers, self._key = x, numbers, split_seed(seed)

    def fill(self, begin: int, first: int, log_w: Array) -> None:
        uniforms = np.empty(log_w.shape[1])
        for m, row in enumerate(log_w):
            fill_uniforms(*self._key, int(self._numbers[begin + m]), first, uniforms)
            z = np.minimum(np.searchsorted(self._cumulative, uniforms, side="right"), self._last)
            row[:] = self._log_weights[self._x[begin + m], z]
