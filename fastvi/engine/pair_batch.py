"""A batch of data summed under a pair form: each datum and outer state is a row of one matrix product.

A task packs the tables of some rows and multiplies them by the form's one tile. What it needs beside the tile
is as large as the tables of those rows; nothing grows with 2^d.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastvi.engine.batch import Batch
from fastvi.engine.data_terms import Terms
from fastvi.engine.form import Moments, Sums
from fastvi.engine.threads import parallel_map
from fastvi.engine.tile_batch import flipped_tiles, pack_exponentials
from fastvi.kernels.cpu.host import COLUMNS
from fastvi.kernels.cpu.log_sums import log_tile_masses, merge_tile_sums
from fastvi.kernels.cpu.tile_masses import (
    add_bit_masses,
    add_outer_masses,
    add_outer_pairs,
    add_shared_rows,
    posterior_shares,
    tile_masses,
    tile_shares,
)
from fastvi.kernels.cpu.tile_posteriors import add_pair_moments, tile_posteriors
from fastvi.kernels.cpu.tile_sums import DATA_ROWS, shared_tile_sums

Array = NDArray[Any]

TASK_ROWS = 128  # tables of 2^9 numbers and 2^9: 1 MiB
_GROUPS = 16  # tiles of summed posteriors at a time
MOST_ROWS = 1 << 18  # of data and outer states together whose sums are kept at a time


class RowMasses(NamedTuple):
    """Rows (datum, outer state) of one wave."""

    sums: Array  # (N, T)
    scales: Array  # (N, T) log of what a sum was divided by
    ones: Array  # (N, T, inner bits) part of the sum whose states have a bit


class PairBatch(Batch):
    """Data of one chunk under a pair form."""

    def _rows(self, first: int) -> tuple[int, Array, Array]:
        """Outer states of a wave, and what they add to inner coefficients and to the constant."""
        count = min(self.form.wave_tiles, self.form.tiling.num_tiles - first)
        return count, *self.form.outer_terms(first, count)

    def _each_task(self, count: int, task: Callable[[slice, Array, Array], None], cost: float) -> None:
        """Call ``task(rows, data, outer states)`` for some rows (datum, outer state) at a time."""
        total = self.num_data * count

        def run(start: int) -> None:
            rows = np.arange(start, min(start + TASK_ROWS, total))
            task(slice(start, start + rows.size), rows // count, rows % count)

        parallel_map(run, range(0, total, TASK_ROWS), cost * total * self.form.tiling.tile_states)

    def _pack(self, linear: Array, *, flipped: bool = False) -> tuple[Array, Array, Array]:
        """Tables of one task's rows (left, weights) and the logs of their scales."""
        row_bits, column_bits = self.form.tiling.row_bits, self.form.tiling.column_bits
        if flipped:
            linear = np.concatenate([linear[:, row_bits:], linear[:, :row_bits]], axis=1)
            row_bits, column_bits = column_bits, row_bits
        panels, column_panels = -(-len(linear) // DATA_ROWS), -(-(1 << column_bits) // COLUMNS)
        left = np.zeros((panels << row_bits) * DATA_ROWS)
        weights = np.zeros(panels * column_panels * COLUMNS * DATA_ROWS)
        scales = np.empty(len(linear))
        pack_exponentials(linear, row_bits, column_panels, left, weights, scales)
        return left, weights, scales

    def _parts(self) -> Iterator[PairBatch]:
        """The data, some at a time."""
        step = max(1, MOST_ROWS // min(self.form.wave_tiles, self.form.tiling.num_tiles))
        if step >= self.num_data:
            yield self
            return
        for start in range(0, self.num_data, step):
            part = slice(start, start + step)
            yield PairBatch(self.form, Terms(self.terms.linear[part], self.terms.constant[part]))

    def sums(self, first: int) -> Sums:
        parts = [part._sums(first) for part in self._parts()]
        return Sums(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def moments(self, first: int) -> Moments:
        flipped = flipped_tiles(self.form, self.form.tile[None])
        parts = [part._moments(first, flipped) for part in self._parts()]
        return Moments(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def log_masses(self, first: int) -> Array:
        """(N, T): log of the part of each datum's sum that each tile of a wave holds."""
        found = []
        for part in self._parts():
            sums, scales = part._row_sums(first)
            out = np.empty_like(sums)
            log_tile_masses(sums, scales, first, part.outer, part.terms.constant, out)
            found.append(out)
        return np.concatenate(found)

    def _sums(self, first: int) -> Sums:
        rows = self._row_sums(first)
        sums = Sums.zero(self.num_data)
        merge_tile_sums(*rows, first, self.outer, self.terms.constant, *sums)
        return sums

    def _row_sums(self, first: int) -> tuple[Array, Array]:
        """Sum of each row (N, T), and the log of what it was divided by."""
        form = self.form
        count, outer_linear, outer_constant = self._rows(first)
        inner = np.ascontiguousarray(self.terms.linear[:, form.tiling.outer_bits :])
        totals, scales = np.empty((2, self.num_data * count))
        tile = form.tile[None]

        def task(first_row: int) -> None:
            last_row = min(first_row + TASK_ROWS, totals.size)
            shared_tile_sums(
                tile, inner, outer_linear, first_row, last_row, form.tiling.row_bits, form.padded_rows,
                totals, scales,
            )  # fmt: skip

        parallel_map(task, range(0, totals.size, TASK_ROWS), 1.0 * totals.size * form.tiling.tile_states)
        return totals.reshape(-1, count), self._scales(scales, outer_constant)

    def _scales(self, scales: Array, outer_constant: Array) -> Array:
        """(N, T): log of what a row was divided by, less the datum's own terms."""
        return scales.reshape(-1, outer_constant.size) + (outer_constant + self.form.tile_scale)

    def _row_masses(self, first: int, flipped: Array) -> RowMasses:
        """Sum, scale and inner masses of each row."""
        form = self.form
        num_outer, row_bits, column_bits, _ = form.tiling
        count, outer_linear, outer_constant = self._rows(first)
        inner = self.terms.linear[:, num_outer:]
        totals, scales = np.empty((2, self.num_data * count))
        inner_ones = np.zeros((self.num_data * count, row_bits + column_bits))
        tile = form.tile[None]

        def task(part: slice, data: Array, outer: Array) -> None:
            linear, ones = inner[data] + outer_linear[outer], inner_ones[part]
            panels = -(-data.size // DATA_ROWS)
            shares, out = np.ones((1, panels * DATA_ROWS)), np.empty((panels * DATA_ROWS, 1))
            left, weights, _ = self._pack(linear, flipped=True)
            masses, num_columns = np.zeros_like(weights), 1 << column_bits
            tile_masses(flipped, left, weights, shares, num_columns, num_columns, 0, panels, out, masses)
            add_bit_masses(masses, row_bits, 0, ones)
            left, weights, scale = self._pack(linear)
            masses = np.zeros_like(weights)
            tile_masses(tile, left, weights, shares, 1 << row_bits, form.padded_rows, 0, panels, out, masses)
            add_bit_masses(masses, column_bits, row_bits, ones)
            totals[part], scales[part] = out[: data.size, 0], scale

        self._each_task(count, task, 2.0)
        ones = inner_ones.reshape(self.num_data, count, -1)
        return RowMasses(totals.reshape(-1, count), self._scales(scales, outer_constant), ones)

    def _moments(self, first: int, flipped: Array) -> Moments:
        rows = self._row_masses(first, flipped)
        num_outer = self.form.tiling.outer_bits
        found = Moments.zero(self.num_data, self.form.num_latents)
        merge_tile_sums(rows.sums, rows.scales, first, self.outer, self.terms.constant, *found[:3])
        shares = np.zeros((rows.sums.shape[1], self.num_data))
        tile_shares(rows.scales, first, self.outer, self.terms.constant, found.bound, shares)
        add_outer_masses(rows.sums, shares, first, num_outer, found.ones)
        add_shared_rows(rows.ones, shares, num_outer, found.ones)
        return found

    def add_pairs(self, first: int, evidence: Array, weights: Array, values: Array) -> None:
        """values += sum over n of weights[n] * sum over one wave's states of p(z | x_n) z z^T."""
        flipped = flipped_tiles(self.form, self.form.tile[None])
        start = 0
        for part in self._parts():
            data = slice(start, start + part.num_data)
            part._add_pairs(first, flipped, evidence[data], weights[data], values)
            start = data.stop

    def _add_pairs(self, first: int, flipped: Array, evidence: Array, weights: Array, values: Array) -> None:
        form = self.form
        num_outer, row_bits, column_bits, _ = form.tiling
        num_rows, num_columns = 1 << row_bits, 1 << column_bits
        masses = self._row_masses(first, flipped)
        count, outer_linear, _ = self._rows(first)
        inner = self.terms.linear[:, num_outer:]
        shares = np.zeros((count, self.num_data))
        posterior_shares(masses.scales, first, self.outer, self.terms.constant - evidence, weights, shares)
        add_outer_pairs(masses.sums, masses.ones, shares, first, num_outer, values)
        by_row = np.ascontiguousarray(shares.T).reshape(-1)
        tile = form.tile[None]
        # a group of tasks adds to one tile of its own; how they are grouped does not depend on threads
        group = max(1, -(-self.num_data * count // (TASK_ROWS * _GROUPS))) * TASK_ROWS

        def task(begin: int) -> Array:
            posterior = np.zeros((1, num_rows, num_columns))
            for row in range(begin, min(begin + group, by_row.size), TASK_ROWS):
                rows = np.arange(row, min(row + TASK_ROWS, begin + group, by_row.size))
                linear = inner[rows // count] + outer_linear[rows % count]
                left, right, _ = self._pack(linear)
                tile_posteriors(
                    tile, left, right, by_row[None, row : row + rows.size], num_rows, form.padded_rows,
                    num_columns, rows.size, posterior,
                )  # fmt: skip
            own = np.zeros_like(values)
            add_pair_moments(posterior[0], row_bits, num_outer, own)
            return own

        cost = 1.0 * by_row.size * form.tiling.tile_states
        for own in parallel_map(task, range(0, by_row.size, group), cost):
            values += own
