"""Chains of annealed importance sampling: groups of chains are tasks, some temperatures at a time.

A chain depends on nothing but its number, so any grouping and any number of threads give the same bits.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastvi.engine.progress import Report
from fastvi.engine.threads import num_threads, parallel_map
from fastvi.kernels.cpu.annealing import (
    HIDDEN,
    VISIBLE,
    anneal_units,
    draw_layer,
    sum_layer,
    visible_chances,
    weigh_chains,
)
from fastvi.kernels.cpu.draws import split_seed
from fastvi.kernels.cpu.picked_rows import WIDTH

Array = NDArray[Any]

_LARGEST_GROUP = 64  # chains that pass over a tile of weights together
_GROUPS_PER_THREAD = 8  # chains in memory at once: 15 MB a thread at 784 x 500
_TASK_OPERATIONS = 3e8  # a fraction of a second


class _Chains(Protocol):
    """A group of chains that are carried from step to step; step 0 starts them."""

    log_w: Array
    operations: float  # of a step

    def run(self, first_step: int, last_step: int) -> None: ...


class _PairChains:
    """Chains ``first`` ... first + num - 1 of a Boltzmann machine."""

    def __init__(
        self, parameters: tuple[Array, ...], num_steps: int, key: tuple[int, int], first: int, num: int
    ) -> None:
        self._parameters, self._num_steps, self._key, self._first = parameters, num_steps, key, first
        num_units = len(parameters[0])
        self._states = np.zeros((num, num_units), np.int64)
        self.log_w = np.zeros(num)
        self.operations = float(num) * num_units * (num_units + 50)

    def run(self, first_step: int, last_step: int) -> None:
        anneal_units(
            *self._parameters, first_step, last_step, self._num_steps, self._first, *self._key,
            self._states, self.log_w,
        )  # fmt: skip


class _LayerChains:
    """Chains ``first`` ... first + num - 1 of a restricted Boltzmann machine."""

    def __init__(
        self, parameters: tuple[Array, ...], num_steps: int, key: tuple[int, int], first: int, num: int
    ) -> None:
        self._num_steps, self._key, self._first = num_steps, key, first
        self._to_hidden, self._to_visible, self._visible_bias, self._hidden_bias = parameters
        num_visible, num_hidden = self._visible_bias.size, self._hidden_bias.size
        self._visible = np.empty((num, num_visible), np.int32), np.empty(num, np.int64)
        self._hidden = np.empty((num, num_hidden), np.int32), np.empty(num, np.int64)
        self._visible_fields = np.zeros((num, len(self._to_visible) * WIDTH))
        self._hidden_fields = np.zeros((num, len(self._to_hidden) * WIDTH))
        self.log_w = np.zeros(num)
        self.operations = float(num) * (num_visible + 50) * (num_hidden + 50)

    def run(self, first_step: int, last_step: int) -> None:
        for step in range(first_step, last_step):
            beta = step / self._num_steps
            if step > 0:
                before = (step - 1) / self._num_steps
                sum_layer(self._to_hidden, *self._visible, self._hidden_fields)
                weigh_chains(self._hidden_fields, self._hidden_bias, before, beta, self.log_w)
                if step == self._num_steps:
                    return
                self._draw(self._hidden_fields, self._hidden_bias.size, HIDDEN, step, self._hidden)
                sum_layer(self._to_visible, *self._hidden, self._visible_fields)
            visible_chances(self._visible_fields, self._visible_bias, beta)
            self._draw(self._visible_fields, self._visible_bias.size, VISIBLE, step, self._visible)

    def _draw(
        self, chances: Array, num_units: int, layer: int, step: int, drawn: tuple[Array, Array]
    ) -> None:
        draw_layer(chances, num_units, layer, step, self._first, *self._key, *drawn)


def _tiles(matrix: Array) -> Array:
    """(rows, columns) as (tiles, rows, WIDTH), with zeros behind the last column."""
    num_rows, num_columns = matrix.shape
    tiles = np.zeros((-(-num_columns // WIDTH), num_rows, WIDTH))
    for t, tile in enumerate(tiles):
        part = matrix[:, t * WIDTH : (t + 1) * WIDTH]
        tile[:, : part.shape[1]] = part
    return tiles


def _group_starts(num_chains: int) -> range:
    """As many groups for each thread, none larger than what shares a tile."""
    threads = num_threads()
    rounds = -(-num_chains // (threads * _LARGEST_GROUP))
    return range(0, num_chains, -(-num_chains // (threads * rounds)))


def _all_chains(
    kind: Any, parameters: tuple[Array, ...], num_steps: int, num_chains: int, seed: int, report: Report
) -> Array:
    starts, log_w = _group_starts(num_chains), np.empty(num_chains)
    key, wave = split_seed(seed), _GROUPS_PER_THREAD * num_threads()
    for begin in range(0, len(starts), wave):
        groups: list[_Chains] = [
            kind(parameters, num_steps, key, first, min(starts.step, num_chains - first))
            for first in starts[begin : begin + wave]
        ]
        held = slice(starts[begin], starts[begin] + sum(group.log_w.size for group in groups))
        _run(groups, num_steps, report)
        log_w[held] = np.concatenate([group.log_w for group in groups])
    return log_w


def _run(groups: list[_Chains], num_steps: int, report: Report) -> None:
    """All steps of a wave of groups, so many at a time that Ctrl-C and progress need not wait."""
    largest = max(group.operations for group in groups)
    num_chains = sum(group.log_w.size for group in groups)
    some = max(1, int(_TASK_OPERATIONS / largest))
    for first in range(0, num_steps + 1, some):
        last = min(first + some, num_steps + 1)

        def task(group: _Chains, first: int = first, last: int = last) -> None:
            group.run(first, last)

        parallel_map(task, groups, (last - first) * largest * len(groups))
        report((last - max(first, 1)) * num_chains)


def layer_log_weights(
    weights: Array,
    visible_bias: Array,
    hidden_bias: Array,
    num_steps: int,
    num_chains: int,
    seed: int,
    report: Report,
) -> Array:
    """Log weights (num_chains,) of chains of a restricted Boltzmann machine, relative to one without weights
    and hidden biases; ``report`` is told how many temperatures chains have just passed.
    """
    parameters = _tiles(weights), _tiles(weights.T), visible_bias, hidden_bias
    return _all_chains(_LayerChains, parameters, num_steps, num_chains, seed, report)


def pair_log_weights(
    couplings: Array, bias: Array, num_steps: int, num_chains: int, seed: int, report: Report
) -> Array:
    """The same of a Boltzmann machine, relative to one without couplings."""
    never = np.isneginf(couplings)
    exclusive = never.astype(np.int64) if never.any() else np.empty((0, 0), np.int64)
    parameters = np.where(never, 0.0, couplings), exclusive, bias
    return _all_chains(_PairChains, parameters, num_steps, num_chains, seed, report)
