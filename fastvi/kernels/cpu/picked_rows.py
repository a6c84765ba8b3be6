"""Sum of the rows of a tile that a list names, in LLVM IR with vector types, and its plain-loop twin.

A product of a matrix with a vector of bits is the sum of its rows where the bit is 1. The WIDTH sums of a
tile stay in registers while the rows go by: one load and one addition for each vector of numbers. Rows are
added in the order of the list and nothing may be reassociated, so the bits are the same wherever it runs.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np import arrayobj

from fastvi.kernels.jit import JIT_DISABLED

WIDTH = 32  # columns of a tile
_LANES = 4

_I64 = ir.IntType(64)
_VECTOR = ir.VectorType(ir.DoubleType(), _LANES)


def sum_picked_rows_loops(out, at, table, tile_at, rows, row_at, num_rows):
    """out[at + c] = sum over g < num_rows of table[tile_at + rows[row_at + g] * WIDTH + c], for all c <
    WIDTH.
    """
    for c in range(WIDTH):
        total = 0.0
        for g in range(num_rows):
            total += table[tile_at + rows[row_at + g] * WIDTH + c]
        out[at + c] = total


def _emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    out, at, table, tile_at, rows, row_at, num_rows = args

    def data(number: int, value: Any) -> Any:
        return arrayobj.make_array(signature.args[number])(context, builder, value).data

    def vectors_at(pointer: Any) -> list[Any]:
        places = [builder.gep(pointer, [ir.Constant(_I64, c)]) for c in range(0, WIDTH, _LANES)]
        return [builder.bitcast(place, _VECTOR.as_pointer()) for place in places]

    tile, first_row, zero = builder.gep(data(2, table), [tile_at]), data(4, rows), ir.Constant(_I64, 0)
    first_row = builder.gep(first_row, [row_at])
    before = builder.block
    head, body, after = (builder.append_basic_block(name) for name in ("head", "body", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    g = builder.phi(_I64)
    g.add_incoming(zero, before)
    totals = [builder.phi(_VECTOR) for _ in range(WIDTH // _LANES)]
    for total in totals:
        total.add_incoming(ir.Constant(_VECTOR, [0.0] * _LANES), before)
    builder.cbranch(builder.icmp_signed("<", g, num_rows), body, after)
    builder.position_at_end(body)
    picked = builder.sext(builder.load(builder.gep(first_row, [g])), _I64)
    places = vectors_at(builder.gep(tile, [builder.mul(picked, ir.Constant(_I64, WIDTH))]))
    for total, place in zip(totals, places, strict=True):
        load = builder.load(place)
        load.align = 8
        total.add_incoming(builder.fadd(total, load), body)
    g.add_incoming(builder.add(g, ir.Constant(_I64, 1)), body)
    builder.branch(head)
    builder.position_at_end(after)
    for total, place in zip(totals, vectors_at(builder.gep(data(0, out), [at])), strict=True):
        builder.store(total, place).align = 8
    return context.get_dummy_value()


@intrinsic
def _sum_picked_rows_emitted(typing_context, out, at, table, tile_at, rows, row_at, num_rows):
    n = types.intp
    return types.void(out, n, table, n, rows, n, n), _emit


sum_picked_rows = sum_picked_rows_loops if JIT_DISABLED else _sum_picked_rows_emitted
