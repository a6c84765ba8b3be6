"""Numbers of 106 bits as sums of two doubles, ``high`` and ``low``.

``low`` is the part that rounding took from ``high``.

Where terms of 10^18 leave 19, as squares do that are large beside the noise, nothing of 53 bits is left. No
product is rounded before its remainder is known, so that contraction to fused multiply-adds changes no
remainder; none of this may be reassociated. An infinite sum has the remainder 0.
"""

from __future__ import annotations

import math

from fastvi.kernels.bits import bits_to_float, float_to_bits
from fastvi.kernels.jit import inline

_HIGH_BITS = -(1 << 27)  # leaves 26 of 53 bits


@inline
def two_sum(a, b):
    """Return a + b rounded, and the part that rounding lost (Knuth 1969); nan for infinite numbers."""
    high = a + b
    virtual = high - a
    return high, (a - (high - virtual)) + (b - virtual)


@inline
def add_words(a, a_low, b, b_low):
    """Return the sum of two numbers of two words each."""
    high, low = two_sum(a, b)
    low += a_low + b_low
    total = high + low
    low -= total - high
    finite = abs(high) < math.inf
    return (total if finite else high), (low if finite else 0.0)


@inline
def upper_half(a):
    """Return the leading 26 bits of a.

    Products of two such halves, or of a half and the rest of a number, are exact.
    """
    return bits_to_float(float_to_bits(a) & _HIGH_BITS)


@inline
def product_rest(product, a_half, a_rest, b_half, b_rest):
    """Return a b less its rounded ``product``, exact up to 2^-106 of it (Dekker 1971).

    The factors come in halves, a = a_half + a_rest.
    """
    return ((a_half * b_half - product) + a_half * b_rest + a_rest * b_half) + a_rest * b_rest


@inline
def multiply_words(a, a_low, b, b_low):
    """Return the product of two numbers of two words each."""
    product = a * b
    a_half, b_half = upper_half(a), upper_half(b)
    low = product_rest(product, a_half, a - a_half, b_half, b - b_half) + (a * b_low + a_low * b)
    total = product + low
    finite = abs(total) < math.inf
    return (total if finite else product), (low - (total - product) if finite else 0.0)
