"""Annealed importance sampling of log Z of Boltzmann machines, restricted or not."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.annealing.chains import Schedule, all_chains
from fastvi.engine.annealing.units import pair_chains
from fastvi.kernels.cpu.annealing.layer_draws import UNITS
from fastvi.kernels.cpu.annealing.layers import Layers, anneal_layers
from fastvi.kernels.cpu.annealing.partial_sums import LINE
from fastvi.kernels.cpu.annealing.words import MACHINES, Walk

_CACHE_LINE = 64
_LARGEST_GROUP = 256  # chains that share a table: 1.3 times as fast in float64 as 64, 1.1 in float32
_AT_ONCE = 8.0  # additions: a table entry is the sum of up to four rows, a vector two to eight numbers


class _LayerChains:
    """Chains ``first`` ... first + num - 1 of a restricted Boltzmann machine.

    A transition draws the hidden units and then the visible ones. It is reversible, so a reversed chain takes
    the same one.
    """

    def __init__(self, layers: Layers, schedule: Schedule, first: int, num: int) -> None:
        self._layers, self._schedule, self._first = layers, schedule, first
        num_visible, num_hidden = layers.visible_bias.size, layers.hidden_bias.size
        if schedule.states is None:
            self._visible = np.zeros((num_visible // UNITS, num), np.int64)
        else:
            self._visible = words_of(schedule.states[first : first + num])
        self._hidden = np.zeros((num_hidden // UNITS, num), np.int64)
        self.log_w = np.zeros(num)
        self.operations = float(num) * (num_visible + 50) * (num_hidden + 50) / _AT_ONCE

    def run(self, first_place: int, last_place: int) -> None:
        schedule = self._schedule
        walk = Walk(
            first_place, last_place, schedule.num_steps, schedule.num_chains, self._first,
            schedule.tag(MACHINES), *schedule.key,
        )  # fmt: skip
        anneal_layers(self._layers, walk, self._visible, self._hidden, self.log_w)


def words_of(states: Array) -> Array:
    """Bits (chains, units) as (tiles, chains) int64, UNITS in each."""
    num_chains, num_units = states.shape
    padded = np.zeros((num_chains, -(-num_units // UNITS), UNITS), np.int64)
    padded.reshape(num_chains, -1)[:, :num_units] = states
    return np.ascontiguousarray((padded << np.arange(UNITS)).sum(axis=2).T)


def tiles(matrix: Array, dtype: Any) -> Array:
    """(rows, columns) as (tiles, passes, rows, columns of a pass), with zeros behind the last of each.

    It begins with a cache line, so that no vector lies in two.
    """
    num_rows, num_columns = matrix.shape
    width = LINE // np.dtype(dtype).itemsize
    shape = -(-num_columns // UNITS), UNITS // width, -(-num_rows // UNITS) * UNITS, width
    room = np.zeros(int(np.prod(shape)) + _CACHE_LINE, dtype)
    shift = -room.ctypes.data % _CACHE_LINE // room.itemsize
    packed = room[shift : shift + int(np.prod(shape))].reshape(shape)
    for t, tile in enumerate(packed):
        for p, part in enumerate(tile):
            columns = matrix[:, t * UNITS + p * width : t * UNITS + (p + 1) * width]
            part[:num_rows, : columns.shape[1]] = columns
    return packed


def _padded(bias: Array, dtype: Any) -> Array:
    """A bias (units,) with zeros behind the last, so that there are whole tiles."""
    out = np.zeros(-(-bias.size // UNITS) * UNITS, dtype)
    out[: bias.size] = bias
    return out


def layer_log_weights(weights: Array, visible_bias: Array, hidden_bias: Array, schedule: Schedule) -> Array:
    """Return log weights (M,) of a restricted Boltzmann machine, relative to no weights and hidden biases.

    Reversed chains start from visible states (M, D) and return -log w.
    """
    dtype = schedule.dtype
    layers = Layers(
        tiles(weights, dtype), tiles(weights.T, dtype), _padded(visible_bias, dtype),
        _padded(hidden_bias, "float64"),
    )  # fmt: skip
    build = partial(_LayerChains, layers, schedule)
    return all_chains(build, schedule.num_chains, schedule.num_steps, schedule.report, largest=_LARGEST_GROUP)


def pair_log_weights(couplings: Array, bias: Array, schedule: Schedule) -> Array:
    """Return log weights (M,) of a Boltzmann machine, relative to one without couplings."""
    never = np.isneginf(couplings)
    exclusive = never.astype(np.int64) if never.any() else np.empty((0, 0), np.int64)
    parameters = np.where(never, 0.0, couplings), exclusive
    build = pair_chains(parameters, bias[None], np.zeros((1, bias.size)), np.zeros(1), schedule, MACHINES)
    return all_chains(build, schedule.num_chains, schedule.num_steps, schedule.report)
