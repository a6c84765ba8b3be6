"""Bound how far apart the numbers of a table can be, before any is computed.

A table's logarithm depends on a unit of its scope through the units below alone. To flip the unit changes
each of its pairs with them by at most |J| / 2 (pairs are exp(J (s - 1/2) (z - 1/2))), so that all numbers of
a table are within exp(r) of each other,

    r = sum of |J| / 2 over the pairs of its scope and the units below.

Where J = -inf bars a unit below, its state can be given up for 0. That takes at most its field, its positive
couplings, and log 2 for the two states that become one.
"""

from __future__ import annotations

import math

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.elimination.order import EliminationPlan
from fastvi.engine.run.slices import slices

_MOST = 600.0  # nats of log(2^1022) = 708: the least number times its factors, none of which is lost
_DATA = 256  # that are looked at together


class Guard:
    """Says for which data float64 holds all tables, each number to its last digits."""

    def __init__(self, plan: EliminationPlan, couplings: Array) -> None:
        blocked = np.isneginf(couplings)
        halves = 0.5 * np.abs(np.where(blocked, 0.0, couplings))
        rank = np.empty(len(plan.order), np.int64)
        rank[list(plan.order)] = np.arange(len(plan.order))
        self._barred = np.flatnonzero(blocked.any(axis=1))
        self._gains = np.where(blocked, 0.0, np.maximum(couplings, 0.0)).sum(axis=1)[self._barred]
        last = [int(rank[blocked[unit]].max()) for unit in self._barred]
        first = rank[self._barred]
        count = len(plan.order)
        # sums over children: of r, of what their own numbers may differ from 1 by, of units that are barred
        reach, apart, below = np.zeros(count), np.zeros(count), np.zeros((count, len(self._barred)))
        num_children = np.zeros(count)
        bounds, given_up = [], []
        for k, unit in enumerate(plan.order):
            later = float(halves[unit, list(plan.scopes[k])].sum())
            own = later + math.log(2.0) * (num_children[k] + 1)
            bounds.append(reach[k] + apart[k] + own)
            given_up.append(below[k].copy())
            r = reach[k] - halves[unit, rank < k].sum() + later
            for b, (begin, end) in enumerate(zip(first, last, strict=True)):
                if begin == k:
                    below[k, b] = 1.0
                if end <= k:
                    below[k, b] = 0.0
            bounds.append(r + own)
            given_up.append(below[k].copy())
            parent = plan.parents[k]
            if parent >= 0:
                reach[parent] += r
                apart[parent] += own
                below[parent] += below[k]
                num_children[parent] += 1
        self._bounds, self._given_up = np.array(bounds), np.array(given_up)
        self._most = max(bounds, default=0.0)

    def passes(self, fields: Array) -> Array:
        """Whether data (N, f) pass, (N,) bool."""
        if not self._barred.size or self._most > _MOST:
            return np.full(len(fields), self._most <= _MOST)
        out = np.empty(len(fields), bool)
        for part in slices(len(fields), _DATA):
            gains = math.log(2.0) + np.maximum(fields[part, self._barred] + self._gains, 0.0)
            worst = self._bounds + np.einsum("nb,kb->nk", gains, self._given_up)
            out[part] = worst.max(axis=1) <= _MOST
        return out
