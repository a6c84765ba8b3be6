"""A hint to the processor that a number will be read soon: it changes no result."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastvi.kernels.jit import JIT_DISABLED

_I32 = ir.IntType(32)
_READ, _SECOND_LEVEL, _DATA = 0, 2, 1  # what LLVM calls them


def _prefetch(array, at):
    """Do nothing."""


def _emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit the hint."""
    data = context.make_array(signature.args[0])(context, builder, args[0]).data
    pointer = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [pointer, _I32, _I32, _I32])
    hint = builder.module.declare_intrinsic("llvm.prefetch", (pointer,), kind)
    where = builder.bitcast(builder.gep(data, [args[1]]), pointer)
    builder.call(hint, [where, *(ir.Constant(_I32, value) for value in (_READ, _SECOND_LEVEL, _DATA))])
    return context.get_dummy_value()


@intrinsic
def _prefetch_emitted(typing_context, array, at):
    """Fetch the cache line of array[at] into the second-level cache."""
    return types.void(array, types.intp), _emit


prefetch = _prefetch if JIT_DISABLED else _prefetch_emitted
