"""The same 64 bits as a float or as an integer: one instruction, no memory. Each intrinsic has a plain
Python twin.
"""

from __future__ import annotations

import struct
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastvi.kernels.jit import JIT_DISABLED, inline


def _float_to_bits(value: float) -> int:
    return int(struct.unpack("<q", struct.pack("<d", value))[0])


def _bits_to_float(value: int) -> float:
    # modulo 2^64, as integers of the machine are
    return float(struct.unpack("<d", struct.pack("<Q", int(value) % 2**64))[0])


@intrinsic
def _float_to_bits_emitted(typing_context, value):
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(64))

    return types.int64(types.float64), codegen


@intrinsic
def _bits_to_float_emitted(typing_context, value):
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), codegen


float_to_bits = _float_to_bits if JIT_DISABLED else _float_to_bits_emitted
bits_to_float = _bits_to_float if JIT_DISABLED else _bits_to_float_emitted


@inline
def power_of_two(power):
    """2**power for -1022 <= power <= 1023."""
    return bits_to_float((power + 1023) << 52)
