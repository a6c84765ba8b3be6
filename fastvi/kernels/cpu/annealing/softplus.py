"""Annealed importance sampling of sigmoid belief networks: Gibbs transitions and weights.

    log f_beta(z) = <base, z> + beta (<linear, z> - A(z)) + constant, A(z) = sum_j softplus(eta_j(z)).

A scan asks for what A changes by where unit i is flipped, eta_j to eta_j + delta_j, delta_j = +-W_ji:

    softplus(eta + delta) - softplus(eta) = min(delta, 0) + log(1 + r (exp|delta| - 1)),

r = sigmoid(eta) where delta > 0, else sigmoid(-eta). The sum of min(delta, 0) is a constant of the unit, and
exp|delta| - 1 comes from a table: two multiply-adds a pixel, no exponential, and no difference of numbers
that are alike. A flip multiplies odds by exp(delta), from the same table. Exponentials are taken once a step,
from logits that are summed from nothing, so that no rounding piles up. A product of factors is cut where
their bounds exp|delta| say that it could overflow; where one factor can, softplus itself is taken, and where
odds could leave the doubles (|eta| > 650), exponentials are taken after every flip.
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
from fastvi.kernels.jit import inline, kernel, reducing_kernel
from fastvi.kernels.scalar import exp_fast, log_fast

_FACTORS = 512  # between 1 and 2 each: a product of so many cannot overflow


class SoftplusChains(NamedTuple):
    """Parameters of chains of N data: a network's layer, and the units that chains start from.

    The network adds ``if_zero`` or ``if_one`` per latent to log p(x, z) - log q0(z). They are no differences
    of sums, so that nothing cancels where some logit is huge.
    """

    weights: Any  # (d, D) W^T
    growth: Any  # (d, D) sign(W) (exp|W| - 1)
    below: Any  # (d,) sums of negative weights
    above: Any  # (d,) sums of positive weights
    factors: int  # how many factors a product may have, 0 where not even one
    moderate: bool  # no logit of any state is so large that a probability underflows
    bias: Any  # (D,)
    base: Any  # (N, d) log odds of the first units
    linear: Any  # (N, d)
    if_zero: Any  # (N, d)
    if_one: Any  # (N, d)
    constant: Any  # (N,)


@reducing_kernel
def _refresh_part(eta, on, off):
    """Refresh a slice of pixels; return its sum of softplus(eta)."""
    linear, product = 0.0, 1.0
    for j in range(eta.size):
        value = eta[j]
        small = exp_fast(-abs(value))
        inverse = 1.0 / (1.0 + small)
        on[j] = (1.0 if value >= 0.0 else small) * inverse
        off[j] = (small if value >= 0.0 else 1.0) * inverse
        linear += value if value > 0.0 else 0.0
        product *= 1.0 + small
    return linear + log_fast(product)


@kernel
def _refresh(eta, on, off):
    """Set on = sigmoid(eta) and off = sigmoid(-eta); return the sum of softplus(eta)."""
    total = 0.0
    for first in range(0, eta.size, _FACTORS):
        last = min(first + _FACTORS, eta.size)
        total += _refresh_part(eta[first:last], on[first:last], off[first:last])
    return total


@reducing_kernel
def _growth_part(growth, rising, falling):
    """Return the product of factors 1 + r_j (exp|delta_j| - 1) of a slice of pixels."""
    product = 1.0
    for j in range(growth.size):
        up, down = 1.0 + rising[j] * growth[j], 1.0 - falling[j] * growth[j]
        product *= up if up > down else down
    return product


@kernel
def _log_growth(growth, rising, falling, factors):
    """Return the sum over j of log(1 + r_j (exp|delta_j| - 1)).

    ``growth`` holds exp|W| - 1 with the sign of W. ``rising`` is sigmoid(eta) where a unit is to be switched
    on, sigmoid(-eta) where off; ``falling`` is the other one. Parts are slices: LLVM unrolls their loops, 0.8
    ns a pixel on a Zen 1 core in place of 2.4.
    """
    total = 0.0
    for first in range(0, growth.size, factors):
        last = min(first + factors, growth.size)
        total += log_fast(_growth_part(growth[first:last], rising[first:last], falling[first:last]))
    return total


@kernel
def _flip(growth, rising, falling):
    """Update the probabilities after a flip: odds are multiplied, with no exponential."""
    for j in range(growth.size):
        g = growth[j]
        up = rising[j] * (1.0 + (g if g > 0.0 else 0.0))
        down = falling[j] * (1.0 - (g if g < 0.0 else 0.0))
        inverse = 1.0 / (up + down)
        rising[j], falling[j] = up * inverse, down * inverse


@reducing_kernel
def _change(row, eta, sign):
    """Return the sum over j of softplus(eta_j + sign W_j) - softplus(eta_j)."""
    total = 0.0
    for first in range(0, eta.size, _FACTORS):
        linear, new, old = 0.0, 1.0, 1.0
        for j in range(first, min(first + _FACTORS, eta.size)):
            before = eta[j]
            after = before + sign * row[j]
            linear += (after if after > 0.0 else 0.0) - (before if before > 0.0 else 0.0)
            new *= 1.0 + exp_fast(-abs(after))
            old *= 1.0 + exp_fast(-abs(before))
        total += linear + log_fast(new / old)
    return total


@inline
def _add_row(row, sign, total):
    """Add a multiple of a row to ``total``."""
    for j in range(total.size):
        total[j] += sign * row[j]


@kernel
def _scan(chains, beta, counter, words, eta, on, off, z):
    """Draw every unit in turn given all others, from the last to the first if reversed."""
    weights, growth, factors = chains.weights, chains.growth, chains.factors
    base, linear = chains.base[counter.datum], chains.linear[counter.datum]
    for count in range(base.size):
        i = base.size - 1 - count if counter.tag & REVERSED else count
        sign = 1.0 if z[i] == 0 else -1.0
        if factors == 0:
            change = _change(weights[i], eta, sign)
        elif z[i] == 0:
            change = chains.below[i] + _log_growth(growth[i], on, off, factors)
        else:
            change = -chains.above[i] + _log_growth(growth[i], off, on, factors)
        logit = base[i] + beta * (linear[i] - sign * change)
        new = 1 if is_on(logit, words[i], i, counter) else 0
        if new != z[i]:
            z[i] = new
            if not chains.moderate:
                _add_row(weights[i], sign, eta)
                _refresh(eta, on, off)
            elif new:
                _flip(growth[i], on, off)
            else:
                _flip(growth[i], off, on)


@kernel
def anneal_softplus(chains, walk, z, log_w):
    """Carry states ``z`` (rows, d) int64 along a walk and add up their log weights ``log_w`` (rows,)."""
    size, num_pixels = chains.weights.shape
    num_steps = walk.num_steps
    words = np.empty(-(-size // NUM_WORDS) * NUM_WORDS)
    eta, on, off = np.empty(num_pixels), np.empty(num_pixels), np.empty(num_pixels)
    backwards = walk.tag & REVERSED
    for r in range(log_w.size):
        start, state = counter_at_start(walk, r), z[r]
        datum = start.datum
        for place in range(walk.first_place, walk.last_place):
            if place == 0:
                if not backwards:
                    draw_units(chains.base[datum], start, words, state)
                continue
            step = num_steps + 1 - place if backwards else place
            move = step - 1 if backwards else step
            for j in range(num_pixels):  # from nothing at every step, so that no rounding piles up
                eta[j] = chains.bias[j]
            energy = chains.constant[datum]
            for i in range(size):
                if state[i] != 0:
                    _add_row(chains.weights[i], 1.0, eta)
                energy += chains.if_one[datum, i] if state[i] != 0 else chains.if_zero[datum, i]
            energy -= _refresh(eta, on, off)
            log_w[r] += (step / num_steps - (step - 1) / num_steps) * energy
            if 0 < move < num_steps:
                counter = counter_at(move, start)
                fill_words(words, counter)
                _scan(chains, move / num_steps, counter, words, eta, on, off, state)
