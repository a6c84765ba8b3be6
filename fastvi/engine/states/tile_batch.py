"""A batch of data summed over tiles: each datum's tables over row bits and column bits, and the products.

A wave is a fill (parallel over tiles) and a product (parallel over data). A wave's partial sums are made
from nothing and merged in order of waves by whoever asked: the same bits for any number of threads or
workers. Between two waves there is room for progress, checkpoints and Ctrl-C. Memory: one wave of tiles,
and per datum of a chunk its packed tables; nothing grows with 2^d.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.run.slices import CHUNK_DATA, data_slices
from fastvi.engine.run.threads import num_threads, parallel_map
from fastvi.engine.states.batch import Batch
from fastvi.engine.states.form import Form
from fastvi.engine.states.sums import Moments, Sums
from fastvi.kernels.cpu.states.log_sums import log_tile_masses, merge_tile_sums
from fastvi.kernels.cpu.states.posterior_sums import largest_states
from fastvi.kernels.cpu.states.tile_choice import (
    drop_negligible,
    likely_tiles,
    sums_of_members,
    tile_totals,
    tiles_that_count,
)
from fastvi.kernels.cpu.states.tile_logs import weigh_by_logs
from fastvi.kernels.cpu.states.tile_masses import (
    add_bit_masses,
    add_outer_masses,
    expected_logs,
    tile_masses,
    tile_shares,
    transpose_tile,
)
from fastvi.kernels.cpu.states.tile_sums import DATA_ROWS, exponential_factors, pack_tables, tile_sums
from fastvi.kernels.host import COLUMNS


def panel_ranges(num_panels: int) -> list[tuple[int, int]]:
    """Ranges of panels, one a task: about four tasks a thread, none of more than 64 data."""
    if num_panels == 1:
        return [(0, 1)]
    size = min(64 // DATA_ROWS, max(1, num_panels // (4 * num_threads())))
    return [(p, min(p + size, num_panels)) for p in range(0, num_panels, size)]


class PackedBatch:
    """Per-datum tables over row bits and column bits, laid out as the kernels read them."""

    def __init__(self, num_rows: int, column_panels: int, padded_rows: int, num_data: int) -> None:
        self.num_data = num_data
        self.num_panels = -(-num_data // DATA_ROWS)
        self.padded_data = self.num_panels * DATA_ROWS
        self.num_rows, self.padded_rows = num_rows, padded_rows
        self.rows = np.zeros(self.num_panels * num_rows * DATA_ROWS)
        self.columns = np.zeros(self.num_panels * column_panels * COLUMNS * DATA_ROWS)

    @classmethod
    def of(cls, form: Form, num_data: int) -> PackedBatch:
        """Tables for the tiles of ``form``."""
        return cls(1 << form.tiling.row_bits, form.column_panels, form.padded_rows, num_data)

    @classmethod
    def flipped(cls, form: Form, num_data: int) -> PackedBatch:
        """Tables for its transposed tiles."""
        num_columns, row_panels = 1 << form.tiling.column_bits, -(-(1 << form.tiling.row_bits) // COLUMNS)
        return cls(num_columns, row_panels, num_columns, num_data)

    def pack(self, fill: Callable[[slice, Array, Array], None]) -> None:
        """Call ``fill(data, rows, columns)`` for each task's data and its part of the tables."""
        if self.num_panels == 1:  # few data: no task is worth a thread
            fill(slice(0, self.num_data), self.rows, self.columns)
            return
        row_step = self.rows.size // max(1, self.num_panels)
        column_step = self.columns.size // max(1, self.num_panels)

        def task(part: tuple[int, int]) -> None:
            first, last = part
            data = slice(first * DATA_ROWS, min(last * DATA_ROWS, self.num_data))
            fill(
                data,
                self.rows[first * row_step : last * row_step],
                self.columns[first * column_step : last * column_step],
            )

        parallel_map(task, panel_ranges(self.num_panels), 2.0 * (self.rows.size + self.columns.size))

    def pack_exponentials(self, linear: Array, num_row_bits: int, column_panels: int) -> Array:
        """Tables of exp<linear_n, row bits> and exp<linear_n, column bits>.

        Each is relative to its largest entry; the sum (N,) of the logarithms of both comes last.
        """
        scales = np.empty(self.num_data)

        def fill(data: slice, rows: Array, columns: Array) -> None:
            if_zero, if_one = np.empty((2, *linear[data].shape))
            exponential_factors(linear[data], if_zero, if_one, scales[data])
            pack_tables(if_zero, if_one, num_row_bits, column_panels, rows, columns)

        self.pack(fill)
        return scales

    def pack_bits(self, zero: Array, one: Array, num_row_bits: int, column_panels: int) -> None:
        """Tables of products over the bits of ``zero`` or ``one`` (N, row bits and column bits)."""
        zero, one = np.ascontiguousarray(zero), np.ascontiguousarray(one)
        self.pack(lambda data, *into: pack_tables(zero[data], one[data], num_row_bits, column_panels, *into))

    def sums(self, tiles: Array) -> Array:
        """(N, T): u_n^T tile v_n for each datum and tile of a wave."""
        out = np.empty((self.padded_data, len(tiles)))

        def task(part: tuple[int, int]) -> None:
            tile_sums(tiles, self.rows, self.columns, self.num_rows, self.padded_rows, *part, out)

        parallel_map(task, panel_ranges(self.num_panels), 1.0 * self.num_data * tiles.size)
        return out[: self.num_data]

    def masses(self, tiles: Array, shares: Array) -> tuple[Array, Array]:
        """``sums``, and sum over tiles of share * v_n * (u_n^T tile) in the layout of ``columns``."""
        out = np.empty((self.padded_data, len(tiles)))
        masses = np.zeros_like(self.columns)

        def task(part: tuple[int, int]) -> None:
            tile_masses(
                tiles, self.rows, self.columns, shares, self.num_rows, self.padded_rows, *part, out, masses
            )

        parallel_map(task, panel_ranges(self.num_panels), 1.0 * self.num_data * tiles.size)
        return out[: self.num_data], masses


