"""The integral of a posterior over its regions, at levels of finer and finer rules, until it stands still."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.quadrature.kinks import Kinks, line_nodes
from fastvi.engine.quadrature.lattices import SEEN, added, lattice, num_nodes, shifted
from fastvi.engine.quadrature.normal_joint import Axes, NormalJoint
from fastvi.engine.quadrature.posterior_region import CELL, Region
from fastvi.engine.quadrature.weighted_sums import ONES, WeightedSums
from fastvi.kernels.cpu.states.normal_nodes import lattice_nodes

Piece = tuple[Axes, WeightedSums, float]  # sums with the log of the integral that they are

TOLERANCE = 1e-8
_BEFORE = 1e-3  # what the level before may have moved: one small step alone may be luck
# the same where a derivative jumps: a level has an eighth of the error of the one before (with 1e-3, 2 of 120
# data of "elu" and 1 latent were off by more than 1e-8, up to 4e-8)
_BEFORE_WITH_JUMPS = 8e-8
_MOST_LEVELS = 40
_FEWEST_NODES, _MOST_NODES, _OPERATIONS = 1 << 21, 1 << 23, 1 << 31  # of a datum in all


class Integral(NamedTuple):
    """log p(x), and the posterior's means, standard deviations and entropy, of one datum or of all."""

    log_marginal: Any
    mean: Array
    std: Array
    entropy: Any
    moved: Any  # by how much log p(x) moved last; inf where it is not known to hold all of the posterior


