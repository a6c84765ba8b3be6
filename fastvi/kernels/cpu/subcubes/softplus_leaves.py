"""Exact sums over subcubes under A(z) = sum_j softplus(eta_j(z)): each is a tile of the product form."""

from __future__ import annotations

import math

import numpy as np

from fastvi.kernels.cpu.states.softplus_product import fill_products, multiply_direct, tile_log_weights
from fastvi.kernels.cpu.states.tile_logs import exponentiate
from fastvi.kernels.jit import kernel


@kernel
def sum_leaves(tables, padded_rows, padded_columns, linear, constants, members, states, layout, out):
    """Set ``out`` (n,) to the log sums of subcubes whose free bits are the last ones: a tile's.

    Parameters
    ----------
    tables : SoftplusTables
        Of -A, with nothing else that is linear.
    padded_rows, padded_columns : of a tile
    linear, constants : (N, f) and (N,), t(x) and c(x)
    members : (n,), the datum of each subcube
    states : (n, f) int8
    layout : of a float64
    """
    num_pixels, outer_bits = tables.outer_weights.shape
    row_bits, column_bits = tables.row_weights.shape[1], tables.column_weights.shape[1]
    kinds, middles = np.empty(num_pixels, np.int8), np.empty(num_pixels)
    rows, columns = np.empty(row_bits), np.empty(column_bits)
    mantissa, values = np.empty(padded_rows * padded_columns), np.empty(padded_rows * padded_columns)
    bits = mantissa.view(np.int64)
    exponent = np.empty(mantissa.size, np.int64)
    for n in range(members.size):
        t, constant, outer = linear[members[n]], constants[members[n]], 0
        for i in range(outer_bits):
            if states[n, i] > 0:
                outer |= 1 << i
                constant += t[i]
        add, direct = fill_products(
            tables, outer, padded_rows, kinds, middles, rows, columns, mantissa, exponent
        )
        if direct:
            multiply_direct(tables, kinds, middles, padded_rows, mantissa, bits, exponent, layout)
        for i in range(row_bits):
            rows[i] += t[outer_bits + i]
        for i in range(column_bits):
            columns[i] += t[outer_bits + row_bits + i]
        tile_log_weights(mantissa, exponent, rows, columns, padded_rows, add, values)
        largest, total = exponentiate(values, 1 << row_bits, padded_rows, 1 << column_bits), 0.0
        for i in range(values.size):
            total += values[i]
        out[n] = constant + largest + math.log(total) if largest > -math.inf else largest
