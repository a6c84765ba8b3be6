"""log p(x) of a decoder with a normal prior of up to three latents, integrated over a grid of nodes.

The rule is the trapezoid rule in u = (z - mean) / std over [-R, R]^d, R = 10 prior standard deviations at
first. For smooth integrands that vanish at the ends its error falls geometrically with the step (L. N.
Trefethen, J. A. C. Weideman, "The exponentially convergent trapezoidal rule", SIAM Review 56, 2014): a step
of one standard deviation of the posterior gives 8 digits. When the step is halved all nodes stay. A coarse
grid is shared by all data; then each datum halves the step on its own, and only beside nodes that matter to
it, until log p(x) moves by no more than 1e-8 max(1, |log p(x)|). Posteriors far narrower than the prior take
a few thousand nodes more, where Gauss-Hermite nodes of the prior (256 of them are 0.2 apart) would miss them.

Which nodes matter: those within 30 nats of the largest one, and ten times the nats by which the last halving
moved log p(x), since what is not resolved yet may be off by as much. If nodes on the faces of the grid hold
more than 1e-12 of the sum, R is doubled. What a grid cannot see is a second mode that is narrower than the
coarse step (in prior standard deviations 0.08, 0.3 and 0.6 for 1, 2 and 3 latents) and of which no coarse
node is within reach of the above.

Kinks ("relu") make the error fall with the square of the step only: with one latent that is a second, with
two the limit of 2^21 nodes a halving may come first, with three it will; the data are then named in an error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastvi.engine.block_form import packed_data
from fastvi.engine.data_terms import Terms
from fastvi.engine.form import chunks
from fastvi.engine.network import Block, Network, block_part, network
from fastvi.engine.threads import parallel_map
from fastvi.kernels.cpu.block_sums import block_logs
from fastvi.kernels.cpu.dense import ROWS, pack_rows
from fastvi.kernels.cpu.host import COLUMNS

Array = NDArray[Any]

MOST_LATENTS = 3
_MOST_NODES = 1 << 21  # that one halving of the step may add for a datum
_MOST_INTERVALS = 1 << 20  # in each direction
_TOLERANCE = 1e-8
_REACHES = (10.0, 20.0, 40.0, 80.0)  # R
_INTERVALS = (256, 64, 32)  # of the coarse grid in each direction, for 1, 2, 3 latents
_FACES = 1e-12
_MATTER = 30.0  # nats
_BLOCK_NODES = 1 << 13
_GROUP_NODES = 128
_MOST_NUMBERS = 1 << 22  # of log joints on the coarse grid at a time: 32 MiB


class Integral(NamedTuple):
    """log p(x), and the posterior's means, standard deviations and entropy, of one datum or of all."""

    log_marginal: Any
    mean: Array
    std: Array
    entropy: Any


