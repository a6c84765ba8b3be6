"""Tiles of logarithms: tables of states, pairwise energies, and exponentials of both."""

from __future__ import annotations

import math

import numpy as np

from fastvi.kernels.cpu.states.softplus_product import FLUSH_EXPONENT, subset_sums
from fastvi.kernels.host import COLUMNS
from fastvi.kernels.jit import kernel
from fastvi.kernels.outer_terms import outer_state
from fastvi.kernels.scalar import LOG_TWO, exp_fast, log_fast

_SMALLEST = FLUSH_EXPONENT * LOG_TWO


@kernel
def add_table(table, tile_number, num_outer, num_row_bits, num_column_bits, padded_rows, tile):
    """Add a table at each state's number: outer bits lowest, then row bits, then column bits."""
    for b in range(1 << num_column_bits):
        at = (b // COLUMNS) * padded_rows * COLUMNS + b % COLUMNS
        for a in range(1 << num_row_bits):
            state = tile_number | (a << num_outer) | (b << (num_outer + num_row_bits))
            tile[at + a * COLUMNS] += table[state]


@kernel
def add_linear(source, row_linear, column_linear, constant, padded_rows, tile):
    """Set tile to source + constant + <row_linear, row bits> + <column_linear, column bits>.

    The padding is 0.
    """
    rows, columns = np.empty(1 << row_linear.size), np.empty(1 << column_linear.size)
    subset_sums(row_linear, rows)
    subset_sums(column_linear, columns)
    for i in range(tile.size):
        tile[i] = 0.0
    for b in range(columns.size):
        at = (b // COLUMNS) * padded_rows * COLUMNS + b % COLUMNS
        for a in range(rows.size):
            tile[at + a * COLUMNS] = source[at + a * COLUMNS] + (rows[a] + (columns[b] + constant))


@kernel
def exponentiate(tile, num_rows, padded_rows, num_columns):
    """Set tile to exp(tile - largest) with 0 as padding; return the largest."""
    largest = -math.inf
    for b in range(num_columns):
        at = (b // COLUMNS) * padded_rows * COLUMNS + b % COLUMNS
        for a in range(num_rows):
            largest = max(largest, tile[at + a * COLUMNS])
    panels = tile.size // (padded_rows * COLUMNS)
    for first in range(0, panels * COLUMNS, COLUMNS):
        for a in range(padded_rows):
            at = first * padded_rows + a * COLUMNS
            for c in range(COLUMNS):
                below = tile[at + c] - largest
                inside = a < num_rows and first + c < num_columns and below >= _SMALLEST
                tile[at + c] = exp_fast(below) if inside else 0.0
    return largest


@kernel
def weigh_by_logs(tile, scale, logs):
    """Set logs to scale + log tile, and tile to tile * log tile: 0 where it was 0."""
    for i in range(tile.size):
        value = tile[i]
        log = log_fast(value)
        logs[i] = log + scale
        tile[i] = value * log if value > 0.0 else 0.0


@kernel
def pair_tile(couplings, linear, num_row_bits, padded_rows, tile):
    """Fill a tile with <linear, s> plus the couplings between the bits of s = (row bits, column bits).

    The padding is 0.
    """
    num_bits = linear.size
    num_rows, num_columns = 1 << num_row_bits, 1 << (num_bits - num_row_bits)
    fields, rows = np.empty(num_row_bits), np.empty(num_rows)
    for i in range(tile.size):
        tile[i] = 0.0
    row_pairs = np.zeros(num_rows)
    for a in range(1, num_rows):
        high = 0  # the highest bit of a; the rest is a state done before
        while a >> (high + 1):
            high += 1
        value = row_pairs[a ^ (1 << high)]
        for i in range(high):
            if (a >> i) & 1:
                value += couplings[i, high]
        row_pairs[a] = value
    for b in range(num_columns):
        constant = 0.0
        for i in range(num_row_bits):
            fields[i] = linear[i]
        for j in range(num_bits - num_row_bits):
            if (b >> j) & 1:
                column = num_row_bits + j
                constant += linear[column]
                for i in range(num_row_bits):
                    fields[i] += couplings[i, column]
                for i in range(j):
                    if (b >> i) & 1:
                        constant += couplings[num_row_bits + i, column]
        subset_sums(fields, rows)
        at = (b // COLUMNS) * padded_rows * COLUMNS + b % COLUMNS
        for a in range(num_rows):
            tile[at + a * COLUMNS] = rows[a] + row_pairs[a] + constant


@kernel
def outer_terms(couplings, centre, num_outer, first, linear, constant):
    """Write the coefficients and constants that outer states ``first`` .. add to inner bits."""
    for t in range(constant.size):
        constant[t] = outer_state(couplings, centre, num_outer, first + t, linear[t])
