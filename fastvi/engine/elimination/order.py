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
_MOST = 1 << 41  # terms of what is not worth a search: it would not end
_TRIES = 6  # with ties broken at random, by each of two rules
_FIRST_STEPS, _MORE_STEPS = 1 << 18, 1 << 18  # of a rule, of all further tries: a tenth of a second
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


def _degree(unit: int, neighbours: list[int]) -> tuple[int, int]:
    """Neighbours of a unit; and how many steps it took to count them."""
    return neighbours[unit].bit_count(), 1


def _fill(unit: int, neighbours: list[int]) -> tuple[int, int]:
    """Pairs of neighbours that are not coupled with each other, twice; and the steps."""
    own = neighbours[unit]
    return sum((own & ~neighbours[i]).bit_count() - 1 for i in _members(own)), own.bit_count() + 1


def _eliminate(unit: int, neighbours: list[int]) -> None:
    own = neighbours[unit]
    for i in _members(own):
        neighbours[i] = (neighbours[i] | own) & ~(1 << i | 1 << unit)


class _Budget:
    """Steps that the search for an order may still take; counted, not timed, so that orders are the same."""

    def __init__(self, steps: int) -> None:
        self.steps = steps


def _greedy(
    masks: list[int], measure: Callable[[int, list[int]], tuple[int, int]], seed: int | None, limit: int,
    budget: _Budget,
) -> list[int] | None:  # fmt: skip
    """The order that takes the unit of the smallest measure next.

    Of equal ones it takes the first, or with a seed any. None where it has ``limit`` terms or more, or the
    budget is spent.
    """
    neighbours, rng = list(masks), random.Random(seed)
    current: dict[int, tuple[int, float, int]] = {}
    heap: list[tuple[int, float, int]] = []

    def look_at(unit: int) -> None:
        value, steps = measure(unit, neighbours)
        budget.steps -= steps
        if unit not in current or value != current[unit][0]:
            current[unit] = value, 0.0 if seed is None else rng.random(), unit
            heapq.heappush(heap, current[unit])

    for unit in range(len(masks)):
        look_at(unit)
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
        if terms >= limit or budget.steps < 0:
            return None
        _eliminate(unit, neighbours)
        touched = own
        if measure is _fill and top[0]:  # where couplings are new, neighbours of neighbours may count others
            for i in _members(own):
                touched |= neighbours[i]
        for i in _members(touched):
            look_at(i)
    return order


def _sweep(masks: list[int], start: int, limit: int) -> list[int] | None:
    """An order that sweeps over the graph from one end, or None where it has ``limit`` terms.

    Next is who adds the fewest units to the front, of equal ones who has been in it longest.
    """
    neighbours, left = list(masks), (1 << len(masks)) - 1
    ages = [len(masks)] * len(masks)
    order: list[int] = []
    front, unit, terms = 0, start, 0
    while True:
        for i in _members(masks[unit]):
            ages[i] = min(ages[i], len(order))
        order.append(unit)
        left &= ~(1 << unit)
        own = neighbours[unit]
        terms += 2 << own.bit_count()
        if terms >= limit:
            return None
        _eliminate(unit, neighbours)
        if not left:
            return order
        front = (front | own) & left
        unit = min(_members(front or left), key=lambda i: ((neighbours[i] & ~front).bit_count(), ages[i]))


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
    best: list[int] = []
    least = _MOST

    def consider(order: list[int] | None) -> None:
        nonlocal best, least
        if order is not None:
            terms = _forest(masks, order).num_terms
            if not best or terms < least:
                best, least = order, terms

    for end in _far_ends(masks):
        consider(_sweep(masks, end, least))
    consider(_greedy(masks, _fill, None, least, _Budget(_FIRST_STEPS)))
    consider(_greedy(masks, _degree, None, least, _Budget(_FIRST_STEPS)))
    budget = _Budget(_MORE_STEPS)
    for seed in range(_TRIES if _MANY < least < _MOST else 0):
        for measure in _fill, _degree:
            consider(_greedy(masks, measure, seed, least, budget))
    if not best:
        best = _greedy(masks, _degree, None, 1 << (len(masks) + 2), _Budget(1 << 60)) or []
    return _forest(masks, best)
