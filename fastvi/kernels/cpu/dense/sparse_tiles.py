"""Products with a left panel that holds only some of the reduction axis.

The kernel is ``store_block`` with picked rows. It has a plain-loop twin.

    acc[r, c] += left[k, r] * right[index[k], c]

A row of ``right`` is COLUMNS numbers, one or two cache lines, so that picking rows costs an addition: where a
network's units are off in a whole panel of states, their products are passed over.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastvi.kernels.cpu.simd.register_tiles import _Emitter, _multiply_add
from fastvi.kernels.host import COLUMNS, MATMUL_64
from fastvi.kernels.jit import JIT_DISABLED

_I64 = ir.IntType(64)


def gather_loops(out, out_at, left, left_at, index, index_at, right, right_at, length):
    """Add left[k, r] * right[index[k], c] to out[r, c], in plain loops."""
    rows = MATMUL_64.rows
    for r in range(rows):
        for c in range(COLUMNS):
            acc = out[out_at + r * COLUMNS + c]
            for k in range(length):
                acc += left[left_at + k * rows + r] * right[right_at + index[index_at + k] * COLUMNS + c]
            out[out_at + r * COLUMNS + c] = acc


def _emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit the product of a compressed panel."""
    tile = MATMUL_64
    emit = _Emitter(context, builder, signature, args, tile, ir.DoubleType())
    out, left, right = (emit.pointer(i) for i in (0, 2, 6))
    index = context.make_array(signature.args[4])(context, builder, args[4]).data
    index = builder.gep(index, [args[5]])
    start = {cell: emit.load(out, emit.cell(*cell)) for cell in emit.cells}
    held = emit.loop(left, right, args[8], start, _multiply_add(builder), index)
    for cell, value in held.items():
        emit.store(value, out, emit.cell(*cell))
    return context.get_dummy_value()


@intrinsic
def _gather_emitted(typing_context, out, out_at, left, left_at, index, index_at, right, right_at, length):
    """Add left[k, r] * right[index[k], c] to out[r, c]."""
    n = types.intp
    return types.void(out, n, left, n, index, n, right, n, n), _emit


gather_block = gather_loops if JIT_DISABLED else _gather_emitted
