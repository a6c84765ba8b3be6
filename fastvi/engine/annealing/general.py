"""Chains of binary latents of any model: the log joint of all rows of a group with one unit flipped."""

from __future__ import annotations

from functools import partial

import numpy as np

from fastvi.core.arrays import Array
from fastvi.core.functions import bernoulli_log_prob
from fastvi.engine.annealing.chains import Schedule, all_chains
from fastvi.engine.annealing.targets import Target
from fastvi.kernels.cpu.annealing.rows import choose_unit, draw_rows, fill_row_words
from fastvi.kernels.cpu.annealing.words import DATA
from fastvi.kernels.cpu.random.draw_words import NUM_WORDS


class _GeneralChains:
    """Rows ``first`` ... first + num - 1; log_w is log w, of reversed chains -log w."""

    def __init__(self, target: Target, base: Array, schedule: Schedule, first: int, num: int) -> None:
        self._target, self._schedule, self._first = target, schedule, first
        self._tag = schedule.tag(DATA)
        self._owners = (first + np.arange(num)) // schedule.num_chains
        self._base = base[self._owners]
        self._states = schedule.starts(first, num, base.shape[1], np.uint8)
        self._value = np.empty(num)  # log p(x, z)
        self.log_w = np.zeros(num)
        self.operations = num * (base.shape[1] + 1) * (target.operations + 50.0)

    def run(self, first_place: int, last_place: int) -> None:
        schedule, backwards = self._schedule, self._schedule.states is not None
        for place in range(first_place, last_place):
            if place == 0:
                if not backwards:
                    draw_rows(
                        self._base, self._tag, self._first, schedule.num_chains, *schedule.key, self._states
                    )
                self._value = self._target.log_joint(self._owners, self._states)
                continue
            step, move = schedule.step_and_move(place)
            # log q0 bit by bit, so that nothing cancels where some logit is huge
            gain = self._value - bernoulli_log_prob(self._states, self._base).sum(axis=1)
            gain *= schedule.share(step)
            self.log_w += -gain if backwards else gain
            if move:
                self._scan(move)

    def _scan(self, move: int) -> None:
        """A Gibbs transition: every unit in turn, given all others; in reverse order if reversed."""
        schedule, num_units = self._schedule, self._base.shape[1]
        where = self._first, schedule.num_chains, *schedule.key
        words = np.empty((len(self._value), -(-num_units // NUM_WORDS) * NUM_WORDS))
        fill_row_words(self._tag, move, *where, words)
        units = range(num_units)
        for i in units if schedule.states is None else reversed(units):
            other = self._states.copy()
            other[:, i] ^= 1
            flipped = self._target.log_joint(self._owners, other)
            choose_unit(
                self._base, move / schedule.num_steps, i, words, self._tag, move, *where, flipped,
                self._value, self._states,
            )  # fmt: skip


def general_log_weights(target: Target, base: Array, schedule: Schedule) -> Array:
    """Log weights (N M,) from Bernoulli distributions with logits ``base`` (N, d)."""
    return all_chains(
        partial(_GeneralChains, target, base, schedule), target.num_data * schedule.num_chains,
        schedule.num_steps, schedule.report, largest=target.largest, in_threads=target.in_threads,
    )  # fmt: skip
