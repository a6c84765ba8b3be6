"""In which order units are summed out, and what that takes.

What a unit has to do with its neighbours is summed into one table over these, its *scope*. Afterwards they
are coupled with each other. The table goes to the bucket of that unit of the scope which is summed out next:
buckets form a forest. What an order costs follows from the scopes alone, 2^(size + 1) terms each. The best
order is as hard to find as the sum, so several rules are tried (Koller and Friedman 2009, "Probabilistic
Graphical Models", section 9.4.3).
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.elimination.layout import Layout, allocate

_MANY = 1 << 24  # terms, from which on it pays to look for a better order: ten milliseconds
_TRIES = 6  # with ties broken at random, by each of two rules
_NUMBER = 8


@dataclass(frozen=True, eq=False)
class EliminationPlan:
    """An order of elimination and the forest of its buckets."""

    order: tuple[int, ...]  # unit of each bucket
    scopes: tuple[tuple[int, ...], ...]  # of each bucket, units in the order reversed: the next one is last
    parents: tuple[int, ...]  # bucket that takes each one's table, -1 where none does

    @property
    def num_units(self) -> int:
        return len(self.order)

    @cached_property
    def width(self) -> int:
        """Units of the largest scope."""
        return max((len(scope) for scope in self.scopes), default=0)

    @cached_property
    def num_terms(self) -> int:
        """Terms that are added up."""
        return _terms(self.scopes)

    @property
    def operations(self) -> int:
        """Multiply-adds of log Z of one datum, at least."""
        return self.num_terms

    @cached_property
    def numbers(self) -> int:
        """Numbers of all tables together."""
        return self.num_terms // 2

    @cached_property
    def layout(self) -> Layout:
        """The pieces that it is worked on in."""
        return Layout(self)

    @property
    def bytes(self) -> int:
        """Bytes that log Z takes: by products of weights, or those of log space, whatever is more."""
        return max(self.layout.bytes(moments=False), _NUMBER * self.log_places[1])

    @property
    def moment_bytes(self) -> int:
        """Bytes that moments of one datum take by products of weights."""
        return self.layout.bytes(moments=True)

    @property
    def log_moment_bytes(self) -> int:
        """Bytes that moments of one datum take in log space; modes and draws take half of it."""
        return 2 * _NUMBER * self.numbers

    @cached_property
    def log_places(self) -> tuple[list[int], int]:
        """Where tables stand in log space, each until its parent has taken it, and their whole size."""
        sizes = [1 << len(scope) for scope in self.scopes]
        ends = [parent if parent >= 0 else len(sizes) for parent in self.parents]
        return allocate(sizes, ends)


def _terms(scopes: tuple[tuple[int, ...], ...]) -> int:
    return sum(2 << len(scope) for scope in scopes)


def _masks(couples: Array) -> list[int]:
    """Neighbours of each unit, as the bits of an integer."""
    found = []
    for i, row in enumerate(couples):
        mask = 0
        for j in np.flatnonzero(row):
            mask |= 1 << int(j)
        found.append(mask & ~(1 << i))
    return found


def _members(mask: int) -> list[int]:
    found = []
    while mask:
        low = mask & -mask
        found.append(low.bit_length() - 1)
        mask ^= low
    return found


def _degree(unit: int, neighbours: list[int]) -> int:
    return neighbours[unit].bit_count()


def _fill(unit: int, neighbours: list[int]) -> int:
    """Pairs of neighbours that are not coupled with each other, twice."""
    own = neighbours[unit]
    return sum((own & ~neighbours[i]).bit_count() - 1 for i in _members(own))


def _eliminate(unit: int, neighbours: list[int]) -> None:
    own = neighbours[unit]
    for i in _members(own):
        neighbours[i] = (neighbours[i] | own) & ~(1 << i | 1 << unit)


def _greedy(
    masks: list[int], measure: Callable[[int, list[int]], int], seed: int | None, limit: int
) -> list[int] | None:
    """The order that takes the unit of the smallest measure next, or None where it has ``limit`` terms.

    Of equal ones it takes the first, or with a seed any.
    """
    neighbours, rng = list(masks), random.Random(seed)

    def key(unit: int) -> tuple[int, float, int]:
        return measure(unit, neighbours), 0.0 if seed is None else rng.random(), unit

    current = {unit: key(unit) for unit in range(len(masks))}
    heap = list(current.values())
    heapq.heapify(heap)
    order, terms = [], 0
    while heap:
        top = heapq.heappop(heap)
        unit = top[2]
        if current.get(unit) is not top:
            continue
        del current[unit]
        order.append(unit)
        own = neighbours[unit]
        terms += 2 << own.bit_count()
        if terms >= limit:
            return None
        _eliminate(unit, neighbours)
        touched = own
        if measure is _fill:  # the couplings of neighbours of neighbours may have become complete
            for i in _members(own):
                touched |= neighbours[i]
        for i in _members(touched):
            now = measure(i, neighbours)
            if now != current[i][0]:
                current[i] = (now, *key(i)[1:]) if seed is not None else (now, 0.0, i)
                heapq.heappush(heap, current[i])
    return order


def _sweep(masks: list[int], start: int) -> list[int]:
    """An order that sweeps over the graph from one end: next is who adds the fewest units to the front."""
    neighbours, order, left = list(masks), [], (1 << len(masks)) - 1
    front = 0
    unit = start
    while True:
        order.append(unit)
        left &= ~(1 << unit)
        own = neighbours[unit]
        _eliminate(unit, neighbours)
        if not left:
            return order
        front = (front | own) & left
        candidates = front or left
        unit = min(
            _members(candidates), key=lambda i: ((neighbours[i] & ~front).bit_count(), _age(i, order, masks))
        )


def _age(unit: int, order: list[int], masks: list[int]) -> int:
    """When the first neighbour of a unit was summed out: the oldest of the front goes first."""
    for k, other in enumerate(order):
        if masks[other] >> unit & 1:
            return k
    return len(order)


def _far_ends(masks: list[int]) -> list[int]:
    """A unit at one end of the graph, and the unit of the fewest couplings that is farthest from it."""
    found = []
    unit = min(range(len(masks)), key=lambda i: (masks[i].bit_count(), i))
    for _ in range(2):
        seen, last = 1 << unit, 1 << unit
        while True:
            reached = 0
            for i in _members(last):
                reached |= masks[i]
            if not reached & ~seen:
                break
            last = reached & ~seen
            seen |= reached
        unit = min(_members(last), key=lambda i: (masks[i].bit_count(), i))
        found.append(unit)
    return found


def _forest(masks: list[int], order: list[int]) -> EliminationPlan:
    neighbours = list(masks)
    rank = {unit: k for k, unit in enumerate(order)}
    scopes, parents = [], []
    for unit in order:
        scope = sorted(_members(neighbours[unit]), key=lambda i: -rank[i])
        scopes.append(tuple(scope))
        parents.append(rank[scope[-1]] if scope else -1)
        _eliminate(unit, neighbours)
    again = _children_first(scopes, parents)
    place = {k: to for to, k in enumerate(again)}
    place[-1] = -1
    # of the units of a scope each is an ancestor of the one before it: their order stays
    return EliminationPlan(
        tuple(order[k] for k in again),
        tuple(scopes[k] for k in again),
        tuple(place[parents[k]] for k in again),
    )


def _children_first(scopes: list[tuple[int, ...]], parents: list[int]) -> list[int]:
    """The buckets, each right after those below it, the largest table first: fewer are held at a time."""
    below: list[list[int]] = [[] for _ in scopes]
    largest = [len(scope) for scope in scopes]
    roots = []
    for k, parent in enumerate(parents):  # ascending: those below k have been seen
        if parent < 0:
            roots.append(k)
            continue
        below[parent].append(k)
        largest[parent] = max(largest[parent], largest[k])
    found: list[int] = []
    left = [(k, False) for k in reversed(roots)]
    while left:
        k, opened = left.pop()
        if opened:
            found.append(k)
            continue
        left.append((k, True))
        left += [(c, False) for c in sorted(below[k], key=lambda c: (largest[c], -c))]
    return found


def elimination_plan(couples: Array) -> EliminationPlan:
    """Return the best of several orders for one or more units, couples[i, j] where two are coupled.

    The order is a function of ``couples`` alone.
    """
    masks = _masks(np.asarray(couples, bool))
    orders: list[list[int]] = []
    best = 1 << 62  # terms

    def consider(order: list[int] | None) -> None:
        nonlocal best
        if order is not None:
            terms = _forest(masks, order).num_terms
            if not orders or terms < best:
                orders[:], best = [order], terms

    for end in _far_ends(masks):
        consider(_sweep(masks, end))
    for measure in _fill, _degree:
        order = _greedy(masks, measure, None, 8 * best)
        consider(order)
        if order is not None:  # what is far from the best is not worth more tries
            for seed in range(_TRIES if best > _MANY else 0):
                consider(_greedy(masks, measure, seed, best))
    return _forest(masks, orders[0])
