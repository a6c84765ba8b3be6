"""Running products of one register tile, written in LLVM IR, and their plain-loop twins.

Two kinds of block, over k = 0 .. length - 1, both from acc[r, c] = start[r, c]:

- ``product_block``: acc[r, c] *= left[k, r] + right[k, c]; then acc is split in mantissa, in [1, 2), and
  exponent.
- ``inverse_weight_block``, the last of a tile: the same, then the inverse of the product as a weight,

      out[r, c] = row_scale[r] column_scale[c] / mantissa * 2^shift,
      shift = row_power[r] + column_power[c] - exponent - power,

  while it is in registers. Weights below 2^FLUSH_EXPONENT are 0. Those above 2^HIGHEST_POWER are that or
  more, which says that ``power`` was too low: ``peak`` holds the largest of each column, and ``total`` is
  added up.
  ``weight_block`` takes the product itself in place of its inverse.

The twins do the same with loops: they are the oracle of the emitted code and the path under
NUMBA_DISABLE_JIT=1.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastvi.kernels.emitter import I64, Emitter, product_step
from fastvi.kernels.host import COLUMNS, PRODUCT_32, PRODUCT_64, RegisterTile
from fastvi.kernels.jit import JIT_DISABLED

FLUSH_EXPONENT = -1020  # weights below 2^-1020 of the power they are relative to become 0
HIGHEST_POWER = 600


class _Float(NamedTuple):
    """Bits of a float."""

    width: int
    fraction: int

    @property
    def bias(self) -> int:
        return (1 << (self.width - self.fraction - 2)) - 1


_LAYOUT = {8: _Float(64, 52), 4: _Float(32, 23)}


def product_tile(element_bytes: int) -> RegisterTile:
    """Return the register tile of the blocks for accumulators of 8 or 4 bytes."""
    return PRODUCT_64 if element_bytes == 8 else PRODUCT_32


def _split_products(emit: Emitter, start: Any, exponent: Any, left: Any, right: Any, length: Any) -> Any:
    """Yield each cell's place, mantissa and exponent after the loop."""
    builder, layout = emit.builder, _LAYOUT[emit.bytes]
    integer = ir.IntType(layout.width)

    before = {cell: emit.load(start, emit.cell(*cell)) for cell in emit.cells}
    for cell, value in emit.loop(left, right, length, before, product_step(builder)).items():
        bits = builder.bitcast(value, ir.VectorType(integer, emit.tile.lanes))
        # the numbers are positive, so a logical shift will do; AVX2 has no arithmetic one for 64 bits
        shifted = builder.lshr(bits, emit.constant(integer, layout.fraction))
        power = builder.sub(shifted, emit.constant(integer, layout.bias))
        power = builder.add(emit.load(exponent, emit.cell(*cell)), power)
        kept = builder.and_(bits, emit.constant(integer, (1 << layout.fraction) - 1))
        kept = builder.or_(kept, emit.constant(integer, layout.bias << layout.fraction))
        yield cell, builder.bitcast(kept, emit.vector), power


def _emit_product(tile: RegisterTile, element: Any) -> Any:
    """Return the code generator of ``product_block``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Emitter(context, builder, signature, args, tile, element)
        start, exponent, left, right = emit.array(0, 2), emit.array(1, 2), emit.pointer(3), emit.pointer(5)
        acc, exponents = emit.array(8, 10), emit.array(9, 10)
        for cell, value, power in _split_products(emit, start, exponent, left, right, args[7]):
            emit.store(value, acc, emit.cell(*cell))
            emit.store(power, exponents, emit.cell(*cell))
        return context.get_dummy_value()

    return codegen


def _emit_weight(tile: RegisterTile, element: Any, inverse: bool) -> Any:
    """Return the code generator of ``inverse_weight_block``, or of ``weight_block``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Emitter(context, builder, signature, args, tile, element)
        start, exponent, left, right = emit.array(0, 2), emit.array(1, 2), emit.pointer(3), emit.pointer(5)
        row_scale, row_power = emit.array(8, 10), emit.array(9, 10)
        column_scale, column_power = emit.array(11, 13), emit.array(12, 13)
        out = emit.pointer(15)
        peak, total = emit.data(17), emit.data(18)
        double = ir.VectorType(ir.DoubleType(), tile.lanes)
        integer = ir.VectorType(I64, tile.lanes)
        reference = emit.splat(args[14])
        columns = {}
        for v in range(tile.vectors):
            scale, power = emit.load(column_scale, v * tile.lanes), emit.load(column_power, v * tile.lanes)
            columns[v] = scale, builder.sub(power, reference)
        largest = {v: emit.load(peak, v * tile.lanes) for v in range(tile.vectors)}
        added = {v: emit.load(total, v * tile.lanes) for v in range(tile.vectors)}
        for cell, value, power in _split_products(emit, start, exponent, left, right, args[7]):
            r, v = cell
            if emit.bytes == 4:
                value, power = builder.fpext(value, double), builder.sext(power, integer)
            scale, base = columns[v]
            scale = builder.fmul(emit.broadcast(row_scale, r), scale)
            base = builder.add(emit.broadcast(row_power, r), base)
            scale = builder.fdiv(scale, value) if inverse else builder.fmul(scale, value)
            shift = builder.sub(base, power) if inverse else builder.add(base, power)
            seen = builder.icmp_signed(">=", shift, emit.constant(I64, FLUSH_EXPONENT))
            highest = emit.constant(I64, HIGHEST_POWER)
            shift = builder.select(builder.icmp_signed("<", shift, highest), shift, highest)
            bits = builder.shl(builder.add(shift, emit.constant(I64, 1023)), emit.constant(I64, 52))
            weight = builder.fmul(scale, builder.bitcast(bits, double))
            weight = builder.select(seen, weight, emit.constant(ir.DoubleType(), 0.0))
            emit.store(weight, out, emit.cell(r, v))
            above = builder.fcmp_ordered(">", weight, largest[v])
            largest[v] = builder.select(above, weight, largest[v])
            added[v] = builder.fadd(added[v], weight)
        for v in range(tile.vectors):
            emit.store(largest[v], peak, v * tile.lanes)
            emit.store(added[v], total, v * tile.lanes)
        return context.get_dummy_value()

    return codegen


