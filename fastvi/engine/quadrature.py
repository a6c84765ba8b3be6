"""log p(x) of a decoder with a normal prior of up to three latents, integrated over a grid of nodes.

The rule is the trapezoid rule in u = (z - mean) / std over [-R, R]^d, R = 10 prior standard deviations at first. For
smooth integrands that vanish at the ends its error falls geometrically with the number of nodes (L. N. Trefethen,
J. A. C. Weideman, "The exponentially convergent trapezoidal rule", SIAM Review 56, 2014), it resolves posteriors far
narrower than Gauss-Hermite quadrature with as many nodes does (256 nodes are 0.08 apart, Hermite's 0.2), and when
the step is halved all nodes stay. Two things are checked for each datum: that halving the step moves log p(x) by no
more than 1e-8 max(1, |log p(x)|), and that the nodes on the faces of the grid hold less than 1e-12 of the sum, else R
is doubled. Nodes are the states of a form: a forward pass for each, shared by all data, and a product with the data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from fastvi.engine.block_form import packed_data, sum_block
from fastvi.engine.data_terms import Terms
from fastvi.engine.form import Sums, chunks
from fastvi.engine.network import Block, Network, block_part, empty_block, network
from fastvi.engine.threads import parallel_map
from fastvi.kernels.cpu.dense import ROWS, pack_rows

Array = NDArray[np.float64]

MOST_LATENTS = 3
_MOST_NODES = 1 << 24
_TOLERANCE = 1e-8
_REACHES = (10.0, 20.0, 40.0, 80.0)  # R
_INTERVALS = (256, 64, 32)  # of the first grid, for 1, 2, 3 latents at R = 10
_FACES = math.log(1e-12)
_BLOCK_NODES = 1 << 13
_GROUP_NODES = 128
_CUT = -(60 + 25) * math.log(2.0)  # what is left out of all nodes is below 2^-60 of the sum


class _Grid:
    """A network and the scale of its latents."""

    def __init__(self, net: Network, mean: Array, std: Array) -> None:
        self.net, self.mean, self.std = net, mean, std

    def block(self, u: Array) -> Block:
        """A forward pass for nodes u (S, d), with -log of the prior's density in u."""
        net = self.net
        out = empty_block(-(-len(u) // _GROUP_NODES) * _GROUP_NODES, net.depth)

        def task(start: int) -> None:
            part = u[start : start + net.block_rows]
            rows = np.empty(-(-len(part) // ROWS) * ROWS * part.shape[1])
            pack_rows(self.mean + self.std * part, rows)
            own = block_part(out, start, len(part), net.depth)
            net.forward(rows, len(part), own)
            own.minus[: len(part)] += 0.5 * np.square(part).sum(axis=1) + 0.5 * part.shape[1] * math.log(2 * math.pi)

        parallel_map(task, range(0, len(u), net.block_rows), 1.0 * len(u) * net.operations)
        if not np.isfinite(out.minus[: len(u)]).all():
            raise ValueError("layers must keep the outputs finite for z within the prior's reach, got some that overflow")
        return out

    def sums(self, nodes: Iterator[Array], linear: Array) -> Sums:
        """Sums over nodes, without c(x)."""
        total, data = Sums.zero(len(linear)), packed_data(linear)
        for u in nodes:
            block = self.block(u)
            total.merge(Sums(*sum_block(block, _GROUP_NODES, self.net.depth, data, len(linear), _CUT)[:3]))
        return total


def _nodes(num_latents: int, intervals: int, reach: float, *, new: bool) -> Iterator[Array]:
    """Nodes of a grid, or those that the grid of half as many intervals has not."""
    side = intervals + 1
    for start in range(0, side**num_latents, _BLOCK_NODES):
        flat = np.arange(start, min(start + _BLOCK_NODES, side**num_latents))
        index = np.stack(np.unravel_index(flat, (side,) * num_latents), axis=1)
        if new:
            index = index[(index % 2 == 1).any(axis=1)]
        if len(index):
            yield (index - intervals // 2) * (2.0 * reach / intervals)


def _faces(num_latents: int, intervals: int, reach: float) -> Iterator[Array]:
    """Nodes on the faces of the grid; those on edges more than once."""
    if num_latents == 1:
        yield np.array([[-reach], [reach]])
        return
    for rest in _nodes(num_latents - 1, intervals, reach, new=False):
        for axis in range(num_latents):
            for end in (-reach, reach):
                yield np.insert(rest, axis, end, axis=1)


def _converged(grid: _Grid, terms: Terms, reach: float) -> tuple[Array, Array]:
    """log p(x_n) of the data that converge within [-reach, reach]^d, NaN else; and the log of what the faces
    hold.
    """
    d = grid.mean.size
    intervals = _INTERVALS[d - 1] * int(reach / _REACHES[0])
    result, on_faces = np.full((2, len(terms.constant)), np.nan)
    active = np.arange(len(terms.constant))
    total = grid.sums(_nodes(d, intervals, reach, new=False), terms.linear)
    found = _log(total, terms.constant, d, intervals, reach)
    while active.size and (2 * intervals + 1) ** d <= 1.02 * _MOST_NODES:
        intervals, before = 2 * intervals, found
        linear, constant = np.ascontiguousarray(terms.linear[active]), terms.constant[active]
        total.merge(grid.sums(_nodes(d, intervals, reach, new=True), linear))
        found = _log(total, constant, d, intervals, reach)
        done = np.abs(found - before) <= _TOLERANCE * np.maximum(1.0, np.abs(found))
        if done.any():
            faces = grid.sums(_faces(d, intervals, reach), linear[done])
            result[active[done]] = found[done]
            on_faces[active[done]] = _log(faces, constant[done], d, intervals, reach)
        active, found = active[~done], found[~done]
        total = Sums(*(array[~done] for array in total))
    return result, on_faces


def _log(total: Sums, constant: Array, num_latents: int, intervals: int, reach: float) -> Array:
    return np.asarray(total.log() + constant + num_latents * math.log(2.0 * reach / intervals))


def quadrature(
    layers: Sequence[tuple[Array, Array]], activation: str, noise_std: float | None, mean: Array, std: Array,
    x: Array, pixels: NDArray[np.bool_],
) -> Array:  # fmt: skip
    """log p(x_n) of the pixels that were seen."""
    if mean.size > MOST_LATENTS:
        raise ValueError(
            f"model must have at most {MOST_LATENTS} latents for log p(x) under a Normal prior to be integrated, got "
            f"{mean.size}"
        )
    net, data = network(layers, activation, noise_std, pixels)
    grid, result = _Grid(net, mean, std), np.full(len(x), np.nan)
    for part in chunks(len(x)):
        own = np.full(len(x[part]), np.nan)
        active = np.arange(len(own))
        terms = data.terms(x[part])
        for reach in _REACHES:
            some = Terms(np.ascontiguousarray(terms.linear[active]), terms.constant[active])
            found, faces = _converged(grid, some, reach)
            inside = faces - found <= _FACES
            own[active[inside]] = found[inside]
            # a datum that did not converge will not do so on a coarser grid
            active = active[~inside & ~np.isnan(found)]
            if not active.size:
                break
        result[part] = own
    lost = np.flatnonzero(np.isnan(result))
    if lost.size:
        named = ", ".join(str(n) for n in lost[:5]) + (", ..." if lost.size > 5 else "")
        raise ValueError(
            f"x must have log marginals that a grid of {_MOST_NODES:,} nodes tells to {_TOLERANCE}, got "
            f"{lost.size} of {len(x)} data whose posteriors are too narrow or too far out for it: {named}"
        )
    return result
