"""Denormal results flushed to zero for the time of one kernel, on hosts where they are slow.

Intel's cores hand a product below 2^-1022 to microcode, 100 times slower than any other; its guard makes
such a product worthless anyway. On x86 two bits of a register of the calling thread turn them into zeros;
other hosts compute them at full speed and are left alone.
"""

from __future__ import annotations

import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastvi.kernels.jit import JIT_DISABLED

_X86 = platform.machine().lower() in ("x86_64", "amd64")
_FLUSH_TO_ZERO = 1 << 15  # of MXCSR (Intel 64 manual, volume 1, 10.2.3)
_I32 = ir.IntType(32)


def _call(builder: Any, name: str, cell: Any) -> None:
    """Call an LLVM intrinsic with the address of a cell."""
    pointer = builder.bitcast(cell, ir.IntType(8).as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [pointer.type])
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    builder.call(function, [pointer])


@intrinsic
def _begin_emitted(typing_context):
    """Switch flushing on; return the register as it was."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if not _X86:
            return ir.Constant(_I32, 0)
        cell = builder.alloca(_I32)
        _call(builder, "llvm.x86.sse.stmxcsr", cell)
        before = builder.load(cell)
        builder.store(builder.or_(before, ir.Constant(_I32, _FLUSH_TO_ZERO)), cell)
        _call(builder, "llvm.x86.sse.ldmxcsr", cell)
        return before

    return types.int32(), codegen


@intrinsic
def _end_emitted(typing_context, before):
    """Restore the register."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if _X86:
            cell = builder.alloca(_I32)
            builder.store(args[0], cell)
            _call(builder, "llvm.x86.sse.ldmxcsr", cell)
        return context.get_dummy_value()

    return types.void(types.int32), codegen


def _begin() -> int:
    """Do nothing: interpreted loops have no register to set."""
    return 0


def _end(before: int) -> None:
    """Do nothing, as ``_begin``."""


begin_flushing = _begin if JIT_DISABLED else _begin_emitted  # returns what end_flushing wants back
end_flushing = _end if JIT_DISABLED else _end_emitted
