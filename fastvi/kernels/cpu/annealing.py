"""Annealed importance sampling of Boltzmann machines: Gibbs transitions and the weights of chains.

A draw is a pure function of (seed, chain, step, layer, unit). The key of the generator is the seed, the
counter (block, step, chain, layer); unit 16 g + 4 w + lane takes word w of block 4 g + lane, with bit 29 of
the block set, so that nothing is shared with ``draws`` and ``normal_draws`` of the same seed. A unit is on
where u < p 2^64 for a number u of 64 bits, the word is its high half. The low half decides only where p 2^32
lies within the word's unit interval (once in 2^32 draws); it is the same word of the block with bit 31 set.

Limits: fewer than 2^31 units, chain and step < 2^32.
"""

from __future__ import annotations

import numpy as np

from fastvi.kernels.cpu.draw_words import LANES, NUM_WORDS, draw_words
from fastvi.kernels.cpu.philox import philox
from fastvi.kernels.cpu.picked_rows import WIDTH, add_picked_rows
from fastvi.kernels.jit import inline, kernel, reducing_kernel
from fastvi.kernels.scalar import exp_fast, log_fast, softplus

VISIBLE, HIDDEN = 0, 1  # layers
TWO_32 = 4294967296.0
_ANNEALING, _SECOND_WORDS = 1 << 29, 1 << 31  # or-ed into the block
_ROWS = 64  # of a tile: 16 KiB; 1.25 times as fast as whole tiles, which leave that cache
_FACTORS = 512  # between 1 and 2 each: a product of so many cannot overflow


@inline
def _fill_words(out, step, chain, layer, key_low, key_high):
    """The words of all units; ``out`` holds a multiple of NUM_WORDS."""
    for at in range(0, out.size, NUM_WORDS):
        draw_words(out, at, _ANNEALING | (at >> 2), step, chain, layer, key_low, key_high)


