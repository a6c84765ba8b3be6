"""The arrays of a piece: places of its tables and factors of its couplings."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.elimination.layout import Layout, Segment
from fastvi.engine.elimination.order import EliminationPlan
from fastvi.kernels.cpu.elimination.pieces import Piece
from fastvi.kernels.cpu.elimination.rows import BLOCK, BLOCK_BITS
from fastvi.kernels.host import COLUMNS

# Products of children, and the powers of two that scale them, are between 2^-310 and 2^310. A factor of a
# field and of couplings that is lost is below 2^-1022: it takes at most 2^-402 from a number above 2^-310
_RANGE_BITS = 310


def pair_factors(coupling: Array) -> Array:
    """Factors (..., off or on, state of the other unit) of a pair, relative to the largest."""
    out = np.ones((*coupling.shape, 2, 2))
    with np.errstate(invalid="ignore"):
        small = np.exp(-0.5 * np.abs(coupling))
    up, down, never = coupling > 0.0, (coupling < 0.0) & np.isfinite(coupling), np.isneginf(coupling)
    for where, on, state in ((up, 1, 0), (up, 0, 1), (down, 1, 1), (down, 0, 0)):
        out[where, on, state] = small[where]
    out[never, 1, 1] = 0.0
    return out


def _largest(plan: EliminationPlan, tables: Sequence[int]) -> Array:
    """The largest number of each table, so that products of children and factors lose none that counts."""
    siblings = np.bincount(np.array(plan.parents) + 1, minlength=len(plan.order) + 1)
    siblings[0] = 1
    return np.array([2.0 ** (_RANGE_BITS // siblings[plan.parents[k] + 1]) for k in tables])


def _block_entries(children: list[list[int]], begin: Array, place: Array) -> Array:
    """Rows of each child that belong to the rows of its parent's block, but for the bits beyond the block."""
    row, found = np.arange(BLOCK), []
    for child in (i for some in children for i in some):
        own = place[begin[child] : begin[child + 1] - 1]
        bits = np.flatnonzero(own < BLOCK_BITS)
        found.append(((row >> own[bits, None] & 1) << bits[:, None]).sum(axis=0))
    return np.array(found, np.int64).reshape(-1, BLOCK)


def _block_factors(factor: Array, begin: Array) -> Array:
    """Products of the factors of a block's bits (T, off and on, BLOCK) flat, for each of its rows."""
    out = np.ones((len(begin) - 1, 2, BLOCK))
    for own, (first, last) in zip(out, pairwise(begin), strict=True):
        for bit in range(min(BLOCK_BITS, last - first)):
            half = 1 << bit
            zero, one = factor[first + bit, :, :1], factor[first + bit, :, 1:]
            own[:, half : 2 * half] = own[:, :half] * one
            own[:, :half] *= zero
    return out.reshape(len(out), -1)


def make_piece(layout: Layout, segment: Segment, couplings: Array, pairs: Array, *, keep: bool) -> Piece:
    """Arrays of a piece; ``pairs`` (f, f) are the numbers of coupled pairs, -1 elsewhere."""
    plan, tables = layout.plan, layout.tables(segment)
    fixed, at = {*segment.lanes, *segment.outer}, {k: i for i, k in enumerate(tables)}
    scopes = [[unit for unit in plan.scopes[k] if unit not in fixed] for k in tables]
    starts, _ = layout.store(keep=keep)
    count, outer = len(tables), len(segment.outer)
    begin = np.cumsum([0, *(len(scope) for scope in scopes)])
    place, stride = np.zeros(begin[-1], np.int64), np.zeros(begin[-1], np.int64)
    unit = np.array([plan.order[k] for k in tables], np.int64)
    flat = np.array([u for scope in scopes for u in scope], np.int64)
    owner = np.repeat(unit, np.diff(begin))
    children: list[list[int]] = [[] for _ in tables]
    lane_offset, outer_stride = np.zeros((count, COLUMNS), np.int64), np.zeros((count, outer), np.int64)
    source = np.full(count, -1)
    lane = np.arange(COLUMNS) & ((1 << len(segment.lanes)) - 1)
    for i, (k, (first, last)) in enumerate(zip(tables, pairwise(begin), strict=True)):
        parent = plan.parents[k]
        if parent in at:
            children[at[parent]].append(i)
            bits = {u: b for b, u in enumerate((*scopes[at[parent]], plan.order[parent]))}
            place[first:last] = [bits[u] for u in scopes[i]]
        if k in segment.outside or (k == segment.buckets[-1] and k in layout.positions):
            position = layout.positions[k]
            source[i] = starts[k]
            stride[first:last] = [1 << position[u] for u in scopes[i]]
            for b, u in enumerate(segment.lanes):
                lane_offset[i] += ((lane >> b) & 1) << position[u] if u in position else 0
            outer_stride[i] = [1 << position[u] if u in position else 0 for u in segment.outer]
    lane_factor = np.ones((count, 2, COLUMNS))
    for b, u in enumerate(segment.lanes):
        lane_factor *= pair_factors(couplings[unit, u])[:, :, (lane >> b) & 1]
    fixed_outer, factor = np.array(segment.outer, np.int64), pair_factors(couplings[owner, flat])
    return Piece(
        len(segment.outside), 0 if layout.side_by_side else 1 << len(segment.lanes), begin, place,
        factor, pairs[owner, flat], stride,
        np.cumsum([0, *(len(some) for some in children)]),
        np.array([i for some in children for i in some], np.int64),
        np.array(layout.rows(segment, keep=keep)[0], np.int64), np.array(tables, np.int64), lane_factor,
        lane_offset, pair_factors(couplings[unit[:, None], fixed_outer]), pairs[unit[:, None], fixed_outer],
        outer_stride, source, _largest(plan, tables), _block_entries(children, begin, place),
        _block_factors(factor, begin),
    )  # fmt: skip
