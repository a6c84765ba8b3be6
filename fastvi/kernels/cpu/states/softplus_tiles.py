"""Tiles of exp(-A(z)) made and summed in one call, while they are in the second-level cache.

A tile is a product over pixels (`softplus_product.py`). Its last block turns each running product into a
weight before it leaves the registers. For that the power of two that the tile is relative to has to be known
beforehand: it is that of the first state. Where another state of the tile is far above, and where a pixel
fits no product, the tile is told apart (``plain``), and made by the functions of `softplus_product.py` in
steps.
"""

from __future__ import annotations

import math

import numpy as np

from fastvi.kernels.bits import power_of_two
from fastvi.kernels.cpu.simd.denormals import begin_flushing, end_flushing
from fastvi.kernels.cpu.simd.product_tiles import inverse_weight_block, product_block, weight_block
from fastvi.kernels.cpu.states.softplus_product import (
    left_scales,
    multiply_block,
    pack_left,
    plan_tile,
    split_log,
    subset_sums,
)
from fastvi.kernels.cpu.states.tile_sums import DATA_ROWS, add_tile_sums, store_lane_sums
from fastvi.kernels.host import COLUMNS
from fastvi.kernels.jit import inline, kernel
from fastvi.kernels.scalar import LOG_TWO

_OUT_OF_SCALE = 2.0**500  # sums of 2^14 weights are then far from the range of a float


@inline
def _split_exponentials(linear, scales, powers):
    """Split exp(<linear, bits>) of all states of a group into scales * 2^powers; what pads them is 0."""
    size = 1 << linear.size
    subset_sums(linear, scales)
    split_log(scales[:size], scales, powers)
    for s in range(size, scales.size):
        scales[s], powers[s] = 0.0, 0


@inline
def _differ(a, b):
    """Return whether two arrays differ; nan, the first time, does."""
    found = False
    for i in range(a.size):
        found |= a[i] != b[i]
    return found


@inline
def _multiply_by_pairs(pair_tile, peak, tile, lanes):
    """Multiply a tile by the pairs' own, with powers of two taken out of it first, which are returned.

    No number of either is then above 1, so that what a product drops is as far below its tile's scale as what
    a tile drops. ``lanes`` become sums of the new numbers.
    """
    largest = 0.0
    for c in range(COLUMNS):
        largest = max(largest, peak[c])
        lanes[c] = 0.0
    power = max(math.ceil(math.log2(largest)), 0)
    factor = power_of_two(-power)
    for i in range(0, tile.size, COLUMNS):
        for c in range(COLUMNS):
            value = tile[i + c] * factor * pair_tile[i + c]
            tile[i + c] = value
            lanes[c] += value
    return power


