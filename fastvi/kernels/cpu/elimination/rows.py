"""Loops over rows of tables, COLUMNS numbers at a time, written in LLVM IR, and their plain-loop twins.

A row's numbers are as many data, or states, side by side. Which row of a child's table belongs to a row of
its parent's has no rule that a compiler sees through: ``entries`` lists them, and all vectors are within a
row. A loop over 8 numbers that reads and writes one array is left unvectorised by Numba.

Two rows belong to each state of a scope: the one with the bucket's unit off, and the one with it on, in a
child ``half`` rows further on, in ``pairs`` BLOCK rows.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastvi.kernels.host import COLUMNS
from fastvi.kernels.jit import JIT_DISABLED

BLOCK_BITS = 7
BLOCK = 1 << BLOCK_BITS  # rows at a time; their pairs are half of the first-level cache

_DOUBLE, _I32, _I64 = ir.DoubleType(), ir.IntType(32), ir.IntType(64)
_ROW = ir.VectorType(_DOUBLE, COLUMNS)


def _splat(builder: Any, number: Any) -> Any:
    """Put a number into all lanes."""
    blank = ir.Constant(_ROW, ir.Undefined)
    mask = ir.Constant(ir.VectorType(_I32, COLUMNS), [0] * COLUMNS)
    return builder.shuffle_vector(builder.insert_element(blank, number, _I32(0)), blank, mask)


class _Rows:
    """Loads and stores of rows."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any) -> None:
        self.context, self.builder, self.signature, self.args = context, builder, signature, args

    def data(self, array: int) -> Any:
        """Return the address of the first element of an argument."""
        make = self.context.make_array(self.signature.args[array])
        return make(self.context, self.builder, self.args[array]).data

    def _place(self, data: Any, row: Any) -> Any:
        at = self.builder.gep(data, [self.builder.mul(row, _I64(COLUMNS))])
        return self.builder.bitcast(at, _ROW.as_pointer())

    def load(self, data: Any, row: Any) -> Any:
        value = self.builder.load(self._place(data, row))
        value.align = 8
        return value

    def store(self, value: Any, data: Any, row: Any) -> None:
        self.builder.store(value, self._place(data, row)).align = 8

    def number(self, data: Any, at: Any) -> Any:
        return self.builder.load(self.builder.gep(data, [at]))

    def splat(self, data: Any, at: Any) -> Any:
        """Load a number into all lanes."""
        return _splat(self.builder, self.number(data, at))

    def add(self, left: Any, right: Any) -> Any:
        return self.builder.add(left, right)

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        builder = self.builder
        return builder.fadd(builder.fmul(a, b, flags=("contract",)), c, flags=("contract",))

    def shares(self, factors: Any, weights: Any, i: Any) -> tuple[Any, Any]:
        """Return the factors of row i, for the unit off and on."""
        off = self.builder.fmul(weights[0], self.splat(factors, i))
        return off, self.builder.fmul(weights[1], self.splat(factors, self.add(i, _I64(BLOCK))))


