"""Sums over tiles for a batch of data: u_n^T E v_n for all n.

It is one matrix product with its dot product fused.

For datum n, u_n holds a number per row of a tile and v_n one per column; both are products of d/2 factors,
so they are built by doubling. U E is never stored. Row n's arithmetic does not depend on which data stand
beside it.
"""

from __future__ import annotations

import numpy as np

from fastvi.kernels.cpu.simd.denormals import begin_flushing, end_flushing
from fastvi.kernels.cpu.simd.register_tiles import matmul_block
from fastvi.kernels.cpu.states.pair_words import exponential_factors_of_words, row_coefficients
from fastvi.kernels.cpu.states.softplus_product import FLUSH_EXPONENT
from fastvi.kernels.host import COLUMNS, MATMUL_64
from fastvi.kernels.jit import inline, kernel
from fastvi.kernels.scalar import exp_fast

DATA_ROWS = MATMUL_64.rows
FLUSH = 2.0**FLUSH_EXPONENT


@inline
def _pack_rows(zero, one, num_bits, count, at, out):
    """Pack products over bits of the data of one panel where ``matmul_block`` reads its left panel.

    A bit that is set in s gives one[i, r], else zero[i, r], for datum r. The layout is (s, r). Beyond
    ``count`` data it is 0. Built by doubling in that layout, a vector of data at a time: 1.0 against 3.3 ns a
    number when each datum's table was made on its own and then spread.
    """
    # slices, since LLVM vectorises what it can prove not to count from an array's end
    table = out[at : at + (DATA_ROWS << num_bits)]
    for r in range(DATA_ROWS):
        table[r] = 1.0 if r < count else 0.0
    for i in range(num_bits):
        half = 1 << i
        upper = table[half * DATA_ROWS :]
        for s in range(half):
            for r in range(DATA_ROWS):
                value = table[s * DATA_ROWS + r]
                upper[s * DATA_ROWS + r] = value * one[i, r]
                table[s * DATA_ROWS + r] = value * zero[i, r]
    for k in range(table.size):
        table[k] = table[k] if table[k] >= FLUSH else 0.0


