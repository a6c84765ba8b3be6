"""Sums of the rows of a matrix that are on in a word of bits, by tables of partial sums, in LLVM IR.

The kernels have plain-loop twins. A block of rows is eight groups of four, and a table holds all sixteen sums
of each group: a chain adds eight entries in place of some of 32 rows, without a branch. Entries are of LINE
bytes, four vectors of 32, so a table takes 16 KiB in either type: it stays in the first-level cache while all
chains of a group pass over it. A few chains are not worth a table; ``add_rows`` adds what its entries would
be, in the same order. So a chain's sums have the same bits in any company.

On a Zen 3 core a table takes 200-250 ns, a chain 6-9 ns (32 additions of vectors), ``add_rows`` 40 ns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastvi.kernels.jit import JIT_DISABLED

BLOCK = 32  # rows: bits of a word
LINE = 128  # bytes of an entry
GROUPS, ENTRIES = 8, 16  # of a table
_GROUP = 4  # rows
_VECTOR_BYTES = 32

_I64 = ir.IntType(64)


def fill_table_loops(table, rows, first):
    """Set table[g, e] to the sum of the rows first + 4 g + k whose bit k is on in e."""
    for g in range(GROUPS):
        for e in range(ENTRIES):
            for c in range(rows.shape[1]):
                r, zero = first + _GROUP * g, table.dtype.type(0)
                low = (rows[r, c] if e & 1 else zero) + (rows[r + 1, c] if e & 2 else zero)
                high = (rows[r + 2, c] if e & 4 else zero) + (rows[r + 3, c] if e & 8 else zero)
                table[g, e, c] = low + high


def add_entries_loops(fields, at, table, word):
    """Add the entries of a table that the bits of ``word`` name to ``fields`` from ``at`` on."""
    for c in range(table.shape[2]):
        e = [table[g, (word >> _GROUP * g) & 15, c] for g in range(GROUPS)]
        fields[at + c] += ((e[0] + e[1]) + (e[2] + e[3])) + ((e[4] + e[5]) + (e[6] + e[7]))


def add_rows_loops(fields, at, rows, first, word):
    """Add to ``fields`` what ``add_entries`` adds by the table of these rows."""
    table = np.empty((GROUPS, ENTRIES, rows.shape[1]), rows.dtype)
    fill_table_loops(table, rows, first)
    add_entries_loops(fields, at, table, word)


class _Lines:
    """Lines of the arrays that are arguments of an intrinsic."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any) -> None:
        self._builder, self._size = builder, signature.args[0].dtype.bitwidth // 8
        self._starts = [
            context.make_array(kind)(context, builder, value).data if isinstance(kind, types.Array) else None
            for kind, value in zip(signature.args, args, strict=True)
        ]
        self.width = LINE // self._size  # numbers

    def places(self, number: int, index: Any, line: int = 0) -> list[Any]:
        """Return the addresses of the vectors of a line, ``line`` lines after a number's index."""
        builder, lanes = self._builder, _VECTOR_BYTES // self._size
        start = builder.gep(self._starts[number], [index])
        vector = ir.VectorType(start.type.pointee, lanes).as_pointer()
        offsets = range(line * self.width, (line + 1) * self.width, lanes)
        return [builder.bitcast(builder.gep(start, [ir.Constant(_I64, c)]), vector) for c in offsets]

    def load(self, number: int, index: Any, line: int = 0) -> list[Any]:
        """Return the vectors of a line."""
        loads = [self._builder.load(place) for place in self.places(number, index, line)]
        for load in loads:
            load.align = self._size
        return loads

    def add_to_fields(self, index: Any, lines: list[list[Any]]) -> None:
        """Add the sum of GROUPS lines to a line of argument 0."""
        builder = self._builder
        for v, place in enumerate(self.places(0, index)):
            sums = [line[v] for line in lines]
            while len(sums) > 1:
                sums = [builder.fadd(a, b) for a, b in zip(sums[::2], sums[1::2], strict=True)]
            before = builder.load(place)
            before.align = self._size
            builder.store(builder.fadd(before, sums[0]), place).align = self._size

    def store(self, values: list[Any], number: int, index: Any, line: int) -> None:
        """Store the vectors of a line."""
        for value, place in zip(values, self.places(number, index, line), strict=True):
            self._builder.store(value, place).align = self._size


