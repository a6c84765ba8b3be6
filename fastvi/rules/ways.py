"""Ways to sum over the states of units with pairwise couplings, and which of them is taken.

What a way costs follows from the pattern of couplings and from what is observed, by rates that were measured
once. So a choice is the same on every machine, for any number of threads and for a datum in any batch: the
bits of a result hang on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from fastvi.core.options import METHODS
from fastvi.engine.elimination.order import EliminationPlan, elimination_plan
from fastvi.engine.states.independent_set import independent_set

ENUMERATION, INDEPENDENT_SET, ELIMINATION = METHODS[1:]
ALL_WAYS = METHODS[1:]
WITH_MOMENTS = (ENUMERATION, ELIMINATION)  # those that give means, entropies and gradients, too

# seconds of a call, of a state, and of a state and unit; measured on two cores of a Zen 3 (threads count in
# all of them alike)
_CALL, _STATE, _TILE_STATE = 5e-5, 6e-11, 1e-8
_SET_CALL, _SET_STATE, _SET_UNIT = 4e-4, 2.2e-9, 6.5e-11
_ELIMINATION_CALL, TERM = 2e-4, 1e-9
_MOST_BYTES = 8 << 30  # of an order that is taken unasked, tables of moments in log space among them
_FEW_NUMBERS = 1 << 24  # in the tables of an order whose bytes need not be counted
_MOST_COUPLED = 40  # units that are all coupled with so many others: no order has tables that small
# data that a choice is made for, however many there are: a datum has the same bits in any company
_REFERENCE_DATA = 16
# a form of its own for each pattern of what is observed pays where it leaves out so many more units
_PATTERNS_PAY = 6


class Way(NamedTuple):
    """One way to sum over the free units, and what a datum takes."""

    method: str
    num_states: int  # that are gone through, or terms that are added up
    seconds: float  # of one datum
    each: float  # of each further one
    text: str
    closed: np.ndarray | None = None  # (d,) units of an independent set
    plan: EliminationPlan | None = None

    @property
    def bits(self) -> int:
        """The states as a power of two, rounded up."""
        return (self.num_states - 1).bit_length()


@cache
def enumeration(num_free: int) -> Way:
    """Return the way that goes through all states."""
    tile = min(max(num_free - 8, 9), 17)  # as ``choose_pair_tiling`` cuts it with caches of 512 KiB
    each = _STATE * 2.0 ** min(num_free, 1000)
    seconds = _CALL + _TILE_STATE * 2.0**tile + each
    return Way(ENUMERATION, 1 << num_free, seconds, each, f"enumeration 2^{num_free}")


def by_independent_set(graph: np.ndarray, observed: np.ndarray) -> Way:
    """Return the way that sums units (of ``graph`` (d, d)) not coupled among themselves in closed form."""
    free = np.flatnonzero(~observed)
    reached = np.count_nonzero(graph[:, observed], axis=1) > 0
    closed = _closed(graph, np.flatnonzero(~observed & ~reached), free.size)
    if reached[free].any():
        wider = _closed(graph, free, free.size)
        if wider.sum() >= closed.sum() + _PATTERNS_PAY:
            closed = wider
    left = free.size - int(closed.sum())
    states = 2.0 ** min(left, 1000)
    seconds = _SET_CALL + (_SET_STATE + _SET_UNIT * int(closed.sum())) * states
    each = seconds if (closed & reached).any() else _STATE * states
    return Way(INDEPENDENT_SET, 1 << left, seconds, each, f"independent set 2^{left}", closed=closed)


def _closed(graph: np.ndarray, units: np.ndarray, num_free: int) -> np.ndarray:
    """Return some of the ``units``, as a mask (d,); one unit at least is left."""
    found = units[independent_set(graph[np.ix_(units, units)])]
    closed = np.zeros(len(graph), bool)
    closed[found if found.size < num_free else found[1:]] = True
    return closed


def by_elimination(graph: np.ndarray, observed: np.ndarray) -> Way | None:
    """Return the way that sums unit after unit; None where every order has tables far too large."""
    inside = graph[np.ix_(~observed, ~observed)]
    if _core(inside) > _MOST_COUPLED:
        return None
    plan = elimination_plan(inside)
    each = TERM * plan.num_terms
    text = f"elimination, width {plan.width}"
    return Way(ELIMINATION, max(1, plan.num_terms), _ELIMINATION_CALL + each, each, text, plan=plan)


def _core(graph: np.ndarray) -> int:
    """Return the largest k so that some units are each coupled with k others of them: no width is below."""
    degree, most = graph.sum(axis=1), 0
    alive = np.ones(len(graph), bool)
    for _ in range(len(graph)):
        unit = int(np.argmin(np.where(alive, degree, len(graph) + 1)))
        most = max(most, int(degree[unit]))
        alive[unit] = False
        degree = degree - graph[unit]
    return most


def all_ways(graph: np.ndarray, observed: np.ndarray) -> tuple[Way, ...]:
    """Return every way to sum over the units that are not ``observed``."""
    num_free = int((~observed).sum())
    ways = [enumeration(num_free)]
    if num_free:
        ways.append(by_independent_set(graph, observed))
        found = by_elimination(graph, observed)
        ways += [] if found is None else [found]
    return tuple(ways)


def cheapest(ways: tuple[Way, ...], methods: tuple[str, ...], *, once: bool) -> Way:
    """Return the cheapest way of some ``methods``, of one datum (``once``) or of a few.

    An order of too many bytes is left to those who ask for it. One way alone is taken whatever it costs.
    """
    more = 0 if once else _REFERENCE_DATA - 1
    allowed = [way for way in ways if way.method in methods]
    fitting = [way for way in allowed if way.plan is None or _fits(way.plan, methods)]
    return min(fitting or allowed, key=lambda way: way.seconds + more * way.each)


def _fits(plan: EliminationPlan, methods: tuple[str, ...]) -> bool:
    """Tell whether an order may be taken unasked."""
    return plan.numbers <= _FEW_NUMBERS or bytes_of(plan, methods) <= _MOST_BYTES


def bytes_of(plan: EliminationPlan, methods: tuple[str, ...]) -> int:
    """Return what an order takes, of log Z alone or of moments, too, where all ``methods`` give these."""
    return plan.bytes if INDEPENDENT_SET in methods else max(plan.moment_bytes, plan.log_moment_bytes)


def sizes_told(ways: tuple[Way, ...], methods: tuple[str, ...]) -> str:
    """Return in a few words how large each way is that may be asked for."""
    said = []
    for way in ways:
        if way.method not in methods:
            continue
        size = f"2^{math.log2(way.num_states):.4g}"
        if way.plan is None:
            said.append(f"{way.method!r} {size} states")
        else:
            size_of_tables = bytes_of(way.plan, methods) / 2**30
            said.append(f"{way.method!r} {size} terms and {size_of_tables:,.3g} GiB")
    return f"by method: {', '.join(said)}"


def told(ways: tuple[Way, ...], taken: Way, duration: Callable[[float], str]) -> str:
    """Return one line about what is taken, and the others."""
    others = sorted((way for way in ways if way.method != taken.method), key=lambda way: way.seconds)
    return "; ".join(f"{way.text}: {duration(way.seconds)}" for way in (taken, *others))