def flipped_tiles(form: Form, tiles: Array) -> Array:
    """Tiles (T, size) packed with rows and columns exchanged."""
    num_rows, num_columns = 1 << form.tiling.row_bits, 1 << form.tiling.column_bits
    out = np.empty((len(tiles), -(-num_rows // COLUMNS) * COLUMNS * num_columns))

    def task(t: int) -> None:
        transpose_tile(tiles[t], num_rows, form.padded_rows, num_columns, out[t])

    parallel_map(task, range(len(tiles)), 2.0 * tiles.size)
    return out


def log_totals(tiles: Array) -> Array:
    """Logs of the sums of the numbers of tiles."""
    totals = np.empty(len(tiles))

    def task(t: int) -> None:
        tile_totals(tiles[t : t + 1], totals[t : t + 1])

    parallel_map(task, range(len(tiles)), 0.5 * tiles.size)
    with np.errstate(divide="ignore"):  # a tile of zeros
        return np.log(totals)


_BLOCK = 192  # data whose tables stay in the second-level cache while the tiles pass by; fewer are all summed
_DENSE = 0.75  # share of pairs of datum and tile from which on all are summed: gathering costs a fifth


def sums_that_count(batch: PackedBatch, tiles: Array, place: tuple[Array, Array, int, Array, Array]) -> Array:
    """(N, T): ``batch.sums`` where a tile counts for a datum, else 0.

    ``place``: scales of the tiles, logs of their totals, the first one's number, outer terms and base of
    data.
    """
    num_data, num_tiles = batch.num_data, len(tiles)
    if num_data <= _BLOCK:
        sums = batch.sums(tiles)
        drop_negligible(sums, *place)
        return sums
    scales, log_totals, first_tile, outer, base = place
    likely, wanted = np.empty(num_data, np.int64), np.empty((num_data, num_tiles), np.bool_)
    sums = np.zeros((batch.padded_data, num_tiles))
    tables = batch.rows, batch.columns, batch.num_rows, batch.padded_rows

    def find_likely(part: slice) -> None:
        likely_tiles(scales, log_totals, first_tile, outer[part], base[part], likely[part])

    def sum_likely(part: tuple[int, int]) -> None:
        t, first = part
        last = min(first + CHUNK_DATA // 8, num_data)
        sums_of_members(tiles[t : t + 1], t, *tables, wanted, first, last, sums)

    def find_others(part: slice) -> None:
        tiles_that_count(
            sums[part], likely[part], scales, log_totals, first_tile, outer[part], base[part], wanted[part]
        )

    def sum_others(first: int) -> None:
        sums_of_members(tiles, 0, *tables, wanted, first, min(first + _BLOCK, num_data), sums)

    parallel_map(find_likely, data_slices(num_data), 10.0 * wanted.size)
    np.equal(likely[:, None], np.arange(num_tiles), out=wanted)
    parts = [(t, first) for t in range(num_tiles) for first in range(0, num_data, CHUNK_DATA // 8)]
    parallel_map(sum_likely, parts, 1.0 * num_data * tiles.shape[1])
    parallel_map(find_others, data_slices(num_data), 10.0 * wanted.size)
    if wanted.mean() > _DENSE:
        sums = batch.sums(tiles)
        drop_negligible(sums, *place)
    else:
        parallel_map(sum_others, range(0, num_data, _BLOCK), 1.0 * wanted.sum() * tiles.shape[1])
    return sums[:num_data]


class TileBatch(Batch):
    """Data of one chunk, tile after tile."""

    @cached_property
    def packed(self) -> tuple[PackedBatch, Array]:
        """Packed tables, and per datum the log of what they and c(x) were divided by."""
        form, batch = self.form, PackedBatch.of(self.form, self.num_data)
        linear = self.terms.linear[:, form.tiling.outer_bits :]
        scales = batch.pack_exponentials(linear, form.tiling.row_bits, form.column_panels)
        return batch, self.terms.constant + scales

    @cached_property
    def _flipped(self) -> PackedBatch:
        """Packed tables for transposed tiles."""
        form, batch = self.form, PackedBatch.flipped(self.form, self.num_data)
        row = form.tiling.outer_bits
        column = row + form.tiling.row_bits
        linear = np.concatenate([self.terms.linear[:, column:], self.terms.linear[:, row:column]], axis=1)
        panels = -(-(1 << form.tiling.row_bits) // COLUMNS)
        batch.pack_exponentials(linear, form.tiling.column_bits, panels)
        return batch

    @cached_property
    def _only_wave(self) -> tuple[Array, Array]:
        return self.form.fill_wave(0, most=self.form.wave_tiles)

    def filled(self, first: int) -> tuple[Array, Array]:
        """Tiles of a wave, not to be changed, and their scales; an only wave is kept for a second pass."""
        form = self.form
        if form.tiling.num_tiles <= form.wave_tiles:
            return self._only_wave
        return form.fill_wave(first, most=form.wave_tiles)

    def sums(self, first: int) -> Sums:
        parts, scales = self._wave_sums(first)
        sums = Sums.zero(self.num_data)
        merge_tile_sums(parts, scales[None], first, self.outer, self.packed[1], *sums)
        return sums

    def _wave_sums(self, first: int) -> tuple[Array, Array]:
        """Sums (N, T) over a wave's tiles, 0 where they are negligible; the logs of the tiles' scales."""
        form, (batch, base) = self.form, self.packed
        made = None if form.keeps_tiles else form.sum_wave(first, batch)
        if made is not None:
            parts, scales, totals = made
            with np.errstate(divide="ignore"):  # a tile of zeros
                drop_negligible(parts, scales, np.log(totals), first, self.outer, base)
            return parts, scales
        tiles, scales = self.filled(first)
        if len(tiles) == 1:
            return batch.sums(tiles), scales
        place = scales, form.log_totals(tiles), first, self.outer, base
        return sums_that_count(batch, tiles, place), scales

    def log_masses(self, first: int) -> Array:
        """(N, T): log of the part of each datum's sum that each tile of a wave holds."""
        parts, scales = self._wave_sums(first)
        out = np.empty(parts.shape)
        log_tile_masses(parts, scales[None], first, self.outer, self.packed[1], out)
        return out

    def add_details(
        self, first: int, evidence: Array, logs: tuple[Array, Array, Array], largest: tuple[Array, Array]
    ) -> None:
        """Add one wave to the sums of ``expected_logs`` and to each datum's largest states."""
        form, (batch, base) = self.form, self.packed
        tiles, scales = form.fill_wave(first, most=form.wave_tiles)
        sums, log_tiles = batch.sums(tiles), np.empty_like(tiles)
        if form.keeps_tiles:
            tiles = tiles.copy()

        def task(t: int) -> None:
            weigh_by_logs(tiles[t], scales[t], log_tiles[t])

        parallel_map(task, range(len(tiles)), 20.0 * tiles.size)
        expected_logs(sums, batch.sums(tiles), scales, first, self.outer, base, *logs)
        form.visit_tiles(largest_states, self.terms, -evidence, first, log_tiles, largest, operations=1.0)

    def moments(self, first: int) -> Moments:
        form = self.form
        outer, row_bits, column_bits, _ = form.tiling
        tiles, scales = self.filled(first)
        batch, base = self.packed
        found = Moments.zero(self.num_data, form.num_latents)
        shares = np.zeros((len(tiles), batch.padded_data))
        tile_shares(scales[None], first, self.outer, base, found.bound, shares)
        sums, column_masses = batch.masses(tiles, shares)
        _, row_masses = self._flipped.masses(flipped_tiles(form, tiles), shares)
        drop_negligible(sums, scales, form.log_totals(tiles), first, self.outer, base)  # as ``sums`` does
        merge_tile_sums(sums, scales[None], first, self.outer, base, *found[:3])
        add_outer_masses(sums, shares, first, outer, found.ones)
        add_bit_masses(row_masses, row_bits, outer, found.ones)
        add_bit_masses(column_masses, column_bits, outer + row_bits, found.ones)
        return found
