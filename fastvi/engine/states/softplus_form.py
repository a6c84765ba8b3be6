"""Models with softplus sums as the kernels read them: log p(x, z) = c(x) + <t(x), z> - A(z).

Of a sigmoid belief network, A(z) = sum_j softplus(eta_j(z)) - log p(z). Of a restricted Boltzmann machine
whose visible units are summed out the sum has the other sign: a tile is then the product itself, not its
inverse.

A linear function <centre, z> is moved from t to A, with centre = E[t(x)] for x at the model's mean logits:
what is left of t is small for data like the model's, so that the weights of a tile span less of the range
of a float. The centre depends on the model alone, never on the batch: a datum's log p(x) has the same bits
in any company.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fastvi.core.arrays import Array
from fastvi.core.bits import bits_of
from fastvi.core.functions import centre_sigmoid
from fastvi.engine.run.threads import num_threads, parallel_map
from fastvi.engine.states.data_terms import BinaryData
from fastvi.engine.states.tile_form import TileForm
from fastvi.engine.states.tiling import choose_tiling
from fastvi.kernels.cpu.simd.product_tiles import product_tile
from fastvi.kernels.cpu.states.softplus_product import (
    BITS_32,
    BITS_64,
    SoftplusTables,
    fill_products,
    multiply_direct,
    pack_exponentials,
    tile_log_weights,
    tile_weights,
)
from fastvi.kernels.cpu.states.softplus_tiles import softplus_tiles
from fastvi.kernels.cpu.states.tile_choice import tile_totals
from fastvi.kernels.cpu.states.tile_logs import add_table, exponentiate
from fastvi.kernels.cpu.states.tile_sums import tile_sums
from fastvi.kernels.host import COLUMNS

# dtype -> largest |log| of a panel entry, largest |log| of a running product. exp(-beta) >= exp(-limit) keeps
# exp(alpha) that flushes to zero (below 1e-308, or 1e-38) under half a unit in the last place of the sum.
_RANGES = {"float64": (340.0, 700.0), "float32": (35.0, 85.0)}
_NEAR = 1 << 21  # bytes: of the cache that all cores share
_NOTHING, _NO_SUMS = np.empty(0), np.empty((0, 0))  # where tiles are made and not summed


@dataclass(frozen=True, eq=False)
class SoftplusForm(TileForm):
    """Tables of sum_j softplus(eta_j), eta = W z + b, and of what is linear in z."""

    tables: SoftplusTables
    layout: Any
    dtype: str
    weights: Array  # (D, d) columns in the form's order: those of the softplus sum
    bias: Array  # (D,)
    sign: float  # -1: the sum is in A, +1: in -A
    log_prior: (
        Array | None
    )  # (2^d,) of a prior that is a model, at the number of each state in the form's order

    tells_masses = True

    @cached_property
    def ones(self) -> tuple[Array, Array]:
        """One register tile of 1 * 2^0: mantissas and exponents."""
        cells = self.tables.panel_rows * COLUMNS
        return np.ones(cells, self.dtype), np.zeros(cells, np.int64 if self.dtype == "float64" else np.int32)

    @property
    def padded_rows(self) -> int:
        return _padded(1 << self.tiling.row_bits, self.tables.panel_rows)

    @property
    def operations(self) -> int:
        return self.bias.size + 16

    def fill(self, first: int, tiles: Array, scales: Array, *, in_log_space: bool = False) -> None:
        if in_log_space or self.log_prior is not None:
            self._fill_in_steps(first, range(len(tiles)), tiles, scales, in_log_space)
        else:
            self._make(first, tiles, scales, np.empty_like(scales), _NOTHING, _NOTHING, 0, _NO_SUMS, 0)

    def sum_wave(self, first: int, packed: Any) -> tuple[Array, Array, Array] | None:
        count = min(self.wave_tiles, self.tiling.num_tiles - first)
        # where the tables of all data stay near, and there are tiles for all threads or few data; the bits
        # are the same
        near = _NEAR if count >= num_threads() else _NEAR // 16
        if packed.rows.nbytes + packed.columns.nbytes > near:
            return None
        sums, scales, totals = np.empty((packed.padded_data, count)), np.empty(count), np.empty(count)
        group = max(1, count // (8 * num_threads()))

        def task(start: int) -> None:
            tile, own = np.empty((1, self.tile_size)), scales[start : start + group]
            data = totals[start : start + group], packed.rows, packed.columns, packed.num_panels, sums, start
            if self.log_prior is None:
                self._make(first + start, tile, own, *data)
            else:
                self._sum_in_steps(first + start, range(len(own)), tile, own, *data)

        operations = self.operations + packed.padded_data
        parallel_map(task, range(0, count, group), count * self.tiling.tile_states * operations)
        return sums[: packed.num_data], scales, totals

    def _make(
        self, first: int, tiles: Array, scales: Array, totals: Array, rows: Array, columns: Array,
        num_panels: int, sums: Array, first_sum: int,
    ) -> None:  # fmt: skip
        """Make tiles in one call, and those that need steps of their own in these."""
        plain = np.empty(len(scales), np.bool_)
        softplus_tiles(
            self.tables, self.sign, first, self.padded_rows, *self.ones, tiles, scales, totals, plain, rows,
            columns, num_panels, sums, first_sum,
        )  # fmt: skip
        if plain.all():
            return
        left = np.flatnonzero(~plain)
        if num_panels:
            data = totals, rows, columns, num_panels, sums, first_sum
            self._sum_in_steps(first, left, tiles, scales, *data)
        else:
            self._fill_in_steps(first, left, tiles, scales, False)

    def _sum_in_steps(
        self, first: int, which: Iterable[int], tile: Array, scales: Array, totals: Array, rows: Array,
        columns: Array, num_panels: int, sums: Array, first_sum: int,
    ) -> None:  # fmt: skip
        num_rows, found = 1 << self.tiling.row_bits, np.empty((len(sums), 1))
        for t in which:
            self._fill_in_steps(first + t, range(1), tile, scales[t : t + 1], False)
            tile_sums(tile, rows, columns, num_rows, self.padded_rows, 0, num_panels, found)
            sums[:, first_sum + t] = found[:, 0]
            tile_totals(tile, totals[t : t + 1])

    def _fill_in_steps(
        self, first: int, which: Iterable[int], tiles: Array, scales: Array, in_log_space: bool
    ) -> None:
        tables, padded_rows, num_pixels = self.tables, self.padded_rows, self.bias.size
        outer, row_bits, column_bits, _ = self.tiling
        mantissa = np.empty(self.tile_size, self.dtype)
        bits = mantissa.view(np.int64 if self.dtype == "float64" else np.int32)
        exponent = np.empty_like(bits)
        kinds, middles = np.empty(num_pixels, np.int8), np.empty(num_pixels)
        rows, columns = np.empty(row_bits), np.empty(column_bits)
        for t in which:
            constant, direct = fill_products(
                tables, first + t, padded_rows, kinds, middles, rows, columns, mantissa, exponent
            )
            if direct:
                multiply_direct(tables, kinds, middles, padded_rows, mantissa, bits, exponent, self.layout)
            if self.sign > 0:  # all was kept with the sign of A; a tile is then the product, not its inverse
                constant = -constant
                for part in (rows, columns, exponent):
                    np.negative(part, out=part)
                np.reciprocal(mantissa, out=mantissa)
            if in_log_space or self.log_prior is not None:
                tile_log_weights(mantissa, exponent, rows, columns, padded_rows, constant, tiles[t])
                scales[t] = 0.0
                if self.log_prior is not None:
                    add_table(self.log_prior, first + t, outer, row_bits, column_bits, padded_rows, tiles[t])
                    if not in_log_space:
                        scales[t] = exponentiate(tiles[t], 1 << row_bits, padded_rows, 1 << column_bits)
            else:
                scales[t] = constant + tile_weights(mantissa, exponent, rows, columns, padded_rows, tiles[t])

    def log_joint(self, x: Array, z: Array) -> Array:
        out = np.empty(z.shape[:-1])
        linear = self.data.offset + self.centre
        data: Any = self.data
        for n in range(len(x)):
            eta = np.einsum("...i,ji->...j", z[n], self.weights) + self.bias
            out[n] = (z[n] * linear).sum(axis=-1) + data.constant
            if self.sign < 0:  # pixel by pixel: nothing cancels
                out[n] -= np.logaddexp(0.0, np.where(x[n] == 1, -eta, eta)).sum(axis=-1)
            else:
                ones = x[n] == 1
                out[n] += data.bias[ones].sum() + (z[n] * data.weights[ones].sum(axis=0)).sum(axis=-1)
                out[n] += np.logaddexp(0.0, eta).sum(axis=-1)
            if self.log_prior is not None:
                out[n] += self.log_prior[z[n].astype(np.int64) @ (1 << np.arange(self.num_latents))]
        return out


def softplus_form(
    weights: Array,
    bias: Array,
    prior_logits: Array,
    *,
    dtype: str = "float64",
    fold_prior: bool = True,
    log_prior: Callable[[Array], Array] | None = None,
) -> SoftplusForm:
    """A sigmoid belief network: tables for all tiles.

    ``fold_prior=False`` leaves the prior out of the tiles (and the centre at 0). ``log_prior`` takes states
    (2^d, d) of a prior that is a model to their log p(z), in place of ``prior_logits``, which then only help
    to choose a centre.
    """
    # the latents that move the logits most go outermost: the states of a tile are then alike, and little
    # underflows
    order = np.argsort(-np.abs(weights).sum(axis=0) - np.abs(prior_logits), kind="stable")
    weights = np.ascontiguousarray(weights[:, order])
    prior_logits = np.ascontiguousarray(prior_logits[order])
    centre, linear, constant = np.zeros(order.size), np.zeros(order.size), 0.0
    if fold_prior:
        mean_logits = (weights * centre_sigmoid(prior_logits)).sum(axis=1) + bias
        centre = (weights * centre_sigmoid(mean_logits)[:, None]).sum(axis=0)
        if log_prior is None:
            linear, constant = prior_logits, -float(np.logaddexp(0.0, prior_logits).sum())
            centre = centre + prior_logits
    table = None if log_prior is None else prior_table(order, log_prior)
    data = BinaryData(weights, np.ascontiguousarray(bias), linear - centre, constant)
    return _build(order, weights, bias, centre, data, -1.0, dtype, table)


def softplus_sum_form(
    weights: Array,
    bias: Array,
    linear: Array,
    data_weights: Array,
    data_bias: Array,
    *,
    dtype: str = "float64",
) -> SoftplusForm:
    """sum_z exp(<linear + W_x^T x, z> + b_x.

    X + sum_j softplus(eta_j(z))): a restricted Boltzmann machine whose visible units were seen,
    ``data_weights`` (D_x, d), or are summed out, ``weights`` (D, d).
    """
    order = np.argsort(-np.abs(weights).sum(axis=0) - np.abs(linear), kind="stable")
    weights = np.ascontiguousarray(weights[:, order])
    # the slope of the softplus sum at z = 1/2, with its sign turned: that makes the tiles flat
    slope = centre_sigmoid(weights.sum(axis=1) / 2 + bias)
    centre = -(weights * slope[:, None]).sum(axis=0)
    data = BinaryData(
        np.ascontiguousarray(data_weights[:, order]),
        np.ascontiguousarray(data_bias),
        linear[order] - centre,
        0.0,
    )
    return _build(order, weights, bias, centre, data, 1.0, dtype, None)


def prior_table(order: Array, log_prior: Callable[[Array], Array]) -> Array:
    """Log p(z) of all states, at their numbers in the form's order."""
    table = np.empty(1 << order.size)
    step = min(table.size, 1 << 16)
    for first in range(0, table.size, step):
        table[first : first + step] = log_prior(bits_of(np.arange(first, first + step), order))
    return table


