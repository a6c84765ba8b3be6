"""Units of a graph that are not coupled among themselves, as many as can be had cheaply."""

from __future__ import annotations

import numpy as np

from fastvi.core.arrays import Array

_SEARCHED = (
    64  # units up to which the largest set is looked for, beyond what taking small degrees first finds
)
_MOST_NODES = 1000  # of that search: some milliseconds


def independent_set(couples: Array) -> Array:
    """Units (f,) no two of which are coupled, a function of ``couples`` (f, f) alone."""
    num_units = len(couples)
    neighbours = [
        sum(1 << int(j) for j in np.flatnonzero(row) if j != i) for i, row in enumerate(np.asarray(couples))
    ]
    everything = (1 << num_units) - 1
    best = _greedy(neighbours, everything)
    if num_units <= _SEARCHED:
        best = _Search(neighbours, best).run(everything)
    return np.array([bool(best >> i & 1) for i in range(num_units)], bool)


def _greedy(neighbours: list[int], alive: int) -> int:
    """Take the unit that is coupled with the fewest of those left, again and again."""
    chosen = 0
    while alive:
        _, unit = min((degree, i) for degree, i in _degrees(neighbours, alive))
        chosen |= 1 << unit
        alive &= ~(neighbours[unit] | 1 << unit)
    return chosen


def _degrees(neighbours: list[int], alive: int) -> list[tuple[int, int]]:
    found, left = [], alive
    while left:
        unit = (left & -left).bit_length() - 1
        left &= left - 1
        found.append(((neighbours[unit] & alive).bit_count(), unit))
    return found


class _Search:
    """Branches over whether the unit of the most couplings is taken, for so many nodes."""

    def __init__(self, neighbours: list[int], best: int) -> None:
        self.neighbours, self.best, self.nodes = neighbours, best, 0

    def run(self, alive: int) -> int:
        self._branch(alive, 0)
        return self.best

    def _branch(self, alive: int, chosen: int) -> None:
        self.nodes += 1
        while alive:
            degrees = _degrees(self.neighbours, alive)
            fewest, unit = min(degrees)
            if fewest > 1:
                break
            # one of a largest set may always be a unit of at most one coupling
            chosen |= 1 << unit
            alive &= ~(self.neighbours[unit] | 1 << unit)
        if not alive:
            if chosen.bit_count() > self.best.bit_count():
                self.best = chosen
            return
        # each unit that is taken leaves out those it is coupled with
        most = chosen.bit_count() + alive.bit_count() - fewest
        if most <= self.best.bit_count() or self.nodes >= _MOST_NODES:
            return
        unit = -max((degree, -i) for degree, i in degrees)[1]
        self._branch(alive & ~(self.neighbours[unit] | 1 << unit), chosen | 1 << unit)
        self._branch(alive & ~(1 << unit), chosen)
