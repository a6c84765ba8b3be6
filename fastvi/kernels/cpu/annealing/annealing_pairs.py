"""Annealed importance sampling of binary units with pairwise energies: Gibbs transitions and weights.

Boltzmann machines (log Z), and binary sparse coding (log p(x), with an energy that is linear in z besides):

    log f_beta(z) = <base, z> + beta (<linear, z> + z^T J z / 2) + constant.
"""

from __future__ import annotations

import numpy as np

from fastvi.kernels.cpu.annealing.annealing_words import REVERSED, fill_words, is_on
from fastvi.kernels.cpu.random.draw_words import NUM_WORDS
from fastvi.kernels.jit import inline, kernel
from fastvi.kernels.scalar import softplus


@inline
def _add_row(row, sign, total):
    for j in range(total.size):
        total[j] += sign * row[j]


@kernel
def _start(exclusive, base, tag, chain, datum, key_low, key_high, words, excluded, z):
    """One unit after the other, off where one before it excludes it; the log weight of what was drawn."""
    log_w = 0.0
    for i in range(base.size):
        excluded[i] = 0
    for i in range(base.size):
        z[i] = 0
        if excluded[i] != 0:
            log_w -= softplus(base[i])
        elif is_on(base[i], words[i], i, tag, 0, chain, datum, key_low, key_high):
            z[i] = 1
            if exclusive.size:
                _add_row(exclusive[i], 1, excluded)
    return log_w


@kernel
def _start_weight(exclusive, base, excluded, z):
    """The log weight that ``_start`` gives where it draws ``z``."""
    log_w = 0.0
    for i in range(base.size):
        excluded[i] = 0
    for i in range(base.size):
        if excluded[i] != 0:
            log_w -= softplus(base[i])
        elif z[i] != 0:
            _add_row(exclusive[i], 1, excluded)
    return log_w


@kernel
def _scan(
    couplings, exclusive, base, beta, tag, step, chain, datum, key_low, key_high, words, fields, excluded, z
):
    """A Gibbs transition: every unit in turn, given all others; from the last to the first if reversed."""
    for count in range(base.size):
        i = base.size - 1 - count if tag & REVERSED else count
        on = 0
        if excluded[i] == 0 and is_on(
            base[i] + beta * fields[i], words[i], i, tag, step, chain, datum, key_low, key_high
        ):
            on = 1
        if on != z[i]:
            sign = 1 if on == 1 else -1
            z[i] = on
            _add_row(couplings[i], sign, fields)
            if exclusive.size:
                _add_row(exclusive[i], sign, excluded)


@kernel
def anneal_pairs(
    couplings, exclusive, base, linear, constant, first_place, last_place, num_steps, num_chains, first, tag,
    key_low, key_high, z, log_w,
):  # fmt: skip
    """Places ``first_place`` ... ``last_place`` - 1 of rows first + r, with states z (rows, d) int64.

    Row r is chain (first + r) % num_chains of datum (first + r) // num_chains, with ``base``, ``linear`` (N,
    d) and ``constant`` (N,). ``couplings`` are the finite ones; ``exclusive`` (d, d) int64 is 1 where two
    units exclude each other, (0, 0) where none do.

    Place 0 draws the state, place k weighs it for temperature k / num_steps and moves it there, but for the
    last one. Reversed, states are given, place k weighs them for step s = num_steps + 1 - k and moves them at
    the temperature before it, but for the last one. ``log_w`` is log w either way, relative to the normaliser
    of independent units.
    """
    size = base.shape[1]
    words = np.empty(-(-size // NUM_WORDS) * NUM_WORDS)
    fields, excluded = np.empty(size), np.zeros(size, np.int64)
    backwards = tag & REVERSED
    for r in range(log_w.size):
        datum, chain, state = (first + r) // num_chains, (first + r) % num_chains, z[r]
        own_base, own_linear = base[datum], linear[datum]
        for place in range(first_place, last_place):
            if place == 0:
                if not backwards:
                    fill_words(words, tag, 0, chain, datum, key_low, key_high)
                    log_w[r] = _start(
                        exclusive, own_base, tag, chain, datum, key_low, key_high, words, excluded, state
                    )
                continue
            step = num_steps + 1 - place if backwards else place
            move = step - 1 if backwards else step
            for i in range(size):  # from nothing at every step, so that no rounding piles up
                fields[i] = own_linear[i]
                excluded[i] = 0
            for i in range(size):
                if state[i] != 0:
                    _add_row(couplings[i], 1, fields)
                    if exclusive.size:
                        _add_row(exclusive[i], 1, excluded)
            energy = 0.0
            for i in range(size):
                energy += state[i] * (fields[i] + own_linear[i])
            log_w[r] += (step / num_steps - (step - 1) / num_steps) * (0.5 * energy + constant[datum])
            if 0 < move < num_steps:
                fill_words(words, tag, move, chain, datum, key_low, key_high)
                _scan(
                    couplings, exclusive, own_base, move / num_steps, tag, move, chain, datum, key_low,
                    key_high, words, fields, excluded, state,
                )  # fmt: skip
            elif backwards and exclusive.size:
                log_w[r] += _start_weight(exclusive, own_base, excluded, state)