@inline
def _settled(margin, unit, step, chain, layer, key_low, key_high):
    """Whether the unit is on, for 0 < margin < 1: the low half of u decides."""
    block = _ANNEALING | _SECOND_WORDS | (unit // NUM_WORDS * LANES + unit % LANES)
    w0, w1, w2, w3 = philox(block, step, chain, layer, key_low, key_high)
    which = unit % NUM_WORDS // LANES
    word = (w0 if which == 0 else w1) if which < 2 else (w2 if which == 2 else w3)
    return word < margin * TWO_32


@kernel
def sum_layer(tiles, rows, counts, fields):
    """fields[n] = sum of the first counts[n] rows rows[n] of a matrix packed in ``tiles``.

    ``tiles`` (T, num_rows, WIDTH), ``rows`` (chains, num_rows) ascending int32, ``fields`` (chains, T *
    WIDTH). _ROWS rows of a tile stay in the first-level cache while all chains pass over them.
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
    """sum_k softplus(beta a_k) - softplus(before a_k), a = field + bias; ``field`` becomes the chances
    sigmoid(beta a_k) 2^32.
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
    """Add the step's log weights to ``log_w``; ``fields`` become the hidden units' chances, times 2^32."""
    for n in range(log_w.size):
        log_w[n] += _weigh(fields[n], bias, before, beta)


@kernel
def visible_chances(fields, bias, beta):
    """fields[n, j] becomes sigmoid(bias_j + beta fields[n, j]) 2^32."""
    for n in range(fields.shape[0]):
        field = fields[n]
        for j in range(bias.size):
            field[j] = TWO_32 / (1.0 + exp_fast(-(bias[j] + beta * field[j])))


@inline
def _subtract_words(chances, words):
    """``words`` become margins: at least 1 where the unit is on, at most 0 where it is off. The number of
    others is returned.
    """
    undecided = 0
    for j in range(chances.size):
        margin = chances[j] - words[j]
        words[j] = margin
        undecided += int(margin > 0.0) & int(margin < 1.0)
    return undecided


@kernel
def draw_layer(chances, num_units, layer, step, first_chain, key_low, key_high, rows, counts):
    """Draw units that are on with chances[n, j] / 2^32: their numbers to rows[n], how many to counts[n]."""
    words = np.empty(-(-num_units // NUM_WORDS) * NUM_WORDS)
    for n in range(counts.size):
        chain = first_chain + n
        _fill_words(words, step, chain, layer, key_low, key_high)
        if _subtract_words(chances[n, :num_units], words) > 0:
            for j in range(num_units):
                if 0.0 < words[j] < 1.0:
                    on = _settled(words[j], j, step, chain, layer, key_low, key_high)
                    words[j] = 1.0 if on else 0.0
        row, count = rows[n], 0
        for j in range(num_units):  # without a branch: it is written over where the unit is off
            row[count] = j
            count += int(words[j] >= 1.0)
        counts[n] = count


@inline
def _is_on(logit, word, unit, step, chain, key_low, key_high):
    margin = TWO_32 / (1.0 + exp_fast(-logit)) - word
    if 0.0 < margin < 1.0:
        return _settled(margin, unit, step, chain, VISIBLE, key_low, key_high)
    return margin >= 1.0


@inline
def _add_row(row, sign, total):
    for j in range(total.size):
        total[j] += sign * row[j]


@kernel
def _start(exclusive, bias, step, chain, key_low, key_high, words, excluded, z):
    """One unit after the other, off where one before it excludes it; the log weight of what was drawn."""
    log_w = 0.0
    excluded[:] = 0
    for i in range(bias.size):
        z[i] = 0
        if excluded[i] != 0:
            log_w -= softplus(bias[i])
        elif _is_on(bias[i], words[i], i, step, chain, key_low, key_high):
            z[i] = 1
            if exclusive.size:
                _add_row(exclusive[i], 1, excluded)
    return log_w


@kernel
def _scan(couplings, exclusive, bias, beta, step, chain, key_low, key_high, words, fields, excluded, z):
    """A Gibbs transition: every unit in turn, given all others."""
    for i in range(bias.size):
        on = 0
        if excluded[i] == 0 and _is_on(
            bias[i] + beta * fields[i], words[i], i, step, chain, key_low, key_high
        ):
            on = 1
        if on != z[i]:
            sign = 1 if on == 1 else -1
            z[i] = on
            _add_row(couplings[i], sign, fields)
            if exclusive.size:
                _add_row(exclusive[i], sign, excluded)


@kernel
def anneal_units(
    couplings, exclusive, bias, first_step, last_step, num_steps, first_chain, key_low, key_high, z, log_w
):
    """Steps ``first_step`` ... ``last_step`` - 1 of chains first_chain + n, with states z (chains, d) int64.

    ``couplings`` are the finite ones; ``exclusive`` (d, d) int64 is 1 where two units exclude each other, (0,
    0) where none do. Step 0 draws the state, step k weighs it for temperature k / num_steps and moves it
    there, but for the last one. ``log_w`` is relative to the normaliser of independent units.
    """
    size = bias.size
    words = np.empty(-(-size // NUM_WORDS) * NUM_WORDS)
    fields, excluded = np.empty(size), np.zeros(size, np.int64)
    for n in range(log_w.size):
        chain, state = first_chain + n, z[n]
        for step in range(first_step, last_step):
            _fill_words(words, step, chain, VISIBLE, key_low, key_high)
            if step == 0:
                log_w[n] = _start(exclusive, bias, step, chain, key_low, key_high, words, excluded, state)
                continue
            before, beta = (step - 1) / num_steps, step / num_steps
            fields[:] = 0.0  # from nothing at every step, so that no rounding piles up
            excluded[:] = 0
            for i in range(size):
                if state[i] != 0:
                    _add_row(couplings[i], 1, fields)
                    if exclusive.size:
                        _add_row(exclusive[i], 1, excluded)
            energy = 0.0
            for i in range(size):
                energy += state[i] * fields[i]
            log_w[n] += (beta - before) * (0.5 * energy)
            if step < num_steps:
                _scan(
                    couplings, exclusive, bias, beta, step, chain, key_low, key_high,
                    words, fields, excluded, state,
                )  # fmt: skip
