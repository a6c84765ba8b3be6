"""log(1 + t) for plain loops, which vectorise: one division, and no second logarithm to correct the first."""

from __future__ import annotations

import math

from fastvi.kernels.bits import bits_to_float, float_to_bits
from fastvi.kernels.jit import inline
from fastvi.kernels.scalar import LOG_TWO

_SQRT_HALF_BITS = 0x3FE6A09E667F3BCD
_ONE_BITS = 1023 << 52
_ROUNDER = 6755399441055744.0  # 1.5 * 2^52
_ROUNDER_BITS = 0x4338000000000000
_LARGE = 9007199254740992.0  # 2^53: 1 + t is t
# log(1 + f) = f - s (f - q p(q)), s = f / (2 + f), q = s^2: p of fdlibm's e_log.c (Sun 1993), within 2^-58
_P0, _P1, _P2, _P3, _P4, _P5, _P6 = (
    6.666666666666735130e-01,
    3.999999999940941908e-01,
    2.857142874366239149e-01,
    2.222219843214978396e-01,
    1.818357216161805012e-01,
    1.531383769920937332e-01,
    1.479819860511658591e-01,
)


@inline
def log1p_fast(t):
    """Return log(1 + t) for finite t: nan at -1 and below."""
    rounded = 1.0 + t
    bits = float_to_bits(rounded)
    power = (bits - _SQRT_HALF_BITS) >> 52  # so that the mantissa lies in [sqrt(1/2), sqrt(2))
    mantissa = bits_to_float(bits - (power << 52))
    n = bits_to_float(power + _ROUNDER_BITS) - _ROUNDER
    # what 1 + t lost by rounding is brought to the mantissa's scale; where n = 0 this leaves t
    lost = (t - (rounded - 1.0)) * bits_to_float(_ONE_BITS - (power << 52))
    f = (mantissa - 1.0) + (lost if rounded < _LARGE else 0.0)
    s = f / (2.0 + f)
    q = s * s
    q2 = q * q
    p = (_P0 + q * _P1) + q2 * ((_P2 + q * _P3) + q2 * ((_P4 + q * _P5) + q2 * _P6))
    value = n * LOG_TWO + (f - s * (f - q * p))
    return value if rounded > 0.0 else math.nan