def _emit_sums(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    rows = _Rows(context, builder, signature, args)
    out, table, entries, factors, weights = (rows.data(k) for k in (0, 2, 5, 6, 7))
    both = rows.load(weights, _I64(0)), rows.load(weights, _I64(1))
    with cgutils.for_range(builder, args[8]) as loop:
        i = loop.index
        off, on = rows.shares(factors, both, i)
        at = rows.add(args[3], rows.number(entries, i))
        first = builder.fmul(rows.load(table, at), off)
        total = rows.multiply_add(rows.load(table, rows.add(at, args[4])), on, first)
        rows.store(total, out, rows.add(args[1], i))
    return context.get_dummy_value()


def _emit_copies(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    rows = _Rows(context, builder, signature, args)
    pairs, table, entries = (rows.data(k) for k in (0, 1, 4))
    with cgutils.for_range(builder, args[5]) as loop:
        at, to = rows.add(args[2], rows.number(entries, loop.index)), loop.index
        rows.store(rows.load(table, at), pairs, to)
        rows.store(rows.load(table, rows.add(at, args[3])), pairs, rows.add(to, _I64(BLOCK)))
    return context.get_dummy_value()


def _emit_products(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    rows = _Rows(context, builder, signature, args)
    pairs, table, entries = (rows.data(k) for k in (0, 1, 4))
    with cgutils.for_range(builder, args[5]) as loop:
        at = rows.add(args[2], rows.number(entries, loop.index))
        to = loop.index
        for place, source in ((to, at), (rows.add(to, _I64(BLOCK)), rows.add(at, args[3]))):
            rows.store(builder.fmul(rows.load(pairs, place), rows.load(table, source)), pairs, place)
    return context.get_dummy_value()


def _emit_shares(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    rows = _Rows(context, builder, signature, args)
    pairs, factors, weights, table, masses, sums = (rows.data(k) for k in (0, 1, 2, 3, 4, 6))
    both = rows.load(weights, _I64(0)), rows.load(weights, _I64(1))
    with cgutils.for_range(builder, args[7]) as loop:
        i = loop.index
        off, on = rows.shares(factors, both, i)
        at, to = rows.add(args[5], i), rows.add(i, _I64(BLOCK))
        share = builder.fdiv(rows.load(masses, at), rows.load(table, at))
        rows.store(builder.fmul(share, builder.fmul(rows.load(pairs, i), off)), pairs, i)
        mass = builder.fmul(share, builder.fmul(rows.load(pairs, to), on))
        rows.store(mass, pairs, to)
        rows.store(builder.fadd(rows.load(sums, _I64(0)), mass), sums, _I64(0))
    return context.get_dummy_value()


def _emit_additions(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    rows = _Rows(context, builder, signature, args)
    masses, entries, pairs = (rows.data(k) for k in (0, 3, 4))
    with cgutils.for_range(builder, args[5]) as loop:
        at = rows.add(args[1], rows.number(entries, loop.index))
        source = loop.index
        for place, of in ((at, source), (rows.add(at, args[2]), rows.add(source, _I64(BLOCK)))):
            rows.store(builder.fadd(rows.load(masses, place), rows.load(pairs, of)), masses, place)
    return context.get_dummy_value()


def _emit_bit_sum(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    rows = _Rows(context, builder, signature, args)
    sums, pairs = rows.data(0), rows.data(2)
    one = _I64(1)
    low = builder.sub(builder.shl(one, args[3]), one)
    with cgutils.for_range(builder, builder.ashr(args[4], one)) as loop:
        i = loop.index
        upper = builder.shl(builder.ashr(i, args[3]), rows.add(args[3], one))
        state = rows.add(rows.add(upper, builder.and_(i, low)), builder.shl(one, args[3]))
        mass = rows.load(pairs, rows.add(state, _I64(BLOCK)))
        rows.store(builder.fadd(rows.load(sums, args[1]), mass), sums, args[1])
    return context.get_dummy_value()


def _emit_checks(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    rows = _Rows(context, builder, signature, args)
    table, lost = rows.data(0), rows.data(4)
    low, high = (_splat(builder, args[k]) for k in (2, 3))
    ones = ir.Constant(_ROW, [ir.Constant(_DOUBLE, 1.0)] * COLUMNS)
    with cgutils.for_range(builder, args[5]) as loop:
        value = rows.load(table, rows.add(args[1], loop.index))
        held = builder.and_(builder.fcmp_ordered(">=", value, low), builder.fcmp_ordered("<=", value, high))
        rows.store(builder.select(held, rows.load(lost, _I64(0)), ones), lost, _I64(0))
    return context.get_dummy_value()


def row_sums_loops(out, out_row, table, row, half, entries, factors, weights, count):
    """Set rows of ``out`` to the sums of a child's two rows, each times its factor and weights."""
    for i in range(count):
        at = (row + entries[i]) * COLUMNS
        for c in range(COLUMNS):
            first = table[at + c] * (weights[c] * factors[i])
            on = weights[COLUMNS + c] * factors[BLOCK + i]
            out[(out_row + i) * COLUMNS + c] = table[at + half * COLUMNS + c] * on + first


def row_copies_loops(pairs, table, row, half, entries, count):
    """Set pairs of rows to those of a child."""
    for i in range(count):
        at = (row + entries[i]) * COLUMNS
        for c in range(COLUMNS):
            pairs[i * COLUMNS + c] = table[at + c]
            pairs[(BLOCK + i) * COLUMNS + c] = table[at + half * COLUMNS + c]


def row_products_loops(pairs, table, row, half, entries, count):
    """Multiply pairs of rows by those of a child."""
    for i in range(count):
        at = (row + entries[i]) * COLUMNS
        for c in range(COLUMNS):
            pairs[i * COLUMNS + c] *= table[at + c]
            pairs[(BLOCK + i) * COLUMNS + c] *= table[at + half * COLUMNS + c]


def row_shares_loops(pairs, factors, weights, table, masses, row, sums, count):
    """Share the masses of rows out over the two terms that each is the sum of.

    Those with the unit on are added up.
    """
    for i in range(count):
        for c in range(COLUMNS):
            at, to = (row + i) * COLUMNS + c, i * COLUMNS + c
            share = masses[at] / table[at]
            pairs[to] = share * (pairs[to] * (weights[c] * factors[i]))
            to += BLOCK * COLUMNS
            pairs[to] = share * (pairs[to] * (weights[COLUMNS + c] * factors[BLOCK + i]))
            sums[c] += pairs[to]


def row_additions_loops(masses, row, half, entries, pairs, count):
    """Add pairs of rows to those of a child."""
    for i in range(count):
        at = (row + entries[i]) * COLUMNS
        for c in range(COLUMNS):
            masses[at + c] += pairs[i * COLUMNS + c]
            masses[at + half * COLUMNS + c] += pairs[(BLOCK + i) * COLUMNS + c]


def bit_sum_loops(sums, row, pairs, bit, count):
    """Add to a row the second rows of all pairs whose number has a bit."""
    for i in range(count):
        if (i >> bit) & 1:
            for c in range(COLUMNS):
                sums[row * COLUMNS + c] += pairs[(BLOCK + i) * COLUMNS + c]


def row_checks_loops(table, row, low, high, lost, count):
    """Set ``lost`` to 1 in lanes that have a number below ``low``, above ``high``, or none."""
    for i in range(count):
        for c in range(COLUMNS):
            if not low <= table[(row + i) * COLUMNS + c] <= high:
                lost[c] = 1.0


@intrinsic
def _row_sums_emitted(typing_context, out, out_row, table, row, half, entries, factors, weights, count):
    """Run ``row_sums`` in registers."""
    n = types.intp
    return types.void(out, n, table, n, n, entries, factors, weights, n), _emit_sums


@intrinsic
def _row_copies_emitted(typing_context, pairs, table, row, half, entries, count):
    """Run ``row_copies`` in registers."""
    n = types.intp
    return types.void(pairs, table, n, n, entries, n), _emit_copies


@intrinsic
def _row_products_emitted(typing_context, pairs, table, row, half, entries, count):
    """Run ``row_products`` in registers."""
    n = types.intp
    return types.void(pairs, table, n, n, entries, n), _emit_products


@intrinsic
def _row_shares_emitted(typing_context, pairs, factors, weights, table, masses, row, sums, count):
    """Run ``row_shares`` in registers."""
    n = types.intp
    return types.void(pairs, factors, weights, table, masses, n, sums, n), _emit_shares


@intrinsic
def _row_additions_emitted(typing_context, masses, row, half, entries, pairs, count):
    """Run ``row_additions`` in registers."""
    n = types.intp
    return types.void(masses, n, n, entries, pairs, n), _emit_additions


@intrinsic
def _bit_sum_emitted(typing_context, sums, row, pairs, bit, count):
    """Run ``bit_sum`` in registers."""
    n = types.intp
    return types.void(sums, n, pairs, n, n), _emit_bit_sum


@intrinsic
def _row_checks_emitted(typing_context, table, row, low, high, lost, count):
    """Run ``row_checks`` in registers."""
    n = types.intp
    return types.void(table, n, types.float64, types.float64, lost, n), _emit_checks


row_sums = row_sums_loops if JIT_DISABLED else _row_sums_emitted
row_copies = row_copies_loops if JIT_DISABLED else _row_copies_emitted
row_products = row_products_loops if JIT_DISABLED else _row_products_emitted
row_shares = row_shares_loops if JIT_DISABLED else _row_shares_emitted
row_additions = row_additions_loops if JIT_DISABLED else _row_additions_emitted
bit_sum = bit_sum_loops if JIT_DISABLED else _bit_sum_emitted
row_checks = row_checks_loops if JIT_DISABLED else _row_checks_emitted
