"""Models that are quadratic in z on a GPU: each outer state is a row of a product with one tile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.cuda import blas
from fastvi.engine.cuda.device import Device
from fastvi.engine.cuda.form import CudaBatch, CudaForm, Running, put_terms
from fastvi.engine.run.slices import slices
from fastvi.engine.states.data_terms import LARGEST_ON_DEVICE, Terms, WordData
from fastvi.engine.states.pair_form import PairForm
from fastvi.engine.states.tiling import Tiling
from fastvi.kernels.cpu.states.tile_logs import pair_tile
from fastvi.kernels.cuda.log_sums import log_space_sums, merge_tile_sums
from fastvi.kernels.cuda.softplus_product import LIMITS
from fastvi.kernels.cuda.tile_logs import THREADS as OUTER_THREADS
from fastvi.kernels.cuda.tile_logs import outer_terms
from fastvi.kernels.cuda.tile_sums import DATA, KERNELS, LOW_COLUMNS, LOW_ROWS, THREADS
from fastvi.kernels.host import COLUMNS

_MOST_SIDE_BITS = 9  # 2^9 x 2^9 states: 2 MiB, and 144 numbers of a row stand for 2^18 multiply-adds
_FEWEST_ROWS_BITS = 8
_LAUNCH_ROWS = 1 << 16  # 512 blocks of threads; tables of 75 MiB
_WAVE_STATES = 1 << 34  # 10 ms for a datum at 2 * 10^12 states a second
_LOG_LAUNCH = 1 << 10  # outer states of a launch in log space


class _Tables(NamedTuple):
    log_tile: Any  # (1, R, C)
    tile: Any  # exp(log_tile - scale) in the form's dtype
    scale: float
    couplings: Any
    centre: Any


@dataclass(frozen=True, eq=False)
class CudaPairForm(CudaForm):
    """A PairForm with a tile of up to 2^18 states."""

    source: PairForm

    def too_large(self, terms: Terms) -> Array:
        data = self.data
        if not isinstance(data, WordData):
            return super().too_large(terms)
        return data.large(terms, LARGEST_ON_DEVICE)

    def more_exact(self) -> PairForm:
        return self.source

    @property
    def wave_tiles(self) -> int:
        return max(1, _WAVE_STATES // self.tiling.tile_states)

    @property
    def sides(self) -> tuple[int, int]:
        """Bits of the tile's rows and columns, padded."""
        return max(3, self.tiling.row_bits), max(6, self.tiling.column_bits)

    def batch(self, terms: Terms) -> PairBatch:
        return PairBatch(self, terms)

    def tables(self, on: Device) -> _Tables:
        inner, (row_bits, column_bits) = self.tiling.outer_bits, self.tiling[1:3]
        num_rows, num_columns = 1 << row_bits, 1 << column_bits
        panels = -(-num_columns // COLUMNS)
        packed = np.empty(panels * COLUMNS * num_rows)
        couplings = np.ascontiguousarray(self.source.couplings[inner:, inner:])
        pair_tile(couplings, self.centre[inner:].copy(), row_bits, num_rows, packed)
        logs = (
            packed.reshape(panels, num_rows, COLUMNS)
            .transpose(1, 0, 2)
            .reshape(num_rows, -1)[:, :num_columns]
        )
        scale = float(logs.max())  # 0 at least: that of the state without a bit
        rows, columns = (1 << bits for bits in self.sides)
        log_tile, tile = np.zeros((1, rows, columns)), np.zeros((1, rows, columns), self.dtype)
        log_tile[0, :num_rows, :num_columns] = logs
        below = logs - scale
        kept = below >= LIMITS[self.dtype][2] * np.log(2.0)
        tile[0, :num_rows, :num_columns] = np.where(kept, np.exp(np.where(kept, below, 0.0)), 0.0)
        put = on.put
        return _Tables(put(log_tile), put(tile), scale, put(self.source.couplings), put(self.centre))

    def outer_part(self, on: Device, first: int, count: int, scale: float) -> tuple[Any, Any]:
        """Terms that outer states add: to inner coefficients (count, inner), to the constant (count,)."""
        tables = self.resident(on)
        linear = on.empty((count, self.num_latents - self.tiling.outer_bits), np.float64)
        constant = on.empty(count, np.float64)
        on.launch(
            outer_terms, -(-count // OUTER_THREADS), tables.couplings, tables.centre,
            self.tiling.outer_bits, first, scale, linear, constant,
        )  # fmt: skip
        return linear, constant

    def last(self, first: int) -> int:
        return min(first + self.wave_tiles, self.tiling.num_tiles)

    def log_space_part(self, on: Device, terms: Terms, first: int, running: Running) -> None:
        num_data, (outer, row_bits, column_bits, _) = len(terms.constant), self.tiling
        linear, base, outer_data = put_terms(on, terms, outer)
        for part in slices(self.last(first) - first, _LOG_LAUNCH):
            start, count = first + part.start, part.stop - part.start
            outer_linear, constant = self.outer_part(on, start, count, 0.0)
            scales, sums = (on.empty((1, num_data * count), np.float64) for _ in range(2))
            on.launch(
                log_space_sums, (count, num_data), self.resident(on).log_tile, linear, outer, row_bits,
                column_bits, outer_linear, count, scales, sums,
            )  # fmt: skip
            on.launch(
                merge_tile_sums, num_data, sums, scales, constant, start, count, outer_data, base,
                running.largest, running.total, running.bound,
            )  # fmt: skip


class PairBatch(CudaBatch):
    """Data under one tile."""

    def _outer_at_once(self) -> int:
        return int(min(self.form.wave_tiles, self.form.tiling.num_tiles, _LAUNCH_ROWS))

    def _numbers(self) -> int:
        """Count of numbers in the tables of a row."""
        row_bits, column_bits = self.form.sides
        return LOW_ROWS + (1 << (row_bits - 3)) + LOW_COLUMNS + (1 << (column_bits - 6))

    def data_at_once(self, on: Device) -> int:
        outer = self._outer_at_once()
        tile = 24 << sum(self.form.sides)
        each = outer * 8 * (self._numbers() + 2)
        if self.form.by_blas:
            tile += blas.num_bytes(1, *(1 << bits for bits in self.form.sides))
        fixed = tile + DATA * 8 * self._numbers() + outer * 8 * (self.form.num_latents + 1)
        most = max(1, _LAUNCH_ROWS // outer)
        return self.form.room(on, fixed, each, most)

    def add(self, on: Device, terms: Terms, first: int, running: Running) -> None:
        form, (outer, row_bits, column_bits, _) = self.form, self.form.tiling
        held = form.resident(on)
        bit_tables = KERNELS[form.dtype][0]
        num_data, at_once = len(terms.constant), self._outer_at_once()
        linear, base, outer_data = put_terms(on, terms, outer)
        nothing, add = on.full(num_data, 0.0), form.tile_sums(on, *held.tile.shape)
        for part in slices(form.last(first) - first, at_once):
            start, count = first + part.start, part.stop - part.start
            outer_linear, constant = form.outer_part(on, start, count, held.scale)
            padded = -(-num_data * count // DATA) * DATA
            tables, scales = on.empty((self._numbers(), padded), form.dtype), on.empty(padded, np.float64)
            sums = on.empty((1, padded), np.float64)
            on.launch(
                bit_tables, -(-padded // THREADS), linear, outer_linear, base, outer, row_bits, column_bits,
                *form.sides, tables, scales,
            )  # fmt: skip
            add(tables, held.tile, sums)
            on.launch(
                merge_tile_sums, num_data, sums, scales.reshape((1, padded)), constant, start, count,
                outer_data, nothing, running.largest, running.total, running.bound,
            )  # fmt: skip


def cuda_pair_form(form: PairForm, dtype: str, memory_limit: int | None) -> CudaPairForm:
    """Return the form with a tile for a GPU."""
    d = form.num_latents
    inner = min(2 * _MOST_SIDE_BITS, max(min(d, 13), d - _FEWEST_ROWS_BITS))
    column_bits = max(min(6, inner), inner // 2)
    tiling = Tiling(d - inner, inner - column_bits, column_bits, 0)
    return CudaPairForm(tiling, form.order, form.centre, form.data, form, dtype, memory_limit)