@inline
def _pack_columns(zero, one, first_bit, num_bits, r, start, table, at, out):
    """Pack products over later bits, times ``start``, of datum r where ``matmul_block`` reads its weights.

    The layout is (panel of s, r, s).
    """
    table[0] = start
    for i in range(num_bits):
        half, if_zero, if_one = 1 << i, zero[first_bit + i, r], one[first_bit + i, r]
        upper = table[half:]
        for s in range(half):
            upper[s] = table[s] * if_one
            table[s] *= if_zero
    for s in range(1 << num_bits, table.size):  # fewer states than a panel has places
        table[s] = 0.0
    places = out[at + r * COLUMNS :]
    for p in range(table.size // COLUMNS):
        for c in range(COLUMNS):
            value = table[p * COLUMNS + c]
            places[p * DATA_ROWS * COLUMNS + c] = value if value >= FLUSH else 0.0


@kernel
def exponential_factors(linear, if_zero, if_one, scales):
    """Take exp(linear * bit) of each bit relative to the larger of its two values.

    ``scales`` are the logs of the product of those.
    """
    for n in range(linear.shape[0]):
        scale = 0.0
        for i in range(linear.shape[1]):
            small, likely = exp_fast(-abs(linear[n, i])), linear[n, i] >= 0.0
            if_one[n, i] = 1.0 if likely else small
            if_zero[n, i] = small if likely else 1.0
            scale += linear[n, i] if likely else 0.0
        scales[n] = scale


@kernel
def pack_tables(if_zero, if_one, num_row_bits, column_panels, rows, columns):
    """Pack tables over row bits and over column bits of data (N, bits).

    Their numbers are products over bits, of if_one where a bit is set, else of if_zero.
    """
    num_data, num_bits = if_one.shape
    table = np.empty(column_panels * COLUMNS)
    zero, one = np.empty((num_bits, DATA_ROWS)), np.empty((num_bits, DATA_ROWS))
    for first in range(0, num_data, DATA_ROWS):
        count = min(DATA_ROWS, num_data - first)
        for i in range(num_bits):
            for r in range(DATA_ROWS):
                zero[i, r] = if_zero[first + r, i] if r < count else 0.0
                one[i, r] = if_one[first + r, i] if r < count else 0.0
        panel = first // DATA_ROWS
        _pack_rows(zero, one, num_row_bits, count, (panel << num_row_bits) * DATA_ROWS, rows)
        at = panel * column_panels * DATA_ROWS * COLUMNS
        for r in range(DATA_ROWS):
            start = 1.0 if r < count else 0.0
            _pack_columns(zero, one, num_row_bits, num_bits - num_row_bits, r, start, table, at, columns)


@inline
def store_lane_sums(lanes, first_panel, t, out):
    """Set out[n, t] to the sum of the lanes of datum n, the data beginning with ``first_panel``."""
    for i in range(lanes.size // COLUMNS):
        total = 0.0
        for lane in range(COLUMNS):
            total += lanes[i * COLUMNS + lane]
        out[first_panel * DATA_ROWS + i, t] = total


@inline
def add_tile_sums(tile, rows, columns, num_rows, padded_rows, first_panel, last_panel, lanes):
    """Set ``lanes`` to the sum over a, b of u_n[a] tile[a, b] v_n[b], b in COLUMNS lanes.

    Each lane is summed in one order, whatever the shape of the register tile: the bits are those of any
    processor with fused multiply-adds.
    """
    column_panels = tile.size // (padded_rows * COLUMNS)
    for i in range(lanes.size):
        lanes[i] = 0.0
    for column_panel in range(column_panels):
        at = column_panel * padded_rows * COLUMNS
        for panel in range(first_panel, last_panel):
            weight_at = (panel * column_panels + column_panel) * DATA_ROWS * COLUMNS
            matmul_block(
                lanes, (panel - first_panel) * DATA_ROWS * COLUMNS, rows, panel * num_rows * DATA_ROWS, tile,
                at, columns, weight_at, num_rows,
            )  # fmt: skip


@kernel
def tile_sums(tiles, rows, columns, num_rows, padded_rows, first_panel, last_panel, out):
    """Set out[n, t] to the sum over a, b of u_n[a] tiles[t, a, b] v_n[b].

    The data are those of panels first_panel .. last_panel - 1.
    """
    lanes = np.empty((last_panel - first_panel) * DATA_ROWS * COLUMNS)
    before = begin_flushing()
    for t in range(tiles.shape[0]):
        add_tile_sums(tiles[t], rows, columns, num_rows, padded_rows, first_panel, last_panel, lanes)
        store_lane_sums(lanes, first_panel, t, out)
    end_flushing(before)


# rows whose tables are made and multiplied at a time, whole panels: half of the second-level cache
_BLOCK = 64 // DATA_ROWS * DATA_ROWS


@kernel
def shared_tile_sums(
    tile, inner, inner_low, outer, outer_low, first, last, num_row_bits, padded_rows, totals, scales,
    scales_low,
):  # fmt: skip
    """Sum rows ``first`` .. ``last`` - 1 over one tile (1, size).

    ``scales`` are the logs of the numbers that sums were divided by, in two words.

    Row k is datum k // T with outer state k % T of ``outer`` (T, inner bits): its coefficients are the sum of
    theirs. One call for many rows: what Python does between kernels was a tenth of the time.
    """
    num_bits = inner.shape[1]
    num_rows, column_panels = 1 << num_row_bits, tile.shape[1] // (padded_rows * COLUMNS)
    linear, linear_low = np.empty((_BLOCK, num_bits)), np.empty((_BLOCK, num_bits))
    if_zero, if_one = np.empty((_BLOCK, num_bits)), np.empty((_BLOCK, num_bits))
    left = np.empty(_BLOCK * num_rows)
    weights = np.empty(_BLOCK * column_panels * COLUMNS)
    out = np.empty((_BLOCK, 1))
    for start in range(first, last, _BLOCK):
        count = min(_BLOCK, last - start)
        row_coefficients(inner, inner_low, outer, outer_low, start, linear[:count], linear_low[:count])
        exponential_factors_of_words(
            linear[:count], linear_low[:count], if_zero[:count], if_one[:count],
            scales[start : start + count], scales_low[start : start + count],
        )  # fmt: skip
        pack_tables(if_zero[:count], if_one[:count], num_row_bits, column_panels, left, weights)
        tile_sums(tile, left, weights, num_rows, padded_rows, 0, (count + DATA_ROWS - 1) // DATA_ROWS, out)
        for k in range(count):
            totals[start + k] = out[k, 0]
