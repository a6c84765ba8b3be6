"""Decoders as the engine sums them.

Log p(x, z) = c(x) + <t(x), h(z)> - A(z), h(z) not linear in z, or of real pixels c(x) - |y(x) - u(z)|^2 -
A(z).

A wave is a forward pass for its states, shared by all data (parallel over blocks of states), and a product of
its features with the data (parallel over data), whose exponentials are added while they are in cache.
Everything is in log space, so nothing is dropped that would have to be certified. Memory: the features of one
wave, and t(x) for a chunk of data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fastvi.core.arrays import Array
from fastvi.core.functions import bernoulli_log_prob
from fastvi.engine.decoder.layers import Pairs
from fastvi.engine.decoder.network_block import Block, block_part
from fastvi.engine.linalg.products import packed_columns, panel_columns
from fastvi.engine.run.threads import parallel_map
from fastvi.engine.states.data_terms import Terms
from fastvi.engine.states.form import shifted
from fastvi.engine.states.numbered_form import (
    NumberedBatch,
    NumberedForm,
    block_tiling,
    merged,
    packed_places,
    visit_datum_tiles,
)
from fastvi.engine.states.sums import Moments
from fastvi.engine.states.tiling import Tiling
from fastvi.kernels.cpu.dense.products import ROWS, pack_bits
from fastvi.kernels.cpu.states.block_sums import add_block_sums, bit_sums, block_logs

_GROUP_BITS = 7  # states of a group: the products of 128 with a panel of data are 8 or 16 KiB
_WAVE_NUMBERS = 1 << 21  # of a wave's features: 16 MiB
_WAVE_BITS = 13  # states of a wave, at most
PART_GROUPS = 8  # groups of a task's states: their features stay in the caches
_PART_DATA = 64  # of a task
NO_LATENTS = np.empty(0, np.int64)


def wave_bits(depth: int, tiling: Tiling) -> int:
    """Bits of the states of a wave, each of ``depth`` features."""
    bits = (_WAVE_NUMBERS // max(1, depth)).bit_length() - 1
    return max(min(bits, _WAVE_BITS), tiling.row_bits + tiling.column_bits)


def group_states(tiling: Tiling) -> int:
    """States whose log joints are made together."""
    return 1 << min(_GROUP_BITS, tiling.row_bits + tiling.column_bits)


@dataclass(frozen=True, eq=False)
class BlockForm(NumberedForm):
    """A decoder with a Bernoulli prior."""

    network: Any  # a Network or a DirectNetwork
    prior_logits: Array  # (d,)
    layers: Pairs  # of the pixels that were seen
    activate: Any  # f, of the hidden layers
    noise_std: float | None

    @property
    def wave_tiles(self) -> int:
        bits = wave_bits(self.network.depth, self.tiling)
        return 1 << (bits - self.tiling.row_bits - self.tiling.column_bits)

    @property
    def operations(self) -> int:
        return self.network.operations

    @property
    def group_states(self) -> int:
        return group_states(self.tiling)

    def block(self, first: int, count: int) -> Block:
        """Tiles ``first`` .., ``count`` of them."""
        net, latents = self.network, self.latents
        begin, num_states = first * self.tiling.tile_states, count * self.tiling.tile_states
        step = min(net.block_rows, num_states)
        # a tile of fewer states than a panel has is all there is
        out = net.empty_block(num_states)

        def task(start: int) -> None:
            part = block_part(out, start, step, net.depth)
            bits, prior = np.empty(-(-step // ROWS) * ROWS * self.num_latents), np.empty(step)
            pack_bits(begin + start, step, latents, bits)
            net.forward(bits, step, part)
            self.minus_log_prior(begin + start, prior)
            part.minus[:step] += prior

        parallel_map(task, range(0, num_states, step), 1.0 * num_states * net.operations)
        return out

    def minus_log_prior(self, first: int, out: Array) -> None:
        """out[s] = - log p(z) of the state of number first + s."""
        constant = float(np.logaddexp(0.0, self.prior_logits).sum())
        bit_sums(first, self.latents, self.prior_logits, constant, out)

    def batch(self, terms: Terms) -> BlockBatch:
        return BlockBatch(self, terms)

    def visit_states(
        self, kernel: Any, terms: Terms, shift: Array, first: int, sums: tuple[Array, ...], *,
        most: int | None = None,
    ) -> None:  # fmt: skip
        offset = shifted(terms, shift)
        count = min(most or self.filled_tiles, self.tiling.num_tiles - first)
        block, dtype = self.block(first, count), self.network.dtype
        data, width = packed_data(terms.linear, dtype), panel_columns(dtype)
        group, depth = self.group_states, self.network.depth
        where, linear = packed_places(self.tiling, self.padded_rows), np.zeros((1, self.num_latents))

        def task(panel: int) -> None:
            who = range(panel * width, min((panel + 1) * width, len(offset)))
            tiles = np.zeros((len(who), count, self.tile_size))
            groups = count * self.tiling.tile_states // group
            block_logs(*block, group, groups, depth, data, panel, where, tiles)
            visit_datum_tiles(self, kernel, tiles, first, linear, offset, who, sums)

        num_panels = -(-len(offset) // width)
        parallel_map(task, range(num_panels), 1.0 * block.minus.size * len(offset) * (depth + 16))

    def log_joint(self, x: Array, z: Array) -> Array:
        out = np.empty(z.shape[:-1])
        for n in range(len(x)):
            hidden = z[n].astype(np.float64)
            out[n] = bernoulli_log_prob(z[n], self.prior_logits).sum(axis=-1)
            for i, (weight, bias) in enumerate(self.layers):
                hidden = self.activate(hidden) if i else hidden
                hidden = np.einsum("...i,ji->...j", hidden, weight) + bias
            if self.noise_std is None:
                out[n] += bernoulli_log_prob(x[n], hidden).sum(axis=-1)
            else:
                density = math.log(self.noise_std) + 0.5 * math.log(2.0 * math.pi)
                out[n] -= (0.5 * np.square((x[n] - hidden) / self.noise_std) + density).sum(axis=-1)
        return out


def packed_data(linear: Array, dtype: str = "float64") -> Array:
    """t(x_n) in panels of data."""
    return packed_columns(linear.T, dtype)


def sum_block(
    block: Block, group_states: int, depth: int, data: Array, num_data: int, cut: float,
    first: int = 0, latents: Array = NO_LATENTS, *, with_ones: bool = False,
) -> Moments:  # fmt: skip
    """Log-sum-exp of the joint densities of a block's states, without c(x), for packed data.

    With the parts of latents as ``add_block_sums`` has them.

    Tasks are of a fixed shape, some groups of states and some data, and merged in order of states.
    """
    groups = block.counts.size // -(-group_states // ROWS)
    width = panel_columns("float64" if data.itemsize == 8 else "float32")
    num_panels, part_panels = -(-num_data // width), _PART_DATA // width
    parts = [
        _of_groups(block, g, min(PART_GROUPS, groups - g), depth, groups)
        for g in range(0, groups, PART_GROUPS)
    ]
    found = [Moments.zero(num_panels * width, latents.size, with_ones=with_ones) for _ in parts]

    def task(which: tuple[int, int]) -> None:
        number, panel = which
        own, part = found[number], parts[number]
        add_block_sums(
            *part, group_states, part.counts.size * groups // block.counts.size, depth, data,
            panel, min(panel + part_panels, num_panels), cut, first + number * PART_GROUPS * group_states,
            latents, own.largest, own.total, own.ones,
        )  # fmt: skip

    tasks = [(part, panel) for part in range(len(parts)) for panel in range(0, num_panels, part_panels)]
    parallel_map(task, tasks, 1.0 * block.minus.size * num_data * (depth + 8))
    return Moments(*(array[:num_data] for array in merged(found, with_ones=with_ones)))


def _of_groups(block: Block, first: int, count: int, depth: int, groups: int) -> Block:
    """Views of some groups."""
    rows = block.minus.size // groups
    return block_part(block, first * rows, count * rows, depth)


class BlockBatch(NumberedBatch):
    """Data of one chunk under a decoder."""

    @cached_property
    def _packed(self) -> Array:
        return packed_data(self.terms.linear, self.form.network.dtype)

    def add(self, first: int, with_ones: bool) -> Moments:
        form = self.form
        block = form.block(first, min(form.wave_tiles, form.tiling.num_tiles - first))
        found = sum_block(
            block, form.group_states, form.network.depth, self._packed, self.num_data, form.negligible,
            first * form.tiling.tile_states, form.latents, with_ones=with_ones,
        )  # fmt: skip
        scale = found.largest + self.terms.constant
        return Moments(scale, found.total, scale.copy(), found.ones)


def latent_order(weights: Array) -> Array:
    """The latents that move the first layer least are the first bits inside a tile.

    A panel's states are then alike, and units that are off are off in all of them.
    """
    outer = block_tiling(weights.shape[1]).outer_bits
    ascending = np.argsort(np.abs(weights).sum(axis=0), kind="stable")
    return np.concatenate([ascending[ascending.size - outer :], ascending[: ascending.size - outer]])
