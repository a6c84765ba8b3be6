"""exp(x) of vectors of numbers x <= 0, as LLVM IR: float32 numbers have a series of their own length.

The argument is reduced to |r| <= log(2) / 2. The first term of the series that is left out is below 5e-18
(float64) and 6e-9 (float32), and results are within 2 units in the last place.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from llvmlite import ir

_LOG2_E = 1.4426950408889634


class _Series(NamedTuple):
    """What the exponential of a type is made of."""

    bits: int
    mantissa: int  # its bits
    exponent: int  # of 1
    degree: int
    lowest: float  # below it the result is 0, so that none is denormal
    ln2_high: float  # n times it is exact
    ln2_low: float


_SERIES = {
    ir.DoubleType(): _Series(64, 52, 1023, 13, -708.0, 6.93147180369123816490e-01, 1.90821492927058770e-10),
    ir.FloatType(): _Series(32, 23, 127, 7, -86.0, 0.693359375, -2.12194440054690583e-4),
}


def everywhere(kind: ir.VectorType, value: float) -> ir.Constant:
    """Return a vector with a constant in every lane."""
    return ir.Constant(kind, [value] * kind.count)


def _emit_series(builder: Any, r: Any, degree: int) -> Any:
    """Return 1 + r + r^2 / 2 + ... by Estrin's scheme."""
    terms: list[Any] = [everywhere(r.type, 1.0 / math.factorial(k)) for k in range(degree + 1)]
    power = r
    while len(terms) > 1:
        last = terms[len(terms) // 2 * 2 :]
        pairs = zip(terms[::2], terms[1::2], strict=False)
        terms = [builder.fadd(builder.fmul(high, power), low) for low, high in pairs] + last
        power = builder.fmul(power, power)
    return terms[0]


def emit_exp_of_negative(builder: Any, x: Any) -> Any:
    """Return e^x for a vector x <= 0.

    It must not be emitted into a reducing kernel, whose flags undo the argument's reduction.
    """
    kind = x.type
    series = _SERIES[kind.element]
    integers = ir.VectorType(ir.IntType(series.bits), kind.count)
    lowest = everywhere(kind, series.lowest)
    # 1.5 * 2^mantissa: adding it rounds to an integer, which is then in the low bits
    rounder = everywhere(kind, 1.5 * 2.0**series.mantissa)
    rounder_bits = (series.exponent + series.mantissa << series.mantissa) + (1 << series.mantissa - 1)
    below = builder.fcmp_ordered("<", x, lowest)
    inside = builder.select(below, lowest, x)
    shifted = builder.fadd(builder.fmul(inside, everywhere(kind, _LOG2_E)), rounder)
    n = builder.fsub(shifted, rounder)
    r = builder.fsub(inside, builder.fmul(n, everywhere(kind, series.ln2_high)))
    r = builder.fsub(r, builder.fmul(n, everywhere(kind, series.ln2_low)))
    bits = builder.bitcast(shifted, integers)
    bits = builder.add(bits, everywhere(integers, series.exponent - rounder_bits))
    power = builder.bitcast(builder.shl(bits, everywhere(integers, series.mantissa)), kind)
    return builder.select(
        below, everywhere(kind, 0.0), builder.fmul(_emit_series(builder, r, series.degree), power)
    )
