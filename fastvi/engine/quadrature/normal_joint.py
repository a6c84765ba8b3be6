"""Log joint densities of a decoder with a normal prior at nodes u = (z - mean) / std."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.decoder.block_form import packed_data
from fastvi.engine.decoder.direct_network import DirectNetwork
from fastvi.engine.decoder.network import Network
from fastvi.engine.decoder.network_block import Block, block_part
from fastvi.engine.run.threads import parallel_map
from fastvi.kernels.cpu.dense.products import ROWS
from fastvi.kernels.cpu.states.block_sums import block_logs
from fastvi.kernels.cpu.states.normal_nodes import add_half_squares, turned_rows
from fastvi.kernels.host import COLUMNS

BLOCK_NODES = 1 << 13  # that pass through the network together
_GROUP_NODES = 128
_STEP_OPERATIONS = 1 << 28  # of what cannot be interrupted: a tenth of a second
_PASS_NUMBERS = 1 << 15  # of a layer in one call of its kernel: narrow layers would be all calls


class Axes(NamedTuple):
    """u = centre + turn v."""

    centre: Array  # (d,)
    turn: Array  # T (d, d)
    inverse: Array  # of T
    log_scale: float  # log |det T|

    def nodes(self, v: Array) -> Array:
        """U of v (S, d)."""
        return self.centre + np.einsum("sk,ik->si", v, self.turn)

    def back(self, u: Array) -> Array:
        """V of u (S, d)."""
        return np.einsum("sk,ik->si", u - self.centre, self.inverse)


class NormalJoint:
    """A network and the scale of its latents; ``jumps`` says that the second derivative has some."""

    def __init__(self, net: Network | DirectNetwork, mean: Array, std: Array, *, jumps: bool = False) -> None:
        self.net, self.mean, self.std, self.jumps = net, mean, std, jumps
        d = mean.size
        self._plain = Axes(np.zeros(d), np.eye(d), np.eye(d), 0.0)
        self.step_nodes = max(_GROUP_NODES, min(BLOCK_NODES, _STEP_OPERATIONS // net.operations))
        self._rows = max(net.block_rows, 1 << ((_PASS_NUMBERS // net.widest).bit_length() - 1))

    def _block(self, v: Array, axes: Axes) -> Block:
        """A forward pass for nodes v (S, d), A less the log of the prior's density in u."""
        net, d = self.net, self.mean.size
        out = net.empty_block(-(-len(v) // _GROUP_NODES) * _GROUP_NODES)
        constant = 0.5 * d * math.log(2.0 * math.pi)

        def task(start: int) -> None:
            part = v[start : start + self._rows]
            rows = np.empty(-(-len(part) // ROWS) * ROWS * d)
            turned_rows(part, axes.centre, axes.turn, self.mean, self.std, rows)
            own = block_part(out, start, len(part), net.depth)
            net.forward(rows, len(part), own)
            add_half_squares(part, axes.centre, axes.turn, constant, own.minus[: len(part)])

        parallel_map(task, range(0, len(v), self._rows), 1.0 * len(v) * net.operations)
        if not np.isfinite(out.minus[: len(v)]).all():
            raise ValueError(
                "layers must keep outputs finite within the prior's reach, got some that overflow"
            )
        return out

    def logs(self, v: Array, linear: Array, axes: Axes | None = None) -> Array:
        """Log joint densities (N, S) in u of nodes v, which are u itself without axes, without c(x)."""
        axes = self._plain if axes is None else axes
        data, where, depth = packed_data(linear), np.arange(_GROUP_NODES), self.net.depth
        out = np.empty((len(linear), len(v)))
        for start in range(0, len(v), self.step_nodes):
            block = self._block(v[start : start + self.step_nodes], axes)
            groups = block.minus.size // _GROUP_NODES

            def task(first: int, block: Block = block, groups: int = groups, start: int = start) -> None:
                own = np.empty((min(COLUMNS, len(linear) - first), groups, _GROUP_NODES))
                block_logs(*block, _GROUP_NODES, groups, depth, data, first // COLUMNS, where, own)
                into = out[first : first + COLUMNS, start : start + self.step_nodes]
                into[...] = own.reshape(len(own), -1)[:, : into.shape[1]]

            cost = 1.0 * block.minus.size * (depth + 8) * len(linear)
            parallel_map(task, range(0, len(linear), COLUMNS), cost)
        return out