def _build(
    order: Array, weights: Array, bias: Array, centre: Array, data: BinaryData, sign: float, dtype: str,
    log_prior: Array | None,
) -> SoftplusForm:  # fmt: skip
    tiling = choose_tiling(order.size, COLUMNS)
    signed = -sign * centre  # kernels keep linear parts with the sign of A
    outer_bits, row_bits, _, longest_block = tiling
    tables = _tables(weights, bias, signed, outer_bits, row_bits, longest_block, dtype)
    layout = BITS_64 if dtype == "float64" else BITS_32
    bias = np.ascontiguousarray(bias)
    return SoftplusForm(tiling, order, centre, data, tables, layout, dtype, weights, bias, sign, log_prior)


def plain_tables(weights: Array, bias: Array, outer_bits: int, row_bits: int) -> SoftplusTables:
    """Tables of A alone, nothing linear in it, for tiles of all bits but the ``outer_bits`` first ones."""
    none = np.zeros(weights.shape[1])
    return _tables(weights, bias, none, outer_bits, row_bits, choose_tiling(1, COLUMNS).longest_block)


def _tables(
    weights: Array, bias: Array, linear: Array, outer_bits: int, row_bits: int, longest_block: int,
    dtype: str = "float64",
) -> SoftplusTables:  # fmt: skip
    limit, block_limit = _RANGES[dtype]
    row = outer_bits + row_bits
    groups = [np.ascontiguousarray(part) for part in np.split(weights, [outer_bits, row], axis=1)]
    num_pixels, panel_rows = bias.size, product_tile(np.dtype(dtype).itemsize).rows
    ranges = np.empty((5, num_pixels))
    ranges[0] = bias
    left = np.empty(_padded(1 << row_bits, panel_rows) * num_pixels)
    right = np.empty(_padded(1 << groups[2].shape[1], COLUMNS) * num_pixels, dtype)
    pack_exponentials(groups[1], 1.0, limit, panel_rows, 0.0, ranges[1], ranges[2], left)
    pack_exponentials(groups[2], -1.0, limit, COLUMNS, 1.0, ranges[3], ranges[4], right)
    return SoftplusTables(
        left=left,
        right=right,
        ranges=ranges,
        outer_weights=groups[0],
        row_weights=groups[1],
        column_weights=groups[2],
        linear=linear,
        limit=limit,
        block_limit=block_limit,
        # blocks of one length, where their range allows it
        longest_block=-(-num_pixels // max(1, -(-num_pixels // longest_block))),
        panel_rows=panel_rows,
    )


def _padded(size: int, width: int) -> int:
    """The size in whole panels."""
    return -(-size // width) * width


def centred_sums(weights: Array) -> tuple[Array, Array, Array]:
    """Subset sums (2^k, D) of the columns, less the middle of their range; the middle; half the range."""
    above, below = np.maximum(weights, 0.0).sum(axis=1), np.minimum(weights, 0.0).sum(axis=1)
    middle, spread = (above + below) / 2, (above - below) / 2
    sums = np.empty((1 << weights.shape[1], weights.shape[0]))
    sums[0] = -middle
    for i in range(weights.shape[1]):
        np.add(sums[: 1 << i], weights[:, i], out=sums[1 << i : 2 << i])
    return sums, middle, spread
