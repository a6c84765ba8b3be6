"""Results of searches as plain arrays: they travel from workers, and stand in checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.subcubes.form import FREE
from fastvi.engine.subcubes.search import Tree


class Covers(NamedTuple):
    """Intervals of some data, and the subcubes that were left open.

    lower : (n,), the ELBO or the closed sum, whichever is larger
    upper : (n,)
    closed : (n,), log sums of the states that were summed exactly
    num_bounds : (n,)
    first : (n + 1,), datum k has the open subcubes first[k] ... first[k + 1] - 1
    fixed, ones : (m, ceil(f / 8)) uint8, bits that are fixed, and those that are 1
    bounds : (m,), of their log sums
    """

    lower: Array
    upper: Array
    closed: Array
    num_bounds: Array
    first: Array
    fixed: Array
    ones: Array
    bounds: Array

    def take(self, which: Sequence[int] | Array) -> Covers:
        """Return those of some data."""
        rows = [np.arange(self.first[n], self.first[n + 1]) for n in which]
        counts = [len(own) for own in rows]
        own = np.concatenate([np.empty(0, np.int64), *rows])
        first = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        data, subcubes = (array[which] for array in self[:4]), (array[own] for array in self[5:])
        return Covers._make([*data, first, *subcubes])

    def states(self, n: int, num_bits: int) -> Array:
        """Return the open subcubes (m, f) int8 of a datum."""
        own = slice(self.first[n], self.first[n + 1])
        fixed, ones = (np.unpackbits(array[own], axis=1, count=num_bits) for array in (self.fixed, self.ones))
        return np.where(fixed == 1, ones, FREE).astype(np.int8)


def covers_of(trees: Sequence[Tree], num_bits: int) -> Covers:
    """Return what is certain of the data of ``trees``."""
    first = np.concatenate([[0], np.cumsum([tree.upper.size for tree in trees], dtype=np.int64)])
    states = np.concatenate([np.empty((0, num_bits), np.int8), *(tree.states for tree in trees)])
    return Covers(
        np.array([max(tree.floor, tree.closed) for tree in trees], float),
        np.array([tree.ceiling for tree in trees], float),
        np.array([tree.closed for tree in trees], float),
        np.array([tree.num_bounds for tree in trees], np.int64),
        first,
        np.packbits(states != FREE, axis=1),
        np.packbits(states == 1, axis=1),
        np.concatenate([np.empty(0), *(tree.upper for tree in trees)]),
    )


def joined(parts: Sequence[Covers]) -> Covers:
    """Return the covers of all parts' data, one after the other."""
    offsets = np.cumsum([0, *(len(part.bounds) for part in parts)])
    first = [part.first[1:] + offset for part, offset in zip(parts, offsets[:-1], strict=True)]
    columns = [
        np.concatenate(column) for column in zip(*(part[:4] + part[5:] for part in parts), strict=True)
    ]
    return Covers._make([*columns[:4], np.concatenate([[0], *first]), *columns[4:]])
