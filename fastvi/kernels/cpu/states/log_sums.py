"""Running log-sum-exp per datum over tiles, and the log-space path where the fast one is not certain."""

from __future__ import annotations

import math

import numpy as np

from fastvi.kernels.bits import bit_sum
from fastvi.kernels.cpu.states.softplus_product import subset_sums
from fastvi.kernels.host import COLUMNS
from fastvi.kernels.jit import inline, kernel
from fastvi.kernels.scalar import add_scaled, exp_fast


@inline
def add_log_term(largest, total, n, scale, term):
    """Add term * exp(scale) to the running sum total[n] * exp(largest[n])."""
    largest[n], total[n] = add_scaled(largest[n], total[n], scale, term)


@kernel
def merge_tile_sums(sums, tile_scales, first_tile, outer, base, largest, total, bound):
    """Add the tiles of a wave to each datum's running sum.

    ``bound`` keeps the largest scale that any tile had. ``tile_scales`` (1 or N, T) are the tiles' own, or
    those of each datum.
    """
    for n in range(base.size):
        row = n if tile_scales.shape[0] > 1 else 0
        for t in range(tile_scales.shape[1]):
            scale = base[n] + bit_sum(outer[n], first_tile + t) + tile_scales[row, t]
            bound[n] = max(bound[n], scale)
            add_log_term(largest, total, n, scale, sums[n, t])


@kernel
def log_tile_masses(sums, tile_scales, first_tile, outer, base, out):
    """Set out[n, t] to the log of the part of datum n's sum that tile t holds.

    ``tile_scales`` is as in ``merge_tile_sums``.
    """
    for n in range(base.size):
        row = n if tile_scales.shape[0] > 1 else 0
        for t in range(tile_scales.shape[1]):
            scale = base[n] + bit_sum(outer[n], first_tile + t) + tile_scales[row, t]
            out[n, t] = scale + math.log(sums[n, t]) if sums[n, t] > 0.0 else -math.inf


@kernel
def merge_log_sums(largest, total, part_largest, part_total):
    """Add one shard's running sums to those so far."""
    for n in range(total.size):
        add_log_term(largest, total, n, part_largest[n], part_total[n])


@kernel
def merge_moments(largest, total, bound, ones, part_largest, part_total, part_bound, part_ones):
    """Add one shard's running sums and moments to those so far.

    ``ones`` are relative to exp(bound).
    """
    for n in range(total.size):
        add_log_term(largest, total, n, part_largest[n], part_total[n])
        if part_bound[n] == -math.inf:
            continue
        high = max(bound[n], part_bound[n])
        old, new = math.exp(bound[n] - high), math.exp(part_bound[n] - high)
        bound[n] = high
        for i in range(ones.shape[1]):
            ones[n, i] = ones[n, i] * old + part_ones[n, i] * new


@inline
def _tile_log_sum(tile, rows, columns, padded_rows):
    """Return (largest, sum of exp(value - largest)) of value = rows[a] + columns[b] + tile[a, b]."""
    best = np.full(COLUMNS, -np.inf)
    for first in range(0, columns.size, COLUMNS):
        for a in range(rows.size):
            at = first * padded_rows + a * COLUMNS
            for c in range(COLUMNS):
                best[c] = max(best[c], rows[a] + columns[first + c] + tile[at + c])
    largest = best.max()
    if largest == -np.inf:
        return largest, 0.0
    sums = np.zeros(COLUMNS)
    for first in range(0, columns.size, COLUMNS):
        for a in range(rows.size):
            at = first * padded_rows + a * COLUMNS
            for c in range(COLUMNS):
                sums[c] += exp_fast(rows[a] + columns[first + c] + tile[at + c] - largest)
    return largest, sums.sum()


@kernel
def log_space_sums(
    log_tiles, first_tile, linear, num_outer, num_row_bits, padded_rows, base, negligible, largest, total
):
    """Sum tiles in log space, datum by datum.

    A tile whose every term is below exp(negligible[n]) is passed over.
    """
    num_column_bits = linear.shape[1] - num_outer - num_row_bits
    column_panels = log_tiles.shape[1] // (padded_rows * COLUMNS)
    rows = np.empty(1 << num_row_bits)
    columns = np.full(column_panels * COLUMNS, -np.inf)
    peaks = np.empty(log_tiles.shape[0])
    for t in range(log_tiles.shape[0]):
        peaks[t] = log_tiles[t].max()
    for n in range(base.size):
        subset_sums(linear[n, num_outer : num_outer + num_row_bits], rows)
        subset_sums(linear[n, num_outer + num_row_bits :], columns[: 1 << num_column_bits])
        peak = rows.max() + columns.max()
        for t in range(log_tiles.shape[0]):
            shift = base[n] + bit_sum(linear[n, :num_outer], first_tile + t)
            if shift + peak + peaks[t] < negligible[n]:
                continue
            scale, term = _tile_log_sum(log_tiles[t], rows, columns, padded_rows)
            add_log_term(largest, total, n, shift + scale, term)