def product_loops(
    start, start_exponent, start_at, left, left_at, right, right_at, length, acc, exponent, acc_at
):  # fmt: skip
    """Plain-loop twin of ``product_block``."""
    rows = product_tile(start.itemsize).rows
    for r in range(rows):
        for c in range(COLUMNS):
            i, value = r * COLUMNS + c, start[start_at + r * COLUMNS + c]
            for k in range(length):
                value *= left[left_at + k * rows + r] + right[right_at + k * COLUMNS + c]
            mantissa, power = math.frexp(value)  # mantissa in [1/2, 1)
            acc[acc_at + i] = 2.0 * mantissa
            exponent[acc_at + i] = start_exponent[start_at + i] + power - 1


def inverse_weight_loops(
    start, start_exponent, start_at, left, left_at, right, right_at, length, row_scale, row_power, row_at,
    column_scale, column_power, column_at, power, out, out_at, peak, total, inverse=True,
):  # fmt: skip
    """Plain-loop twin of ``inverse_weight_block``."""
    rows = product_tile(start.itemsize).rows
    acc, exponent = start[: rows * COLUMNS].copy(), start_exponent[: rows * COLUMNS].copy()
    product_loops(
        start, start_exponent, start_at, left, left_at, right, right_at, length, acc, exponent, 0
    )  # fmt: skip
    for r in range(rows):
        for c in range(COLUMNS):
            i = r * COLUMNS + c
            scale, value = row_scale[row_at + r] * column_scale[column_at + c], float(acc[i])
            shift = int(row_power[row_at + r] + column_power[column_at + c] - power)
            shift += -int(exponent[i]) if inverse else int(exponent[i])
            weight = scale / value if inverse else scale * value
            weight = weight * 2.0 ** min(shift, HIGHEST_POWER) if shift >= FLUSH_EXPONENT else 0.0
            out[out_at + i] = weight
            peak[c] = max(peak[c], weight)
            total[c] += weight


def weight_loops(*arguments):
    """Plain-loop twin of ``weight_block``."""
    inverse_weight_loops(*arguments, False)


def _element(kind: Any) -> Any:
    """Return the type of the numbers of an array."""
    return ir.DoubleType() if kind.dtype == types.float64 else ir.FloatType()


@intrinsic
def _product_emitted(
    typing_context, start, start_exponent, start_at, left, left_at, right, right_at, length, acc, exponent,
    acc_at,
):  # fmt: skip
    """Run ``product_block`` in registers."""
    n, tile = types.intp, product_tile(start.dtype.bitwidth // 8)
    signature = types.void(start, start_exponent, n, left, n, right, n, n, acc, exponent, n)
    return signature, _emit_product(tile, _element(start))


def _weight_signature(arrays: Any) -> Any:
    """Return the types of ``inverse_weight_block``'s arguments."""
    (
        start, start_exponent, left, right, row_scale, row_power, column_scale, column_power, out, peak, total
    ) = arrays  # fmt: skip
    n = types.intp
    return types.void(
        start, start_exponent, n, left, n, right, n, n, row_scale, row_power, n, column_scale, column_power,
        n, n, out, n, peak, total,
    )  # fmt: skip


@intrinsic
def _inverse_weight_emitted(
    typing_context, start, start_exponent, start_at, left, left_at, right, right_at, length, row_scale,
    row_power, row_at, column_scale, column_power, column_at, power, out, out_at, peak, total,
):  # fmt: skip
    """Run ``inverse_weight_block`` in registers."""
    arrays = (
        start, start_exponent, left, right, row_scale, row_power, column_scale, column_power, out, peak,
        total,
    )  # fmt: skip
    tile = product_tile(start.dtype.bitwidth // 8)
    return _weight_signature(arrays), _emit_weight(tile, _element(start), True)


@intrinsic
def _weight_emitted(
    typing_context, start, start_exponent, start_at, left, left_at, right, right_at, length, row_scale,
    row_power, row_at, column_scale, column_power, column_at, power, out, out_at, peak, total,
):  # fmt: skip
    """Run ``weight_block`` in registers."""
    arrays = (
        start, start_exponent, left, right, row_scale, row_power, column_scale, column_power, out, peak,
        total,
    )  # fmt: skip
    tile = product_tile(start.dtype.bitwidth // 8)
    return _weight_signature(arrays), _emit_weight(tile, _element(start), False)


product_block = product_loops if JIT_DISABLED else _product_emitted
inverse_weight_block = inverse_weight_loops if JIT_DISABLED else _inverse_weight_emitted
weight_block = weight_loops if JIT_DISABLED else _weight_emitted
