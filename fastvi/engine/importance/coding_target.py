"""Sampled states of binary sparse coding: as of any pair form, but in two words for data that need these."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.importance.pair_target import PairTarget
from fastvi.engine.importance.targets import Sampled
from fastvi.engine.states.coding_words import CodingWords
from fastvi.engine.states.data_terms import Terms
from fastvi.kernels.cpu.annealing.coding_words import add_log_joints


class CodingTarget(PairTarget):
    """Which data need two words depends on the model and the datum alone."""

    def large(self, x: Any, largest: float) -> Array:
        """Which data have terms of a size beyond ``largest`` (N,)."""
        data: Any = self._parts.data
        found: Array = data.large(data.terms(x), largest)
        return found

    def split(self, x: Array) -> tuple[Terms, CodingWords]:
        terms, words = self.terms(x), CodingWords.of(self._parts, x)
        rest = ~words.large
        return Terms(np.where(rest[:, None], terms.linear, 0.0), np.where(rest, terms.constant, 0.0)), words

    def add(self, x: CodingWords, sampled: Sampled, log_w: Array) -> None:
        rows = log_w.reshape(len(sampled.words), -1)
        linear, linear_low, constant, constant_low = x.terms.words()
        for m, n in enumerate(range(sampled.begin, sampled.begin + len(rows))):
            if x.large[n]:
                add_log_joints(
                    sampled.words[m], x.couplings, x.couplings_low, linear[n], linear_low[n], constant[n],
                    constant_low[n], rows[m],
                )  # fmt: skip
            else:
                self.add_row(sampled.words[m], rows[m])