class _Grid:
    """A network and the scale of its latents."""

    def __init__(self, net: Network, mean: Array, std: Array) -> None:
        self.net, self.mean, self.std = net, mean, std

    def block(self, u: Array) -> Block:
        """A forward pass for nodes u (S, d), A less the log of the prior's density in u."""
        net, d = self.net, self.mean.size
        out = net.empty_block(-(-len(u) // _GROUP_NODES) * _GROUP_NODES)

        def task(start: int) -> None:
            part = u[start : start + net.block_rows]
            rows = np.empty(-(-len(part) // ROWS) * ROWS * d)
            pack_rows(self.mean + self.std * part, rows)
            own = block_part(out, start, len(part), net.depth)
            net.forward(rows, len(part), own)
            own.minus[: len(part)] += 0.5 * np.square(part).sum(axis=1) + 0.5 * d * math.log(2.0 * math.pi)

        parallel_map(task, range(0, len(u), net.block_rows), 1.0 * len(u) * net.operations)
        if not np.isfinite(out.minus[: len(u)]).all():
            raise ValueError(
                "layers must keep outputs finite within the prior's reach, got some that overflow"
            )
        return out

    def logs(self, u: Array, linear: Array) -> Array:
        """Log joint densities (N, S) of nodes, without c(x)."""
        data, where, depth = packed_data(linear), np.arange(_GROUP_NODES), self.net.depth
        out = np.empty((len(linear), len(u)))
        for start in range(0, len(u), _BLOCK_NODES):
            block = self.block(u[start : start + _BLOCK_NODES])
            groups = block.minus.size // _GROUP_NODES

            def task(first: int, block: Block = block, groups: int = groups, start: int = start) -> None:
                own = np.empty((min(COLUMNS, len(linear) - first), groups, _GROUP_NODES))
                block_logs(*block, _GROUP_NODES, groups, depth, data, first // COLUMNS, where, own)
                into = out[first : first + COLUMNS, start : start + _BLOCK_NODES]
                into[...] = own.reshape(len(own), -1)[:, : into.shape[1]]

            cost = 1.0 * block.minus.size * (depth + 8) * len(linear)
            parallel_map(task, range(0, len(linear), COLUMNS), cost)
        return out


def _log_sum(values: Array) -> float:
    largest = values.max(initial=-math.inf)
    return float(largest + math.log(np.exp(values - largest).sum())) if largest > -math.inf else -math.inf


def _beside(index: Array, intervals: int) -> Array:
    """Nodes of a grid (S, d) that are not on the grid of twice the step, each beside one of ``index``."""
    keys = np.zeros(len(index), np.int64)
    side = intervals + 1
    for column in index.T:
        keys = keys * side + column
    for axis in range(index.shape[1]):
        stride = side ** (index.shape[1] - 1 - axis)
        at = keys // stride % side
        keys = np.unique(np.concatenate([keys, keys[at > 0] - stride, keys[at < intervals] + stride]))
    found = np.empty((len(keys), index.shape[1]), np.int64)
    for axis in reversed(range(index.shape[1])):
        found[:, axis] = keys % side
        keys = keys // side
    return found[(found % 2 == 1).any(axis=1)]


def _refined(
    grid: _Grid, terms: Terms, values: Array, index: Array, intervals: int, reach: float
) -> Integral | None:
    """Of one datum from the coarse nodes ``index`` and their log joints without c(x); NaN where it does not
    converge, None where the faces hold too much.
    """
    d = index.shape[1]
    lost = Integral(math.nan, np.full(d, math.nan), np.full(d, math.nan), math.nan)

    def scaled(log_sum: float) -> float:
        return log_sum + float(terms.constant[0]) + d * math.log(2.0 * reach / intervals)

    total = _log_sum(values)
    if _on_faces(index, values, intervals, total):
        return None
    found = scaled(total)
    even = (index % 2 == 0).all(axis=1)
    moved = abs(found - scaled(_log_sum(values[even])) - d * math.log(2.0))
    while True:
        matter = values >= values.max() - (_MATTER + 10.0 * moved)
        intervals, index, values = 2 * intervals, 2 * index[matter], values[matter]
        if intervals > _MOST_INTERVALS or len(index) << d > 4 * _MOST_NODES:
            return lost
        new = _beside(index, intervals)
        if len(new) > _MOST_NODES:
            return lost
        logs = grid.logs((new - intervals // 2) * (2.0 * reach / intervals), terms.linear)[0]
        total = float(np.logaddexp(total, _log_sum(logs)))
        before, found = found, scaled(total)
        last, moved = moved, abs(found - before)
        index, values = np.concatenate([index, new]), np.concatenate([values, logs])
        if moved <= _TOLERANCE * max(1.0, abs(found)):
            if _on_faces(index, values, intervals, total):
                return None
            step = 2.0 * reach / intervals
            return Integral(found, *_moments(grid, (index - intervals // 2) * step, step, values))
        # a smooth integrand would have squared its error; kinks take 1/4 of it, with luck 1/8
        halvings = math.ceil(math.log(moved / (_TOLERANCE * max(1.0, abs(found)))) / math.log(8.0))
        if 100.0 * last**2 < moved < 1e-3 and len(new) << (d * halvings) > _MOST_NODES:
            return lost


def _moments(grid: _Grid, u: Array, step: float, values: Array) -> tuple[Array, Array, float]:
    """Mean and standard deviation (d,) and entropy, from the nodes of the last step that matter and their log
    densities.
    """
    log_share = values - _log_sum(values)
    share = np.exp(log_share)
    entropy = -float((share * log_share).sum()) + grid.mean.size * math.log(step) + np.log(grid.std).sum()
    centre = (share[:, None] * u).sum(axis=0)
    spread = np.sqrt((share[:, None] * np.square(u - centre)).sum(axis=0))
    return grid.mean + grid.std * centre, grid.std * spread, float(entropy)


def _on_faces(index: Array, values: Array, intervals: int, total: float) -> bool:
    """Whether the nodes on the faces of the grid hold what counts."""
    face = ((index == 0) | (index == intervals)).any(axis=1)
    return _log_sum(values[face]) - total > math.log(_FACES)


def _within(grid: _Grid, terms: Terms, reach: float) -> tuple[Integral, Array]:
    """Integrals within [-reach, reach]^d, NaN where it does not converge, and whether the faces were too
    close.
    """
    d, num_data = grid.mean.size, len(terms.constant)
    intervals = _INTERVALS[d - 1]
    index = np.stack(np.unravel_index(np.arange((intervals + 1) ** d), (intervals + 1,) * d), axis=1)
    u = (index - intervals // 2) * (2.0 * reach / intervals)
    result, close = _nothing(num_data, d), np.zeros(num_data, bool)
    step = max(1, _MOST_NUMBERS // len(u))
    for start in range(0, num_data, step):
        linear = np.ascontiguousarray(terms.linear[start : start + step])
        table = grid.logs(u, linear)

        def task(k: int, table: Array = table, start: int = start) -> None:
            own = terms.part(slice(start + k, start + k + 1))
            found = _refined(grid, own, table[k], index, intervals, reach)
            close[start + k] = found is None
            if found is not None:
                for into, value in zip(result, found, strict=True):
                    into[start + k] = value

        parallel_map(task, range(len(linear)))
    return result, close


def _nothing(num_data: int, d: int) -> Integral:
    return Integral(*(np.full(shape, np.nan) for shape in (num_data, (num_data, d), (num_data, d), num_data)))


def quadrature(
    layers: Sequence[tuple[Array, Array]], activation: str, noise_std: float | None, mean: Array, std: Array,
    x: Array, pixels: Array,
) -> Integral:  # fmt: skip
    """Integrals (N, ...) given the pixels that were seen."""
    if mean.size > MOST_LATENTS:
        raise ValueError(
            f"model must have at most {MOST_LATENTS} latents for log p(x) under a Normal prior to be "
            f"integrated, got {mean.size}"
        )
    net, data = network(layers, activation, noise_std, pixels)
    grid, result = _Grid(net, mean, std), _nothing(len(x), mean.size)
    for part in chunks(len(x)):
        terms, active = data.terms(x[part]), np.arange(len(x[part]))
        for reach in _REACHES:
            some = terms.part(active)
            found, close = _within(grid, some, reach)
            for into, values in zip(result, found, strict=True):
                into[part.start + active] = values
            active = active[close]
            if not active.size:
                break
    lost = np.flatnonzero(np.isnan(result.log_marginal))
    if lost.size:
        named = ", ".join(str(n) for n in lost[:5]) + (", ..." if lost.size > 5 else "")
        raise ValueError(
            f"x must have log marginals that {_MOST_NODES:,} nodes within {_REACHES[-1]:g} prior standard "
            f"deviations tell to {_TOLERANCE:g}, got {lost.size} of {len(x)} data that they do not: {named}"
        )
    return result
