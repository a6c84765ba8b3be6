"""Rows of chains whose log joint is made elsewhere: draws of units, log p(x | z), squares.

A row is a chain.
"""

from __future__ import annotations

import math

import numpy as np

from fastvi.kernels.cpu.annealing.words import Counter, draw_units, fill_words, is_on
from fastvi.kernels.cpu.random.draw_words import NUM_WORDS
from fastvi.kernels.jit import kernel, reducing_kernel
from fastvi.kernels.scalar import exp_fast, log_fast

_FACTORS = 512  # between 1 and 2 each: a product of so many cannot overflow


@kernel
def draw_rows(base, tag, first, num_chains, key_low, key_high, z):
    """Draw first states z (rows, d) of chains, with log odds ``base`` (rows, d)."""
    num_rows, size = z.shape
    words = np.empty(-(-size // NUM_WORDS) * NUM_WORDS)
    for r in range(num_rows):
        datum, chain = (first + r) // num_chains, (first + r) % num_chains
        draw_units(base[r], Counter(tag, 0, chain, datum, key_low, key_high), words, z[r])


@kernel
def fill_row_words(tag, step, first, num_chains, key_low, key_high, words):
    """Write the random words of all units for a step to ``words`` (rows, a multiple of NUM_WORDS)."""
    for r in range(words.shape[0]):
        datum, chain = (first + r) // num_chains, (first + r) % num_chains
        fill_words(words[r], Counter(tag, step, chain, datum, key_low, key_high))


@kernel
def choose_unit(base, beta, unit, words, tag, step, first, num_chains, key_low, key_high, flipped, value, z):
    """Draw ``unit`` of every row given all others.

    ``value`` (rows,) is log p(x, z); ``flipped`` is log p(x, z) with the unit's other value.
    """
    for r in range(value.size):
        gain = flipped[r] - value[r] if z[r, unit] == 0 else value[r] - flipped[r]
        if gain != gain:
            continue  # both are impossible
        logit = base[r, unit] + beta * (gain - base[r, unit])
        datum, chain = (first + r) // num_chains, (first + r) % num_chains
        drawn = is_on(logit, words[r, unit], unit, Counter(tag, step, chain, datum, key_low, key_high))
        if drawn != (z[r, unit] != 0):
            z[r, unit] = 1 - z[r, unit]
            value[r] = flipped[r]


@reducing_kernel
def _bernoulli_part(x, eta):
    """Return -log p(x | eta) of a slice of pixels; ``eta`` becomes x - sigmoid(eta)."""
    linear, product = 0.0, 1.0
    for j in range(eta.size):
        sign = 1.0 - 2.0 * x[j]
        wrong = sign * eta[j]  # log odds of the pixel's other value
        small = exp_fast(-abs(wrong))
        linear += wrong if wrong > 0.0 else 0.0
        product *= 1.0 + small
        eta[j] = -sign * (1.0 if wrong >= 0.0 else small) / (1.0 + small)
    return linear + log_fast(product)


@kernel
def bernoulli_rows(x, owners, eta, out):
    """Set out[r] to log p(x_n | eta_r) of datum n = owners[r].

    ``eta`` becomes its derivative x - sigmoid(eta).
    """
    for r in range(out.size):
        own, row, total = x[owners[r]], eta[r], 0.0
        for first in range(0, row.size, _FACTORS):  # slices, whose loops LLVM vectorises
            last = min(first + _FACTORS, row.size)
            total -= _bernoulli_part(own[first:last], row[first:last])
        out[r] = total


@kernel
def normal_rows(x, owners, noise_std, eta, out):
    """Set out[r] to log p(x_n | eta_r) of real pixels with mean eta; n = owners[r].

    ``eta`` becomes its derivative (x - eta) / noise_std^2.
    """
    constant = eta.shape[1] * (math.log(noise_std) + 0.5 * math.log(2.0 * math.pi))
    for r in range(out.size):
        own, total = x[owners[r]], 0.0
        for j in range(eta.shape[1]):
            residual = (own[j] - eta[r, j]) / noise_std
            total += residual * residual
            eta[r, j] = residual / noise_std
        out[r] = -0.5 * total - constant


@kernel
def row_squares(values, out):
    """Set out[r] to the sum of squares of a row."""
    for r in range(out.size):
        total = 0.0
        for i in range(values.shape[1]):
            total += values[r, i] * values[r, i]
        out[r] = total
