"""Sums of lines of pixels that bits pick, by tables of five bits, in LLVM IR with vector types.

A line is LINE pixels side by side. Of a matrix product with bits on one side, out[r] = sum_i z[r, i] line[i],
a table holds the sum of each of the 2^BITS subsets of BITS lines; a row then adds one line for BITS of its
bits. TOGETHER groups are added while the row's line is in registers. Their tables fill half of a first-level
cache of 32 KiB (16 KiB of float32, 32 of float64), and a group's number of a row is one byte.

Measured on two Zen 3 cores, 5,000 rows of 200 bits, 784 pixels of float64: 5.9 ms, where the multiplications
of the product alone take 16; of float32 3.0. Six or eight bits a group, lines of 8 pixels and four groups
together take as long or longer: what bounds it is one load for each vector of a line.

Lines are added in a fixed order and nothing may be reassociated, so the bits are the same wherever it runs.
The twins do the same in plain loops.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastvi.kernels.jit import JIT_DISABLED

LINE = 16  # pixels
BITS = 5  # of a group
SUBSETS = 1 << BITS
TOGETHER = 8  # groups
_COLUMN = 32  # bytes of a line that are summed at a time when a table is filled

_I64 = ir.IntType(64)


def fill_table_loops(table, group, scales, lines, first):
    """Set the table of a group: line v is the sum of scaled lines ``first + bit`` for the bits of v.

    Line k is multiplied by scales[k]. ``table`` and ``lines`` are flat, LINE numbers each.
    """
    for value in range(SUBSETS):
        at = (group * SUBSETS + value) * LINE
        for p in range(LINE):
            total = table.dtype.type(0.0)
            for bit in range(BITS - 1, -1, -1):
                if (value >> bit) & 1:
                    total += table.dtype.type(scales[first + bit]) * lines[(first + bit) * LINE + p]
            table[at + p] = total


def add_lines_loops(sums, at, table, first_group, values, values_at, stride, num_rows, num_groups):
    """Add to line r of ``sums``, from number ``at``, the lines that row r's groups pick.

    These are those of TOGETHER groups at most, from ``first_group``. Byte values[values_at + g * stride + r]
    is the value of group first_group + g. They are summed as numbers of the table, one after another: into
    the line, or where that is of a wider type, by themselves first.
    """
    narrow = sums.dtype != table.dtype
    for r in range(num_rows):
        for p in range(LINE):
            place = at + r * LINE + p
            total = table.dtype.type(0.0) if narrow else sums[place]
            for g in range(num_groups):
                value = int(values[values_at + g * stride + r])
                total += table[((first_group + g) * SUBSETS + value) * LINE + p]
            sums[place] = sums[place] + total if narrow else total


class _Lines:
    """Addresses of an array's lines, and what is loaded from them."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any, number: int) -> None:
        self._builder, kind = builder, signature.args[number]
        self._bytes = kind.dtype.bitwidth // 8
        self._element = context.get_value_type(kind.dtype)
        self.data = context.make_array(kind)(context, builder, args[number]).data

    def vector(self, width: int = LINE) -> Any:
        """Return the type of ``width`` numbers."""
        return ir.VectorType(self._element, width)

    def at(self, number: Any, width: int = LINE) -> Any:
        """Return the address of a vector that begins with a number of the array."""
        return self._builder.bitcast(self._builder.gep(self.data, [number]), self.vector(width).as_pointer())

    def load(self, place: Any) -> Any:
        """Load the vector at an address."""
        value = self._builder.load(place)
        value.align = self._bytes  # arrays of others are only as aligned as their elements
        return value

    def store(self, value: Any, place: Any) -> None:
        """Store a vector."""
        self._builder.store(value, place).align = self._bytes

    def broadcast(self, number: Any, vector: Any) -> Any:
        """Load a number, rounded where it has to be, into all of a vector."""
        scalar = self._builder.load(self._builder.gep(self.data, [number]))
        if vector.element != self._element:
            scalar = self._builder.fptrunc(scalar, vector.element)
        blank = ir.Constant(vector, ir.Undefined)
        one = self._builder.insert_element(blank, scalar, ir.Constant(ir.IntType(32), 0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
        return self._builder.shuffle_vector(one, blank, mask)

    @property
    def column(self) -> int:
        """Numbers of a column of a line."""
        return _COLUMN // self._bytes


def _constant(value: int) -> Any:
    return ir.Constant(_I64, value)


def _loop(builder: Any, count: Any, body: Any) -> None:
    """Emit ``body(k)`` for k = 0 ... count - 1."""
    before = builder.block
    head, inside, after = (builder.append_basic_block(name) for name in ("head", "body", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    k = builder.phi(_I64)
    k.add_incoming(_constant(0), before)
    builder.cbranch(builder.icmp_signed("<", k, count), inside, after)
    builder.position_at_end(inside)
    body(k)
    k.add_incoming(builder.add(k, _constant(1)), builder.block)
    builder.branch(head)
    builder.position_at_end(after)


def _emit_fill(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit the table of a group, column by column: no more than BITS partial sums are alive."""
    table, scales, lines = (_Lines(context, builder, signature, args, i) for i in (0, 2, 3))
    width = table.column
    start = builder.mul(args[1], _constant(SUBSETS * LINE))
    first = builder.mul(args[4], _constant(LINE))
    factors = [
        scales.broadcast(builder.add(args[4], _constant(bit)), table.vector(width)) for bit in range(BITS)
    ]
    for column in range(0, LINE, width):
        places = (lines.at(builder.add(first, _constant(bit * LINE + column)), width) for bit in range(BITS))
        own = [builder.fmul(factor, lines.load(place)) for factor, place in zip(factors, places, strict=True)]

        def subsets(bit: int, value: int, total: Any, own: Any = own, column: int = column) -> None:
            if bit < 0:
                place = table.at(builder.add(start, _constant(value * LINE + column)), width)
                table.store(ir.Constant(table.vector(width), None) if total is None else total, place)
                return
            subsets(bit - 1, value, total)
            more = own[bit] if total is None else builder.fadd(total, own[bit])
            subsets(bit - 1, value | 1 << bit, more)

        subsets(BITS - 1, 0, None)
    return context.get_dummy_value()


def _emit_add(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit sums of lines: whole blocks of groups unrolled, the last one, if it has fewer, as a loop."""
    sums, table = (_Lines(context, builder, signature, args, i) for i in (0, 2))
    _, at, _, first_group, _, values_at, stride, num_rows, num_groups = args
    values = builder.gep(context.make_array(signature.args[4])(context, builder, args[4]).data, [values_at])
    first_line = builder.mul(first_group, _constant(SUBSETS))
    narrow = sums.vector() != table.vector()

    def picked(r: Any, g: Any) -> Any:
        place = builder.gep(values, [builder.add(builder.mul(g, stride), r)])
        value = builder.zext(builder.load(place), _I64)
        line = builder.add(builder.add(first_line, builder.mul(g, _constant(SUBSETS))), value)
        return table.load(table.at(builder.mul(line, _constant(LINE))))

    def place_of(r: Any) -> Any:
        return sums.at(builder.add(at, builder.mul(r, _constant(LINE))))

    def keep(place: Any, held: Any, total: Any) -> None:
        if narrow:
            total = builder.fadd(held, builder.fpext(total, sums.vector()))
        sums.store(total, place)

    def whole(r: Any) -> None:
        place = place_of(r)
        held = sums.load(place)
        total = ir.Constant(table.vector(), None) if narrow else held
        for g in range(TOGETHER):
            total = builder.fadd(total, picked(r, _constant(g)))
        keep(place, held, total)

    def part(r: Any) -> None:
        place = place_of(r)
        held = sums.load(place)
        before = builder.block
        head, inside, after = (builder.append_basic_block(name) for name in ("head", "body", "after"))
        builder.branch(head)
        builder.position_at_end(head)
        g, total = builder.phi(_I64), builder.phi(table.vector())
        g.add_incoming(_constant(0), before)
        total.add_incoming(ir.Constant(table.vector(), None) if narrow else held, before)
        builder.cbranch(builder.icmp_signed("<", g, num_groups), inside, after)
        builder.position_at_end(inside)
        total.add_incoming(builder.fadd(total, picked(r, g)), inside)
        g.add_incoming(builder.add(g, _constant(1)), inside)
        builder.branch(head)
        builder.position_at_end(after)
        keep(place, held, total)

    with builder.if_else(builder.icmp_signed("==", num_groups, _constant(TOGETHER))) as (full, fewer):
        with full:
            _loop(builder, num_rows, whole)
        with fewer:
            _loop(builder, num_rows, part)
    return context.get_dummy_value()


@intrinsic
def _fill_table_emitted(typing_context, table, group, scales, lines, first):
    """Set the table of a group."""
    n = types.intp
    return types.void(table, n, scales, lines, n), _emit_fill


@intrinsic
def _add_lines_emitted(
    typing_context, sums, at, table, first_group, values, values_at, stride, num_rows, num_groups
):
    """Add the lines that rows pick."""
    n = types.intp
    return types.void(sums, n, table, n, values, n, n, n, n), _emit_add


fill_table = fill_table_loops if JIT_DISABLED else _fill_table_emitted
add_lines = add_lines_loops if JIT_DISABLED else _add_lines_emitted
