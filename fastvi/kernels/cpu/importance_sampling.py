"""Log importance weights of sampled states, one datum at a time, without a transcendental function per pixel.

The bits of z are read in bytes. For each byte g and its 256 values there is a row of exp(W_g z_g) over a
block of pixels, so that exp(eta) of a sampled state is a product of d / 8 table entries, and sum_j
softplus(eta_j) the logarithm of prod_j (1 + exp(eta_j)): d / 8 multiplications, an addition and a
multiplication a pixel. Pixels are blocked so that a block's tables stay in cache while all samples pass
over it.
"""

from __future__ import annotations

import math

import numpy as np

from fastvi.kernels.bits import bits_to_float, float_to_bits
from fastvi.kernels.jit import inline, kernel
from fastvi.kernels.scalar import exp_fast, log_fast

LANES = 16  # pixels that are multiplied up side by side; blocks of pixels are multiples of it
LOG_TWO = math.log(2.0)
_MANTISSA, _ONE = (1 << 52) - 1, 1023 << 52


@inline
def _byte(words, g, k):
    """Byte g of the state of sample k: latents 8 g ... 8 g + 7."""
    return (words[g >> 2, k] >> (8 * (g & 3))) & 255


@inline
def _split(value):
    """(mantissa in [1, 2), exponent) of a positive number."""
    bits = float_to_bits(value)
    return bits_to_float((bits & _MANTISSA) | _ONE), (bits >> 52) - 1023


@kernel
def byte_tables(weights, bias, width, in_log_space, tables):
    """Rows of eta's part from each byte, or of its exponential: (pixel blocks, bytes, 256, width); byte 0
    has the bias.

    What pads the last block is exp(-inf) = 0, which multiplies the product by 1.
    """
    num_pixels, num_latents = weights.shape
    for block in range(tables.shape[0]):
        for g in range(tables.shape[1]):
            for value in range(256):
                for c in range(width):
                    j = block * width + c
                    total = bias[j] if j < num_pixels and g == 0 else 0.0
                    for i in range(8 * g, min(8 * g + 8, num_latents)):
                        if j < num_pixels and (value >> (i - 8 * g)) & 1:
                            total += weights[j, i]
                    if j >= num_pixels:
                        total = -np.inf if g == 0 else 0.0
                    tables[block, g, value, c] = total if in_log_space else math.exp(total)


@kernel
def linear_tables(if_zero, if_one, tables):
    """Sums over the bits of each byte of one number where the bit is 0 and another where it is 1: (bytes,
    256).
    """
    for g in range(tables.shape[0]):
        for value in range(256):
            total = 0.0
            for i in range(8 * g, min(8 * g + 8, if_zero.size)):
                total += if_one[i] if (value >> (i - 8 * g)) & 1 else if_zero[i]
            tables[g, value] = total


@kernel
def add_linear(words, tables, constant, log_w):
    """log_w[k] = constant + the sum over bytes of ``tables``."""
    for k in range(log_w.size):
        total = constant
        for g in range(tables.shape[0]):
            total += tables[g, _byte(words, g, k)]
        log_w[k] = total


@inline
def _product_of_rows(tables, words, k, out):
    """out[c] = product over bytes of the rows that sample k picks."""
    first = tables[0, _byte(words, 0, k)]
    for c in range(out.size):
        out[c] = first[c]
    for g in range(1, tables.shape[0]):
        row = tables[g, _byte(words, g, k)]
        for c in range(out.size):
            out[c] *= row[c]


@kernel
def subtract_softplus(tables, words, steps, log_w):
    """log_w[k] -= sum_j softplus(eta_j); ``steps`` rows of LANES factors cannot leave the range of a
    double.
    """
    width = tables.shape[3]
    row = np.empty(width)
    lanes = np.empty(LANES)
    mantissas, exponents = np.ones(log_w.size), np.zeros(log_w.size, np.int64)
    for block in range(tables.shape[0]):
        for k in range(log_w.size):
            _product_of_rows(tables[block], words, k, row)
            for first in range(0, width, LANES * steps):
                for c in range(LANES):
                    lanes[c] = 1.0
                for start in range(first, min(first + LANES * steps, width), LANES):
                    for c in range(LANES):
                        lanes[c] *= 1.0 + row[start + c]
                exponent = np.int64(0)
                for c in range(LANES):
                    lanes[c], power = _split(lanes[c])
                    exponent += power
                product = 1.0
                for c in range(LANES):
                    product *= lanes[c]
                mantissas[k], power = _split(mantissas[k] * product)
                exponents[k] += exponent + power
    for k in range(log_w.size):
        log_w[k] -= log_fast(mantissas[k]) + exponents[k] * LOG_TWO


@kernel
def subtract_softplus_in_log_space(tables, words, log_w):
    """The same from tables of logarithms, for logits that a product of exponentials cannot hold."""
    for k in range(log_w.size):
        total, product, exponent = 0.0, 1.0, np.int64(0)
        for block in range(tables.shape[0]):
            for c in range(tables.shape[3]):
                eta = 0.0
                for g in range(tables.shape[1]):
                    eta += tables[block, g, _byte(words, g, k), c]
                total += max(eta, 0.0)
                product *= 1.0 + exp_fast(-abs(eta))
            product, power = _split(product)
            exponent += power
        log_w[k] -= total + (math.log(product) + exponent * LOG_TWO)


@kernel
def add_looked_up(words, table, latents, num_rows_bits, log_w):
    """log_w[k] += table[row, column], the state's bits in the order ``latents`` (row bits first)."""
    for k in range(log_w.size):
        row, column = 0, 0
        for i in range(latents.size):
            bit = (words[latents[i] >> 5, k] >> (latents[i] & 31)) & 1
            if i < num_rows_bits:
                row |= bit << i
            else:
                column |= bit << (i - num_rows_bits)
        log_w[k] += table[row, column]