def _emit_fill(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit the sums of all groups."""
    lines = _Lines(context, builder, signature, args)
    width = ir.Constant(_I64, lines.width)
    with cgutils.for_range(builder, ir.Constant(_I64, GROUPS)) as loop:
        first = builder.add(args[2], builder.mul(loop.index, ir.Constant(_I64, _GROUP)))
        from_row = builder.mul(first, width)
        to_entry = builder.mul(loop.index, ir.Constant(_I64, ENTRIES * lines.width))
        rows = [lines.load(1, from_row, k) for k in range(_GROUP)]
        zero = [ir.Constant(rows[0][0].type, None)] * len(rows[0])
        low, high = (
            [zero, a, b, [builder.fadd(x, y) for x, y in zip(a, b, strict=True)]]
            for a, b in (rows[:2], rows[2:])
        )
        for e in range(ENTRIES):
            one, two = low[e & 3], high[e >> 2]
            if one is not zero and two is not zero:
                one = [builder.fadd(x, y) for x, y in zip(one, two, strict=True)]
            lines.store(two if one is zero else one, 0, to_entry, e)
    return context.get_dummy_value()


def _emit_add(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit the sum of a chain's entries."""
    lines, word, picked = _Lines(context, builder, signature, args), args[3], []
    for g in range(GROUPS):
        bits = builder.lshr(word, ir.Constant(_I64, _GROUP * g))
        entry = builder.and_(bits, ir.Constant(_I64, ENTRIES - 1))
        index = builder.mul(entry, ir.Constant(_I64, lines.width))
        picked.append(lines.load(2, index, g * ENTRIES))
    lines.add_to_fields(args[1], picked)
    return context.get_dummy_value()


def _emit_add_rows(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit the sum of a chain's rows: each is multiplied by its bit, which is exact."""
    lines, word = _Lines(context, builder, signature, args), args[4]
    index = builder.mul(args[3], ir.Constant(_I64, lines.width))
    made: list[list[Any]] = []
    for k in range(BLOCK):
        bit = builder.and_(builder.lshr(word, ir.Constant(_I64, k)), ir.Constant(_I64, 1))
        row = lines.load(2, index, k)
        number = builder.uitofp(bit, row[0].type.element)
        blank = ir.Constant(row[0].type, ir.Undefined)
        factor = builder.insert_element(blank, number, ir.Constant(ir.IntType(32), 0))
        order = ir.Constant(ir.VectorType(ir.IntType(32), row[0].type.count), None)
        factor = builder.shuffle_vector(factor, blank, order)
        made.append([builder.fmul(factor, vector) for vector in row])
    while len(made) > GROUPS:
        made = [
            [builder.fadd(x, y) for x, y in zip(a, b, strict=True)]
            for a, b in zip(made[::2], made[1::2], strict=True)
        ]
    lines.add_to_fields(args[1], made)
    return context.get_dummy_value()


@intrinsic
def _fill_table_emitted(typing_context, table, rows, first):
    """Fill a table with the sums of rows."""
    return types.void(table, rows, types.intp), _emit_fill


@intrinsic
def _add_entries_emitted(typing_context, fields, at, table, word):
    """Add a chain's entries to its fields."""
    return types.void(fields, types.intp, table, types.int64), _emit_add


@intrinsic
def _add_rows_emitted(typing_context, fields, at, rows, first, word):
    """Add a chain's rows to its fields."""
    return types.void(fields, types.intp, rows, types.intp, types.int64), _emit_add_rows


fill_table = fill_table_loops if JIT_DISABLED else _fill_table_emitted
add_entries = add_entries_loops if JIT_DISABLED else _add_entries_emitted
add_rows = add_rows_loops if JIT_DISABLED else _add_rows_emitted
