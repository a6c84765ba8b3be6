"""Annealed importance sampling of restricted Boltzmann machines: sums over layers, draws and weights.

The random numbers are those of ``words.py`` with the layer, VISIBLE or HIDDEN, in the datum's place.
"""

from __future__ import annotations

import numpy as np

from fastvi.kernels.cpu.annealing.words import TWO_32, Counter, fill_words, settled
from fastvi.kernels.cpu.dense.picked_rows import WIDTH, add_picked_rows
from fastvi.kernels.cpu.random.draw_words import NUM_WORDS
from fastvi.kernels.jit import inline, kernel, reducing_kernel
from fastvi.kernels.scalar import exp_fast, log_fast

VISIBLE, HIDDEN = 0, 1  # layers
_ROWS = 64  # of a tile: 16 KiB; 1.25 times as fast as whole tiles, which leave that cache
_FACTORS = 512  # between 1 and 2 each: a product of so many cannot overflow


@kernel
def sum_layer(tiles, rows, counts, fields):
    """Sum rows of a matrix for each chain: the first counts[n] of rows[n] to fields[n].

    The matrix is packed in ``tiles`` (T, num_rows, WIDTH). ``rows`` (chains, num_rows) are ascending int32,
    ``fields`` is (chains, T * WIDTH). _ROWS rows of a tile stay in the first-level cache while all chains
    pass over them.
    """
    num_chains, num_rows = rows.shape
    num_blocks = -(-num_rows // _ROWS)
    flat_tiles, flat_rows, flat_fields = tiles.reshape(-1), rows.reshape(-1), fields.reshape(-1)
    begins = np.zeros((num_blocks + 1, num_chains), np.int64)  # where each block's part of a list begins
    for n in range(num_chains):
        for g in range(counts[n]):
            begins[rows[n, g] // _ROWS + 1, n] += 1
        for block in range(num_blocks):
            begins[block + 1, n] += begins[block, n]
    fields[:] = 0.0
    for t in range(tiles.shape[0]):
        for block in range(num_blocks):
            for n in range(num_chains):
                begin = begins[block, n]
                add_picked_rows(
                    flat_fields, n * fields.shape[1] + t * WIDTH, flat_tiles, t * num_rows * WIDTH,
                    flat_rows, n * num_rows + begin, begins[block + 1, n] - begin,
                )  # fmt: skip


@reducing_kernel
def _weigh(field, bias, before, beta):
    """Return sum_k softplus(beta a_k) - softplus(before a_k) with a = field + bias.

    ``field`` becomes the chances sigmoid(beta a_k) 2^32.
    """
    total = 0.0
    for first in range(0, bias.size, _FACTORS):
        linear, new, old = 0.0, 1.0, 1.0
        for k in range(first, min(first + _FACTORS, bias.size)):
            a = field[k] + bias[k]
            size = abs(a)
            small = exp_fast(-beta * size)
            new *= 1.0 + small
            old *= 1.0 + exp_fast(-before * size)
            linear += a if a > 0.0 else 0.0
            field[k] = (1.0 if a >= 0.0 else small) * (TWO_32 / (1.0 + small))
        total += (beta - before) * linear + log_fast(new / old)
    return total


@kernel
def weigh_chains(fields, bias, before, beta, log_w):
    """Add the step's log weights to ``log_w`` and turn ``fields`` into the hidden units' chances.

    Chances are probabilities times 2^32.
    """
    for n in range(log_w.size):
        log_w[n] += _weigh(fields[n], bias, before, beta)


@kernel
def visible_chances(fields, bias, beta):
    """Turn fields[n, j] into the chances sigmoid(bias_j + beta fields[n, j]) 2^32."""
    for n in range(fields.shape[0]):
        field = fields[n]
        for j in range(bias.size):
            field[j] = TWO_32 / (1.0 + exp_fast(-(bias[j] + beta * field[j])))


@inline
def _subtract_words(chances, words):
    """Turn ``words`` into margins and return how many leave a unit open.

    A margin is at least 1 where the unit is on, at most 0 where it is off.
    """
    undecided = 0
    for j in range(chances.size):
        margin = chances[j] - words[j]
        words[j] = margin
        undecided += int(margin > 0.0) & int(margin < 1.0)
    return undecided


@kernel
def draw_layer(chances, num_units, tag, layer, step, first_chain, key_low, key_high, rows, counts):
    """Draw units that are on with chances[n, j] / 2^32: numbers to rows[n], how many to counts[n]."""
    words = np.empty(-(-num_units // NUM_WORDS) * NUM_WORDS)
    for n in range(counts.size):
        counter = Counter(tag, step, first_chain + n, layer, key_low, key_high)
        fill_words(words, counter)
        if _subtract_words(chances[n, :num_units], words) > 0:
            for j in range(num_units):
                if 0.0 < words[j] < 1.0:
                    words[j] = 1.0 if settled(words[j], j, counter) else 0.0
        row, count = rows[n], 0
        for j in range(num_units):  # without a branch: it is written over where the unit is off
            row[count] = j
            count += int(words[j] >= 1.0)
        counts[n] = count