@kernel
def softplus_tiles(
    tables, sign, first_tile, padded_rows, start, powers, tiles, scales, totals, plain, rows, columns,
    num_panels, sums, first_sum,
):  # fmt: skip
    """Make tiles ``first_tile``, ... of exp(<linear, z> - sum of softplus), and sum data over them.

    With ``sign`` 1 it is exp(sum of softplus - <linear, z>). plain[t] says whether tile t was made; tiles[t]
    is relative to exp(scales[t]), totals[t] the sum of its numbers. Where ``tiles`` has one row it serves all
    tiles, one after the other. ``start`` and ``powers`` are one register tile of 1 * 2^0.
    sums[n, first_sum + t] is as ``tile_sums`` gives it for the data tables ``rows`` and ``columns``, of
    ``num_panels`` panels.
    """
    num_pixels, panel_rows = tables.ranges.shape[1], tables.panel_rows
    row_bits, column_bits = tables.row_weights.shape[1], tables.column_weights.shape[1]
    size, column_panels = tiles.shape[1], tiles.shape[1] // (padded_rows * COLUMNS)
    kinds, middles = np.empty(num_pixels, np.int8), np.empty(num_pixels)
    blocks, factors = np.empty(num_pixels + 2, np.int64), np.empty(num_pixels * panel_rows)
    panel = np.empty(padded_rows * min(num_pixels, tables.longest_block), start.dtype)
    linear, made_of = np.empty(row_bits + column_bits), np.full(row_bits + column_bits, np.nan)
    row_linear, column_linear = linear[:row_bits], linear[row_bits:]
    row_scale, row_power = np.empty(padded_rows), np.empty(padded_rows, np.int64)
    column_scale, column_power = (
        np.empty(column_panels * COLUMNS),
        np.empty(column_panels * COLUMNS, np.int64),
    )
    mantissa, exponent = np.empty(0, start.dtype), np.empty(0, powers.dtype)
    probe, probed = np.empty(start.size, start.dtype), np.empty(start.size, powers.dtype)
    peak, lanes_of_tile = np.empty(COLUMNS), np.empty(COLUMNS)
    lanes = np.empty(num_panels * DATA_ROWS * COLUMNS)
    for t in range(scales.size):
        num_blocks, constant, direct = plan_tile(
            tables, first_tile + t, kinds, middles, blocks, row_linear, column_linear
        )
        plain[t] = direct == 0
        if direct > 0:
            continue
        if sign > 0.0:  # all was kept with the sign of A
            constant = -constant
            for i in range(linear.size):
                linear[i] = -linear[i]
        if _differ(linear, made_of):
            _split_exponentials(row_linear, row_scale, row_power)
            _split_exponentials(column_linear, column_scale, column_power)
            for i in range(linear.size):
                made_of[i] = linear[i]
        left_scales(kinds, middles, panel_rows, factors)
        if num_blocks > 1 and mantissa.size == 0:
            mantissa, exponent = np.empty(size, start.dtype), np.empty(size, powers.dtype)
        for block in range(num_blocks - 1):
            first, last = blocks[block], blocks[block + 1]
            pack_left(tables, factors, first, last, panel)
            multiply_block(tables, panel, first, last, padded_rows, start, powers, mantissa, exponent)
        first = blocks[num_blocks - 1]
        length = num_pixels - first
        pack_left(tables, factors, first, num_pixels, panel)
        before, before_powers = (start, powers) if first == 0 else (mantissa, exponent)
        product_block(
            before, before_powers, 0, panel, 0, tables.right, first * COLUMNS, length, probe, probed, 0
        )  # fmt: skip
        shift = -probed[0] if sign < 0.0 else probed[0]
        power = row_power[0] + column_power[0] + shift
        scales[t] = constant + power * LOG_TWO
        tile = tiles[t if tiles.shape[0] > 1 else 0]
        for c in range(COLUMNS):
            peak[c], lanes_of_tile[c] = 0.0, 0.0
        for column_panel in range(column_panels):
            right_at = (column_panel * num_pixels + first) * COLUMNS
            for row in range(0, padded_rows, panel_rows):
                at = (column_panel * padded_rows + row) * COLUMNS
                before_at = 0 if first == 0 else at
                if sign < 0.0:
                    inverse_weight_block(
                        before, before_powers, before_at, panel, row * length, tables.right, right_at, length,
                        row_scale, row_power, row, column_scale, column_power, column_panel * COLUMNS, power,
                        tile, at, peak, lanes_of_tile,
                    )  # fmt: skip
                else:
                    weight_block(
                        before, before_powers, before_at, panel, row * length, tables.right, right_at, length,
                        row_scale, row_power, row, column_scale, column_power, column_panel * COLUMNS, power,
                        tile, at, peak, lanes_of_tile,
                    )  # fmt: skip
        for c in range(COLUMNS):
            plain[t] &= peak[c] <= _OUT_OF_SCALE
        if plain[t] and tables.pair_tile.size > 0:
            scales[t] += _multiply_by_pairs(tables.pair_tile, peak, tile, lanes_of_tile) * LOG_TWO
        totals[t] = 0.0
        for c in range(COLUMNS):
            totals[t] += lanes_of_tile[c]
        if plain[t] and num_panels > 0:
            mode = begin_flushing()
            add_tile_sums(tile, rows, columns, 1 << row_bits, padded_rows, 0, num_panels, lanes)
            end_flushing(mode)
            store_lane_sums(lanes, 0, first_sum + t, sums)
