"""A forest of buckets cut into pieces whose tables fit a cache, and where every table stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from fastvi.engine.run.threads import num_threads
from fastvi.kernels.cpu.elimination.rows import BLOCK
from fastvi.kernels.host import COLUMNS

if TYPE_CHECKING:
    from fastvi.engine.elimination.order import EliminationPlan

_LANE_BITS = COLUMNS.bit_length() - 1
_ROW_BITS = 11  # of a task's largest table: 128 KiB, a quarter of the second-level cache
_SMALL_BITS = 7  # scopes of which nothing is fixed
_NUMBER = 8
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
        """Return the bit of each unit in the scope of each table that leaves its piece."""
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

    def bytes(self, *, moments: bool) -> int:
        """Bytes at a time for the sum of one datum, or for its moments: stores, and what threads work on."""
        store = self.store(keep=moments)[1]
        rows = max(self.rows(segment, keep=moments)[1] for segment in self.segments)
        tables = sum(len(self.tables(segment)) for segment in self.segments)
        copies = 2 if moments else 1
        scratch = num_threads() * (copies * rows * COLUMNS + 2 * BLOCK * COLUMNS + rows)
        return _NUMBER * (copies * store + scratch + 4 * BLOCK * tables)
