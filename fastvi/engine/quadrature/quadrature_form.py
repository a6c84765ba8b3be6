"""log p(x) of a decoder with a normal prior of up to three latents, integrated over a grid of nodes.

1. A coarse grid in u = (z - mean) / std over [-R, R]^d, R = 10 prior standard deviations at first, is shared
   by all data. If nodes on its faces hold more than 1e-12 of the sum, R is doubled.
2. Each datum halves the step beside the nodes that matter to it, until log p(x) moves by less than 0.1 nats.
   Which nodes matter: those within 31 nats of the largest one, and ten times the nats by which the last
   halving moved log p(x), since what is not resolved yet may be off by as much.
3. The nodes that matter fall in pieces, the modes that nothing connects. Each gets axes of its own, turned
   and scaled to it (``posterior_region.py``; J. C. Naylor, A. F. M. Smith, "Applications of a method for the
   efficient computation of posterior distributions", Applied Statistics 31, 1982).
4. There it is integrated by the trapezoid rule on lattices each of which holds the one before
   (``lattices.py``), until log p(x) moves by no more than 1e-8 max(1, |log p(x)|), and moved by no more than
   1e-3 before that (``posterior_integral.py``). For smooth integrands that vanish at the ends the error falls
   geometrically with the step (L. N. Trefethen, J. A. C. Weideman, "The exponentially convergent trapezoidal
   rule", SIAM Review 56, 2014). Networks of "relu" and "leaky_relu" have kinks and are integrated along lines
   from kink to kink (``kinks.py``). Those of "elu" are not: where the second derivative jumps the error falls
   with the third power of the step or faster, and 1e-8 is in reach.

What a grid cannot see is a second mode that is narrower than the coarse step (in prior standard deviations
0.08, 0.3 and 0.6 for 1, 2 and 3 latents) and of which no coarse node is within reach of the above.

A datum takes 2^21 to 2^23 nodes at most. One that does not come to rest within these keeps the best value,
and how far that moved last.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fastvi.core.accuracy import uncertain
from fastvi.core.arrays import Array
from fastvi.engine.decoder.layers import Pairs
from fastvi.engine.decoder.network import network
from fastvi.engine.quadrature.kinks import Kinks, is_smooth, kinks_of
from fastvi.engine.quadrature.normal_joint import Axes, NormalJoint
from fastvi.engine.quadrature.posterior_integral import TOLERANCE, Integral, integral, log_sum
from fastvi.engine.quadrature.posterior_region import MATTER, Region, distinct, find_region, matter
from fastvi.engine.run.slices import CHUNK_DATA, chunks
from fastvi.engine.run.threads import finished
from fastvi.engine.states.data_terms import Terms

MOST_LATENTS = 3
_MOST_NODES = 1 << 19  # that one halving of the step may add for a datum
_MOST_INTERVALS = 1 << 20  # in each direction
_ROUGH = 0.1  # nats
_FARTHEST = 2.0**53  # of a log joint density: a unit in its last place is a nat
_REACHES = (10.0, 20.0, 40.0, 80.0)  # R
_INTERVALS = (256, 64, 32)  # of the coarse grid in each direction, for 1, 2, 3 latents
_FACES = 1e-12
_MOST_PIECES = 64
_MOST_NUMBERS = 1 << 22  # of log joints on the coarse grid at a time: 32 MiB
_GROUP_DATA = 32  # that are worked on at a time
_REFINED_BYTES = (1 << 20, 4 << 20, 12 << 20)  # for 1, 2, 3 latents


def _beside(index: Array, intervals: int) -> Array:
    """Nodes of a grid (S, d) that are not on the grid of twice the step, each beside one of ``index``."""
    keys = np.zeros(len(index), np.int64)
    side = intervals + 1
    for column in index.T:
        keys = keys * side + column
    for axis in range(index.shape[1]):
        stride = side ** (index.shape[1] - 1 - axis)
        at = keys // stride % side
        keys = distinct(np.concatenate([keys, keys[at > 0] - stride, keys[at < intervals] + stride]))
    found = np.empty((len(keys), index.shape[1]), np.int64)
    for axis in reversed(range(index.shape[1])):
        found[:, axis] = keys % side
        keys = keys // side
    return found[(found % 2 == 1).any(axis=1)]


class _Nodes(NamedTuple):
    """Nodes of the grid of ``intervals`` over [-reach, reach]^d that matter, and their log densities."""

    places: Array  # (S, d) numbers of steps
    values: Array  # (S,)
    intervals: int
    reach: float

    @property
    def step(self) -> float:
        return 2.0 * self.reach / self.intervals

    def u(self) -> Array:
        return (self.places - self.intervals // 2) * self.step


def _located(joint: NormalJoint, linear: Array, coarse: _Nodes) -> Generator[None, None, _Nodes]:
    """Nodes that matter to one datum, from the coarse ones; yields between steps of the work."""
    index, values, intervals, reach = coarse
    d = index.shape[1]

    def scaled(log_sum: float) -> float:
        return log_sum + d * math.log(2.0 * reach / intervals)

    total = log_sum(values)
    found = scaled(total)
    moved = abs(found - scaled(log_sum(values[(index % 2 == 0).all(axis=1)])) - d * math.log(2.0))
    while True:
        kept = matter(values, MATTER + 10.0 * moved)
        index, values = index[kept], values[kept]
        if moved <= _ROUGH or 2 * intervals > _MOST_INTERVALS or len(index) << d > _MOST_NODES:
            return _Nodes(index, values, intervals, reach)
        intervals, index = 2 * intervals, 2 * index
        new = _beside(index, intervals)
        logs = np.empty(len(new))
        for first in range(0, len(new), joint.step_nodes):
            part = slice(first, first + joint.step_nodes)
            u = (new[part] - intervals // 2) * (2.0 * reach / intervals)
            logs[part] = joint.logs(u, linear)[0]
            yield
        total = float(np.logaddexp(total, log_sum(logs)))
        before, found = found, scaled(total)
        moved = abs(found - before)
        index, values = np.concatenate([index, new]), np.concatenate([values, logs])


def _pieces(index: Array) -> Array:
    """Which piece each node of a grid belongs to: those that are two steps apart are of one."""
    side = int(index.max(initial=0)) // 2 + 4
    keys = np.zeros(len(index), np.int64)
    for column in index.T:
        keys = keys * side + column // 2 + 1
    pairs = distinct(keys)  # cells of two steps
    edges = []
    for step in np.ndindex(*[3] * index.shape[1]):
        stride = 0
        for by in step:
            stride = stride * side + (by - 1)
        if stride > 0:
            at = np.minimum(np.searchsorted(pairs, pairs + stride), len(pairs) - 1)
            first = np.flatnonzero(pairs[at] == pairs + stride)
            edges.append(np.stack([first, at[first]]))
    rows, columns = np.concatenate(edges, axis=1)
    graph = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(len(pairs), len(pairs)))
    return np.asarray(connected_components(graph, directed=False)[1])[np.searchsorted(pairs, keys)]


def _regions(
    joint: NormalJoint, kinks: Kinks | None, linear: Array, nodes: _Nodes
) -> Generator[None, None, list[Region]]:
    """The pieces of a datum's posterior, none of which holds a part of another; yields between steps."""
    u, values = nodes.u(), nodes.values
    piece = _pieces(nodes.places)
    if piece.max(initial=0) >= _MOST_PIECES:
        piece = np.zeros_like(piece)

    def across(turn: Array) -> Array:
        assert kinks is not None
        return kinks.across(joint.std[:, None] * turn)

    def logs(v: Array, axes: Axes) -> Array:
        return joint.logs(v, linear, axes)[0]

    while True:
        found: dict[int, Region] = {}
        for k in np.unique(piece):
            own, turned = piece == k, None if kinks is None else across
            found[k] = yield from find_region(logs, joint.step_nodes, u[own], values[own], nodes.step, turned)
        united = False
        for k, region in found.items():
            for other, beside in found.items():
                corners = beside.axes.nodes(beside.corners[matter(beside.values)])
                if other != k and (region.holds(corners) or region.holds(u[piece == other])):
                    piece[piece == other] = k
                    united = True
        if not united:
            return list(found.values())


