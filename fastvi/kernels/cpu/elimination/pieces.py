"""Elimination by products: tables of weights, not of their logarithms, COLUMNS of them side by side.

A *piece* is some buckets of a forest, one below the other, and the tables that they take from outside. Units
that are in all scopes of a piece can be fixed: for each state of theirs the rest is a smaller problem. Those
of the last three are the lanes of a row, so that all loops run over whole vectors whatever the scopes are;
the others are the *task*. A task's tables stay in the second-level cache. Where data are side by side, all
buckets are one piece that has one task.

Each pair has the weight exp(J (s - 1/2) (z - 1/2)), what that leaves is linear in the units. So half as much
depends on a pair as with exp(J s z). A bucket's factors are relative to their largest, those of its children
to the number of all units off, by a power of two: ``exponents``. No number then leaves the range of float64
where the guard says so (`engine/elimination/guard.py`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fastvi.kernels.bits import power_of_two, split_exponent
from fastvi.kernels.cpu.elimination.entries import child_entry
from fastvi.kernels.cpu.elimination.rows import (
    BLOCK,
    BLOCK_BITS,
    bit_sum,
    row_additions,
    row_checks,
    row_copies,
    row_products,
    row_shares,
    row_sums,
)
from fastvi.kernels.cpu.simd.denormals import begin_flushing, end_flushing
from fastvi.kernels.host import COLUMNS
from fastvi.kernels.jit import inline, kernel


class Piece(NamedTuple):
    """T tables, first those that come from outside; their scopes have S units beside those that are fixed."""

    num_outside: int
    num_lanes: int  # that differ: at most COLUMNS; 0 where they are data
    begin: np.ndarray  # (T + 1,) where the scope of each one begins
    place: np.ndarray  # (S,) the bit of each unit in the parent's scope; the parent's unit is the last
    factor: np.ndarray  # (S, 2, 2) of the coupling with the bucket's unit, off and on, by the unit's state
    row_pair: np.ndarray  # (S,) number of that pair, -1 where there is none
    stride: np.ndarray  # (S,) of the unit in the store
    first_child: np.ndarray  # (T + 1,)
    child: np.ndarray
    row: np.ndarray  # (T,) where each table begins in a task's tables
    bucket: np.ndarray  # (T,) in the forest
    lane_factor: np.ndarray  # (T, 2, COLUMNS) of the couplings with fixed units, those of the lanes
    lane_offset: np.ndarray  # (T, COLUMNS) in the store
    outer_factor: np.ndarray  # (T, outer bits, 2, 2) those of the task
    outer_pair: np.ndarray  # (T, outer bits)
    outer_stride: np.ndarray  # (T, outer bits)
    source: np.ndarray  # (T,) where each table begins in the store, -1 where it is not in there
    largest: np.ndarray  # (T,) of a table's numbers, and of their inverses, where they are checked
    entries: np.ndarray  # (children, BLOCK) the rows of a child that belong to those of a block
    low: np.ndarray  # (T, 2 BLOCK) factors of the bits within a block, off and on


class Scratch(NamedTuple):
    """What a thread writes into while it works on a piece."""

    tables: np.ndarray
    masses: np.ndarray
    pairs: np.ndarray
    offsets: np.ndarray


@inline
def _base(piece, table, task):
    """Return where a task's part of a table begins in the store."""
    base = piece.source[table]
    for j in range(piece.outer_stride.shape[1]):
        base += piece.outer_stride[table, j] * ((task >> j) & 1)
    return base


@inline
def _fill_offsets(piece, table, offsets):
    """Set ``offsets`` of the rows of a table in the store; return their number."""
    offsets[0] = 0
    begin = piece.begin[table]
    bits = piece.begin[table + 1] - begin
    for bit in range(bits):
        for i in range(1 << bit):
            offsets[(1 << bit) + i] = offsets[i] + piece.stride[begin + bit]
    return 1 << bits


@inline
def _load(piece, table, task, store, tables, offsets):
    """Read a task's part of a table from the store."""
    base, rows = _base(piece, table, task), _fill_offsets(piece, table, offsets)
    to = piece.row[table] * COLUMNS
    for r in range(rows):
        for c in range(COLUMNS):
            tables[to + r * COLUMNS + c] = store[base + offsets[r] + piece.lane_offset[table, c]]


@inline
def _add_to_store(piece, table, task, store, tables, offsets):
    """Add a task's part of a table to the store."""
    base, rows = _base(piece, table, task), _fill_offsets(piece, table, offsets)
    source = piece.row[table] * COLUMNS
    for r in range(rows):
        for c in range(piece.num_lanes):
            store[base + offsets[r] + piece.lane_offset[table, c]] += tables[source + r * COLUMNS + c]


