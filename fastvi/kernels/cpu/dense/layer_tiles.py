"""Products of one register tile for the layers of a network, in float64 and in float32.

Six micro-kernels in LLVM IR, each with a plain-loop twin:

- ``fill_block``:     acc[r, c] = row[c], in whole vectors: a load does not wait for what it reads
- ``layer_block``:    acc[r, c] += left[k, r] * right[k, c]
- ``picked_block``:   acc[r, c] += left[k, r] * right[index[k], c], for a left panel that holds only some of
  the reduction axis
- ``distance_block``: acc[r, c] -= (right[k, c] - left[k, r])^2
- ``softplus_block``: of acc's softplus, the part max(acc, 0) is added to ``ones``, and ``products`` is
  multiplied by 1 + exp(-|acc|); columns that are some lanes apart share a sum and a product
- ``exp_block``:      acc[r, c] = exp(acc[r, c]), of numbers <= 0; below the lowest normal number's it is 0

A row of ``right`` is one or two cache lines, so that picking rows costs an addition: where a network's units
are off in a whole panel of states, their products are passed over.

A tile of float32 has the rows of one of float64 and twice as many columns: its vectors are as long.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastvi.kernels.emitter import Emitter, multiply_add
from fastvi.kernels.host import COLUMNS, LAYER_64, RegisterTile
from fastvi.kernels.jit import JIT_DISABLED

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_UNROLLED = 4  # steps of the reduction axis; measured on a Zen 3 core: 1 23.3, 2 23.3, 4 23.8 * 10^9 a second

# Chebyshev economisations of e^r over |r| <= log(2) / 2, within 4e-18 and 2e-9
_EXP_64 = (
    0.99999999999999999693, 0.99999999999999999976, 0.50000000000000184039, 0.1666666666666668082,
    0.04166666666648795252, 0.0083333333333195896163, 0.0013888888952352862866, 0.00019841269890076402829,
    2.4801485441561312966e-5, 2.7557240887228968596e-6, 2.763265472252779189e-7, 2.5110049204818659793e-8,
)  # fmt: skip
_EXP_32 = (1.0, 1.000000038, 0.5000000047, 0.1666641551, 0.0416663529, 0.008375126398, 0.001394110843)
_LOG2_E, _LN2 = 1.4426950408889634, 0.6931471805599453
# 1.5 times the power of two whose last place is 1: adding it rounds to an integer, which is then in the low
# bits; the lowest x, whose e^x is a normal number and nothing beside 1; bits of the fraction; the polynomial
_EXPONENTIAL_64 = (1.5 * 2.0**52, -700.0, 52, _EXP_64)
_EXPONENTIAL_32 = (1.5 * 2.0**23, -80.0, 23, _EXP_32)
_SIDE_BY_SIDE = 4  # vectors


def _exponential(itemsize: int) -> tuple:
    """Return the constants for numbers of 8 or 4 bytes."""
    return _EXPONENTIAL_64 if itemsize == 8 else _EXPONENTIAL_32


def _tile(itemsize: int) -> RegisterTile:
    """Return the register tile of numbers of 8 or 4 bytes."""
    return LAYER_64._replace(lanes=LAYER_64.lanes * 8 // itemsize)


def _element(array: Any) -> Any:
    """Return the type of an array's numbers."""
    return ir.DoubleType() if array.dtype == types.float64 else ir.FloatType()


