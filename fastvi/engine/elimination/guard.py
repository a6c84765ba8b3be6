"""How far apart the numbers of a table can be, before any is computed.

A table's logarithm depends on a unit of its scope through the units below alone. To flip the unit changes each
of its pairs with them by at most |J| / 2 (pairs are exp(J (s - 1/2) (z - 1/2))), so that all numbers of a table
are within exp(r) of each other,

    r = sum of |J| / 2 over the pairs of its scope and the units below.

Where J = -inf bars a unit below, its state can be given up for 0: that takes at most its field and its positive
couplings, and log 2 for the two states that become one.
"""

from __future__ import annotations

import math

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.elimination.order import EliminationPlan

_MOST = 600.0  # nats of log(2^1022) = 708: the least number times its factors, none of which is lost


def is_held(plan: EliminationPlan, couplings: Array, fields: Array) -> Array:
    """Whether float64 holds all tables of a datum (N,), each number to its last digits."""
    blocked = np.isneginf(couplings)
    halves = 0.5 * np.abs(np.where(blocked, 0.0, couplings))
    barred = blocked.any(axis=1)
    gains = np.where(blocked, 0.0, np.maximum(couplings, 0.0)).sum(axis=1)
    rank = np.empty(len(plan.order), np.int64)
    rank[list(plan.order)] = np.arange(len(plan.order))
    last = [max((int(rank[u]) for u in np.flatnonzero(row)), default=-1) for row in blocked]
    given_up = np.zeros(fields.shape)
    given_up[:, barred] = math.log(2.0) + np.maximum(fields[:, barred] + gains[barred], 0.0)
    num, count = len(fields), len(plan.order)
    reach = [np.zeros(num) for _ in range(count)]  # r of the units below, summed over children
    held_by = [0.0] * count  # sums over children of what their numbers differ from 1 by
    children = [0] * count
    ends: list[list[int]] = [[] for _ in range(count)]
    worst = np.zeros(num)
    for k, unit in enumerate(plan.order):
        scope = list(plan.scopes[k])
        own = float(halves[unit, scope].sum()) + math.log(2.0) * (children[k] + 1)
        worst = np.maximum(worst, reach[k] + held_by[k] + own)
        earlier = rank < k
        r = reach[k] - halves[unit, earlier].sum() + halves[unit, scope].sum()
        for other in ends[k]:
            r = r - given_up[:, other]
        if last[unit] > k:
            r = r + given_up[:, unit]
            ends[last[unit]].append(unit)
        worst = np.maximum(worst, r + own)
        parent = plan.parents[k]
        if parent >= 0:
            reach[parent] = reach[parent] + r
            held_by[parent] += own
            children[parent] += 1
    return np.asarray(worst <= _MOST)