@inline
def _write(piece, table, task, store, tables, offsets):
    """Write a task's part of a table to the store."""
    base, rows = _base(piece, table, task), _fill_offsets(piece, table, offsets)
    source = piece.row[table] * COLUMNS
    for r in range(rows):
        for c in range(piece.num_lanes):
            store[base + offsets[r] + piece.lane_offset[table, c]] = tables[source + r * COLUMNS + c]


@inline
def _fill_weights(piece, table, field_weights, exponents, task, out):
    """Set ``out`` to the factors of the lanes: fields, fixed units, and the scales of the children."""
    bucket = piece.bucket[table]
    for c in range(COLUMNS):
        power = 0
        for k in range(piece.first_child[table], piece.first_child[table + 1]):
            power += exponents[piece.bucket[piece.child[k]], c]
        scale = power_of_two(-power)
        for on in range(2):
            out[on * COLUMNS + c] = (
                field_weights[bucket, on, c] * (piece.lane_factor[table, on, c] * scale)
            )  # fmt: skip
    for j in range(piece.outer_factor.shape[1]):
        state = (task >> j) & 1
        for on in range(2):
            factor = piece.outer_factor[table, j, on, state]
            for c in range(COLUMNS):
                out[on * COLUMNS + c] *= factor


@inline
def _fill_factors(piece, table, block, count, low, factors):
    """Set ``factors`` of the rows of a block."""
    begin = piece.begin[table]
    for on in range(2):
        above = 1.0
        for bit in range(BLOCK_BITS, piece.begin[table + 1] - begin):
            above *= piece.factor[begin + bit, on, (block >> bit) & 1]
        for i in range(count):
            factors[on * BLOCK + i] = low[on * BLOCK + i] * above


@inline
def _fill_pairs(piece, table, block, count, tables, entries, pairs):
    """Set ``pairs`` to the products of the children's rows for a block."""
    first, last = piece.first_child[table], piece.first_child[table + 1]
    if first == last:
        for i in range(count * COLUMNS):
            pairs[i] = 1.0
            pairs[BLOCK * COLUMNS + i] = 1.0
    for k in range(first, last):
        child = piece.child[k]
        half = 1 << (piece.begin[child + 1] - piece.begin[child] - 1)
        row = piece.row[child] + child_entry(piece, child, block)
        if k == first:
            row_copies(pairs, tables, row, half, entries[k], count)
        else:
            row_products(pairs, tables, row, half, entries[k], count)


@inline
def _ascend(piece, field_weights, exponents, own, lost, task, store, scratch, weights, factors, same):
    """Fill all tables of a task. With ``own`` set the exponents, too; ``lost`` is empty or a row."""
    tables, entries, pairs = scratch.tables, piece.entries, scratch.pairs
    for table in range(piece.row.size):
        if table < piece.num_outside:
            _load(piece, table, task, store, tables, scratch.offsets)
            continue
        size = 1 << (piece.begin[table + 1] - piece.begin[table])
        count = min(size, BLOCK)
        _fill_weights(piece, table, field_weights, exponents, task, weights)
        low = piece.low[table]
        first = piece.first_child[table]
        alone = piece.first_child[table + 1] == first + 1
        for block in range(0, size, BLOCK):
            _fill_factors(piece, table, block, count, low, factors)
            to = piece.row[table] + block
            if alone:
                child = piece.child[first]
                half = 1 << (piece.begin[child + 1] - piece.begin[child] - 1)
                row = piece.row[child] + child_entry(piece, child, block)
                row_sums(tables, to, tables, row, half, entries[first], factors, weights, count)
            else:
                _fill_pairs(piece, table, block, count, tables, entries, pairs)
                row_sums(tables, to, pairs, 0, BLOCK, same, factors, weights, count)
        if lost.size > 0:
            most = piece.largest[table]
            row_checks(tables, piece.row[table], 1.0 / most, most, lost, size)
        if own:
            bucket = piece.bucket[table]
            for c in range(COLUMNS):
                lane = c if piece.num_lanes == 0 else 0  # states side by side have one scale
                exponents[bucket, c] = split_exponent(tables[piece.row[table] * COLUMNS + lane])[1]


@inline
def _add_pairs(piece, table, block, count, masses, pairs, pair_sums):
    """Add the masses of a block, with the unit on, to its pairs; ``masses`` are their sums."""
    begin = piece.begin[table]
    for bit in range(piece.begin[table + 1] - begin):
        pair = piece.row_pair[begin + bit]
        if pair < 0:
            continue
        if bit < BLOCK_BITS:
            bit_sum(pair_sums, pair, pairs, bit, count)
        elif (block >> bit) & 1:
            for c in range(COLUMNS):
                pair_sums[pair * COLUMNS + c] += masses[c]


