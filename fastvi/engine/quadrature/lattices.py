"""Trapezoid rules on nested lattices, as offsets (O, d) of their nodes in the unit cell of the first one.

Level 0 is the cell's corner. The lattice Z^d / 2^k is followed by the one that has its centres too, with
twice the nodes, and this by Z^d / 2^(k + 1). On a line the centres are the halved step already.

A rule is checked by a copy of it, shifted by a part of its step. Its error is the sum of the integrand's
Fourier coefficients at those m of the dual lattice that are not 0; the copy's has the same ones times
exp(2 pi i m.s). So the difference of the two tells the error where m.s is near an integer for no m that
matters: the shifts s below keep |1 - exp(2 pi i m.s)| above 1/2 for the 8 (d = 2) and 18 (d = 3) shortest m,
and differences are counted twice. One lattice of the sequence does not check the one before: to Z^d and its
centres all m whose sum is even look alike, and an integrand that is steep in one direction may have no
others. Halving the step does, at the cost of 2^d times the nodes.
"""

from __future__ import annotations

import numpy as np

from fastvi.core.arrays import Array

SEEN = 0.5  # of the error, at least
# of Z^d, and of Z^d with its centres; the best of those with a common denominator below 100
_SHIFTS = {
    1: (np.array([0.5]), np.array([0.25])),
    2: (np.array([4.0, 6.0]) / 15.0, np.array([5.0, -1.0]) / 15.0),
    3: (np.array([19.0, 27.0, 33.0]) / 76.0, np.array([1.0, 3.0, 6.0]) / 15.0),
}


def _halvings(d: int, level: int) -> tuple[int, bool]:
    """K of Z^d / 2^k, and whether its centres are nodes too."""
    return (level, False) if d == 1 else (level // 2, level % 2 == 1)


def _grid(d: int, halvings: int) -> Array:
    """Nodes of Z^d / 2^halvings in [0, 1)^d, in units of its step; one where d is 0."""
    side = np.arange(1 << halvings, dtype=np.float64)
    axes = np.meshgrid(*[side] * d, indexing="ij")
    return np.stack(axes, axis=-1).reshape(-1, d) if d else np.zeros((1, 0))


def num_nodes(d: int, level: int) -> int:
    """Nodes of a lattice in a cell."""
    halvings, centred = _halvings(d, level)
    return 1 << (d * halvings + (centred and d > 0))


def lattice(d: int, level: int) -> Array:
    """Offsets of the nodes of a level; of one node where d is 0."""
    halvings, centred = _halvings(d, level)
    corners = _grid(d, halvings)
    return (np.concatenate([corners, corners + 0.5]) if centred and d else corners) / (1 << halvings)


def added(d: int, level: int) -> Array:
    """Nodes of a level, d > 0, that the level before does not have."""
    halvings, centred = _halvings(d, level)
    index = _grid(d, halvings)
    if centred:
        return (index + 0.5) / (1 << halvings)
    odd = (index % 2).sum(axis=1)
    old = (odd == 0) | ((odd == d) & (d > 1))
    return index[~old | (level == 0)] / (1 << halvings)


def shifted(d: int, level: int) -> Array:
    """Offsets of the nodes of a level's shifted copy."""
    halvings, centred = _halvings(d, level)
    return lattice(d, level) + _SHIFTS[d][centred] / (1 << halvings) if d else lattice(d, level)
