"""Micro-kernels written in LLVM IR, and their plain-loop twins.

Numba's own vectoriser picks the reduction axis here (measured: 1.3-2.2 against 13-18 * 10^9 factors a
second), so the inner loop is emitted with vector types: accumulators as phi nodes, one broadcast scalar per
row, one load per vector. LLVM lowers the vectors to whatever the host has. No instruction is flagged but
for ``contract``.

Five loops come out of one generator, over k = 0 .. length - 1:

- ``product_block``:  acc[r, c] *= left[k, r] + right[k, c], then the exponent of acc[r, c] moves to
  exponent[r, c]
- ``matmul_block``:   acc[r, c] += left[k, r] * right[k, c], then total[r] += acc[r, :] * weight[r, :] lane
  by lane
- ``mass_block``:     the same acc; mass[r, c] += acc[r, c] * weight[r, c] * scale[r], and total as above
- ``store_block``:    the same acc; out[r, c] += acc[r, c]
- ``distance_block``: out[r, c] -= (right[k, c] - left[k, r])^2

The twins do the same with loops. They are the oracle of the emitted code and the path under
NUMBA_DISABLE_JIT=1.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastvi.kernels.host import COLUMNS, MATMUL_64, PRODUCT_32, PRODUCT_64, RegisterTile
from fastvi.kernels.jit import JIT_DISABLED

_I32, _I64 = ir.IntType(32), ir.IntType(64)


class _Emitter:
    """Vector loads, stores and broadcasts for one register tile."""

    def __init__(
        self, context: Any, builder: Any, signature: Any, args: Any, tile: RegisterTile, element: Any
    ):
        self.context, self.builder, self.signature, self.args = context, builder, signature, args
        self.tile, self.element = tile, element
        self.vector = ir.VectorType(element, tile.lanes)
        self.cells = [(r, v) for r in range(tile.rows) for v in range(tile.vectors)]
        self.bytes = 4 if isinstance(element, ir.FloatType) else 8

    def pointer(self, array: int) -> Any:
        """Address of element args[array + 1] of the array args[array]."""
        make = self.context.make_array(self.signature.args[array])
        value = make(self.context, self.builder, self.args[array])
        return self.builder.gep(value.data, [self.args[array + 1]])

    def offset(self, pointer: Any, count: int) -> Any:
        """Return the address ``count`` elements further on."""
        return self.builder.gep(pointer, [ir.Constant(_I64, count)])

    def load(self, pointer: Any, count: int) -> Any:
        """Load a vector."""
        where = self.builder.bitcast(self.offset(pointer, count), self.vector.as_pointer())
        value = self.builder.load(where)
        value.align = self.bytes  # panels are only as aligned as their elements
        return value

    def store(self, value: Any, pointer: Any, count: int) -> None:
        """Store a vector."""
        where = self.builder.bitcast(self.offset(pointer, count), self.vector.as_pointer())
        self.builder.store(value, where).align = self.bytes

    def broadcast(self, pointer: Any, count: int) -> Any:
        """Load a number into all lanes of a vector."""
        scalar = self.builder.load(self.offset(pointer, count))
        blank = ir.Constant(self.vector, ir.Undefined)
        one = self.builder.insert_element(blank, scalar, ir.Constant(_I32, 0))
        mask = ir.Constant(ir.VectorType(_I32, self.tile.lanes), [0] * self.tile.lanes)
        return self.builder.shuffle_vector(one, blank, mask)

    def cell(self, r: int, v: int) -> int:
        """Return the place of a vector in a tile."""
        return r * self.tile.vectors * self.tile.lanes + v * self.tile.lanes

    def loop(self, left: Any, right: Any, length: Any, start: dict, step: Any, index: Any = None) -> dict:
        """Run ``step(accumulator, row scalar, column vector)`` over the reduction axis, in registers.

        With ``index`` it runs over the rows of ``right`` that it names.
        """
        builder, tile = self.builder, self.tile
        before = builder.block
        head, body, after = (builder.append_basic_block(name) for name in ("head", "body", "after"))
        builder.branch(head)
        builder.position_at_end(head)
        k = builder.phi(_I64)
        k.add_incoming(ir.Constant(_I64, 0), before)
        held = {}
        for cell in self.cells:
            held[cell] = builder.phi(self.vector)
            held[cell].add_incoming(start[cell], before)
        builder.cbranch(builder.icmp_signed("<", k, length), body, after)
        builder.position_at_end(body)
        at_left = builder.gep(left, [builder.mul(k, ir.Constant(_I64, tile.rows))])
        picked = k if index is None else builder.sext(builder.load(builder.gep(index, [k])), _I64)
        at_right = builder.gep(right, [builder.mul(picked, ir.Constant(_I64, tile.vectors * tile.lanes))])
        columns = [self.load(at_right, v * tile.lanes) for v in range(tile.vectors)]
        for r in range(tile.rows):
            row = self.broadcast(at_left, r)
            for v in range(tile.vectors):
                held[r, v].add_incoming(step(held[r, v], row, columns[v]), builder.block)
        k.add_incoming(builder.add(k, ir.Constant(_I64, 1)), builder.block)
        builder.branch(head)
        builder.position_at_end(after)
        return held


def _emit_product(tile: RegisterTile, element: Any) -> Any:
    """Return the code generator of ``product_block``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = _Emitter(context, builder, signature, args, tile, element)
        acc, left, right = emit.pointer(0), emit.pointer(2), emit.pointer(4)
        start = {cell: emit.load(acc, emit.cell(*cell)) for cell in emit.cells}

        def step(held: Any, row: Any, column: Any) -> Any:
            return builder.fmul(held, builder.fadd(column, row))

        exponent = context.make_array(signature.args[7])(context, builder, args[7]).data
        exponent = builder.gep(exponent, [args[1]])
        width, fraction = (64, 52) if emit.bytes == 8 else (32, 23)
        lanes = ir.VectorType(ir.IntType(width), tile.lanes)

        def constant(value: int) -> Any:
            return ir.Constant(lanes, [ir.Constant(lanes.element, value)] * tile.lanes)

        for cell, value in emit.loop(left, right, args[6], start, step).items():
            bits = builder.bitcast(value, lanes)
            where = builder.bitcast(emit.offset(exponent, emit.cell(*cell)), lanes.as_pointer())
            old = builder.load(where)
            old.align = emit.bytes
            # the numbers are positive, so a logical shift will do; AVX2 has no arithmetic one for 64 bits
            power = builder.sub(
                builder.lshr(bits, constant(fraction)), constant((1 << (width - fraction - 2)) - 1)
            )
            builder.store(builder.add(old, power), where).align = emit.bytes
            one = ((1 << (width - fraction - 2)) - 1) << fraction
            kept = builder.or_(builder.and_(bits, constant((1 << fraction) - 1)), constant(one))
            emit.store(builder.bitcast(kept, emit.vector), acc, emit.cell(*cell))
        return context.get_dummy_value()

    return codegen


