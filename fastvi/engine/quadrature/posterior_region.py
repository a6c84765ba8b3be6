"""Where a posterior is: a piece of it in coordinates of its own, cut in cells, by filling from what is known.

With u = centre + T v, T the principal axes of the piece scaled by its standard deviations, the piece is
about as wide as a standard normal distribution in every direction of v. Cells are cubes of edge ``CELL`` in
v. Nodes at their corners matter where their log density is within ``MATTER`` nats of the largest; what is
beside a node that matters is visited too, and so on: the cells that are left hold the piece, whatever its
shape.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.linalg.symmetric import eigen
from fastvi.engine.quadrature.normal_joint import Axes

Logs = Callable[[Array, Axes], Array]  # log densities (S,) in u at nodes v (S, d)
Across = Callable[[Array], Array]  # a rotation of the axes, given the scaled axes T

CELL = 0.5
MATTER = 31.0  # nats: what is below holds less than 1e-10 of a region of 2^18 cells
BULK = 26.0  # nats: what is below is integrated to 2e-10 by the corners of cells
_MOST_CELLS = 1 << 18  # a ball of 8 standard deviations takes 32, 800 and 17,000
_MOST_STEPS = 256  # from the seeds: a piece that fits is 16 wide
_ROUNDS = 12  # of axes: each measures the piece in the coordinates that the last one gave
_GROWTH = 2.5  # of axes in which the piece had no end
_WIDEST, _NARROWEST, _FARTHEST = 2.5, 0.4, 1.0  # variances and means of a piece in coordinates that fit it
_SIDE = 1 << 20  # numbers of cells in each direction
_UNSEEN = 0.3  # of the distance of nodes: the standard deviation of a piece that one node stands for


class Region(NamedTuple):
    """Cells [i, i + 1) CELL of a piece of a posterior."""

    axes: Axes
    cells: Array  # (C, d) integers
    values: Array  # (C,) log densities in u at the corners
    closed: bool  # whether what is beside the cells is known not to matter

    @property
    def corners(self) -> Array:
        """Nodes v (C, d)."""
        return self.cells * CELL

    def bulk(self) -> Array:
        """Which cells (C,) are not in the tails: those within ``BULK`` nats of the peak, or beside such."""
        inside = _with_neighbours(self.cells[matter(self.values, BULK)])
        return np.isin(_keys(self.cells), inside)

    def holds(self, u: Array) -> bool:
        """Whether any of the nodes u is in the cells."""
        return bool(np.isin(_keys(_cells(self.axes, u)), _keys(self.cells)).any())


def distinct(keys: Array) -> Array:
    """The numbers without repetition, sorted (np.unique makes a hash table: several times as slow)."""
    keys = np.sort(keys)
    return keys[np.append(True, keys[1:] != keys[:-1])[: len(keys)]]


def _keys(index: Array) -> Array:
    keys = np.zeros(len(index), np.int64)
    for column in index.T:
        keys = keys * (2 * _SIDE) + (column + _SIDE)
    return keys


def _indices(keys: Array, d: int) -> Array:
    found = np.empty((len(keys), d), np.int64)
    for axis in reversed(range(d)):
        found[:, axis] = keys % (2 * _SIDE) - _SIDE
        keys = keys // (2 * _SIDE)
    return found


def _with_neighbours(index: Array) -> Array:
    """Sorted keys of cells and of all that touch them."""
    d = index.shape[1]
    keys = _keys(index[(np.abs(index) < _SIDE - 2).all(axis=1)])
    for axis in range(d):
        stride = (2 * _SIDE) ** (d - 1 - axis)
        keys = distinct(np.concatenate([keys - stride, keys, keys + stride]))
    return keys


def _cells(axes: Axes, u: Array) -> Array:
    """Cells (S, d) that nodes u are in."""
    return np.floor(np.clip(axes.back(u) / CELL, 2 - _SIDE, _SIDE - 2)).astype(np.int64)


def _principal(v: Array, values: Array, spacing: Array) -> tuple[Array, Array, Array]:
    """Mean (d,) of nodes v weighted by exp(values), variances (d,) along principal axes, and these (d, d).

    ``spacing`` (d, d) has the steps of the nodes' lattice in its columns.
    """
    share = np.exp(values - values.max())
    share /= share.sum()
    mean = np.einsum("s,si->i", share, v)
    away = v - mean
    spread = np.einsum("s,si,sj->ij", share, away, away)
    spread += _UNSEEN**2 * np.einsum("ik,jk->ij", spacing, spacing)
    return mean, *eigen(spread)


def _axes(u: Array, values: Array, spacing: Array, across: Across | None) -> Axes:
    """Axes in which the posterior of nodes u is as wide as a standard normal distribution."""
    centre, variances, vectors = _principal(u, values, spacing)
    sizes = np.sqrt(np.maximum(variances, 1e-300))
    turn, inverse = vectors * sizes, vectors.T / sizes[:, None]
    if across is not None:
        rotation = across(turn)
        turn, inverse = np.einsum("ik,kj->ij", turn, rotation), np.einsum("ki,kj->ij", rotation, inverse)
    return Axes(centre, turn, inverse, float(np.log(sizes).sum()))


def matter(values: Array, margin: float = MATTER) -> Array:
    """Which log densities are within ``margin`` of the largest."""
    return np.asarray(values >= values.max(initial=-np.inf) - margin)


def _filled(logs: Logs, block: int, axes: Axes, seeds: Array) -> Generator[None, None, Region]:
    """Cells from those of the seeds outwards; yields between steps of the work."""
    d, front = len(axes.centre), _with_neighbours(_cells(axes, seeds))
    keys, values = np.empty(0, np.int64), np.empty(0)
    for _ in range(_MOST_STEPS):
        if not front.size or len(keys) > _MOST_CELLS:
            break
        found = np.empty(len(front))
        for first in range(0, len(front), block):
            part = slice(first, first + block)
            found[part] = logs(_indices(front[part], d) * CELL, axes)
            yield
        place = np.searchsorted(keys, front)
        keys, values = np.insert(keys, place, front), np.insert(values, place, found)
        inside = _with_neighbours(_indices(keys[matter(values)], d))
        front = inside[~np.isin(inside, keys, assume_unique=True)]
    kept = np.isin(keys, inside, assume_unique=True)
    return Region(axes, _indices(keys[kept], d), values[kept], not front.size)


def find_region(
    logs: Logs, block: int, u: Array, values: Array, step: float, across: Across | None
) -> Generator[None, None, Region]:
    """The piece of a posterior around nodes u (S, d), S > 0, of a lattice of some ``step``.

    Yields between steps of the work, each of ``block`` nodes at most.
    """
    d = u.shape[1]
    spacing = step * np.eye(d)
    for _ in range(_ROUNDS):
        axes = _axes(u, values, spacing, across)
        found = yield from _filled(logs, block, axes, u[matter(values)])
        corners = found.corners
        mean, variances, _ = _principal(corners, found.values, CELL * np.eye(d))
        fits = variances.max() < _WIDEST and variances.min() > _NARROWEST and np.abs(mean).max() < _FARTHEST
        if found.closed and fits:
            break
        u, values = axes.nodes(corners), found.values
        spacing = (CELL if found.closed else _GROWTH / _UNSEEN) * axes.turn
    return found