def _unresolved(joint: NormalJoint, nodes: _Nodes, constant: float) -> Integral:
    """Integral over the coarse nodes, for a datum far from every output.

    The prior is lost in the rounding of its log joint densities: where outputs saturate these are flat, and
    matter without end.
    """
    total, u = log_sum(nodes.values), nodes.u()
    share = np.exp(nodes.values - total)
    mean = (share[:, None] * u).sum(axis=0)
    variance = (share[:, None] * np.square(u - mean)).sum(axis=0)
    found = total + u.shape[1] * math.log(nodes.step)
    return Integral(
        found + constant, joint.mean + joint.std * mean, joint.std * np.sqrt(variance), math.nan, math.inf
    )


def _refined(
    joint: NormalJoint, kinks: Kinks | None, terms: Terms, coarse: _Nodes
) -> Generator[None, None, Integral]:
    """Integral of one datum from the coarse nodes; yields between steps of the work."""
    if abs(float(coarse.values.max())) > _FARTHEST:
        return _unresolved(joint, coarse, float(terms.constant[0]))
    nodes = yield from _located(joint, terms.linear, coarse)
    regions = yield from _regions(joint, kinks, terms.linear, nodes)
    return (yield from integral(joint, kinks, terms.linear, float(terms.constant[0]), regions))


