"""Matrix products of one register tile, written in LLVM IR, and their plain-loop twins.

Numba's own vectoriser picks the reduction axis here (measured: 1.3-2.2 against 13-18 * 10^9 factors a
second), so the inner loop is emitted with vector types: accumulators as phi nodes, one broadcast scalar per
row, one load per vector. LLVM lowers the vectors to whatever the host has. No instruction is flagged but
for ``contract``.

Three loops come out of one generator, over k = 0 .. length - 1:

- ``matmul_block``:   acc[r, c] += left[k, r] * right[k, c], then total[r, c] += acc[r, c] * weight[r, c]
- ``mass_block``:     the same acc; mass[r, c] += acc[r, c] * weight[r, c] * scale[r], and total as above
- ``store_block``:    the same acc; out[r, c] += acc[r, c]

The twins do the same with loops. They are the oracle of the emitted code and the path under
NUMBA_DISABLE_JIT=1.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastvi.kernels.emitter import Emitter, multiply_add
from fastvi.kernels.host import COLUMNS, MATMUL_64, RegisterTile
from fastvi.kernels.jit import JIT_DISABLED


def _zeros(emit: Emitter) -> dict:
    """Return accumulators of zeros."""
    zero = ir.Constant(emit.vector, [ir.Constant(emit.element, 0.0)] * emit.tile.lanes)
    return dict.fromkeys(emit.cells, zero)


def _emit_matmul(tile: RegisterTile, element: Any) -> Any:
    """Return the code generator of ``matmul_block``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Emitter(context, builder, signature, args, tile, element)
        total, left, right, weight = (emit.pointer(i) for i in (0, 2, 4, 6))
        step = multiply_add(builder)
        sums = emit.loop(left, right, args[8], _zeros(emit), step)
        for cell in emit.cells:
            at = emit.cell(*cell)
            emit.store(step(emit.load(total, at), sums[cell], emit.load(weight, at)), total, at)
        return context.get_dummy_value()

    return codegen


def _emit_mass(tile: RegisterTile, element: Any) -> Any:
    """Return the code generator of ``mass_block``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Emitter(context, builder, signature, args, tile, element)
        total, left, right, weight, scale, mass = (emit.pointer(i) for i in (0, 2, 4, 6, 8, 10))
        step = multiply_add(builder)
        sums = emit.loop(left, right, args[12], _zeros(emit), step)
        for r in range(tile.rows):
            factor = emit.broadcast(scale, r)
            for v in range(tile.vectors):
                at = emit.cell(r, v)
                column = emit.load(weight, at)
                emit.store(step(emit.load(total, at), sums[r, v], column), total, at)  # as matmul_block
                # not (sum * column) * scale: LLVM would share that product and not contract the line above
                part = builder.fmul(sums[r, v], factor)
                emit.store(step(emit.load(mass, at), part, column), mass, at)
        return context.get_dummy_value()

    return codegen


def _emit_store(tile: RegisterTile, element: Any) -> Any:
    """Return the code generator of ``store_block``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Emitter(context, builder, signature, args, tile, element)
        out, left, right = (emit.pointer(i) for i in (0, 2, 4))
        start = {cell: emit.load(out, emit.cell(*cell)) for cell in emit.cells}
        for cell, value in emit.loop(left, right, args[6], start, multiply_add(builder)).items():
            emit.store(value, out, emit.cell(*cell))
        return context.get_dummy_value()

    return codegen


def matmul_loops(total, total_at, left, left_at, right, right_at, weight, weight_at, length):
    """Plain-loop twin of ``matmul_block``."""
    rows = MATMUL_64.rows
    for r in range(rows):
        for c in range(COLUMNS):
            acc = 0.0
            for k in range(length):
                acc += left[left_at + k * rows + r] * right[right_at + k * COLUMNS + c]
            total[total_at + r * COLUMNS + c] += acc * weight[weight_at + r * COLUMNS + c]


def mass_loops(
    total, total_at, left, left_at, right, right_at, weight, weight_at, scale, scale_at, mass, mass_at, length
):
    """Plain-loop twin of ``mass_block``."""
    rows = MATMUL_64.rows
    for r in range(rows):
        for c in range(COLUMNS):
            acc = 0.0
            for k in range(length):
                acc += left[left_at + k * rows + r] * right[right_at + k * COLUMNS + c]
            column = weight[weight_at + r * COLUMNS + c]
            total[total_at + r * COLUMNS + c] += acc * column
            mass[mass_at + r * COLUMNS + c] += acc * scale[scale_at + r] * column


def store_loops(out, out_at, left, left_at, right, right_at, length):
    """Plain-loop twin of ``store_block``."""
    rows = MATMUL_64.rows
    for r in range(rows):
        for c in range(COLUMNS):
            acc = out[out_at + r * COLUMNS + c]
            for k in range(length):
                acc += left[left_at + k * rows + r] * right[right_at + k * COLUMNS + c]
            out[out_at + r * COLUMNS + c] = acc


@intrinsic
def _matmul_emitted(
    typing_context, total, total_at, left, left_at, right, right_at, weight, weight_at, length
):
    """Run ``matmul_block`` in registers."""
    n = types.intp
    signature = types.void(total, n, left, n, right, n, weight, n, n)
    return signature, _emit_matmul(MATMUL_64, ir.DoubleType())


@intrinsic
def _mass_emitted(
    typing_context, total, total_at, left, left_at, right, right_at, weight, weight_at, scale, scale_at, mass,
    mass_at, length,
):  # fmt: skip
    """Run ``mass_block`` in registers."""
    n = types.intp
    signature = types.void(total, n, left, n, right, n, weight, n, scale, n, mass, n, n)
    return signature, _emit_mass(MATMUL_64, ir.DoubleType())


@intrinsic
def _store_emitted(typing_context, out, out_at, left, left_at, right, right_at, length):
    """Run ``store_block`` in registers."""
    n = types.intp
    signature = types.void(out, n, left, n, right, n, n)
    return signature, _emit_store(MATMUL_64, ir.DoubleType())


matmul_block = matmul_loops if JIT_DISABLED else _matmul_emitted
mass_block = mass_loops if JIT_DISABLED else _mass_emitted
store_block = store_loops if JIT_DISABLED else _store_emitted
