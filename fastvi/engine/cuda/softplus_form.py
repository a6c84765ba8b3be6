"""Softplus forms on a GPU: tiles as products, then a product over data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.cuda import blas
from fastvi.engine.cuda.device import Device
from fastvi.engine.cuda.form import CudaBatch, CudaForm, Running, put_terms
from fastvi.engine.states.data_terms import Terms
from fastvi.engine.states.softplus_form import SoftplusForm, centred_sums
from fastvi.engine.states.tiling import Tiling
from fastvi.kernels.cuda import softplus_product as product
from fastvi.kernels.cuda.log_sums import log_space_sums, merge_tile_sums
from fastvi.kernels.cuda.softplus_direct import KERNELS as ADD_DIRECT
from fastvi.kernels.cuda.tile_sums import DATA, KERNELS, LOW_COLUMNS, LOW_ROWS, THREADS

_LAUNCH_TILES = 512  # 32 MiB of weights: in the second-level cache of a data-centre GPU
_WAVE_LAUNCHES = 8  # 2^25 states: 5 ms on a GPU of 10^10 states of 784 pixels a second
_NO_SCALES = np.empty((0, 0))
NUM_NUMBERS = LOW_ROWS + product.ROWS // LOW_ROWS + LOW_COLUMNS + 1  # numbers of a datum


class _Tables(NamedTuple):
    """Tables of one dtype, in the order that the kernels take them."""

    panels: tuple[Any, Any]  # left, right
    terms: tuple[Any, ...]  # of tile_terms, up to the constant
    direct: tuple[Any, ...]  # of add_direct: bias ... column_linear
    limits: tuple[float, float]


class _Tiles(NamedTuple):
    """Arrays that one launch fills."""

    scales: Any
    bounds: Any
    modes: Any
    direct: Any
    parts: Any
    powers: Any
    constants: Any
    tiles: Any
    tile_scales: Any


@dataclass(frozen=True, eq=False)
class CudaSoftplusForm(CudaForm):
    """A SoftplusForm in tiles of 2^7 x 2^6 states."""

    source: SoftplusForm

    @property
    def wave_tiles(self) -> int:
        return _LAUNCH_TILES * _WAVE_LAUNCHES

    def batch(self, terms: Terms) -> SoftplusBatch:
        return SoftplusBatch(self, terms)

    @cached_property
    def _padded_pixels(self) -> int:
        return max(1, -(-self.source.bias.size // product.CHUNK)) * product.CHUNK

    def tables(self, on: Device) -> _Tables:
        form, (limit, block_limit, _) = self.source, product.LIMITS[self.dtype]
        outer, row = self.tiling.outer_bits, self.tiling.outer_bits + self.tiling.row_bits
        weights = np.split(form.weights, [outer, row], axis=1)
        left_sums, left_middle, left_spread = centred_sums(weights[1])
        right_sums, right_middle, right_spread = centred_sums(weights[2])
        left = np.zeros((self._padded_pixels, product.ROWS))
        right = np.ones((self._padded_pixels, product.COLUMNS))
        fits, packed = left_spread <= limit, right_spread <= limit
        pixels = np.arange(form.bias.size)
        with np.errstate(over="ignore"):
            left[: pixels.size, : len(left_sums)] = np.where(fits, np.exp(left_sums), 0.0).T
            right[: pixels.size, : len(right_sums)] = np.where(packed, np.exp(-right_sums), 1.0).T
        signed = -form.sign * form.centre  # kernels keep linear parts with the sign of A
        linear = np.split(signed, [outer, row])
        row_weights = np.zeros((product.ROW_BITS, pixels.size))
        column_weights = np.zeros((product.COLUMN_BITS, pixels.size))
        row_weights[: self.tiling.row_bits] = weights[1].T
        column_weights[: self.tiling.column_bits] = weights[2].T
        row_linear, column_linear = np.zeros(product.ROW_BITS), np.zeros(product.COLUMN_BITS)
        row_linear[: self.tiling.row_bits], column_linear[: self.tiling.column_bits] = linear[1], linear[2]
        # right = exp(-beta) of the packed pixels: beta is taken back by what is linear
        with_beta = column_linear - column_weights[:, packed].sum(axis=1)
        constant = float(right_middle[packed].sum())

        def put(array: Array, kind: Any = np.float64) -> Any:
            return on.put(np.ascontiguousarray(array, kind))

        outer_weights, outer_linear = put(weights[0].T), put(linear[0])
        rows, columns, row_part = put(row_weights), put(column_weights), put(row_linear)
        return _Tables(
            (put(left.reshape(-1), self.dtype), put(right.reshape(-1), self.dtype)),
            (
                outer_weights, put(form.bias + left_middle + right_middle), put(left_spread),
                put(right_spread), put(left_middle), put(right_middle), rows, columns, outer_linear, row_part,
                put(with_beta), constant,
            ),
            (put(form.bias), outer_weights, rows, columns, outer_linear, row_part, put(column_linear)),
            (limit, block_limit),
        )  # fmt: skip

    def launch_bytes(self) -> int:
        """Memory of one launch's tiles, in float64, and of cuBLAS's products."""
        chunks = self._padded_pixels // product.CHUNK
        tile = product.ROWS * product.COLUMNS * 8 + self._padded_pixels * 8 + chunks * 20
        more = blas.num_bytes(self.launch_tiles, product.ROWS, product.COLUMNS) if self.by_blas else 0
        return self.launch_tiles * (tile + (product.ROWS + product.COLUMNS) * 12 + 32) + more

    @property
    def launch_tiles(self) -> int:
        """Tiles of one launch."""
        return min(_LAUNCH_TILES, self.tiling.num_tiles)

    def batch_size(self, on: Device, num_data: int) -> int:
        """Number of data that fit beside one launch's tiles."""
        each = 8 * (NUM_NUMBERS + self.num_latents + self.launch_tiles + 8)
        return self.room(on, self.launch_bytes(), DATA * each, -(-max(1, num_data) // DATA)) * DATA

    def bit_tables(self, on: Device, linear: Array, constant: Array) -> tuple[Any, Any]:
        """Tables of exp<linear[n], inner bits> (numbers, N padded).

        And the log of what they and exp(constant[n]) were divided by.
        """
        outer, row_bits, column_bits, _ = self.tiling
        padded = -(-len(linear) // DATA) * DATA
        tables, base = on.empty((NUM_NUMBERS, padded), self.dtype), on.empty(padded, np.float64)
        nothing = on.full((1, row_bits + column_bits), 0.0)
        on.launch(
            KERNELS[self.dtype][0], -(-padded // THREADS), on.put(linear), nothing, on.put(constant), outer,
            row_bits, column_bits, product.ROW_BITS, product.COLUMN_BITS, tables, base,
        )  # fmt: skip
        return tables, base

    def empty_tiles(self, on: Device) -> _Tiles:
        dtype, count, chunks = self.dtype, self.launch_tiles, self._padded_pixels // product.CHUNK
        sides = product.ROWS + product.COLUMNS
        return _Tiles(
            on.empty((count, self._padded_pixels), dtype), on.empty((count, 2, chunks), np.float64),
            on.empty((count, chunks), np.int32), on.empty(count, np.int32), on.empty((count, sides), dtype),
            on.empty((count, sides), np.int32), on.empty(count, np.float64),
            on.empty((count, product.ROWS, product.COLUMNS), dtype), on.empty(count, np.float64),
        )  # fmt: skip

    def fill_launch(self, on: Device, first: int, into: _Tiles, *, in_log_space: bool = False) -> None:
        """Tiles ``first``, ... of exp(<centre, z> - A(z)), or of its logarithm."""
        terms, multiply = product.KERNELS[self.dtype]
        tables, sign = self.resident(on), 1 if self.source.sign > 0 else -1
        count = self.launch_tiles
        size = 1 << self.tiling.row_bits, 1 << self.tiling.column_bits
        by_pixel = self.dtype == "float32"
        on.launch(terms, count, first, *tables.terms, *tables.limits, by_pixel, sign, *into[:7])
        on.launch(
            multiply, count, *tables.panels, into.scales, into.modes, into.direct, into.parts, into.powers,
            into.constants, *size, sign, in_log_space, into.tiles, into.tile_scales,
        )  # fmt: skip
        on.launch(
            ADD_DIRECT[self.dtype], count, into.direct, first, *tables.direct, *size, sign, in_log_space,
            into.tiles, into.tile_scales,
        )  # fmt: skip

    def launches(self, first: int) -> range:
        """First tiles of the launches of a wave."""
        last = min(first + self.wave_tiles, self.tiling.num_tiles)
        return range(first, last, self.launch_tiles)

    def log_space_part(self, on: Device, terms: Terms, first: int, running: Running) -> None:
        into, (outer, row_bits, column_bits, _) = self.empty_tiles(on), self.tiling
        linear, base, outer_part = put_terms(on, terms, outer)
        count, num_data = self.launch_tiles, len(terms.constant)
        scales, sums = on.empty((count, num_data), np.float64), on.empty((count, num_data), np.float64)
        nothing = on.full((1, row_bits + column_bits), 0.0)
        for start in self.launches(first):
            self.fill_launch(on, start, into, in_log_space=True)
            on.launch(
                log_space_sums, (count, num_data), into.tiles, linear, outer, row_bits, column_bits,
                nothing, 1, scales, sums,
            )  # fmt: skip
            on.launch(
                merge_tile_sums, num_data, sums, scales, into.tile_scales, start, 1, outer_part, base,
                running.largest, running.total, running.bound,
            )  # fmt: skip


class SoftplusBatch(CudaBatch):
    """Data under tiles that are made one launch after another."""

    def data_at_once(self, on: Device) -> int:
        size: int = self.form.batch_size(on, self.num_data)
        return size

    def add(self, on: Device, terms: Terms, first: int, running: Running) -> None:
        form, outer = self.form, self.form.tiling.outer_bits
        num_data = len(terms.constant)
        tables, base = form.bit_tables(on, terms.linear, terms.constant)
        outer_part, no_scales = on.put(terms.linear[:, :outer]), on.put(_NO_SCALES)
        into, count, padded = form.empty_tiles(on), form.launch_tiles, tables.shape[1]
        sums, add = on.empty((count, padded), np.float64), form.tile_sums(on, *into.tiles.shape)
        for start in form.launches(first):
            form.fill_launch(on, start, into)
            add(tables, into.tiles, sums)
            on.launch(
                merge_tile_sums, num_data, sums, no_scales, into.tile_scales, start, 1, outer_part, base,
                running.largest, running.total, running.bound,
            )  # fmt: skip


def cuda_softplus_form(form: SoftplusForm, dtype: str, memory_limit: int | None) -> CudaSoftplusForm:
    """Return the form with tiles for a GPU."""
    d = form.num_latents
    column_bits = min(product.COLUMN_BITS, d)
    row_bits = min(product.ROW_BITS, d - column_bits)
    tiling = Tiling(d - row_bits - column_bits, row_bits, column_bits, 0)
    return CudaSoftplusForm(tiling, form.order, form.centre, form.data, form, dtype, memory_limit)
