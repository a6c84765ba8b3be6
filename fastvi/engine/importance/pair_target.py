"""Sampled states of models that are quadratic in z: Boltzmann machines with clamped units, sparse coding."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.importance.targets import BinaryTarget, Sampled
from fastvi.engine.states.data_terms import Terms
from fastvi.engine.states.pair_form import PairParts
from fastvi.kernels.cpu.importance.importance_sampling import add_pairs


class PairTarget(BinaryTarget):
    """c(x) + <t(x), z> + sum over i < j of J_ij z_i z_j; the prior is in t(x)."""

    def __init__(self, parts: PairParts) -> None:
        super().__init__(parts.order.size, None)
        self._parts, self._places = parts, np.argsort(parts.order)
        self.couplings = np.ascontiguousarray(parts.couplings[np.ix_(self._places, self._places)])

    def terms(self, x: Array) -> Terms:
        terms = self._parts.data.terms(x)
        linear = terms.linear + self._parts.centre
        return Terms(np.ascontiguousarray(linear[:, self._places]), terms.constant)

    def add(self, x: Any, sampled: Sampled, log_w: Array) -> None:
        for words, row in zip(sampled.words, log_w.reshape(len(sampled.words), -1), strict=True):
            self.add_row(words, row)

    def add_row(self, words: Array, log_w: Array) -> None:
        """Add the couplings' part for one datum."""
        add_pairs(words, self.couplings, log_w)
