"""Parts of each datum's sum in which a latent's bit is set.

Column masses v * (U E) stand beside the sums, row masses come from the transposed tile, and bits come from
masses.
"""

from __future__ import annotations

import math

import numpy as np

from fastvi.kernels.bits import bit_sum
from fastvi.kernels.cpu.simd.denormals import begin_flushing, end_flushing
from fastvi.kernels.cpu.simd.register_tiles import mass_block
from fastvi.kernels.cpu.states.tile_sums import DATA_ROWS, store_lane_sums
from fastvi.kernels.host import COLUMNS
from fastvi.kernels.jit import inline, kernel, reducing_kernel


@reducing_kernel
def _fold(lower, upper):
    """Add ``upper`` to ``lower``; return its sum."""
    total = 0.0
    for s in range(lower.size):
        total += upper[s]
        lower[s] += upper[s]
    return total


@inline
def bit_masses(table, scratch, out):
    """Set out[i] to the sum of the entries whose index has bit i.

    ``scratch`` is as long as ``table``.
    """
    size = table.size
    for s in range(size):
        scratch[s] = table[s]
    for i in range(out.size - 1, -1, -1):
        half = 1 << i
        out[i] = _fold(scratch[:half], scratch[half : 2 * half])


@kernel
def tile_shares(scales, first_tile, outer, base, bound, shares):
    """Set bound[n] to datum n's largest log scale in these tiles, shares[t, n] to exp(scale - bound).

    ``scales`` (1 or N, T) are the tiles' own, or those of each datum.
    """
    for n in range(base.size):
        row = n if scales.shape[0] > 1 else 0
        for t in range(scales.shape[1]):
            scale = base[n] + bit_sum(outer[n], first_tile + t) + scales[row, t]
            shares[t, n] = scale
            bound[n] = max(bound[n], scale)
        for t in range(scales.shape[1]):
            shares[t, n] = math.exp(shares[t, n] - bound[n]) if bound[n] > -math.inf else 0.0


@kernel
def tile_masses(tiles, left, weights, shares, num_left, padded_left, first_panel, last_panel, sums, masses):
    """Write sums[n, t] as ``tile_sums`` does, and add shares[t, n] * weights * (left tile) to ``masses``.

    ``masses`` has the layout of ``weights``.
    """
    weight_panels = tiles.shape[1] // (padded_left * COLUMNS)
    lanes = np.empty((last_panel - first_panel) * DATA_ROWS * COLUMNS)
    flat, width = shares.reshape(-1), shares.shape[1]
    before = begin_flushing()
    for t in range(tiles.shape[0]):
        for i in range(lanes.size):
            lanes[i] = 0.0
        for weight_panel in range(weight_panels):
            at = weight_panel * padded_left * COLUMNS
            for panel in range(first_panel, last_panel):
                weight_at = (panel * weight_panels + weight_panel) * DATA_ROWS * COLUMNS
                mass_block(
                    lanes, (panel - first_panel) * DATA_ROWS * COLUMNS, left, panel * num_left * DATA_ROWS,
                    tiles[t], at, weights, weight_at, flat, t * width + panel * DATA_ROWS, masses, weight_at,
                    num_left,
                )  # fmt: skip
        store_lane_sums(lanes, first_panel, t, sums)
    end_flushing(before)


