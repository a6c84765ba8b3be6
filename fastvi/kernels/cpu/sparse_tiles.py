"""``store_block`` for a left panel that holds only some of the reduction axis, and its plain-loop twin.

    acc[r, c] += left[k, r] * right[index[k], c]

A row of ``right`` is COLUMNS numbers, one or two cache lines, so that picking rows costs an addition: where a
network's units are off in a whole panel of states, their products are passed over.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np import arrayobj

from fastvi.kernels.cpu.host import COLUMNS, MATMUL_64
from fastvi.kernels.cpu.register_tiles import _Emitter, _multiply_add
from fastvi.kernels.jit import JIT_DISABLED

_I64 = ir.IntType(64)


def gather_loops(out, out_at, left, left_at, index, index_at, right, right_at, length):
    """Plain-loop twin of ``gather_block``."""
    rows = MATMUL_64.rows
    for r in range(rows):
        for c in range(COLUMNS):
            acc = out[out_at + r * COLUMNS + c]
            for k in range(length):
                acc += left[left_at + k * rows + r] * right[right_at + index[index_at + k] * COLUMNS + c]
            out[out_at + r * COLUMNS + c] = acc


def _emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    tile = MATMUL_64
    emit = _Emitter(context, builder, signature, args, tile, ir.DoubleType())
    out, left, right = (emit.pointer(i) for i in (0, 2, 6))
    index = arrayobj.make_array(signature.args[4])(context, builder, args[4]).data
    index = builder.gep(index, [args[5]])
    step = _multiply_add(builder)
    before = builder.block
    start = {cell: emit.load(out, emit.cell(*cell)) for cell in emit.cells}
    head, body, after = (builder.append_basic_block(name) for name in ("head", "body", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    k = builder.phi(_I64)
    k.add_incoming(ir.Constant(_I64, 0), before)
    held = {}
    for cell in emit.cells:
        held[cell] = builder.phi(emit.vector)
        held[cell].add_incoming(start[cell], before)
    builder.cbranch(builder.icmp_signed("<", k, args[8]), body, after)
    builder.position_at_end(body)
    at_left = builder.gep(left, [builder.mul(k, ir.Constant(_I64, tile.rows))])
    picked = builder.sext(builder.load(builder.gep(index, [k])), _I64)
    at_right = builder.gep(right, [builder.mul(picked, ir.Constant(_I64, COLUMNS))])
    columns = [emit.load(at_right, v * tile.lanes) for v in range(tile.vectors)]
    for r in range(tile.rows):
        row = emit.broadcast(at_left, r)
        for v in range(tile.vectors):
            held[r, v].add_incoming(step(held[r, v], row, columns[v]), builder.block)
    k.add_incoming(builder.add(k, ir.Constant(_I64, 1)), builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    for cell, value in held.items():
        emit.store(value, out, emit.cell(*cell))
    return context.get_dummy_value()


@intrinsic
def _gather_emitted(typing_context, out, out_at, left, left_at, index, index_at, right, right_at, length):
    n = types.intp
    return types.void(out, n, left, n, index, n, right, n, n), _emit


gather_block = gather_loops if JIT_DISABLED else _gather_emitted
