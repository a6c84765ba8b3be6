"""Chains of binary latents whose kernels know the model: sigmoid belief networks and pairwise energies."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.core.functions import log_probabilities
from fastvi.engine.annealing.chains import Chains, Schedule, all_chains
from fastvi.engine.states.data_terms import BinaryData
from fastvi.kernels.cpu.annealing.pairs import PairChains, anneal_pairs
from fastvi.kernels.cpu.annealing.softplus import SoftplusChains, anneal_softplus
from fastvi.kernels.cpu.annealing.words import DATA, Walk

_LARGEST_LOG = 700.0  # of a product of factors: e^700 is a double
_MODERATE = 650.0  # logits and weights beyond it: a probability e^-708 is kept as 0, which must not matter


class Piece(NamedTuple):
    """Some rows of a group of chains, and what carries them."""

    rows: slice
    kernel: Any
    parameters: Any


class UnitChains:
    """Rows ``first`` ... first + num - 1; log_w is log w, of reversed chains -log w."""

    def __init__(
        self,
        kernel: Any,
        parameters: Any,
        schedule: Schedule,
        kind: int,
        operations: float,
        first: int,
        num: int,
    ) -> None:
        self._kernel, self._parameters, self._schedule = kernel, parameters, schedule
        self._first, self._tag = first, schedule.tag(kind)
        self._states = schedule.starts(first, num, parameters.base.shape[1], np.int64)
        self.log_w = np.zeros(num)
        self.operations = num * operations

    def pieces(self) -> list[Piece]:
        """Kernels, and the rows that each carries."""
        return [Piece(slice(0, len(self.log_w)), self._kernel, self._parameters)]

    def run(self, first_place: int, last_place: int) -> None:
        schedule = self._schedule
        for rows, kernel, parameters in self.pieces():
            walk = Walk(
                first_place, last_place, schedule.num_steps, schedule.num_chains, self._first + rows.start,
                self._tag, *schedule.key,
            )  # fmt: skip
            kernel(parameters, walk, self._states[rows], self.log_w[rows])
        if schedule.states is not None and last_place > schedule.num_steps:
            np.negative(self.log_w, out=self.log_w)


def pair_chains(
    parameters: tuple[Array, Array],
    base: Array,
    linear: Array,
    constant: Array,
    schedule: Schedule,
    kind: int,
) -> Callable[[int, int], Chains]:
    """Groups of chains of a pairwise energy; ``parameters`` are couplings and exclusive pairs."""
    num_units = base.shape[1]
    operations = float(num_units * (num_units + 50))
    every = PairChains(*parameters, base, linear, constant)
    return partial(UnitChains, anneal_pairs, every, schedule, kind, operations)


def independent(base: Array) -> Array:
    """Log normalisers (N,) of independent units."""
    return np.logaddexp(0.0, base).sum(axis=1)


def softplus_log_weights(
    weights: Array, bias: Array, prior_logits: Array, x: Array, base: Array, schedule: Schedule
) -> Array:
    """Log weights (N M,) of a sigmoid belief network, from units of logits ``base`` (N, d)."""
    num_pixels, num_latents = weights.shape
    prior = -float(np.logaddexp(0.0, prior_logits).sum())
    terms = BinaryData(weights, bias, prior_logits, prior).terms(x)
    rows = np.array(weights.T, order="C")
    size = np.abs(rows)
    largest, reach = float(size.max(initial=0.0)), float((size.sum(axis=0) + np.abs(bias)).max(initial=0.0))
    log_zero, log_one = log_probabilities(base)
    factors = 0
    if largest <= _MODERATE:
        factors = num_pixels + 1 if largest * num_pixels <= _LARGEST_LOG else int(_LARGEST_LOG / largest)
    growth = np.copysign(np.expm1(size), rows) if factors else rows
    parameters = SoftplusChains(
        rows, growth, np.minimum(rows, 0.0).sum(axis=1), np.maximum(rows, 0.0).sum(axis=1), factors,
        reach <= _MODERATE, bias, base, terms.linear - base, -log_zero, terms.linear - log_one,
        terms.constant,
    )  # fmt: skip
    operations = 6.0 * (num_latents + 4) * (num_pixels + 20)
    build = partial(UnitChains, anneal_softplus, parameters, schedule, DATA, operations)
    return all_chains(build, len(x) * schedule.num_chains, schedule.num_steps, schedule.report)
