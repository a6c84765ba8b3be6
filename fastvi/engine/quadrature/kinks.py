"""Rules for networks that are linear but for kinks where a unit turns on: of "relu" and "leaky_relu".

Along a line the network is piecewise linear, so its kinks are found exactly, layer by layer: in a piece in
which the earlier layers are linear a unit has at most one zero. Between kinks Gauss-Legendre rules converge
geometrically. The integral along all lines of a direction is a function of the remaining axes that is much
smoother than the density: kinks that cross the lines leave nothing behind, where two of them meet its third
derivative jumps, and the trapezoid rule's error falls with the fourth power of the step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np

from fastvi.core.arrays import Array
from fastvi.core.functions import ACTIVATIONS, PIECEWISE_LINEAR, Function

_DIRECTIONS = 64  # that are tried for the lines
_MOST_NUMBERS = 1 << 18  # of a layer's inputs at the ends of pieces


@cache
def _legendre(order: int) -> tuple[Array, Array]:
    """Nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(order)
    return 0.5 * (nodes + 1.0), 0.5 * weights


class Kinks:
    """The hidden layers (W (out, in), b (out,)) of a network whose activation is linear but for one kink."""

    def __init__(self, hidden: Sequence[tuple[Array, Array]], activate: Function) -> None:
        self._hidden, self._activate = hidden, activate
        widest = max(len(bias) for _, bias in hidden)
        self.most_pieces = max(16, min(1 << 11, _MOST_NUMBERS // widest))

    def _inputs(self, layer: int, z: Array) -> Array:
        """Inputs of the units of a layer (S, units)."""
        for i, (weight, bias) in enumerate(self._hidden[: layer + 1]):
            z = np.einsum("sk,jk->sj", self._activate(z) if i else z, weight) + bias
        return z

    def split(self, start: Array, direction: Array) -> tuple[Array, Array, Array]:
        """Segments start + t direction (M, d), t in [0, 1], cut where units turn on.

        Which segment each piece is of, and its ends in t.
        """
        owner, begin, end = np.arange(len(start)), np.zeros(len(start)), np.ones(len(start))
        for layer in range(len(self._hidden)):
            left = self._inputs(layer, start[owner] + begin[:, None] * direction)
            right = self._inputs(layer, start[owner] + end[:, None] * direction)
            piece, unit = np.nonzero((left < 0.0) != (right < 0.0))
            share = left[piece, unit] / (left[piece, unit] - right[piece, unit])
            zero = begin[piece] + share * (end[piece] - begin[piece])
            order = np.lexsort((zero, piece))
            piece, zero = piece[order], np.clip(zero, begin[piece], end[piece])[order]
            # each piece's begin, and then its zeros in order
            all_pieces = np.concatenate([np.arange(len(owner)), piece])
            places = np.argsort(all_pieces, kind="stable")
            of = all_pieces[places]
            begin = np.concatenate([begin, zero])[places]
            last = np.append(of[1:] != of[:-1], True)[: len(of)]
            end = np.where(last, end[of], np.append(begin[1:], 0.0)[: len(of)])
            owner = owner[of]
        return owner, begin, end

    def across(self, scale: Array) -> Array:
        """A rotation (d, d) of v, z = mean + scale v.

        Its last column meets the first layer's kinks as squarely as can be.
        """
        d = scale.shape[1]
        normals = np.einsum("jk,ki->ji", self._hidden[0][0], scale)
        sizes = np.sqrt(np.square(normals).sum(axis=1))
        normals = normals[sizes > 0.0] / sizes[sizes > 0.0, None]
        if d == 1 or not len(normals):
            return np.eye(d)
        tried = _directions(d)
        cosines = np.abs(np.einsum("ji,ti->tj", normals, tried))
        direction = tried[int(np.argmax(cosines.min(axis=1)))]
        mirror = direction - np.eye(d)[-1]
        size = float(np.square(mirror).sum())
        turned = np.eye(d) if size == 0.0 else np.eye(d) - (2.0 / size) * mirror[:, None] * mirror
        return np.asarray(turned)


def kinks_of(layers: Sequence[tuple[Array, Array]], activation: str) -> Kinks | None:
    """The kinks of a network, None where it is smooth or where its pieces are not linear."""
    has_kinks = activation in PIECEWISE_LINEAR and len(layers) > 1
    return Kinks(layers[:-1], ACTIVATIONS[activation]) if has_kinks else None


def is_smooth(layers: Sequence[tuple[Array, Array]], activation: str) -> bool:
    """Whether the outputs have all derivatives; the second one of "elu" jumps at 0."""
    return len(layers) == 1 or activation not in (*PIECEWISE_LINEAR, "elu")


@cache
def _directions(d: int) -> Array:
    """Unit vectors over half of the circle or of the sphere."""
    k = np.arange(_DIRECTIONS) + 0.5
    if d == 2:
        angle = np.pi * k / _DIRECTIONS
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)
    height, angle = k / _DIRECTIONS, np.pi * (1.0 + 5.0**0.5) * k  # Fibonacci's spiral
    round_it = np.sqrt(1.0 - height * height)
    return np.stack([round_it * np.cos(angle), round_it * np.sin(angle), height], axis=1)


def line_nodes(
    kinks: Kinks, mean: Array, scale: Array, cells: Array, cell: float, offsets: Array, order: int
) -> Iterator[tuple[Array, Array]]:
    """Nodes v (S, d) and weights (S,), parts of an edge, along lines through cells (C, d), block by block.

    Cells have the edge ``cell``. Lines run along the last axis of v, z = mean + scale v; those of a cell are
    ``offsets`` (O, d - 1) from its corner. A piece between kinks has ``order`` nodes.
    """
    nodes, weights = _legendre(order)
    direction = scale[:, -1] * cell
    for first in range(0, len(offsets) * len(cells), kinks.most_pieces):
        number = np.arange(first, min(first + kinks.most_pieces, len(offsets) * len(cells)))
        corner = cells[number % len(cells)].astype(np.float64)
        corner[:, :-1] += offsets[number // len(cells)]
        corner *= cell
        owner, begin, end = kinks.split(mean + np.einsum("sk,ik->si", corner, scale), direction)
        length = end - begin
        v = np.repeat(corner[owner], order, axis=0)
        v[:, -1] += cell * (begin[:, None] + length[:, None] * nodes).reshape(-1)
        yield v, (length[:, None] * weights).reshape(-1)