def _on_faces(index: Array, values: Array, intervals: int) -> bool:
    """Whether the nodes on the faces of the grid hold what counts."""
    face = ((index == 0) | (index == intervals)).any(axis=1)
    return log_sum(values[face]) - log_sum(values) > math.log(_FACES)


def _within(joint: NormalJoint, kinks: Kinks | None, terms: Terms, reach: float) -> tuple[Integral, Array]:
    """Integrals from a coarse grid over [-reach, reach]^d, and whether its faces were too close.

    NaN then, but for the last reach.
    """
    d, num_data = joint.mean.size, len(terms.constant)
    intervals = _INTERVALS[d - 1]
    index = np.stack(np.unravel_index(np.arange((intervals + 1) ** d), (intervals + 1,) * d), axis=1)
    u = (index - intervals // 2) * (2.0 * reach / intervals)
    result, close = _nothing(num_data, d), np.zeros(num_data, bool)
    step = max(1, _MOST_NUMBERS // len(u))
    for start in range(0, num_data, step):
        linear = np.ascontiguousarray(terms.linear[start : start + step])
        table = joint.logs(u, linear)
        faces = np.array([_on_faces(index, row, intervals) for row in table])
        close[start : start + step] = faces & (reach < _REACHES[-1])
        some = start + np.flatnonzero(~close[start : start + step])
        for first in range(0, len(some), _GROUP_DATA):
            group = some[first : first + _GROUP_DATA]
            works = [
                _refined(
                    joint, kinks, terms.part(slice(n, n + 1)),
                    _Nodes(index, table[n - start], intervals, reach),
                )
                for n in group
            ]  # fmt: skip
            for n, found in zip(group, finished(works), strict=True):
                for into, value in zip(result, found, strict=True):
                    into[n] = value
    return result, close


def _check_latents(num_latents: int) -> None:
    if num_latents > MOST_LATENTS:
        raise ValueError(
            f"model must have at most {MOST_LATENTS} latents for log p(x) under a Normal prior to be "
            f"integrated, got {num_latents}"
        )


def predicted_bytes(layers: Sequence[tuple[int, ...]], num_latents: int, num_data: int) -> int:
    """Peak of ``quadrature`` of layers (out, in).

    The table of the coarse grid, and what refines the data that are worked on at a time (measured:
    ``_REFINED_BYTES`` each where posteriors are narrow).
    """
    _check_latents(num_latents)
    data = min(num_data, CHUNK_DATA)
    nodes, depth = (_INTERVALS[num_latents - 1] + 1) ** num_latents, layers[-1][1]
    table = min(max(nodes, _MOST_NUMBERS), nodes * data)
    results = num_data * (2 * num_latents + 3)
    numbers = 2 * table + 4 * data * (depth + 1) + 4 * nodes * num_latents + results
    return 8 * numbers + min(num_data, _GROUP_DATA) * _REFINED_BYTES[num_latents - 1]


def _nothing(num_data: int, d: int) -> Integral:
    shapes = num_data, (num_data, d), (num_data, d), num_data, num_data
    return Integral(*(np.full(shape, np.nan) for shape in shapes))


def quadrature(
    layers: Pairs, activation: str, noise_std: float | None, mean: Array, std: Array,
    x: Array, pixels: Array,
) -> Integral:  # fmt: skip
    """Integrals (N, ...) given the pixels that were seen."""
    _check_latents(mean.size)
    net, data = network(layers, activation, noise_std, pixels)
    kinks = kinks_of(layers, activation)
    joint = NormalJoint(net, mean, std, jumps=kinks is None and not is_smooth(layers, activation))
    result = _nothing(len(x), mean.size)
    for part in chunks(len(x)):
        terms, active = data.terms(x[part]), np.arange(len(x[part]))
        for reach in _REACHES:
            some = terms.part(active)
            found, close = _within(joint, kinks, some, reach)
            for into, values in zip(result, found, strict=True):
                into[part.start + active] = values
            active = active[close]
            if not active.size:
                break
    scale = np.maximum(1.0, np.abs(result.log_marginal))
    uncertain("log p(x)", result.moved, result.moved <= TOLERANCE * scale)
    return result
