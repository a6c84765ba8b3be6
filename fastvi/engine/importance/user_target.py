"""Sampled states of a log joint that the caller wrote."""

from __future__ import annotations

from contextlib import nullcontext
from threading import Lock
from typing import Any

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.importance.proposals import unpacked
from fastvi.engine.importance.targets import BinaryTarget, Sampled
from fastvi.engine.states.data_terms import Terms


class UserTarget(BinaryTarget):
    """A LogJoint; a function of arrays is called by one thread at a time."""

    def __init__(self, model: Any) -> None:
        super().__init__(model.num_latents, None)
        self._model, self._turn = model, Lock() if model.vectorized else nullcontext()

    def terms(self, x: Array) -> Terms:
        return Terms(np.zeros((len(x), self.num_latents)), np.zeros(len(x)))

    def prepare(self, x: Array) -> Array:
        return x[:, 0]  # a datum is in the place of one pixel

    def add(self, x: Array, sampled: Sampled, log_w: Array) -> None:
        for m, (words, row) in enumerate(
            zip(sampled.words, log_w.reshape(len(sampled.words), -1), strict=True)
        ):
            n = sampled.begin + m
            states = unpacked(words, self.num_latents)
            with self._turn:
                row += self._model._table(x[n : n + 1], states)[0]
