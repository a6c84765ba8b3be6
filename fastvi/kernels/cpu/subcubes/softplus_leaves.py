"""Exact sums over subcubes under A(z) = sum_j softplus(eta_j(z)), by tiles of products."""

from __future__ import annotations

import math

import numpy as np

from fastvi.kernels.cpu.states.softplus_product import (
    SoftplusTables,
    fill_products,
    multiply_direct,
    pack_exponentials,
    tile_log_weights,
)
from fastvi.kernels.host import COLUMNS
from fastvi.kernels.jit import inline, kernel
from fastvi.kernels.scalar import exp_of_negative


@inline
def _log_sum(values, num_rows, padded_rows, num_columns):
    """Log of the sum of exp over a tile's cells that are no padding."""
    largest = -math.inf
    for b in range(num_columns):
        at = (b // COLUMNS) * padded_rows * COLUMNS + b % COLUMNS
        for a in range(num_rows):
            largest = max(largest, values[at + a * COLUMNS])
    if largest == -math.inf:
        return largest
    total = 0.0
    for b in range(num_columns):
        at = (b // COLUMNS) * padded_rows * COLUMNS + b % COLUMNS
        for a in range(num_rows):
            total += exp_of_negative(values[at + a * COLUMNS] - largest)
    return largest + math.log(total)


@kernel
def sum_leaves(
    weights, bias, linear, constants, members, states, limit, block_limit, longest_block, panel_rows, layout, out
):  # fmt: skip
    """Set ``out`` (n,) to the log sums over the free bits of subcubes, all with as many: one tile each.

    Parameters
    ----------
    weights : (D, f), W
    bias : (D,)
    linear, constants : (N, f) and (N,), t(x) and c(x)
    members : (n,), the datum of each subcube
    states : (n, f) int8, -1 where a bit is free
    limit, block_limit, longest_block, panel_rows : as in ``SoftplusTables``
    layout : of a float64
    """
    num_pixels, num_bits = weights.shape
    if members.size == 0:
        return
    num_free = 0
    for i in range(num_bits):
        num_free += states[0, i] < 0
    row_bits = num_free // 2
    column_bits = num_free - row_bits
    num_rows, num_columns = 1 << row_bits, 1 << column_bits
    padded_rows = (num_rows + panel_rows - 1) // panel_rows * panel_rows
    padded_columns = (num_columns + COLUMNS - 1) // COLUMNS * COLUMNS
    left, right = np.empty(padded_rows * num_pixels), np.empty(padded_columns * num_pixels)
    ranges = np.empty((5, num_pixels))
    row_weights, column_weights = np.empty((num_pixels, row_bits)), np.empty((num_pixels, column_bits))
    outer_weights, fields = np.empty((num_pixels, 0)), np.empty(num_free)
    kinds, middles = np.empty(num_pixels, np.int8), np.empty(num_pixels)
    row_linear, column_linear = np.empty(row_bits), np.empty(column_bits)
    mantissa, values = np.empty(padded_rows * padded_columns), np.empty(padded_rows * padded_columns)
    bits = mantissa.view(np.int64)
    exponent = np.empty(mantissa.size, np.int64)
    free = np.empty(num_free, np.int64)
    for n in range(members.size):
        t, constant, k = linear[members[n]], constants[members[n]], 0
        for i in range(num_bits):
            if states[n, i] < 0:
                free[k] = i
                fields[k] = t[i]
                k += 1
            elif states[n, i] > 0:
                constant += t[i]
        for j in range(num_pixels):
            base = bias[j]
            for i in range(num_bits):
                if states[n, i] > 0:
                    base += weights[j, i]
            ranges[0, j] = base
            for i in range(row_bits):
                row_weights[j, i] = weights[j, free[i]]
            for i in range(column_bits):
                column_weights[j, i] = weights[j, free[row_bits + i]]
        pack_exponentials(row_weights, 1.0, limit, panel_rows, 0.0, ranges[1], ranges[2], left)
        pack_exponentials(column_weights, -1.0, limit, COLUMNS, 1.0, ranges[3], ranges[4], right)
        tables = SoftplusTables(
            left, right, ranges, outer_weights, row_weights, column_weights, fields, limit, block_limit,
            longest_block, panel_rows,
        )  # fmt: skip
        add, direct = fill_products(
            tables, 0, padded_rows, kinds, middles, row_linear, column_linear, mantissa, exponent
        )
        if direct:
            multiply_direct(tables, kinds, middles, padded_rows, mantissa, bits, exponent, layout)
        tile_log_weights(mantissa, exponent, row_linear, column_linear, padded_rows, add, values)
        out[n] = constant + _log_sum(values, num_rows, padded_rows, num_columns)
