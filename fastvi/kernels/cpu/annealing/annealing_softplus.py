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

import numpy as np

from fastvi.kernels.cpu.annealing.annealing_words import REVERSED, fill_words, is_on
from fastvi.kernels.cpu.random.draw_words import NUM_WORDS
from fastvi.kernels.jit import inline, kernel, reducing_kernel
from fastvi.kernels.scalar import exp_fast, log_fast

_FACTORS = 512  # between 1 and 2 each: a product of so many cannot overflow


@reducing_kernel
def _refresh_part(eta, on, off):
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
    """on = sigmoid(eta), off = sigmoid(-eta); returns the sum of softplus(eta)."""
    total = 0.0
    for first in range(0, eta.size, _FACTORS):
        last = min(first + _FACTORS, eta.size)
        total += _refresh_part(eta[first:last], on[first:last], off[first:last])
    return total


@reducing_kernel
def _growth_part(growth, rising, falling):
    product = 1.0
    for j in range(growth.size):
        up, down = 1.0 + rising[j] * growth[j], 1.0 - falling[j] * growth[j]
        product *= up if up > down else down
    return product


@kernel
def _log_growth(growth, rising, falling, factors):
    """Sum over j of log(1 + r_j (exp|delta_j| - 1)); ``growth`` holds exp|W| - 1 with the sign of W.

    ``rising`` is sigmoid(eta) where a unit is to be switched on, sigmoid(-eta) where off; ``falling`` the
    other one. Parts are slices: LLVM unrolls their loops, 0.8 ns a pixel on a Zen 1 core in place of 2.4.
    """
    total = 0.0
    for first in range(0, growth.size, factors):
        last = min(first + factors, growth.size)
        total += log_fast(_growth_part(growth[first:last], rising[first:last], falling[first:last]))
    return total


@kernel
def _flip(growth, rising, falling):
    """The same probabilities after the flip: odds are multiplied, with no exponential."""
    for j in range(growth.size):
        g = growth[j]
        up = rising[j] * (1.0 + (g if g > 0.0 else 0.0))
        down = falling[j] * (1.0 - (g if g < 0.0 else 0.0))
        inverse = 1.0 / (up + down)
        rising[j], falling[j] = up * inverse, down * inverse


@reducing_kernel
def _change(row, eta, sign):
    """Sum over j of softplus(eta_j + sign W_j) - softplus(eta_j)."""
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
    for j in range(total.size):
        total[j] += sign * row[j]


@kernel
def _scan(
    weights, growth, below, above, factors, moderate, base, linear, beta, tag, step, chain, datum, key_low,
    key_high, words, eta, on, off, z,
):  # fmt: skip
    """A Gibbs transition: every unit in turn, given all others; from the last to the first if reversed."""
    for count in range(base.size):
        i = base.size - 1 - count if tag & REVERSED else count
        sign = 1.0 if z[i] == 0 else -1.0
        if factors == 0:
            change = _change(weights[i], eta, sign)
        elif z[i] == 0:
            change = below[i] + _log_growth(growth[i], on, off, factors)
        else:
            change = -above[i] + _log_growth(growth[i], off, on, factors)
        logit = base[i] + beta * (linear[i] - sign * change)
        new = 1 if is_on(logit, words[i], i, tag, step, chain, datum, key_low, key_high) else 0
        if new != z[i]:
            z[i] = new
            if not moderate:
                _add_row(weights[i], sign, eta)
                _refresh(eta, on, off)
            elif new:
                _flip(growth[i], on, off)
            else:
                _flip(growth[i], off, on)


@kernel
def anneal_softplus(
    weights, growth, below, above, factors, moderate, bias, base, linear, if_zero, if_one, constant,
    first_place, last_place, num_steps, num_chains, first, tag, key_low, key_high, z, log_w,
):  # fmt: skip
    """Places of chains as ``anneal_pairs`` has them, for W^T (d, D) = ``weights``, b (D,) = ``bias``. What a
    bit adds to log p(x, z) - log q0(z), ``if_zero`` or ``if_one`` (N, d), is no difference of sums, so that
    nothing cancels where some logit is huge.

    ``growth`` (d, D) is sign(W) (exp|W| - 1); ``below`` and ``above`` (d,) are the sums of negative and of
    positive weights; ``factors`` is how many factors a product may have, 0 where not even one; ``moderate``
    says that no logit of any state can be so large that a probability underflows.
    """
    size, num_pixels = weights.shape
    words = np.empty(-(-size // NUM_WORDS) * NUM_WORDS)
    eta, on, off = np.empty(num_pixels), np.empty(num_pixels), np.empty(num_pixels)
    backwards = tag & REVERSED
    for r in range(log_w.size):
        datum, chain, state = (first + r) // num_chains, (first + r) % num_chains, z[r]
        own_base, own_linear = base[datum], linear[datum]
        for place in range(first_place, last_place):
            if place == 0:
                if not backwards:
                    fill_words(words, tag, 0, chain, datum, key_low, key_high)
                    for i in range(size):
                        drawn = is_on(own_base[i], words[i], i, tag, 0, chain, datum, key_low, key_high)
                        state[i] = 1 if drawn else 0
                continue
            step = num_steps + 1 - place if backwards else place
            move = step - 1 if backwards else step
            for j in range(num_pixels):  # from nothing at every step, so that no rounding piles up
                eta[j] = bias[j]
            energy = constant[datum]
            for i in range(size):
                if state[i] != 0:
                    _add_row(weights[i], 1.0, eta)
                energy += if_one[datum, i] if state[i] != 0 else if_zero[datum, i]
            energy -= _refresh(eta, on, off)
            log_w[r] += (step / num_steps - (step - 1) / num_steps) * energy
            if 0 < move < num_steps:
                fill_words(words, tag, move, chain, datum, key_low, key_high)
                _scan(
                    weights, growth, below, above, factors, moderate, own_base, own_linear, move / num_steps,
                    tag, move, chain, datum, key_low, key_high, words, eta, on, off, state,
                )  # fmt: skip