@kernel
def transpose_tile(tile, num_rows, padded_rows, num_columns, out):
    """Pack a tile with columns as rows: (row panels, columns, COLUMNS).

    The padding is 0.
    """
    for i in range(out.size):
        out[i] = 0.0
    for b in range(num_columns):
        at = (b // COLUMNS) * padded_rows * COLUMNS + b % COLUMNS
        for a in range(num_rows):
            out[((a // COLUMNS) * num_columns + b) * COLUMNS + a % COLUMNS] = tile[at + a * COLUMNS]


@kernel
def add_bit_masses(masses, num_bits, first_bit, ones):
    """Add to ones[n, first_bit + i] the mass of the states of one group of bits that have bit i.

    Masses are packed.
    """
    size = 1 << num_bits
    panels = -(-size // COLUMNS)
    table, scratch, bits = np.empty(size), np.empty(size), np.empty(num_bits)
    for n in range(ones.shape[0]):
        at = (n // DATA_ROWS) * panels * DATA_ROWS * COLUMNS + (n % DATA_ROWS) * COLUMNS
        for s in range(size):
            table[s] = masses[at + (s // COLUMNS) * DATA_ROWS * COLUMNS + s % COLUMNS]
        bit_masses(table, scratch, bits)
        for i in range(num_bits):
            ones[n, first_bit + i] += bits[i]


@kernel
def add_outer_masses(sums, shares, first_tile, num_outer, ones):
    """Add to ones[n, i] shares * sums of the tiles whose number has bit i."""
    for n in range(ones.shape[0]):
        for t in range(sums.shape[1]):
            mass = shares[t, n] * sums[n, t]
            for i in range(num_outer):
                if ((first_tile + t) >> i) & 1:
                    ones[n, i] += mass


@kernel
def add_shared_rows(rows, shares, first_bit, ones):
    """Add to ones[n, first_bit + i] the sum over t of shares[t, n] * rows[n, t, i]."""
    for n in range(rows.shape[0]):
        for t in range(rows.shape[1]):
            for i in range(rows.shape[2]):
                ones[n, first_bit + i] += shares[t, n] * rows[n, t, i]


@kernel
def posterior_shares(scales, first_tile, outer, base, weights, shares):
    """Set shares[t, n] to weights[n] * exp(scale of the tile in datum n).

    The evidence is already taken from ``base``.
    """
    for n in range(base.size):
        row = n if scales.shape[0] > 1 else 0
        for t in range(scales.shape[1]):
            scale = base[n] + bit_sum(outer[n], first_tile + t) + scales[row, t]
            shares[t, n] = weights[n] * math.exp(scale) if weights[n] != 0.0 else 0.0


@kernel
def expected_logs(sums, log_sums, scales, first_tile, outer, base, bound, total, expected):
    """Sum w and w log w over the states of these tiles, for w relative to exp(bound) and the tables.

    ``bound`` becomes each datum's largest log scale. sums[n, t] and log_sums[n, t] are the sums of E and of
    E log E over tile t, both with the weights of datum n's tables.
    """
    for n in range(base.size):
        for t in range(scales.size):
            bound[n] = max(bound[n], base[n] + bit_sum(outer[n], first_tile + t) + scales[t])
        for t in range(scales.size):
            below = base[n] + bit_sum(outer[n], first_tile + t) + scales[t] - bound[n]
            if below > -math.inf:
                share = math.exp(below)
                total[n] += share * sums[n, t]
                expected[n] += share * (log_sums[n, t] + below * sums[n, t])


@kernel
def merge_expected_logs(bound, total, expected, part_bound, part_total, part_expected):
    """Add one wave's sums of ``expected_logs`` to those so far."""
    for n in range(bound.size):
        high = max(bound[n], part_bound[n])
        if high == -math.inf:
            continue
        for first in (True, False):
            below = (bound[n] if first else part_bound[n]) - high
            share = math.exp(below)
            if share == 0.0:  # below may be infinite
                below = 0.0
            if first:
                expected[n] = share * (expected[n] + below * total[n])
                total[n] *= share
            else:
                expected[n] += share * (part_expected[n] + below * part_total[n])
                total[n] += share * part_total[n]
        bound[n] = high


@kernel
def add_outer_pairs(sums, ones, shares, first_tile, num_outer, moments):
    """Add pairs of outer bits, and of outer with inner ones, to ``moments``.

    They are share * sum, and share * ones of each row.
    """
    for n in range(sums.shape[0]):
        for t in range(sums.shape[1]):
            share = shares[t, n]
            if share == 0.0:
                continue
            for i in range(num_outer):
                if ((first_tile + t) >> i) & 1:
                    for j in range(num_outer):
                        if ((first_tile + t) >> j) & 1:
                            moments[i, j] += share * sums[n, t]
                    for j in range(ones.shape[2]):
                        moments[i, num_outer + j] += share * ones[n, t, j]
                        moments[num_outer + j, i] += share * ones[n, t, j]
