"""Annealed importance sampling of binary units with pairwise energies: Gibbs transitions and weights.

Boltzmann machines (log Z), and binary sparse coding (log p(x), with an energy that is linear in z besides):

    log f_beta(z) = <base, z> + beta (<linear, z> + z^T J z / 2) + constant.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastvi.kernels.cpu.annealing.words import (
    REVERSED,
    counter_at,
    counter_at_start,
    fill_words,
    is_on,
)
from fastvi.kernels.cpu.random.draw_words import NUM_WORDS
from fastvi.kernels.jit import inline, kernel
from fastvi.kernels.scalar import softplus


class PairChains(NamedTuple):
    """Parameters of chains of N data with a pairwise energy."""

    couplings: Any  # (d, d) the finite ones, 0 for others
    exclusive: Any  # (d, d) int64, 1 where two units exclude each other; (0, 0) where none do
    base: Any  # (N, d) log odds of the first units
    linear: Any  # (N, d)
    constant: Any  # (N,)


@inline
def _add_row(row, sign, total):
    """Add a multiple of a row to ``total``."""
    for j in range(total.size):
        total[j] += sign * row[j]


@kernel
def _start(exclusive, base, counter, words, excluded, z):
    """Draw one unit after the other; return the log weight of the state.

    A unit is off where one before it excludes it.
    """
    log_w = 0.0
    for i in range(base.size):
        excluded[i] = 0
    for i in range(base.size):
        z[i] = 0
        if excluded[i] != 0:
            log_w -= softplus(base[i])
        elif is_on(base[i], words[i], i, counter):
            z[i] = 1
            if exclusive.size:
                _add_row(exclusive[i], 1, excluded)
    return log_w


@kernel
def _start_weight(exclusive, base, excluded, z):
    """Return the log weight that ``_start`` gives where it draws ``z``."""
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
def _scan(chains, beta, counter, words, fields, excluded, z):
    """Draw every unit in turn given all others, from the last to the first if reversed."""
    base = chains.base[counter.datum]
    for count in range(base.size):
        i = base.size - 1 - count if counter.tag & REVERSED else count
        on = 0
        if excluded[i] == 0 and is_on(base[i] + beta * fields[i], words[i], i, counter):
            on = 1
        if on != z[i]:
            sign = 1 if on == 1 else -1
            z[i] = on
            _add_row(chains.couplings[i], sign, fields)
            if chains.exclusive.size:
                _add_row(chains.exclusive[i], sign, excluded)


@kernel
def anneal_pairs(chains, walk, z, log_w):
    """Carry states ``z`` (rows, d) int64 along a walk and add up their log weights ``log_w`` (rows,).

    The weights are relative to the normaliser of independent units, in both directions.
    """
    exclusive, num_steps, size = chains.exclusive, walk.num_steps, chains.base.shape[1]
    words = np.empty(-(-size // NUM_WORDS) * NUM_WORDS)
    fields, excluded = np.empty(size), np.zeros(size, np.int64)
    backwards = walk.tag & REVERSED
    for r in range(log_w.size):
        start, state = counter_at_start(walk, r), z[r]
        datum = start.datum
        base, linear = chains.base[datum], chains.linear[datum]
        for place in range(walk.first_place, walk.last_place):
            if place == 0:
                if not backwards:
                    fill_words(words, start)
                    log_w[r] = _start(exclusive, base, start, words, excluded, state)
                continue
            step = num_steps + 1 - place if backwards else place
            move = step - 1 if backwards else step
            for i in range(size):  # from nothing at every step, so that no rounding piles up
                fields[i] = linear[i]
                excluded[i] = 0
            for i in range(size):
                if state[i] != 0:
                    _add_row(chains.couplings[i], 1, fields)
                    if exclusive.size:
                        _add_row(exclusive[i], 1, excluded)
            energy = 0.0
            for i in range(size):
                energy += state[i] * (fields[i] + linear[i])
            share = step / num_steps - (step - 1) / num_steps
            log_w[r] += share * (0.5 * energy + chains.constant[datum])
            if 0 < move < num_steps:
                counter = counter_at(move, start)
                fill_words(words, counter)
                _scan(chains, move / num_steps, counter, words, fields, excluded, state)
            elif backwards and exclusive.size:
                log_w[r] += _start_weight(exclusive, base, excluded, state)
