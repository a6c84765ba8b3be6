"""Sums over all states that need q(z) and p(x, z) of each state itself, tile by tile in log space."""

from __future__ import annotations

import numpy as np

from fastvi.kernels.cpu.host import COLUMNS
from fastvi.kernels.cpu.softplus_product import subset_sums
from fastvi.kernels.jit import inline, kernel
from fastvi.kernels.scalar import exp_fast


@kernel
def merge_expectations(sums, first_tile, outer_zero, outer_one, values):
    """values[n] += sum over tiles of q_n(outer bits of the tile) * sums[n, t]."""
    for n in range(values.size):
        for t in range(sums.shape[1]):
            weight = 1.0
            for i in range(outer_one.shape[1]):
                weight *= outer_one[n, i] if ((first_tile + t) >> i) & 1 else outer_zero[n, i]
            if weight > 0.0:
                values[n] += weight * sums[n, t]


@inline
def _state_tables(first_bit, linear, log_zero, log_one, log_p, log_q):
    """log p (up to a constant) and log q of every subset of a group of bits."""
    subset_sums(linear[first_bit : first_bit + log_zero.size], log_p)
    log_q[0] = 0.0
    for i in range(log_zero.size):
        half = 1 << i
        for s in range(half):
            log_q[half + s] = log_q[s] + log_one[i]
            log_q[s] += log_zero[i]


@inline
def _log_ratio(log_p, log_q):
    """q (log p - log q), 0 where q is 0."""
    return exp_fast(log_q) * (log_p - log_q) if log_q > -np.inf else 0.0


@inline
def _divergence(log_p, log_q):
    """p - q - q log(p / q) >= 0: summed over states of two distributions it is KL(q || p), and no term
    cancels another.
    """
    p, q = exp_fast(log_p), exp_fast(log_q)
    if q == 0.0:
        return p
    y = log_p - log_q
    if abs(y) > 0.25:
        return p - q - q * y
    # e^y - 1 - y by its series: at |y| = 1/4 the first term left out is 1e-16 of the sum
    series = 1.0 + y / 13.0
    for k in range(12, 2, -1):
        series = 1.0 + y / k * series
    return q * (0.5 * y * y * series)


@kernel
def state_sums(
    log_tiles, first_tile, num_outer, num_row_bits, padded_rows,
    linear, constant, log_zero, log_one, divergence, values,
):  # fmt: skip
    """Add to values[n] the sum over the states of these tiles of one function of log p(x_n, z) and log
    q_n(z).

    log p(x_n, z) = constant[n] + <linear[n], z> + log_tiles; the function is ``_divergence`` or
    ``_log_ratio``.
    """
    num_latents = linear.shape[1]
    num_column_bits = num_latents - num_outer - num_row_bits
    row, column = num_outer, num_outer + num_row_bits
    row_p, row_q = np.empty(1 << num_row_bits), np.empty(1 << num_row_bits)
    column_p, column_q = np.empty(1 << num_column_bits), np.empty(1 << num_column_bits)
    for n in range(values.size):
        _state_tables(row, linear[n], log_zero[n, row:column], log_one[n, row:column], row_p, row_q)
        _state_tables(column, linear[n], log_zero[n, column:], log_one[n, column:], column_p, column_q)
        for t in range(log_tiles.shape[0]):
            outer_p, outer_q = constant[n], 0.0
            for i in range(num_outer):
                if ((first_tile + t) >> i) & 1:
                    outer_p += linear[n, i]
                    outer_q += log_one[n, i]
                else:
                    outer_q += log_zero[n, i]
            tile_total = 0.0
            for b in range(column_p.size):
                at = (b // COLUMNS) * padded_rows * COLUMNS + b % COLUMNS
                total = 0.0
                for a in range(row_p.size):
                    log_p = (outer_p + column_p[b]) + (row_p[a] + log_tiles[t, at + a * COLUMNS])
                    log_q = (outer_q + column_q[b]) + row_q[a]
                    total += _divergence(log_p, log_q) if divergence else _log_ratio(log_p, log_q)
                tile_total += total
            values[n] += tile_total


@kernel
def unpack_tiles(tiles, num_row_bits, padded_rows, first_tile, num_tiles, table):
    """Packed tiles into the rows of ``table``: row index = tile + num_tiles * row of the tile, column index
    as in the tile.
    """
    for t in range(tiles.shape[0]):
        for a in range(1 << num_row_bits):
            for b in range(table.shape[1]):
                at = ((b // COLUMNS) * padded_rows + a) * COLUMNS + b % COLUMNS
                table[first_tile + t + num_tiles * a, b] = tiles[t, at]