@inline
def _descend(piece, field_weights, exponents, task, shares, scratch, weights, factors, means, pair_sums):
    """Share the masses of a task's tables out, from the last to those that come from outside."""
    tables, masses, pairs, entries = scratch.tables, scratch.masses, scratch.pairs, piece.entries
    block_sums = np.empty(COLUMNS)
    end = piece.row.size - 1
    rows = piece.row[end] + (1 << (piece.begin[end + 1] - piece.begin[end]))  # no table gives its place away
    for i in range(rows * COLUMNS):
        masses[i] = 0.0
    for table in range(end, -1, -1):
        if table < piece.num_outside:
            _add_to_store(piece, table, task, shares, masses, scratch.offsets)
            continue
        if piece.source[table] >= 0:
            _load(piece, table, task, shares, masses, scratch.offsets)
        elif piece.num_lanes == 0 and piece.begin[table + 1] == piece.begin[table]:
            for c in range(COLUMNS):
                masses[piece.row[table] * COLUMNS + c] = 1.0
        size = 1 << (piece.begin[table + 1] - piece.begin[table])
        count, bucket = min(size, BLOCK), piece.bucket[table]
        _fill_weights(piece, table, field_weights, exponents, task, weights)
        for block in range(0, size, BLOCK):
            _fill_factors(piece, table, block, count, piece.low[table], factors)
            _fill_pairs(piece, table, block, count, tables, entries, pairs)
            for c in range(COLUMNS):
                block_sums[c] = 0.0
            row = piece.row[table] + block
            row_shares(pairs, factors, weights, tables, masses, row, block_sums, count)
            _add_pairs(piece, table, block, count, block_sums, pairs, pair_sums)
            for c in range(COLUMNS):
                means[bucket, c] += block_sums[c]
            for j in range(piece.outer_pair.shape[1]):
                pair = piece.outer_pair[table, j]
                if pair >= 0 and (task >> j) & 1:
                    for c in range(COLUMNS):
                        pair_sums[pair * COLUMNS + c] += block_sums[c]
            for k in range(piece.first_child[table], piece.first_child[table + 1]):
                child = piece.child[k]
                half = 1 << (piece.begin[child + 1] - piece.begin[child] - 1)
                at = piece.row[child] + child_entry(piece, child, block)
                row_additions(masses, at, half, entries[k], pairs, count)


@kernel
def run_tasks(
    piece, field_weights, exponents, own, lost, first, last, store, scratch, shares, means, pair_sums
):
    """Sum tasks ``first`` .. ``last`` - 1 of a piece, and write what they end with to the store.

    ``field_weights`` (F, 2, COLUMNS) and ``exponents`` (F, COLUMNS) are by bucket of the forest. With ``own``
    the task sets the exponents of its buckets. ``lost`` (COLUMNS,) becomes 1 in lanes whose numbers leave
    their range; it is empty where nothing is checked.

    Where ``means`` (F, COLUMNS) is not empty the moments are added, lane by lane, and nothing is written:
    to ``means`` and the flat ``pair_sums``. ``shares`` is a second store, of the probabilities of the states
    of scopes. That of the last table is read, those of tables from outside are added to. (One kernel for
    both: they have two thirds of their code in common, and so of the time that takes to compile.)
    """
    weights, factors = np.empty(2 * COLUMNS), np.empty(2 * BLOCK)
    same = np.empty(BLOCK, np.int64)
    for i in range(BLOCK):
        same[i] = i
    end = piece.row.size - 1
    before = begin_flushing()
    for task in range(first, last):
        _ascend(piece, field_weights, exponents, own, lost, task, store, scratch, weights, factors, same)
        if means.size > 0:
            _descend(
                piece, field_weights, exponents, task, shares, scratch, weights, factors, means, pair_sums
            )
        elif piece.source[end] >= 0:
            _write(piece, end, task, store, scratch.tables, scratch.offsets)
    end_flushing(before)


@kernel
def fill_field_weights(fields, unit, half_sums, weights, logs):
    """Set weights[bucket, off or on, lane] of fields (lanes, f), each relative to the larger.

    Lanes beyond the data repeat the last. ``half_sums`` (f,) are halves of the sums of each unit's finite
    couplings. ``logs`` are the sums of what the weights are relative to, over all buckets.
    """
    num = fields.shape[0]
    for c in range(COLUMNS):
        n, total = min(c, num - 1), 0.0
        for bucket in range(unit.size):
            field = fields[n, unit[bucket]] + half_sums[unit[bucket]]
            small = math.exp(-abs(field))
            weights[bucket, 0, c] = 1.0 if field < 0.0 else small
            weights[bucket, 1, c] = small if field < 0.0 else 1.0
            total += max(field, 0.0)
        if c < num:
            logs[c] = total