def _multiply_add(builder: Any) -> Any:
    """Return a step that adds row * column."""

    def step(held: Any, row: Any, column: Any) -> Any:
        return builder.fadd(held, builder.fmul(row, column, flags=("contract",)), flags=("contract",))

    return step


def _zeros(emit: _Emitter) -> dict:
    """Return accumulators of zeros."""
    zero = ir.Constant(emit.vector, [ir.Constant(emit.element, 0.0)] * emit.tile.lanes)
    return dict.fromkeys(emit.cells, zero)


def _emit_matmul(tile: RegisterTile, element: Any) -> Any:
    """Return the code generator of ``matmul_block``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = _Emitter(context, builder, signature, args, tile, element)
        total, left, right, weight = (emit.pointer(i) for i in (0, 2, 4, 6))
        step = _multiply_add(builder)
        sums = emit.loop(left, right, args[8], _zeros(emit), step)
        for r in range(tile.rows):
            lanes = emit.load(total, r * tile.lanes)
            for v in range(tile.vectors):
                lanes = step(lanes, sums[r, v], emit.load(weight, emit.cell(r, v)))
            emit.store(lanes, total, r * tile.lanes)
        return context.get_dummy_value()

    return codegen


def _emit_mass(tile: RegisterTile, element: Any) -> Any:
    """Return the code generator of ``mass_block``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = _Emitter(context, builder, signature, args, tile, element)
        total, left, right, weight, scale, mass = (emit.pointer(i) for i in (0, 2, 4, 6, 8, 10))
        step = _multiply_add(builder)
        sums = emit.loop(left, right, args[12], _zeros(emit), step)
        for r in range(tile.rows):
            lanes, factor = emit.load(total, r * tile.lanes), emit.broadcast(scale, r)
            for v in range(tile.vectors):
                column = emit.load(weight, emit.cell(r, v))
                lanes = step(lanes, sums[r, v], column)  # the same bits as matmul_block's
                # not (sum * column) * scale: LLVM would share that product and not contract the line above
                part = builder.fmul(sums[r, v], factor)
                emit.store(step(emit.load(mass, emit.cell(r, v)), part, column), mass, emit.cell(r, v))
            emit.store(lanes, total, r * tile.lanes)
        return context.get_dummy_value()

    return codegen


