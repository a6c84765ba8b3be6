"""Scalar numerics for CPU kernels, which inline them; loops over them vectorise.

They have no branches and look up no tables.

``exp_fast`` and ``log_fast`` are there because LLVM vectorises a loop only where it can see into the
function; a call of the system's ``exp`` stays a call. Both are within 2 units in the last place of the true
value.
"""

from __future__ import annotations

import math

from fastvi.kernels.bits import bits_to_float, float_to_bits
from fastvi.kernels.jit import inline

LOG_TWO = math.log(2.0)
_LOG2_E = 1.4426950408889634
_LN2_HIGH = 6.93147180369123816490e-01  # 33 bits: n * _LN2_HIGH is exact for |n| < 2^20 (Cody and Waite 1980)
_LN2_LOW = 1.90821492927058770002e-10
_SQRT_HALF_BITS = 0x3FE6A09E667F3BCD
_MANTISSA = (1 << 52) - 1
_ONE_BITS = 1023 << 52
_ROUNDER = 6755399441055744.0  # 1.5 * 2^52: adding it rounds to an integer, which is then in the low bits
_ROUNDER_BITS = 0x4338000000000000
_EXP_LOWEST, _EXP_HIGHEST = -708.0, 709.782712893384


@inline
def _exp_of_remainder(r):
    """Return e^r for abs(r) <= log(2) / 2."""
    # 1 + r + r^2 q(r), q the Taylor series to r^13: |r| <= 0.3466, so the first term left out is below 5e-18.
    # Estrin's scheme: 4.9 ns a number on a Zen 1 core, Horner's chain of multiply-adds 5.5, math.exp 8.3
    r2 = r * r
    r4 = r2 * r2
    q_low = (1.0 / 2.0 + r * (1.0 / 6.0)) + r2 * (1.0 / 24.0 + r * (1.0 / 120.0))
    q_middle = (1.0 / 720.0 + r * (1.0 / 5040.0)) + r2 * (1.0 / 40320.0 + r * (1.0 / 362880.0))
    q_high = (1.0 / 3628800.0 + r * (1.0 / 39916800.0)) + r2 * (1.0 / 479001600.0 + r * (1.0 / 6227020800.0))
    return 1.0 + (r + r2 * (q_low + r4 * (q_middle + r4 * q_high)))


@inline
def exp_fast(x):
    """Return e^x: 0 below -708 (results would be denormal), inf above 709.78, nan for nan."""
    inside = x if x > _EXP_LOWEST else _EXP_LOWEST  # a comparison and a choice; min and max do not vectorise
    inside = inside if inside < _EXP_HIGHEST else _EXP_HIGHEST
    shifted = (
        inside * _LOG2_E + _ROUNDER
    )  # the nearest integer, in the low bits: AVX2 has no conversion of 64-bit integers
    n = shifted - _ROUNDER
    r = (inside - n * _LN2_HIGH) - n * _LN2_LOW
    p = _exp_of_remainder(r)
    # 2^n by its bits; n = 1024 does not fit, so one factor 2 is kept out
    value = p * bits_to_float((float_to_bits(shifted) - _ROUNDER_BITS + 1022) << 52) * 2.0
    value = 0.0 if x < _EXP_LOWEST else value
    value = math.inf if x > _EXP_HIGHEST else value
    return value if x == x else x


@inline
def exp_of_negative(x):
    """Return the bits of :func:`exp_fast` for x <= 0, in 0.8 of its time; nan stays nan."""
    inside = _EXP_LOWEST if x < _EXP_LOWEST else x  # of nan this is nan, and so is p
    shifted = inside * _LOG2_E + _ROUNDER
    n = shifted - _ROUNDER
    p = _exp_of_remainder((inside - n * _LN2_HIGH) - n * _LN2_LOW)
    value = p * bits_to_float((float_to_bits(shifted) - _ROUNDER_BITS + 1023) << 52)
    return 0.0 if x < _EXP_LOWEST else value


@inline
def log_fast(x):
    """Return log x: -inf at 0, inf at inf, nan below 0 and at nan."""
    tiny = x < 2.2250738585072014e-308
    scaled = x * 18014398509481984.0 if tiny else x  # denormals by 2^54
    bits = float_to_bits(scaled)
    power = (bits - _SQRT_HALF_BITS) >> 52  # so that the mantissa lies in [sqrt(1/2), sqrt(2))
    mantissa = bits_to_float(bits - (power << 52))
    n = bits_to_float(power + _ROUNDER_BITS) - _ROUNDER
    n = n - 54.0 if tiny else n
    f = mantissa - 1.0
    s = f / (2.0 + f)
    q = s * s
    # 2 atanh(s) = 2 s (1 + q / 3 + q^2 / 5 + ...): q <= 0.0295, the first term left out is below 2e-19
    q2 = q * q
    q4 = q2 * q2
    p_low = (2.0 / 3.0 + q * (2.0 / 5.0)) + q2 * (2.0 / 7.0 + q * (2.0 / 9.0))
    p_middle = (2.0 / 11.0 + q * (2.0 / 13.0)) + q2 * (2.0 / 15.0 + q * (2.0 / 17.0))
    p_high = (2.0 / 19.0 + q * (2.0 / 21.0)) + q2 * (2.0 / 23.0)
    p = p_low + q4 * (p_middle + q4 * p_high)
    # log(1 + f) = f - s (f - q p): the large term is exact
    value = n * _LN2_HIGH + ((f - s * (f - q * p)) + n * _LN2_LOW)
    value = -math.inf if x == 0.0 else value
    value = x if x == math.inf else value
    return value if x >= 0.0 else math.nan


@inline
def softplus(x):
    """Return log(1 + e^x), accurate for every x."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@inline
def log_add_exp(a, b):
    """Return log(e^a + e^b), -inf where both are."""
    high, low = max(a, b), min(a, b)
    if high == -math.inf or high == math.inf:
        return high
    return high + math.log1p(math.exp(low - high))


@inline
def add_scaled(largest, total, scale, term):
    """Return total * exp(largest) + term * exp(scale) as another such pair.

    A term that is not positive adds nothing.
    """
    if not term > 0.0 or scale == -math.inf:
        return largest, total
    if scale > largest:
        return scale, total * math.exp(largest - scale) + term
    return largest, total + term * math.exp(scale - largest)