def _emitter(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Return the emitter for tiles of the numbers that the first argument holds."""
    tile = _tile(signature.args[0].dtype.bitwidth // 8)
    return Emitter(context, builder, signature, args, tile, _element(signature.args[0]))


def _subtract_square(builder: Any) -> Any:
    """Return a step that subtracts (column - row)^2."""

    def step(held: Any, row: Any, column: Any) -> Any:
        apart = builder.fsub(column, row)
        return builder.fsub(held, builder.fmul(apart, apart, flags=("contract",)), flags=("contract",))

    return step


def _loop(
    emit: Any, add: Any, left: Any, right: Any, first: Any, end: Any, steps: int, held: dict, index: Any
) -> dict:
    """Add the terms of k = first .. end - 1, ``steps`` of them a round; (end - first) % steps is 0."""
    builder, tile = emit.builder, emit.tile
    before = builder.block
    head, body, after = (builder.append_basic_block(name) for name in ("head", "body", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    k, phis = builder.phi(_I64), {cell: builder.phi(emit.vector) for cell in emit.cells}
    k.add_incoming(first, before)
    for cell, phi in phis.items():
        phi.add_incoming(held[cell], before)
    builder.cbranch(builder.icmp_signed("<", k, end), body, after)
    builder.position_at_end(body)
    at_left = builder.gep(left, [builder.mul(k, ir.Constant(_I64, tile.rows))])
    names = None if index is None else builder.gep(index, [k])
    sums, columns = dict(phis), tile.vectors * tile.lanes
    for u in range(steps):
        if names is None:
            picked = builder.add(k, ir.Constant(_I64, u))
        else:
            picked = builder.sext(builder.load(emit.offset(names, u)), _I64)
        at_right = builder.gep(right, [builder.mul(picked, ir.Constant(_I64, columns))])
        column = [emit.load(at_right, v * tile.lanes) for v in range(tile.vectors)]
        for r in range(tile.rows):
            row = emit.broadcast(at_left, u * tile.rows + r)
            for v in range(tile.vectors):
                sums[r, v] = add(sums[r, v], row, column[v])
    for cell, phi in phis.items():
        phi.add_incoming(sums[cell], builder.block)
    k.add_incoming(builder.add(k, ir.Constant(_I64, steps)), builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return phis


def _emit_sums(emit: Any, add: Any, left: Any, right: Any, length: Any, index: Any = None) -> Any:
    """Emit the sums of terms over the reduction axis, in registers."""
    builder, acc, add = emit.builder, emit.pointer(0), add(emit.builder)
    held = {cell: emit.load(acc, emit.cell(*cell)) for cell in emit.cells}
    zero, none = ir.Constant(_I64, 0), ir.Constant(_I64, -_UNROLLED)
    rounds = builder.and_(length, none)  # of a negative length this is below 0, too
    held = _loop(emit, add, left, right, zero, rounds, _UNROLLED, held, index)
    begin = builder.select(builder.icmp_signed(">", rounds, zero), rounds, zero)
    held = _loop(emit, add, left, right, begin, length, 1, held, index)
    for cell, value in held.items():
        emit.store(value, acc, emit.cell(*cell))
    return emit.context.get_dummy_value()


def _emit_layer(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit ``layer_block``."""
    emit = _emitter(context, builder, signature, args)
    return _emit_sums(emit, multiply_add, emit.pointer(2), emit.pointer(4), args[6])


def _emit_distance(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit ``distance_block``."""
    emit = _emitter(context, builder, signature, args)
    return _emit_sums(emit, _subtract_square, emit.pointer(2), emit.pointer(4), args[6])


def _emit_picked(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit ``picked_block``."""
    emit = _emitter(context, builder, signature, args)
    index = context.make_array(signature.args[4])(context, builder, args[4]).data
    index = builder.gep(index, [args[5]])
    return _emit_sums(emit, multiply_add, emit.pointer(2), emit.pointer(6), args[8], index)


def _emit_fill(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit ``fill_block``."""
    emit = _emitter(context, builder, signature, args)
    acc, row = emit.pointer(0), emit.pointer(2)
    for v in range(emit.tile.vectors):
        value = emit.load(row, v * emit.tile.lanes)
        for r in range(emit.tile.rows):
            emit.store(value, acc, emit.cell(r, v))
    return context.get_dummy_value()


class _Vectors:
    """Arithmetic on vectors of an emitter's numbers."""

    def __init__(self, emit: Any) -> None:
        self.builder, self.lanes, self.single = emit.builder, emit.tile.lanes, emit.bytes == 4
        self.vector, self.element = emit.vector, emit.element
        self.integers = ir.VectorType(ir.IntType(32 if self.single else 64), self.lanes)
        self.exponential = _exponential(emit.bytes)

    def number(self, value: float) -> Any:
        """Return a vector of one number."""
        return ir.Constant(self.vector, [ir.Constant(self.element, value)] * self.lanes)

    def integer(self, value: int) -> Any:
        """Return a vector of one integer."""
        return ir.Constant(self.integers, [ir.Constant(self.integers.element, value)] * self.lanes)

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        """Return a b + c."""
        return multiply_add(self.builder)(c, a, b)

    def larger(self, a: Any, b: Any) -> Any:
        """Return a where it is larger, else b."""
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def minus_size(self, a: Any) -> Any:
        """Return -|a|."""
        sign = self.integer(-(1 << (31 if self.single else 63)))
        bits = self.builder.or_(self.builder.bitcast(a, self.integers), sign)
        return self.builder.bitcast(bits, self.vector)

    def exp_below_one(self, values: list) -> list:
        """Return e^x for each x <= 0, to the last place of 1, which is all that 1 + e^x needs.

        Some vectors go side by side: their chains of operations overlap, and they share each constant's load.
        """
        builder, (rounder, lowest, place, coefficients) = self.builder, self.exponential
        values = [self.larger(x, self.number(lowest)) for x in values]
        shifted = [self.multiply_add(x, self.number(_LOG2_E), self.number(rounder)) for x in values]
        nearest = [builder.fsub(n, self.number(rounder)) for n in shifted]
        # off by |x| times half a unit in the last place, which e^x makes small
        rests = [self.multiply_add(n, self.number(-_LN2), x) for n, x in zip(nearest, values, strict=True)]
        powers = [self.number(coefficients[-1])] * len(values)
        for coefficient in coefficients[-2::-1]:
            term = self.number(coefficient)
            powers = [self.multiply_add(p, r, term) for p, r in zip(powers, rests, strict=True)]
        found = []
        for power, n in zip(powers, shifted, strict=True):
            exponent = builder.shl(builder.bitcast(n, self.integers), self.integer(place))
            bits = builder.add(builder.bitcast(power, self.integers), exponent)
            found.append(builder.bitcast(bits, self.vector))
        return found


def _emit_softplus(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit ``softplus_block``."""
    emit = _emitter(context, builder, signature, args)
    acc, ones, products = emit.pointer(0), emit.pointer(2), emit.pointer(4)
    rows, vectors, lanes = emit.tile
    on, doubles = _Vectors(emit), ir.VectorType(ir.DoubleType(), lanes)
    step = max(1, _SIDE_BY_SIDE // vectors)
    for first in range(0, rows, step):
        cells = [(r, v) for r in range(first, min(first + step, rows)) for v in range(vectors)]
        eta = {cell: emit.load(acc, emit.cell(*cell)) for cell in cells}
        small = on.exp_below_one([on.minus_size(eta[cell]) for cell in cells])
        factors = {cell: builder.fadd(e, on.number(1.0)) for cell, e in zip(cells, small, strict=True)}
        for r in range(first, min(first + step, rows)):
            positive, product = on.number(0.0), emit.load(products, r * lanes)
            for v in range(vectors):
                positive = builder.fadd(positive, on.larger(eta[r, v], on.number(0.0)))
                product = builder.fmul(product, factors[r, v])
            emit.store(product, products, r * lanes)
            where = builder.bitcast(emit.offset(ones, r * lanes), doubles.as_pointer())
            total = builder.load(where)
            total.align = 8
            wide = builder.fpext(positive, doubles) if on.single else positive
            builder.store(builder.fadd(total, wide), where).align = 8
    return context.get_dummy_value()


def _emit_exp(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit ``exp_block``."""
    emit = _emitter(context, builder, signature, args)
    acc, on = emit.pointer(0), _Vectors(emit)
    lowest, zero = on.number(on.exponential[1]), on.number(0.0)
    for first in range(0, len(emit.cells), _SIDE_BY_SIDE):
        cells = emit.cells[first : first + _SIDE_BY_SIDE]
        values = [emit.load(acc, emit.cell(*cell)) for cell in cells]
        for cell, x, power in zip(cells, values, on.exp_below_one(values), strict=True):
            power = builder.select(builder.fcmp_ordered("<", x, lowest), zero, power)
            emit.store(power, acc, emit.cell(*cell))
    return context.get_dummy_value()


def fill_loops(acc, acc_at, row, row_at):
    """Plain-loop twin of ``fill_block``."""
    columns = COLUMNS * 8 // acc.itemsize
    for r in range(LAYER_64.rows):
        for c in range(columns):
            acc[acc_at + r * columns + c] = row[row_at + c]


def layer_loops(acc, acc_at, left, left_at, right, right_at, length):
    """Plain-loop twin of ``layer_block``."""
    rows, columns = LAYER_64.rows, COLUMNS * 8 // acc.itemsize
    for r in range(rows):
        for c in range(columns):
            value = acc[acc_at + r * columns + c]
            for k in range(length):
                value += left[left_at + k * rows + r] * right[right_at + k * columns + c]
            acc[acc_at + r * columns + c] = value


def picked_loops(acc, acc_at, left, left_at, index, index_at, right, right_at, length):
    """Plain-loop twin of ``picked_block``."""
    rows, columns = LAYER_64.rows, COLUMNS * 8 // acc.itemsize
    for r in range(rows):
        for c in range(columns):
            value = acc[acc_at + r * columns + c]
            for k in range(length):
                picked = index[index_at + k]
                value += left[left_at + k * rows + r] * right[right_at + picked * columns + c]
            acc[acc_at + r * columns + c] = value


def distance_loops(acc, acc_at, left, left_at, right, right_at, length):
    """Plain-loop twin of ``distance_block``."""
    rows, columns = LAYER_64.rows, COLUMNS * 8 // acc.itemsize
    for r in range(rows):
        for c in range(columns):
            value = acc[acc_at + r * columns + c]
            for k in range(length):
                apart = right[right_at + k * columns + c] - left[left_at + k * rows + r]
                value -= apart * apart
            acc[acc_at + r * columns + c] = value


def softplus_loops(acc, acc_at, ones, ones_at, products, products_at):
    """Plain-loop twin of ``softplus_block``."""
    rows, vectors, lanes = _tile(acc.itemsize)
    for r in range(rows):
        for c in range(vectors * lanes):
            eta, at = float(acc[acc_at + r * vectors * lanes + c]), r * lanes + c % lanes
            ones[ones_at + at] += max(eta, 0.0)
            products[products_at + at] *= 1.0 + math.exp(-abs(eta))


def exp_loops(acc, acc_at):
    """Plain-loop twin of ``exp_block``."""
    for i in range(acc_at, acc_at + LAYER_64.rows * COLUMNS * 8 // acc.itemsize):
        acc[i] = math.exp(acc[i]) if acc[i] >= _exponential(acc.itemsize)[1] else 0.0


def _columns_loops(panels):
    """Plain twin of ``columns_of``."""
    return COLUMNS * 8 // panels.itemsize


def _lanes_loops(panels):
    """Plain twin of ``lanes_of``."""
    return LAYER_64.lanes * 8 // panels.itemsize


@intrinsic
def _fill_emitted(typing_context, acc, acc_at, row, row_at):
    """Run ``fill_block`` in registers."""
    n = types.intp
    return types.void(acc, n, row, n), _emit_fill


@intrinsic
def _layer_emitted(typing_context, acc, acc_at, left, left_at, right, right_at, length):
    """Run ``layer_block`` in registers."""
    n = types.intp
    return types.void(acc, n, left, n, right, n, n), _emit_layer


@intrinsic
def _picked_emitted(typing_context, acc, acc_at, left, left_at, index, index_at, right, right_at, length):
    """Run ``picked_block`` in registers."""
    n = types.intp
    return types.void(acc, n, left, n, index, n, right, n, n), _emit_picked


@intrinsic
def _distance_emitted(typing_context, acc, acc_at, left, left_at, right, right_at, length):
    """Run ``distance_block`` in registers."""
    n = types.intp
    return types.void(acc, n, left, n, right, n, n), _emit_distance


@intrinsic
def _softplus_emitted(typing_context, acc, acc_at, ones, ones_at, products, products_at):
    """Run ``softplus_block`` in registers."""
    n = types.intp
    return types.void(acc, n, ones, n, products, n), _emit_softplus


@intrinsic
def _exp_emitted(typing_context, acc, acc_at):
    """Run ``exp_block`` in registers."""
    return types.void(acc, types.intp), _emit_exp


def _constant(function: Any) -> Any:
    """Return the code generator of an integer that follows from an array's type."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(_I64, function(signature.args[0].dtype.bitwidth // 8))

    return codegen


@intrinsic
def _columns_emitted(typing_context, panels):
    """Return the columns of a panel, known when it is compiled; ``itemsize`` is read when it runs."""
    return types.intp(panels), _constant(lambda itemsize: COLUMNS * 8 // itemsize)


@intrinsic
def _lanes_emitted(typing_context, panels):
    """Return the lanes of a vector."""
    return types.intp(panels), _constant(lambda itemsize: LAYER_64.lanes * 8 // itemsize)


fill_block = fill_loops if JIT_DISABLED else _fill_emitted
layer_block = layer_loops if JIT_DISABLED else _layer_emitted
picked_block = picked_loops if JIT_DISABLED else _picked_emitted
distance_block = distance_loops if JIT_DISABLED else _distance_emitted
softplus_block = softplus_loops if JIT_DISABLED else _softplus_emitted
exp_block = exp_loops if JIT_DISABLED else _exp_emitted
columns_of = _columns_loops if JIT_DISABLED else _columns_emitted
lanes_of = _lanes_loops if JIT_DISABLED else _lanes_emitted