def _subtract_square(builder: Any) -> Any:
    """Return a step that subtracts (column - row)^2."""

    def step(held: Any, row: Any, column: Any) -> Any:
        apart = builder.fsub(column, row)
        return builder.fsub(held, builder.fmul(apart, apart, flags=("contract",)), flags=("contract",))

    return step


def _emit_store(tile: RegisterTile, element: Any, kind: Any) -> Any:
    """Return the code generator of ``store_block`` or ``distance_block``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = _Emitter(context, builder, signature, args, tile, element)
        out, left, right = (emit.pointer(i) for i in (0, 2, 4))
        start = {cell: emit.load(out, emit.cell(*cell)) for cell in emit.cells}
        for cell, value in emit.loop(left, right, args[6], start, kind(builder)).items():
            emit.store(value, out, emit.cell(*cell))
        return context.get_dummy_value()

    return codegen


def product_tile(element_bytes: int) -> RegisterTile:
    """Return the register tile of ``product_block`` for accumulators of 8 or 4 bytes."""
    return PRODUCT_64 if element_bytes == 8 else PRODUCT_32


def product_loops(acc, acc_at, left, left_at, right, right_at, length, exponent):
    """Plain-loop twin of ``product_block``."""
    rows = product_tile(acc.itemsize).rows
    for k in range(length):
        for r in range(rows):
            for c in range(COLUMNS):
                factor = left[left_at + k * rows + r] + right[right_at + k * COLUMNS + c]
                acc[acc_at + r * COLUMNS + c] *= factor
    for i in range(acc_at, acc_at + rows * COLUMNS):
        mantissa, power = math.frexp(acc[i])  # mantissa in [1/2, 1)
        acc[i] = 2.0 * mantissa
        exponent[i] += power - 1


def matmul_loops(total, total_at, left, left_at, right, right_at, weight, weight_at, length):
    """Plain-loop twin of ``matmul_block``."""
    rows, lanes = MATMUL_64.rows, MATMUL_64.lanes
    for r in range(rows):
        for c in range(COLUMNS):
            acc = 0.0
            for k in range(length):
                acc += left[left_at + k * rows + r] * right[right_at + k * COLUMNS + c]
            total[total_at + r * lanes + c % lanes] += acc * weight[weight_at + r * COLUMNS + c]


def mass_loops(
    total, total_at, left, left_at, right, right_at, weight, weight_at, scale, scale_at, mass, mass_at, length
):
    """Plain-loop twin of ``mass_block``."""
    rows, lanes = MATMUL_64.rows, MATMUL_64.lanes
    for r in range(rows):
        for c in range(COLUMNS):
            acc = 0.0
            for k in range(length):
                acc += left[left_at + k * rows + r] * right[right_at + k * COLUMNS + c]
            column = weight[weight_at + r * COLUMNS + c]
            total[total_at + r * lanes + c % lanes] += acc * column
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


def distance_loops(out, out_at, left, left_at, right, right_at, length):
    """Plain-loop twin of ``distance_block``."""
    rows = MATMUL_64.rows
    for r in range(rows):
        for c in range(COLUMNS):
            acc = out[out_at + r * COLUMNS + c]
            for k in range(length):
                apart = right[right_at + k * COLUMNS + c] - left[left_at + k * rows + r]
                acc -= apart * apart
            out[out_at + r * COLUMNS + c] = acc


@intrinsic
def _product_emitted(typing_context, acc, acc_at, left, left_at, right, right_at, length, exponent):
    """Run ``product_block`` in registers."""
    element = ir.DoubleType() if acc.dtype == types.float64 else ir.FloatType()
    tile = product_tile(acc.dtype.bitwidth // 8)
    n = types.intp
    return types.void(acc, n, left, n, right, n, n, exponent), _emit_product(tile, element)


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
    return signature, _emit_store(MATMUL_64, ir.DoubleType(), _multiply_add)


@intrinsic
def _distance_emitted(typing_context, out, out_at, left, left_at, right, right_at, length):
    """Run ``distance_block`` in registers."""
    n = types.intp
    signature = types.void(out, n, left, n, right, n, n)
    return signature, _emit_store(MATMUL_64, ir.DoubleType(), _subtract_square)


product_block = product_loops if JIT_DISABLED else _product_emitted
matmul_block = matmul_loops if JIT_DISABLED else _matmul_emitted
mass_block = mass_loops if JIT_DISABLED else _mass_emitted
store_block = store_loops if JIT_DISABLED else _store_emitted
distance_block = distance_loops if JIT_DISABLED else _distance_emitted
