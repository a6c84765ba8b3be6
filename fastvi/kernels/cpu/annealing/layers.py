"""Annealed importance sampling of restricted Boltzmann machines: a group of chains, tile by tile.

A tile is UNITS units of a layer. Their fields are summed for all chains of the group, then weighed and drawn
while they are in cache. Random numbers are those of ``layer_draws.py`` with the layer, VISIBLE or HIDDEN, in
the datum's place of the counter.

Fields have the type of the matrices; weights are sums of float64 made from them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastvi.kernels.cpu.annealing.layer_draws import UNITS, draw_units
from fastvi.kernels.cpu.annealing.partial_sums import (
    BLOCK,
    ENTRIES,
    GROUPS,
    add_entries,
    add_rows,
    fill_table,
)
from fastvi.kernels.cpu.annealing.words import REVERSED, Counter
from fastvi.kernels.jit import inline, kernel, reducing_kernel
from fastvi.kernels.scalar import exp_of_negative, log_fast

VISIBLE, HIDDEN = 0, 1  # layers
_FEW = 5  # chains: a table of partial sums takes as long as so many of them without it


class Layers(NamedTuple):
    """Parameters of a machine, with zeros behind the last unit of a layer.

    Matrices are (tiles, passes, rows, columns of a pass): their columns are cut into tiles, and these into
    passes of LINE bytes. Both are of one type.
    """

    to_hidden: Any  # W
    to_visible: Any  # its transpose
    visible_bias: Any  # (tiles UNITS,), of the type of the matrices
    hidden_bias: Any  # (tiles UNITS,), float64


@kernel
def sum_tile(matrix, words, table, sums, fields):
    """Set fields[n UNITS + c] to the sum of the rows of a tile that are on in chain n.

    ``matrix`` is (passes, rows, columns of a pass), ``words`` (blocks of rows, chains). ``table`` and
    ``sums``, a line for each chain, are scratch that stays in the first-level cache.
    """
    num_blocks, num_chains = words.shape
    width = matrix.shape[2]
    for p in range(matrix.shape[0]):
        rows = matrix[p]
        for k in range(num_chains * width):
            sums[k] = 0
        for block in range(num_blocks):
            if num_chains < _FEW:
                for n in range(num_chains):
                    add_rows(sums, n * width, rows, block * BLOCK, words[block, n])
                continue
            fill_table(table, rows, block * BLOCK)
            for n in range(num_chains):
                add_entries(sums, n * width, table, words[block, n])
        for n in range(num_chains):
            for c in range(width):
                fields[n * UNITS + p * width + c] = sums[n * width + c]


@reducing_kernel
def _weigh(fields, bias, before, after):
    """Return sum_k softplus(after a_k) - softplus(before a_k) with a = field + bias, of UNITS units."""
    linear, new, old = 0.0, 1.0, 1.0  # products of at most 2^UNITS
    for k in range(UNITS):
        a = np.float64(fields[k]) + bias[k]
        size = abs(a)
        linear += a if a > 0.0 else 0.0
        new *= 1.0 + exp_of_negative(-after * size)
        old *= 1.0 + exp_of_negative(-before * size)
    return (after - before) * linear + log_fast(new / old)


@inline
def _weigh_tile(fields, bias, before, after, log_w):
    """Add a tile's part of the step's log weights."""
    for n in range(log_w.size):
        log_w[n] += _weigh(fields[n * UNITS : (n + 1) * UNITS], bias, before, after)


@inline
def _draw_tile(fields, bias, beta, tile, walk, step, layer, words):
    """Draw a tile's units of all chains: their bits to ``words`` (chains,)."""
    for n in range(words.size):
        counter = Counter(walk.tag, step, walk.first + n, layer, walk.key_low, walk.key_high)
        words[n] = draw_units(fields, n * UNITS, bias, beta, tile, counter)


@kernel
def anneal_layers(layers, walk, visible, hidden, log_w):
    """Carry chains along a walk and add up their log weights ``log_w`` (chains,).

    ``visible`` and ``hidden`` (tiles, chains) are int64, the states of UNITS units each. Of reversed chains
    log_w becomes -log w.
    """
    num_steps, dtype = walk.num_steps, layers.visible_bias.dtype
    fields = np.zeros(log_w.size * UNITS, dtype)
    width = layers.to_hidden.shape[3]
    table, sums = np.empty((GROUPS, ENTRIES, width), dtype), np.empty(log_w.size * width, dtype)
    scaled_bias = np.empty(layers.hidden_bias.size, dtype)
    backwards = walk.tag & REVERSED
    for place in range(walk.first_place, walk.last_place):
        before, after = place - 1, place
        if backwards:
            before, after = num_steps + 1 - place, num_steps - place
        moves = 0 < after < num_steps
        beta = dtype.type(after / num_steps)
        if place > 0:
            for k in range(scaled_bias.size):
                scaled_bias[k] = after / num_steps * layers.hidden_bias[k]
            for t in range(hidden.shape[0]):
                sum_tile(layers.to_hidden[t], visible, table, sums, fields)
                bias = layers.hidden_bias[t * UNITS : (t + 1) * UNITS]
                _weigh_tile(fields, bias, before / num_steps, after / num_steps, log_w)
                if moves:
                    _draw_tile(fields, scaled_bias, beta, t, walk, after, HIDDEN, hidden[t])
        if moves or (place == 0 and not backwards):
            for t in range(visible.shape[0]):
                if place > 0:
                    sum_tile(layers.to_visible[t], hidden, table, sums, fields)
                _draw_tile(fields, layers.visible_bias, beta, t, walk, after, VISIBLE, visible[t])
