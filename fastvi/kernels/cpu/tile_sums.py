"""Sums over tiles for a batch of data: u_n^T E v_n for all n, as one matrix product with its dot product
fused.

For datum n, u_n holds a number per row of a tile and v_n one per column; both are products of d/2 factors,
so they are built by doubling. U E is never stored. Row n's arithmetic does not depend on which data stand
beside it.
"""

from __future__ import annotations

import math

import numpy as np

from fastvi.kernels.cpu.denormals import begin_flushing, end_flushing
from fastvi.kernels.cpu.host import COLUMNS, MATMUL_64
from fastvi.kernels.cpu.register_tiles import matmul_block
from fastvi.kernels.cpu.softplus_product import FLUSH_EXPONENT
from fastvi.kernels.jit import inline, kernel

DATA_ROWS = MATMUL_64.rows
LANES = MATMUL_64.lanes
FLUSH = 2.0**FLUSH_EXPONENT


@inline
def _subset_products(if_zero, if_one, out):
    """out[s] = product over bits i of if_one[i] where bit i of s is set, else if_zero[i]."""
    out[0] = 1.0
    for i in range(if_zero.size):
        half = 1 << i
        for s in range(half):
            out[half + s] = out[s] * if_one[i]
            out[s] *= if_zero[i]


@inline
def _pack_rows(table, n, out):
    """Entry s of datum n to the place where ``matmul_block`` reads its left panel."""
    panel, r = n // DATA_ROWS, n % DATA_ROWS
    for s in range(table.size):
        value = table[s]
        out[(panel * table.size + s) * DATA_ROWS + r] = value if value >= FLUSH else 0.0


@inline
def _pack_columns(table, n, column_panels, out):
    """Entry s of datum n to the place where ``matmul_block`` reads its weights."""
    panel, r = n // DATA_ROWS, n % DATA_ROWS
    for s in range(table.size):
        value = table[s]
        at = ((panel * column_panels + s // COLUMNS) * DATA_ROWS + r) * COLUMNS + s % COLUMNS
        out[at] = value if value >= FLUSH else 0.0


@inline
def exponential_factors(linear, if_zero, if_one):
    """exp(linear * bit) relative to the larger of its two values; returns the log of the product of those."""
    scale = 0.0
    for i in range(linear.size):
        if_one[i] = math.exp(min(linear[i], 0.0))
        if_zero[i] = math.exp(min(-linear[i], 0.0))
        scale += max(linear[i], 0.0)
    return scale


@kernel
def pack_exponentials(linear, num_row_bits, column_panels, rows, columns, scales):
    """Tables of exp<linear_n, row bits> and exp<linear_n, column bits>, each relative to its largest entry
    (log in ``scales``).
    """
    num_column_bits = linear.shape[1] - num_row_bits
    row_table = np.empty(1 << num_row_bits)
    column_table = np.empty(1 << num_column_bits)
    if_zero = np.empty(linear.shape[1])
    if_one = np.empty(linear.shape[1])
    for n in range(linear.shape[0]):
        scales[n] = exponential_factors(linear[n], if_zero, if_one)
        _subset_products(if_zero[:num_row_bits], if_one[:num_row_bits], row_table)
        _subset_products(if_zero[num_row_bits:], if_one[num_row_bits:], column_table)
        _pack_rows(row_table, n, rows)
        _pack_columns(column_table, n, column_panels, columns)


@kernel
def pack_probabilities(if_zero, if_one, num_row_bits, column_panels, rows, columns):
    """Tables of q_n(row bits) and q_n(column bits) of factorised distributions with bit probabilities
    ``if_one``.
    """
    row_table = np.empty(1 << num_row_bits)
    column_table = np.empty(1 << (if_one.shape[1] - num_row_bits))
    for n in range(if_one.shape[0]):
        _subset_products(if_zero[n, :num_row_bits], if_one[n, :num_row_bits], row_table)
        _subset_products(if_zero[n, num_row_bits:], if_one[n, num_row_bits:], column_table)
        _pack_rows(row_table, n, rows)
        _pack_columns(column_table, n, column_panels, columns)


@kernel
def tile_sums(tiles, rows, columns, num_rows, padded_rows, first_panel, last_panel, out):
    """out[n, t] = sum over a, b of u_n[a] tiles[t, a, b] v_n[b] for the data of panels first_panel ..
    last_panel - 1.
    """
    column_panels = tiles.shape[1] // (padded_rows * COLUMNS)
    lanes = np.empty((last_panel - first_panel) * DATA_ROWS * LANES)
    before = begin_flushing()
    for t in range(tiles.shape[0]):
        lanes[:] = 0.0
        for column_panel in range(column_panels):
            at = column_panel * padded_rows * COLUMNS
            for panel in range(first_panel, last_panel):
                weight_at = (panel * column_panels + column_panel) * DATA_ROWS * COLUMNS
                matmul_block(
                    lanes, (panel - first_panel) * DATA_ROWS * LANES, rows, panel * num_rows * DATA_ROWS,
                    tiles[t], at, columns, weight_at, num_rows,
                )  # fmt: skip
        for i in range((last_panel - first_panel) * DATA_ROWS):
            total = 0.0
            for lane in range(LANES):
                total += lanes[i * LANES + lane]
            out[first_panel * DATA_ROWS + i, t] = total
    end_flushing(before)
