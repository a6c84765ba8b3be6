"""Single states of binary sparse coding in two words (``double_word``): sampled ones, and chains.

A log joint is c + <t, z> + sum over i < j of J_ij z_i z_j, whose terms may exceed it by far. It is added up
in two words and rounded once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastvi.kernels.cpu.annealing.words import (
    REVERSED,
    counter_at,
    counter_at_start,
    draw_units,
    fill_words,
    is_on,
)
from fastvi.kernels.cpu.random.draw_words import NUM_WORDS
from fastvi.kernels.double_word import add_words
from fastvi.kernels.jit import inline, kernel


class CodingChains(NamedTuple):
    """Parameters of chains of N data: an energy in two words, and the units that chains start from."""

    couplings: Any  # (d, d)
    couplings_low: Any
    base: Any  # (N, d) log odds of the first units
    linear: Any  # (N, d)
    linear_low: Any
    constant: Any  # (N,)
    constant_low: Any
    log_zero: Any  # (N, d) log probabilities of the first units
    log_one: Any


@kernel
def add_log_joints(words, couplings, couplings_low, linear, linear_low, constant, constant_low, log_w):
    """Add to log_w[k] the log joint of a datum and sample k with bits ``words`` (num_words, K)."""
    num_latents = linear.size
    ones = np.empty(num_latents, np.int64)
    for k in range(log_w.size):
        count, high, low = 0, constant, constant_low
        for i in range(num_latents):
            if (words[i >> 5, k] >> (i & 31)) & 1:
                high, low = add_words(high, low, linear[i], linear_low[i])
                for other in range(count):
                    j = ones[other]
                    high, low = add_words(high, low, couplings[i, j], couplings_low[i, j])
                ones[count] = i
                count += 1
        log_w[k] += high


@inline
def _add_row(row, row_low, sign, total, total_low):
    """Add a multiple of a row in two words to ``total``."""
    for j in range(total.size):
        total[j], total_low[j] = add_words(total[j], total_low[j], sign * row[j], sign * row_low[j])


@kernel
def anneal_coding_words(chains, walk, z, log_w):
    """Carry states ``z`` (rows, d) int64 along a walk and add up their log weights ``log_w`` (rows,).

    Between the first units q0 and the model, log f_beta = (1 - beta) log q0(z) + beta log p(x, z).
    """
    couplings, couplings_low, log_zero, log_one = (
        chains.couplings, chains.couplings_low, chains.log_zero, chains.log_one,
    )  # fmt: skip
    num_steps, size = walk.num_steps, chains.base.shape[1]
    words = np.empty(-(-size // NUM_WORDS) * NUM_WORDS)
    fields, fields_low = np.empty(size), np.empty(size)
    backwards = walk.tag & REVERSED
    for r in range(log_w.size):
        first, state = counter_at_start(walk, r), z[r]
        datum = first.datum
        own_base, own, own_low = chains.base[datum], chains.linear[datum], chains.linear_low[datum]
        for place in range(walk.first_place, walk.last_place):
            if place == 0:
                if not backwards:
                    draw_units(own_base, first, words, state)
                continue
            step = num_steps + 1 - place if backwards else place
            move = step - 1 if backwards else step
            for i in range(size):  # from nothing at every step, so that no rounding piles up
                fields[i], fields_low[i] = own[i], own_low[i]
            for i in range(size):
                if state[i] != 0:
                    _add_row(couplings[i], couplings_low[i], 1.0, fields, fields_low)
            energy, low, start = 0.0, 0.0, 0.0
            for i in range(size):
                if state[i] != 0:
                    energy, low = add_words(energy, low, fields[i], fields_low[i])
                    energy, low = add_words(energy, low, own[i], own_low[i])
                    start += log_one[datum, i]
                else:
                    start += log_zero[datum, i]
            energy, low = add_words(
                0.5 * energy, 0.5 * low, chains.constant[datum], chains.constant_low[datum]
            )
            log_w[r] += (step / num_steps - (step - 1) / num_steps) * (energy - start)
            if not 0 < move < num_steps:
                continue
            counter = counter_at(move, first)
            fill_words(words, counter)
            beta = move / num_steps
            for count in range(size):
                i = size - 1 - count if backwards else count
                logit = own_base[i] + beta * (fields[i] - own_base[i])
                on = 1 if is_on(logit, words[i], i, counter) else 0
                if on != state[i]:
                    state[i] = on
                    _add_row(couplings[i], couplings_low[i], 2.0 * on - 1.0, fields, fields_low)
