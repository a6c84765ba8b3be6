"""Exponentials of log weights relative to the largest: x <= 0, results at most 1.

``exp_weight`` and ``exp_weight_32`` are for plain loops, which vectorise. ``emit_exp_weight`` writes the same
operations for a vector of any width into LLVM IR.

x = n log(2) + r with abs(r) <= log(2) / 2, and e^r = 1 + r + r^2 q(r). q is the polynomial of degree 9
(float32: 4) whose largest relative error is least: 3.7e-18 (float32: 3.1e-9), by Remez' algorithm. log(2) is
one number, not two: that is an error of |x| 2^-55 of the result (|x| 2^-53 without fused multiply-adds), no
more than x itself carries where it is a difference of rounded numbers. In all the result is off by at most
(2 + 1.25 |x|) 2^-53 of itself (float32: 2^-24), absolutely by 2.3 * 2^-53, since x e^x > -0.37.

Below -708.4 (float32: -87.3) results are 2^-1022 (2^-126), not 0: a comparison less, and nothing in a sum
that holds a 1. NaN stays NaN, whatever its payload: 2^n is a factor, for an exponent added to the bits of NaN
may make a number of it.

Even and odd powers of q are summed side by side: a chain of 11 dependent multiply-adds leaves a Zen 3 core
waiting (1.02 against 0.94 ns a number for the sum of weights and squares).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from fastvi.kernels.bits import bits_to_float, bits_to_float_32, float_to_bits, float_to_bits_32
from fastvi.kernels.jit import inline
from fastvi.kernels.scalar import LOG_TWO

_LOG2_E = 1.4426950408889634
_LOWEST = -708.3964185322641  # log of the smallest normal number
_ROUNDER = 6755399441055744.0  # 1.5 * 2^52: adding it rounds to an integer, which is then in the low bits
_ROUNDER_BITS = 0x4338000000000000
_ONE_BITS = 1023
_Q = (
    0.5000000000000011,
    0.16666666666666413,
    0.04166666666653005,
    0.008333333333494595,
    0.0013888888943662811,
    0.0001984126950637132,
    2.4801493061330424e-05,
    2.7557586485491195e-06,
    2.7630262942228305e-07,
    2.500004989177899e-08,
)
_Q0, _Q1, _Q2, _Q3, _Q4, _Q5, _Q6, _Q7, _Q8, _Q9 = _Q

_F: Any = np.float32  # a constant of float64 would make the expression one
_ONE_32, _LOG2_E_32, _LOG_TWO_32 = _F(1.0), _F(_LOG2_E), _F(LOG_TWO)
_LOWEST_32 = _F(-87.33654)
_ROUNDER_32 = _F(12582912.0)  # 1.5 * 2^23
_ROUNDER_BITS_32 = 0x4B400000
_ONE_BITS_32 = 127
_Q_32 = (
    0.499999934436948,
    0.1666652057303149,
    0.041668388760305826,
    0.0083687239853881,
    0.0013814582819074324,
)
_P0, _P1, _P2, _P3, _P4 = (_F(value) for value in _Q_32)


@inline
def _parts(x):
    """Return (e^r - 1, 2^n) with e^x = e^r 2^n."""
    inside = _LOWEST if x < _LOWEST else x  # of nan this is nan
    shifted = inside * _LOG2_E + _ROUNDER
    r = inside - (shifted - _ROUNDER) * LOG_TWO
    r2 = r * r
    even = _Q0 + r2 * (_Q2 + r2 * (_Q4 + r2 * (_Q6 + r2 * _Q8)))
    odd = _Q1 + r2 * (_Q3 + r2 * (_Q5 + r2 * (_Q7 + r2 * _Q9)))
    power = bits_to_float((float_to_bits(shifted) - _ROUNDER_BITS + _ONE_BITS) << 52)
    return r + r2 * (even + r * odd), power


@inline
def exp_weight(x):
    """Return e^x for x <= 0."""
    more, power = _parts(x)
    return (1.0 + more) * power


@inline
def expm1_weight(x):
    """Return e^x - 1 for x <= 0, with all digits where x is small."""
    more, power = _parts(x)
    # power is 1 or at most 1/2, where nothing cancels: abs(more) < 0.42
    return (power - 1.0) + power * more


@inline
def exp_weight_32(x):
    """Return e^x for a float32 x <= 0."""
    inside = _LOWEST_32 if x < _LOWEST_32 else x
    shifted = inside * _LOG2_E_32 + _ROUNDER_32
    r = inside - (shifted - _ROUNDER_32) * _LOG_TWO_32
    r2 = r * r
    even = _P0 + r2 * (_P2 + r2 * _P4)
    odd = _P1 + r2 * _P3
    power = bits_to_float_32((float_to_bits_32(shifted) - _ROUNDER_BITS_32 + _ONE_BITS_32) << 23)
    return (_ONE_32 + (r + r2 * (even + r * odd))) * power


def splat(kind: Any, value: Any) -> Any:
    """Return a constant vector of this type."""
    if isinstance(kind.element, ir.FloatType):
        value = float(np.float32(value))
    return ir.Constant(kind, [ir.Constant(kind.element, value)] * kind.count)


def multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c, fused where the processor can."""
    return builder.fadd(builder.fmul(a, b, flags=("contract",)), c, flags=("contract",))


def emit_exp_weight(builder: Any, x: Any) -> Any:
    """Write e^x for a vector of doubles or floats x <= 0."""
    kind = x.type
    single = isinstance(kind.element, ir.FloatType)
    coefficients, fraction = (_Q_32, 23) if single else (_Q, 52)
    bits = ir.VectorType(ir.IntType(32 if single else 64), kind.count)

    def constant(value: float) -> Any:
        return splat(kind, value)

    lowest, rounder = (
        constant(_LOWEST_32 if single else _LOWEST),
        constant(_ROUNDER_32 if single else _ROUNDER),
    )
    inside = builder.select(builder.fcmp_ordered("<", x, lowest), lowest, x)
    shifted = multiply_add(builder, inside, constant(_LOG2_E), rounder)
    r = multiply_add(builder, builder.fsub(shifted, rounder), constant(-LOG_TWO), inside)
    r2 = builder.fmul(r, r)
    sums = []
    for start in (0, 1):
        powers = coefficients[start::2]
        total = constant(powers[-1])
        for value in reversed(powers[:-1]):
            total = multiply_add(builder, total, r2, constant(value))
        sums.append(total)
    q = multiply_add(builder, sums[1], r, sums[0])
    e_r = builder.fadd(multiply_add(builder, q, r2, r), constant(1.0))
    # the low bits of the rounder are 0, so that its own go with the shift
    up = builder.shl(builder.bitcast(shifted, bits), splat(bits, fraction))
    one = splat(bits, (_ONE_BITS_32 if single else _ONE_BITS) << fraction)
    return builder.fmul(e_r, builder.bitcast(builder.add(up, one), kind))
