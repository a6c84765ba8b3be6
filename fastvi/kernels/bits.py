"""Bits of a float read as an integer and back: one instruction, no memory.

Each intrinsic has a plain Python twin.
"""

from __future__ import annotations

import struct
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastvi.kernels.jit import JIT_DISABLED, inline

_MANTISSA, _ONE = (1 << 52) - 1, 1023 << 52
_MANTISSA_32, _ONE_32 = (1 << 23) - 1, 127 << 23


def _float_to_bits(value: float) -> int:
    """Return the bits of a double as an integer."""
    return int(struct.unpack("<q", struct.pack("<d", value))[0])


def _bits_to_float(value: int) -> float:
    """Return the double that has these bits."""
    # modulo 2^64, as integers of the machine are
    return float(struct.unpack("<d", struct.pack("<Q", int(value) % 2**64))[0])


@intrinsic
def _float_to_bits_emitted(typing_context, value):
    """Return the bits of a double as an integer."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(64))

    return types.int64(types.float64), codegen


@intrinsic
def _bits_to_float_emitted(typing_context, value):
    """Return the double that has these bits."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), codegen


def _float_to_bits_32(value: float) -> int:
    """Return the bits of a float32 as an integer."""
    return int(struct.unpack("<i", struct.pack("<f", value))[0])


def _bits_to_float_32(value: int) -> float:
    """Return the float32 that has these bits."""
    return float(struct.unpack("<f", struct.pack("<I", int(value) % 2**32))[0])


@intrinsic
def _float_to_bits_32_emitted(typing_context, value):
    """Return the bits of a float32 as an integer."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(32))

    return types.int32(types.float32), codegen


@intrinsic
def _bits_to_float_32_emitted(typing_context, value):
    """Return the float32 that has these bits."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), codegen


float_to_bits = _float_to_bits if JIT_DISABLED else _float_to_bits_emitted
bits_to_float = _bits_to_float if JIT_DISABLED else _bits_to_float_emitted
float_to_bits_32 = _float_to_bits_32 if JIT_DISABLED else _float_to_bits_32_emitted
bits_to_float_32 = _bits_to_float_32 if JIT_DISABLED else _bits_to_float_32_emitted


@inline
def power_of_two(power):
    """Return 2**power for -1022 <= power <= 1023."""
    return bits_to_float((power + 1023) << 52)


@inline
def power_of_two_32(power):
    """Return 2**power in float32 for -126 <= power <= 127."""
    return bits_to_float_32((power + 127) << 23)


@inline
def split_exponent(x):
    """Return (m, e) with x = m * 2^e and m in [1, 2), for a normal positive number."""
    bits = float_to_bits(x)
    return bits_to_float((bits & _MANTISSA) | _ONE), (bits >> 52) - 1023


@inline
def split_exponent_32(x):
    """Return (m, e) with x = m * 2^e and m in [1, 2), for a normal positive float32."""
    bits = float_to_bits_32(x)
    return bits_to_float_32((bits & _MANTISSA_32) | _ONE_32), (bits >> 23) - 127


@inline
def bit_sum(coefficients, state):
    """Return the sum of the coefficients whose bit is set in ``state``."""
    total = 0.0
    for i in range(coefficients.size):
        if (state >> i) & 1:
            total += coefficients[i]
    return total
