"""Annealed importance sampling of log Z of Boltzmann machines, restricted or not."""

from __future__ import annotations

from functools import partial

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.annealing.chains import Schedule, all_chains
from fastvi.engine.annealing.units import pair_chains
from fastvi.engine.run.progress import Report
from fastvi.kernels.cpu.annealing.annealing_layers import (
    HIDDEN,
    VISIBLE,
    draw_layer,
    sum_layer,
    visible_chances,
    weigh_chains,
)
from fastvi.kernels.cpu.annealing.annealing_words import MACHINES
from fastvi.kernels.cpu.dense.picked_rows import WIDTH


class _LayerChains:
    """Chains ``first`` ... first + num - 1 of a restricted Boltzmann machine.

    A transition draws the hidden units and then the visible ones. It is reversible, so a reversed chain takes
    the same one.
    """

    def __init__(self, parameters: tuple[Array, ...], schedule: Schedule, first: int, num: int) -> None:
        self._schedule, self._first = schedule, first
        self._to_hidden, self._to_visible, self._visible_bias, self._hidden_bias = parameters
        num_visible, num_hidden = self._visible_bias.size, self._hidden_bias.size
        self._visible = np.empty((num, num_visible), np.int32), np.empty(num, np.int64)
        self._hidden = np.empty((num, num_hidden), np.int32), np.empty(num, np.int64)
        self._visible_fields = np.zeros((num, len(self._to_visible) * WIDTH))
        self._hidden_fields = np.zeros((num, len(self._to_hidden) * WIDTH))
        self.log_w = np.zeros(num)
        self.operations = float(num) * (num_visible + 50) * (num_hidden + 50)

    def run(self, first_place: int, last_place: int) -> None:
        for place in range(first_place, last_place):
            if place == 0:
                self._start()
            elif self._schedule.states is None:
                self._step(place - 1, place, move=place if place < self._schedule.num_steps else 0)
            else:
                step = self._schedule.num_steps + 1 - place
                self._step(step, step - 1, move=step - 1)

    def _start(self) -> None:
        if self._schedule.states is None:
            self._draw_visible(0)
            return
        rows, counts = self._visible
        states = self._schedule.states[self._first : self._first + self.log_w.size]
        for n, state in enumerate(states):
            on = np.flatnonzero(state)
            counts[n], rows[n, : on.size] = on.size, on

    def _step(self, before: int, after: int, *, move: int) -> None:
        """Add log f_after - log f_before, numbers of temperatures, and move at the temperature ``move``."""
        num_steps = self._schedule.num_steps
        sum_layer(self._to_hidden, *self._visible, self._hidden_fields)
        weigh_chains(
            self._hidden_fields, self._hidden_bias, before / num_steps, after / num_steps, self.log_w
        )
        if move:
            self._draw(self._hidden_fields, self._hidden_bias.size, HIDDEN, move, self._hidden)
            sum_layer(self._to_visible, *self._hidden, self._visible_fields)
            self._draw_visible(move)

    def _draw_visible(self, step: int) -> None:
        visible_chances(self._visible_fields, self._visible_bias, step / self._schedule.num_steps)
        self._draw(self._visible_fields, self._visible_bias.size, VISIBLE, step, self._visible)

    def _draw(
        self, chances: Array, num_units: int, layer: int, step: int, drawn: tuple[Array, Array]
    ) -> None:
        tag = self._schedule.tag(MACHINES)
        draw_layer(chances, num_units, tag, layer, step, self._first, *self._schedule.key, *drawn)


def tiles(matrix: Array) -> Array:
    """(rows, columns) as (tiles, rows, WIDTH), with zeros behind the last column."""
    num_rows, num_columns = matrix.shape
    packed = np.zeros((-(-num_columns // WIDTH), num_rows, WIDTH))
    for t, tile in enumerate(packed):
        part = matrix[:, t * WIDTH : (t + 1) * WIDTH]
        tile[:, : part.shape[1]] = part
    return packed


def layer_log_weights(
    weights: Array,
    visible_bias: Array,
    hidden_bias: Array,
    num_steps: int,
    num_chains: int,
    seed: int,
    report: Report,
    states: Array | None = None,
) -> Array:
    """Log weights (num_chains,) of chains of a restricted Boltzmann machine, relative to one without weights
    and hidden biases; ``report`` is told how many temperatures chains have just passed.

    With visible ``states`` (num_chains, D) chains start there and run back; what is returned is -log w.
    """
    schedule = Schedule(num_steps, num_chains, seed, report, states)
    parameters = tiles(weights), tiles(weights.T), visible_bias, hidden_bias
    return all_chains(partial(_LayerChains, parameters, schedule), num_chains, num_steps, report)


def pair_log_weights(
    couplings: Array,
    bias: Array,
    num_steps: int,
    num_chains: int,
    seed: int,
    report: Report,
    states: Array | None = None,
) -> Array:
    """Log weights of a Boltzmann machine's chains, relative to one without couplings."""
    never = np.isneginf(couplings)
    exclusive = never.astype(np.int64) if never.any() else np.empty((0, 0), np.int64)
    parameters = np.where(never, 0.0, couplings), exclusive
    schedule = Schedule(num_steps, num_chains, seed, report, states)
    build = pair_chains(parameters, bias[None], np.zeros((1, bias.size)), np.zeros(1), schedule, MACHINES)
    return all_chains(build, num_chains, num_steps, report)
