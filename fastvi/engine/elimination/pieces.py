"""A forest of buckets cut into pieces whose tables fit a cache, and where every table stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.elimination.order import EliminationPlan
from fastvi.kernels.cpu.elimination.pieces import Piece
from fastvi.kernels.cpu.elimination.rows import BLOCK, BLOCK_BITS
from fastvi.kernels.host import COLUMNS

_LANE_BITS = COLUMNS.bit_length() - 1
_ROW_BITS = 11  # of a task's largest table: 128 KiB, a quarter of the second-level cache
_SMALL_BITS = 7  # scopes of which nothing is fixed
# Products of children, and the powers of two that scale them, are between 2^-310 and 2^310. A factor of a
# field and of couplings that is lost is below 2^-1022: it takes at most 2^-402 from a number above 2^-310
_RANGE_BITS = 310
_TOGETHER = 1 << 16  # numbers of tables up to which data stand side by side, and all buckets are one piece


@dataclass(frozen=True)
class Segment:
    """Buckets of a piece, children first, those that it takes tables from, and the units that are fixed."""

    buckets: tuple[int, ...]
    outside: tuple[int, ...]
    lanes: tuple[int, ...]
    outer: tuple[int, ...]

    @property
    def num_tasks(self) -> int:
        return 1 << len(self.outer)


def allocate(sizes: Sequence[int], ends: Sequence[int]) -> tuple[list[int], int]:
    """Return places for tables, made one after the other, table k in use until ends[k]; and their whole size.

    Each is put into the first gap that is large enough.
    """
    held: list[tuple[int, int, int]] = []  # begin, end, last use
    begins, whole = [], 0
    for k, size in enumerate(sizes):
        held = [place for place in held if place[2] >= k]
        at = 0
        for begin, end, _ in held:
            if begin - at >= size:
                break
            at = end
        held = sorted([*held, (at, at + size, ends[k])])
        begins.append(at)
        whole = max(whole, at + size)
    return begins, whole


def _children(plan: EliminationPlan) -> list[list[int]]:
    found: list[list[int]] = [[] for _ in plan.order]
    for k, parent in enumerate(plan.parents):
        if parent >= 0:
            found[parent].append(k)
    return found


def _below(top: int, children: list[list[int]]) -> list[int]:
    found, left = [], [top]
    while left:
        k = left.pop()
        found.append(k)
        left += children[k]
    return found


def cut(plan: EliminationPlan) -> list[Segment]:
    """The pieces of a plan, each after those whose tables it takes."""
    children = _children(plan)
    if plan.numbers <= _TOGETHER:
        return [Segment(tuple(range(len(plan.order))), (), (), ())]
    sizes = [len(scope) for scope in plan.scopes]
    largest = list(sizes)
    for k, parent in enumerate(plan.parents):
        if parent >= 0:
            largest[parent] = max(largest[parent], largest[k])
    found: list[Segment] = []
    left = [k for k, parent in enumerate(plan.parents) if parent < 0]
    while left:
        top = left.pop()
        if largest[top] <= _SMALL_BITS:
            found.append(Segment(tuple(sorted(_below(top, children))), (), (), ()))
            continue
        segment = _grow(top, plan, children, sizes)
        found.append(segment)
        left += segment.outside
    return found[::-1]


def _grow(top: int, plan: EliminationPlan, children: list[list[int]], sizes: list[int]) -> Segment:
    """The buckets below ``top`` whose scopes share the units that have to be fixed, the largest first."""
    shared, need = set(plan.scopes[top]), max(min(_LANE_BITS, sizes[top]), sizes[top] - _ROW_BITS)
    inside, outside, left = [top], [], list(children[top])
    while left:
        left.sort(key=lambda k: (sizes[k], k))
        k = left.pop()
        both = shared & set(plan.scopes[k])
        more = max(need, sizes[k] - _ROW_BITS)
        if len(both) < more:
            outside.append(k)
            continue
        shared, need = both, more
        inside.append(k)
        left += children[k]
    rank = {unit: k for k, unit in enumerate(plan.order)}
    # those that all tables from outside have first; of these the ones that stay longest
    absent = {unit: sum(unit not in plan.scopes[k] for k in outside) for unit in shared}
    fixed = sorted(shared, key=lambda unit: (absent[unit], -rank[unit]))[:need]
    lanes, outer = fixed[:_LANE_BITS], fixed[_LANE_BITS:]
    # tasks that add to the same numbers stand next to each other: they differ in the units that are absent
    outer.sort(key=lambda unit: -absent[unit])
    return Segment(tuple(sorted(inside)), tuple(sorted(outside)), tuple(lanes), tuple(outer))


@dataclass(frozen=True)
class Layout:
    """Where the tables of all pieces stand."""

    plan: EliminationPlan

    @cached_property
    def segments(self) -> list[Segment]:
        return cut(self.plan)

    @property
    def side_by_side(self) -> bool:
        """Whether data are the lanes."""
        return self.plan.numbers <= _TOGETHER

    @cached_property
    def positions(self) -> dict[int, dict[int, int]]:
        """Of each table that leaves its piece: the bit of each unit of its scope."""
        found = {}
        for segment in self.segments:
            top = segment.buckets[-1] if segment.buckets else -1
            if top < 0 or self.side_by_side:
                continue
            fixed = {*segment.lanes, *segment.outer}
            rows = [unit for unit in self.plan.scopes[top] if unit not in fixed]
            found[top] = {unit: k for k, unit in enumerate((*segment.lanes, *rows, *segment.outer))}
        return found

    def _uses(self) -> tuple[list[int], list[int]]:
        """Bucket that each segment ends with, and the segment that takes its table."""
        tops = [segment.buckets[-1] for segment in self.segments]
        user = {k: s for s, segment in enumerate(self.segments) for k in segment.outside}
        return tops, [user.get(top, len(tops)) for top in tops]

    def store(self, *, keep: bool) -> tuple[dict[int, int], int]:
        """Where each table begins in the store, and its size; ``keep`` leaves every one its own place."""
        if self.side_by_side:
            return {}, 0
        tops, ends = self._uses()
        sizes = [1 << len(self.plan.scopes[top]) for top in tops]
        begins, whole = allocate(sizes, [len(tops)] * len(tops) if keep else ends)
        return dict(zip(tops, begins, strict=True)), whole

    def tables(self, segment: Segment) -> tuple[int, ...]:
        return (*segment.outside, *segment.buckets)

    def rows(self, segment: Segment, *, keep: bool) -> tuple[list[int], int]:
        """Where the tables of a task begin, in rows, and how many there are."""
        tables = self.tables(segment)
        fixed, at = {*segment.lanes, *segment.outer}, {k: i for i, k in enumerate(tables)}
        sizes = [1 << sum(unit not in fixed for unit in self.plan.scopes[k]) for k in tables]
        ends = [len(tables) if keep else at.get(self.plan.parents[k], len(tables)) for k in tables]
        return allocate(sizes, ends)


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