def most_nodes(joint: NormalJoint) -> int:
    """Nodes that a datum may take: seconds, or what was always given to large networks."""
    return max(_FEWEST_NODES, min(_MOST_NODES, _OPERATIONS // joint.net.operations))


def log_sum(values: Array) -> float:
    """Log of the sum of exp(values)."""
    largest = values.max(initial=-math.inf)
    return float(largest + math.log(np.exp(values - largest).sum())) if largest > -math.inf else -math.inf


def settled(moved: float, before: float, value: float, jumps: bool) -> bool:
    """Whether a value is certified that moved by so much at the last level, and at the level before."""
    scale = max(1.0, abs(value))
    return moved <= TOLERANCE * scale and before <= (_BEFORE_WITH_JUMPS if jumps else _BEFORE) * scale


class _Part:
    """A region's integral: its bulk's by a rule and its shifted copy, its tails' by the corners of cells."""

    def __init__(self, joint: NormalJoint, kinks: Kinks | None, linear: Array, region: Region) -> None:
        self._joint, self._kinks, self._linear = joint, kinks, linear
        self.axes, self._d = region.axes, region.cells.shape[1]
        bulk = region.bulk()
        self._cells, self._values = region.cells[bulk], region.values[bulk]
        self._rules, self._tails = [WeightedSums(self._d) for _ in range(2)], WeightedSums(self._d)
        self._tails.add(region.corners[~bulk], region.values[~bulk])
        self._volume = region.axes.log_scale + self._d * math.log(CELL)  # log of a cell's
        self._level, self._dimensions = 0, self._d - (kinks is not None)  # of the lattices

    def nodes(self, level: int) -> int:
        """Nodes that a level visits, if few kinks cross the cells."""
        order = 1 if self._kinks is None else _order(level)
        return 2 * len(self._cells) * num_nodes(self._dimensions, level) * order

    def at(self, level: int) -> Iterator[None]:
        """Bring the sums to the next level; yields between steps of the work."""
        self._level, smooth = level, self._kinks is None
        if level or not smooth:
            yield from self._sum(0, level, smooth)
        else:
            self._rules[0].add(self._cells * CELL, self._values)
        yield from self._sum(1, level, smooth)

    def _sum(self, copy: int, level: int, smooth: bool) -> Iterator[None]:
        if copy or not smooth:
            self._rules[copy] = WeightedSums(self._d)
        step, sums = self._joint.step_nodes, self._rules[copy]
        for v, weights in self._on_lattice(copy, level) if smooth else self._on_lines(copy, level):
            for first in range(0, len(v), step):
                part = slice(first, first + step)
                sums.add(v[part], self._joint.logs(v[part], self._linear, self.axes)[0], weights[part])
                yield

    def _on_lattice(self, copy: int, level: int) -> Iterator[tuple[Array, Array]]:
        """Nodes v that a rule takes anew at a level, block by block; their weights are 1."""
        offsets, block = (shifted if copy else added)(self._d, level), self._joint.step_nodes
        for first in range(0, len(self._cells) * len(offsets), block):
            v = np.empty((min(block, len(self._cells) * len(offsets) - first), self._d))
            lattice_nodes(first, self._cells, offsets, CELL, v)
            yield v, ONES

    def _on_lines(self, copy: int, level: int) -> Iterator[tuple[Array, Array]]:
        """Nodes v and weights of a rule at a level, block by block; the copy's pieces have more nodes."""
        assert self._kinks is not None
        mean = self._joint.mean + self._joint.std * self.axes.centre
        scale = self._joint.std[:, None] * self.axes.turn
        offsets = (shifted if copy else lattice)(self._dimensions, level)
        order = _order(level) + 2 * copy
        return line_nodes(self._kinks, mean, scale, self._cells, CELL, offsets, order)

    def coarser(self) -> float:
        """Log of the integral by every other corner in each direction."""
        even = (self._cells % 2 == 0).all(axis=1)
        bulk = log_sum(self._values[even]) + self._volume + self._d * math.log(2.0)
        return float(np.logaddexp(bulk, self._tails.log_mass + self._volume))

    def pieces(self, copy: int) -> list[Piece]:
        """A rule's bulk and the tails."""
        share = self._volume - math.log(num_nodes(self._dimensions, self._level))
        both = (self._rules[copy], share), (self._tails, self._volume)
        return [(self.axes, sums, sums.log_mass + log) for sums, log in both if sums.log_mass > -math.inf]


def _order(level: int) -> int:
    """Nodes of a piece of a line."""
    return 6 + 2 * level


def integral(
    joint: NormalJoint, kinks: Kinks | None, linear: Array, constant: float, regions: list[Region]
) -> Generator[None, None, Integral]:
    """Integral of one datum of t(x) = ``linear`` (1, ...), c(x) = ``constant``; yields between steps."""
    parts = [_Part(joint, kinks, linear, region) for region in regions]
    limit, closed = most_nodes(joint), all(region.closed for region in regions)
    moved, certain, coarser = math.inf, False, log_sum(np.array([part.coarser() for part in parts]))
    for level in range(_MOST_LEVELS):
        if level and sum(part.nodes(level) for part in parts) > limit:
            break
        for part in parts:
            yield from part.at(level)
        rules = [[piece for part in parts for piece in part.pieces(copy)] for copy in range(2)]
        one, other = (log_sum(np.array([log for _, _, log in pieces])) for pieces in rules)
        found = float(np.logaddexp(one, other))
        before, moved = (moved if level else abs(one - coarser)), abs(one - other) / SEEN
        certain = settled(moved, before, found + constant, joint.jumps)
        if certain:
            break
    if not closed or not certain:
        moved = math.inf if not closed else max(moved, before)  # one step that happens to be small counts not
    mean, variance, value = _moments([*rules[0], *rules[1]], found)
    found -= math.log(2.0)  # the mean of the two
    entropy = found - value + float(np.log(joint.std).sum())
    return Integral(
        found + constant, joint.mean + joint.std * mean, joint.std * np.sqrt(variance), entropy,
        moved,
    )  # fmt: skip


def _moments(pieces: list[Piece], log_total: float) -> tuple[Array, Array, float]:
    """Means and variances of u (d,), and the mean log joint density."""
    shares = np.array([math.exp(log - log_total) for _, _, log in pieces])
    means = np.array([axes.nodes(sums.mean[None])[0] for axes, sums, _ in pieces])
    own = np.array([np.einsum("ik,kl,il->i", a.turn, sums.covariance, a.turn) for a, sums, _ in pieces])
    value = float((shares * [sums.mean_value for _, sums, _ in pieces]).sum())
    mean = (shares[:, None] * means).sum(axis=0)
    variance = (shares[:, None] * (own + np.square(means - mean))).sum(axis=0)
    return mean, np.maximum(variance, 0.0), value
