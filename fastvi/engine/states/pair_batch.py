"""A batch of data summed under a pair form: each datum and outer state is a row of one matrix product.

A task packs the tables of some rows and multiplies them by the form's one tile. What it needs beside the tile
is as large as the tables of those rows; nothing grows with 2^d.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.run.threads import parallel_map
from fastvi.engine.states.batch import Batch
from fastvi.engine.states.sums import Moments, Sums
from fastvi.engine.states.tile_batch import flipped_tiles
from fastvi.kernels.cpu.states.log_sums import log_tile_masses, merge_tile_sums
from fastvi.kernels.cpu.states.pair_words import exponential_factors_of_words, join_scales, row_coefficients
from fastvi.kernels.cpu.states.tile_masses import (
    add_bit_masses,
    add_outer_masses,
    add_outer_pairs,
    add_shared_rows,
    posterior_shares,
    tile_masses,
    tile_shares,
)
from fastvi.kernels.cpu.states.tile_posteriors import add_pair_moments, tile_posteriors
from fastvi.kernels.cpu.states.tile_sums import DATA_ROWS, pack_tables, shared_tile_sums
from fastvi.kernels.host import COLUMNS

TASK_ROWS = 128  # tables of 2^9 numbers and 2^9: 1 MiB
_GROUPS = 16  # tiles of summed posteriors at a time
MOST_ROWS = 1 << 18  # of data and outer states together whose sums are kept at a time


class OuterWords(NamedTuple):
    """Coefficients and constants that some outer states add, in two words."""

    linear: Array  # (T, inner bits)
    linear_low: Array
    constant: Array  # (T,)
    constant_low: Array


class RowMasses(NamedTuple):
    """Rows (datum, outer state) of one wave."""

    sums: Array  # (N, T)
    scales: Array  # (N, T) log of what a sum was divided by, the datum's own terms included
    factors: Array  # (N, T) exp of what rounding took from the scales, already in sums and ones
    ones: Array  # (N, T, inner bits) part of the sum whose states have a bit


class PairBatch(Batch):
    """Data of one chunk under a pair form."""

    @cached_property
    def no_outer(self) -> tuple[Array, Array]:
        """Outer coefficients and constants, for kernels that add them to scales: these hold them already."""
        return np.zeros((self.num_data, 0)), np.zeros(self.num_data)

    @cached_property
    def _inner(self) -> tuple[Array, Array]:
        """Coefficients of the inner bits, in two words."""
        linear, linear_low, _, _ = self.terms.words()
        first = self.form.tiling.outer_bits
        return np.ascontiguousarray(linear[:, first:]), np.ascontiguousarray(linear_low[:, first:])

    def _rows(self, first: int) -> tuple[int, OuterWords]:
        """Outer states of a wave, and what they add to inner coefficients and to the constant."""
        count = min(self.form.wave_tiles, self.form.tiling.num_tiles - first)
        return count, self.form.outer_words(first, count)

    def _coefficients(self, outer: OuterWords, rows: slice) -> tuple[Array, Array]:
        """Coefficients of the inner bits in some rows (datum, outer state), in two words."""
        found = np.empty((2, rows.stop - rows.start, self._inner[0].shape[1]))
        row_coefficients(*self._inner, outer.linear, outer.linear_low, rows.start, found[0], found[1])
        return found[0], found[1]

    def _pack(self, linear: Array, low: Array, *, flipped: bool = False) -> tuple[Array, Array, Array, Array]:
        """Tables of one task's rows (left, weights), and the logs of their scales in two words."""
        row_bits, column_bits = self.form.tiling.row_bits, self.form.tiling.column_bits
        if flipped:
            linear, low = (
                np.concatenate([part[:, row_bits:], part[:, :row_bits]], axis=1) for part in (linear, low)
            )
            row_bits, column_bits = column_bits, row_bits
        panels, column_panels = -(-len(linear) // DATA_ROWS), -(-(1 << column_bits) // COLUMNS)
        left = np.zeros((panels << row_bits) * DATA_ROWS)
        weights = np.zeros(panels * column_panels * COLUMNS * DATA_ROWS)
        if_zero, if_one, (scales, scales_low) = (*np.empty((2, *linear.shape)), np.empty((2, len(linear))))
        exponential_factors_of_words(linear, low, if_zero, if_one, scales, scales_low)
        pack_tables(if_zero, if_one, row_bits, column_panels, left, weights)
        return left, weights, scales, scales_low

    def _parts(self) -> Iterator[PairBatch]:
        """The data, some at a time."""
        step = max(1, MOST_ROWS // min(self.form.wave_tiles, self.form.tiling.num_tiles))
        if step >= self.num_data:
            yield self
            return
        for start in range(0, self.num_data, step):
            part = slice(start, start + step)
            yield PairBatch(self.form, self.terms.part(part))

    def sums(self, first: int) -> Sums:
        parts = [part.part_sums(first) for part in self._parts()]
        return Sums(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def moments(self, first: int) -> Moments:
        flipped = flipped_tiles(self.form, self.form.tile[None])
        parts = [part.part_moments(first, flipped) for part in self._parts()]
        return Moments(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def log_masses(self, first: int) -> Array:
        """(N, T): log of the part of each datum's sum that each tile of a wave holds."""
        found = []
        for part in self._parts():
            sums, scales = part.row_sums(first)
            out = np.empty_like(sums)
            log_tile_masses(sums, scales, first, *part.no_outer, out)
            found.append(out)
        return np.concatenate(found)

    def part_sums(self, first: int) -> Sums:
        rows = self.row_sums(first)
        sums = Sums.zero(self.num_data)
        merge_tile_sums(*rows, first, *self.no_outer, *sums)
        return sums

    def row_sums(self, first: int) -> tuple[Array, Array]:
        """Sum of each row (N, T), and the log of what it was divided by."""
        form = self.form
        count, outer = self._rows(first)
        totals, scales, scales_low = np.empty((3, self.num_data * count))
        tile = form.tile[None]

        def task(first_row: int) -> None:
            last_row = min(first_row + TASK_ROWS, totals.size)
            shared_tile_sums(
                tile, *self._inner, outer.linear, outer.linear_low, first_row, last_row,
                form.tiling.row_bits, form.padded_rows, totals, scales, scales_low,
            )  # fmt: skip

        parallel_map(task, range(0, totals.size, TASK_ROWS), 1.0 * totals.size * form.tiling.tile_states)
        joined, factors = self._scales(first, scales, scales_low, outer)
        sums = totals.reshape(-1, count)
        sums *= factors
        return sums, joined

    def _scales(self, first: int, scales: Array, low: Array, outer: OuterWords) -> tuple[Array, Array]:
        """Scales (N, T) of rows, and the exponential of what rounding took from them.

        A scale is the log of what a row was divided by with all that does not depend on inner bits.
        """
        linear, linear_low, constant, constant_low = self.terms.words()
        num_outer, joined = self.form.tiling.outer_bits, scales.reshape(-1, outer.constant.size)
        factors = np.empty_like(joined)
        join_scales(
            joined, low.reshape(joined.shape), linear[:, :num_outer], linear_low[:, :num_outer], constant,
            constant_low, outer.constant, outer.constant_low, self.form.tile_scale, first, factors,
        )  # fmt: skip
        return joined, factors

    def _row_masses(self, first: int, flipped: Array) -> RowMasses:
        """Sum, scale and inner masses of each row."""
        form = self.form
        _, row_bits, column_bits, _ = form.tiling
        count, outer = self._rows(first)
        totals, scales, scales_low = np.empty((3, self.num_data * count))
        inner_ones = np.zeros((totals.size, row_bits + column_bits))
        tile = form.tile[None]

        def task(start: int) -> None:
            part = slice(start, min(start + TASK_ROWS, totals.size))
            (linear, low), ones = self._coefficients(outer, part), inner_ones[part]
            panels = -(-len(linear) // DATA_ROWS)
            shares, out = np.ones((1, panels * DATA_ROWS)), np.empty((panels * DATA_ROWS, 1))
            left, weights, _, _ = self._pack(linear, low, flipped=True)
            masses, num_columns = np.zeros_like(weights), 1 << column_bits
            tile_masses(flipped, left, weights, shares, num_columns, num_columns, 0, panels, out, masses)
            add_bit_masses(masses, row_bits, 0, ones)
            left, weights, scales[part], scales_low[part] = self._pack(linear, low)
            masses = np.zeros_like(weights)
            tile_masses(tile, left, weights, shares, 1 << row_bits, form.padded_rows, 0, panels, out, masses)
            add_bit_masses(masses, column_bits, row_bits, ones)
            totals[part] = out[: len(linear), 0]

        cost = 2.0 * totals.size * form.tiling.tile_states
        parallel_map(task, range(0, totals.size, TASK_ROWS), cost)
        joined, factors = self._scales(first, scales, scales_low, outer)
        sums, ones = totals.reshape(-1, count), inner_ones.reshape(self.num_data, count, -1)
        sums *= factors
        ones *= factors[:, :, None]
        return RowMasses(sums, joined, factors, ones)

    def part_moments(self, first: int, flipped: Array) -> Moments:
        rows = self._row_masses(first, flipped)
        num_outer = self.form.tiling.outer_bits
        found = Moments.zero(self.num_data, self.form.num_latents)
        merge_tile_sums(rows.sums, rows.scales, first, *self.no_outer, *found[:3])
        shares = np.zeros((rows.sums.shape[1], self.num_data))
        tile_shares(rows.scales, first, *self.no_outer, found.bound, shares)
        add_outer_masses(rows.sums, shares, first, num_outer, found.ones)
        add_shared_rows(rows.ones, shares, num_outer, found.ones)
        return found

    def add_pairs(self, first: int, evidence: Array, weights: Array, values: Array) -> None:
        """Values += sum over n of weights[n] * sum over one wave's states of p(z | x_n) z z^T."""
        flipped = flipped_tiles(self.form, self.form.tile[None])
        start = 0
        for part in self._parts():
            data = slice(start, start + part.num_data)
            part.add_part_pairs(first, flipped, evidence[data], weights[data], values)
            start = data.stop

    def add_part_pairs(
        self, first: int, flipped: Array, evidence: Array, weights: Array, values: Array
    ) -> None:
        form = self.form
        num_outer, row_bits, column_bits, _ = form.tiling
        num_rows, num_columns = 1 << row_bits, 1 << column_bits
        masses = self._row_masses(first, flipped)
        count, outer = self._rows(first)
        shares = np.zeros((count, self.num_data))
        posterior_shares(masses.scales, first, self.no_outer[0], -evidence, weights, shares)
        add_outer_pairs(masses.sums, masses.ones, shares, first, num_outer, values)
        by_row = (shares.T * masses.factors).reshape(-1)
        tile = form.tile[None]
        # a group of tasks adds to one tile of its own; how they are grouped does not depend on threads
        group = max(1, -(-self.num_data * count // (TASK_ROWS * _GROUPS))) * TASK_ROWS

        def task(begin: int) -> Array:
            posterior = np.zeros((1, num_rows, num_columns))
            for row in range(begin, min(begin + group, by_row.size), TASK_ROWS):
                rows = slice(row, min(row + TASK_ROWS, begin + group, by_row.size))
                left, right, _, _ = self._pack(*self._coefficients(outer, rows))
                tile_posteriors(
                    tile, left, right, by_row[None, rows], num_rows, form.padded_rows, num_columns,
                    rows.stop - rows.start, posterior,
                )  # fmt: skip
            own = np.zeros_like(values)
            add_pair_moments(posterior[0], row_bits, num_outer, own)
            return own

        cost = 1.0 * by_row.size * form.tiling.tile_states
        for own in parallel_map(task, range(0, by_row.size, group), cost):
            values += own
