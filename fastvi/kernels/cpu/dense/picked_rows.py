"""Sums of the rows of a tile that a list names, in LLVM IR with vector types.

The kernel has a plain-loop twin.

A product of a matrix with a vector of bits is the sum of its rows where the bit is 1. The WIDTH sums of a
tile stay in registers while the rows go by: one load and one addition for each vector of numbers. Rows are
added in the order of the list and nothing may be reassociated, so the bits are the same wherever it runs.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastvi.kernels.jit import JIT_DISABLED

WIDTH = 32  # columns of a tile
_LANES = 4

_I64 = ir.IntType(64)
_VECTOR = ir.VectorType(ir.DoubleType(), _LANES)


def add_picked_rows_loops(out, at, table, tile_at, rows, row_at, num_rows):
    """Add the rows of a tile that a list names to ``out``, number by number.

    out[at + c] += table[tile_at + rows[row_at + g] * WIDTH + c] for g < num_rows and c < WIDTH.
    """
    for c in range(WIDTH):
        total = out[at + c]
        for g in range(num_rows):
            total += table[tile_at + rows[row_at + g] * WIDTH + c]
        out[at + c] = total


def _data(context: Any, builder: Any, signature: Any, number: int, value: Any) -> Any:
    """Return the address of an array's first element."""
    return context.make_array(signature.args[number])(context, builder, value).data


def _vectors_at(builder: Any, pointer: Any, width: int = WIDTH) -> list[Any]:
    """Return the addresses of the vectors of a line of ``width`` numbers."""
    places = [builder.gep(pointer, [ir.Constant(_I64, c)]) for c in range(0, width, _LANES)]
    return [builder.bitcast(place, _VECTOR.as_pointer()) for place in places]


def _numbers_at(builder: Any, pointer: Any, width: int = WIDTH) -> list[Any]:
    """Load the vectors of a line of ``width`` numbers."""
    loads = [builder.load(place) for place in _vectors_at(builder, pointer, width)]
    for load in loads:
        load.align = 8
    return loads


def _loop(builder: Any, num_rows: Any) -> tuple[Any, Any, Any]:
    """Open a loop over g = 0 ... num_rows - 1, entered from here; return g, its body and the block after."""
    before = builder.block
    head, body, after = (builder.append_basic_block(name) for name in ("head", "body", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    g = builder.phi(_I64)
    g.add_incoming(ir.Constant(_I64, 0), before)
    return g, body, after


def _emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit the sum of picked rows."""
    out, at, table, tile_at, rows, row_at, num_rows = args
    tile = builder.gep(_data(context, builder, signature, 2, table), [tile_at])
    first_row = builder.gep(_data(context, builder, signature, 4, rows), [row_at])
    held = builder.gep(_data(context, builder, signature, 0, out), [at])
    starts, before = _numbers_at(builder, held), builder.block
    g, body, after = _loop(builder, num_rows)
    totals = [builder.phi(_VECTOR) for _ in starts]
    for total, start in zip(totals, starts, strict=True):
        total.add_incoming(start, before)
    builder.cbranch(builder.icmp_signed("<", g, num_rows), body, after)
    builder.position_at_end(body)
    picked = builder.sext(builder.load(builder.gep(first_row, [g])), _I64)
    row = _numbers_at(builder, builder.gep(tile, [builder.mul(picked, ir.Constant(_I64, WIDTH))]))
    for total, number in zip(totals, row, strict=True):
        total.add_incoming(builder.fadd(total, number), body)
    g.add_incoming(builder.add(g, ir.Constant(_I64, 1)), body)
    builder.branch(g.parent)
    builder.position_at_end(after)
    for total, place in zip(totals, _vectors_at(builder, held), strict=True):
        builder.store(total, place).align = 8
    return context.get_dummy_value()


@intrinsic
def _add_picked_rows_emitted(typing_context, out, at, table, tile_at, rows, row_at, num_rows):
    """Add the rows of a tile that a list names to ``out``."""
    n = types.intp
    return types.void(out, n, table, n, rows, n, n), _emit


add_picked_rows = add_picked_rows_loops if JIT_DISABLED else _add_picked_rows_emitted
