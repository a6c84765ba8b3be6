"""Posteriors summed over data, a tile at a time: Q(z) = sum_n w_n p(z | x_n).

Q = E * (U^T diag(share) V): a matrix product over data. A gradient needs sums of Q against functions of the
state that no datum enters.

Q = E * (U^T diag(share) V): a matrix product over data. What a gradient needs of Q are its sums against
functions of the state that no datum enters.
"""

from __future__ import annotations

import math

import numpy as np

from fastvi.kernels.bits import bit_sum
from fastvi.kernels.cpu.simd.denormals import begin_flushing, end_flushing
from fastvi.kernels.cpu.simd.register_tiles import store_block
from fastvi.kernels.cpu.states.softplus_product import subset_sums
from fastvi.kernels.cpu.states.tile_masses import bit_masses
from fastvi.kernels.cpu.states.tile_sums import DATA_ROWS
from fastvi.kernels.host import COLUMNS
from fastvi.kernels.jit import inline, kernel, reducing_kernel
from fastvi.kernels.scalar import exp_fast

_BLOCK = 64  # data whose tables are multiplied at a time: 16 + 128 KiB beside a tile of 128 KiB
_PANEL = DATA_ROWS  # rows of the register tile


@kernel
def tile_posteriors(tiles, rows, columns, shares, num_rows, padded_rows, num_columns, num_data, out):
    """Add tiles[t] * sum over n of shares[t, n] * u_n[a] * v_n[b] to out[t, a, b].

    ``rows`` and ``columns`` are packed as ``tile_sums`` reads them; ``out`` is (T, rows, columns), plain.
    """
    row_panels, column_panels = -(-num_rows // _PANEL), -(-num_columns // COLUMNS)
    left = np.zeros(row_panels * _BLOCK * _PANEL)
    right = np.zeros(column_panels * _BLOCK * COLUMNS)
    sums = np.zeros((tiles.shape[0], row_panels * _PANEL * column_panels * COLUMNS))
    before = begin_flushing()
    for start in range(0, num_data, _BLOCK):
        length = min(_BLOCK, num_data - start)
        for k in range(length):
            n = start + k
            at = (n // DATA_ROWS) * column_panels * DATA_ROWS * COLUMNS + (n % DATA_ROWS) * COLUMNS
            for p in range(column_panels):
                for c in range(COLUMNS):
                    right[(p * _BLOCK + k) * COLUMNS + c] = columns[at + p * DATA_ROWS * COLUMNS + c]
        for t in range(tiles.shape[0]):
            for k in range(length):
                n = start + k
                at = (n // DATA_ROWS) * num_rows * DATA_ROWS + n % DATA_ROWS
                share = shares[t, n]
                for a in range(num_rows):
                    left[((a // _PANEL) * _BLOCK + k) * _PANEL + a % _PANEL] = (
                        share * rows[at + a * DATA_ROWS]
                    )
            for p in range(column_panels):
                for r in range(row_panels):
                    store_block(
                        sums[t], (p * row_panels + r) * _PANEL * COLUMNS, left, r * _BLOCK * _PANEL,
                        right, p * _BLOCK * COLUMNS, length,
                    )  # fmt: skip
    for t in range(tiles.shape[0]):
        for b in range(num_columns):
            at = (b // COLUMNS) * padded_rows * COLUMNS + b % COLUMNS
            into = (b // COLUMNS) * row_panels * _PANEL * COLUMNS + b % COLUMNS
            for a in range(num_rows):
                out[t, a, b] += tiles[t, at + a * COLUMNS] * sums[t, into + a * COLUMNS]
    end_flushing(before)


@kernel
def add_log_posteriors(
    log_tiles, first_tile, linear, offset, weights, num_outer, num_row_bits, padded_rows, out
):
    """Add w_n exp(offset + <linear, z> + log tile) to ``out``, for data that products cannot hold."""
    row, column = num_outer, num_outer + num_row_bits
    rows, columns = np.empty(1 << num_row_bits), np.empty(1 << (linear.shape[1] - column))
    for n in range(linear.shape[0]):
        subset_sums(linear[n, row:column], rows)
        subset_sums(linear[n, column:], columns)
        for t in range(log_tiles.shape[0]):
            shift = offset[n] + bit_sum(linear[n, :num_outer], first_tile + t)
            for b in range(columns.size):
                at = (b // COLUMNS) * padded_rows * COLUMNS + b % COLUMNS
                for a in range(rows.size):
                    log_p = shift + rows[a] + columns[b] + log_tiles[t, at + a * COLUMNS]
                    out[t, a, b] += weights[n] * exp_fast(log_p)


@reducing_kernel
def _slopes_of_rows(q, other_q, right, left, other_left, columns):
    """Add q / (1 + left * right) of two rows to ``columns``; return the sums of both."""
    total, other_total = 0.0, 0.0
    for b in range(right.size):
        first, second = 1.0 + left * right[b], 1.0 + other_left * right[b]
        # one division for two terms: 1.6 times as fast as two (a division takes as long as 8 multiplications)
        inverse = 1.0 / (first * second)
        part, other_part = q[b] * second * inverse, other_q[b] * first * inverse
        columns[b] += part + other_part
        total += part
        other_total += other_part
    return total, other_total


@inline
def _slopes_of_row_direct(q, eta, shift, columns):
    """Add the slopes of a row where exponentials of the parts could leave the range of a double."""
    total = 0.0
    for b in range(q.size):
        part = q[b] / (1.0 + exp_fast(-(shift + eta[b])))
        columns[b] += part
        total += part
    return total


_LARGEST = 170.0  # |log| of a factor: the product of two denominators stays below exp(680)


@kernel
def _rows_that_count(q, negligible, rows):
    """List rows whose states hold more than ``negligible``; return how many."""
    count = 0
    for a in range(q.shape[0]):
        mass = 0.0
        for b in range(q.shape[1]):
            mass += abs(q[a, b])
        if mass > negligible:
            rows[count] = a
            count += 1
    return count


@kernel
def add_slopes(q, first_tile, outer_weights, row_weights, column_weights, bias, negligible, slopes):
    """Add to slopes[j, i] the sum over z of Q(z) sigmoid(eta_j(z)) z_i.

    Its last column is the sum of Q sigmoid(eta_j).

    ``q`` (T, rows, columns); latents in the order of bits. Rows of states that hold no more than
    ``negligible`` are passed over.
    """
    num_outer, num_row_bits, num_column_bits = (
        outer_weights.shape[1], row_weights.shape[1], column_weights.shape[1]
    )  # fmt: skip
    num_tiles, num_rows, num_columns = q.shape
    row_sums, column_sums, right = np.empty(num_rows), np.empty(num_columns), np.empty(num_columns)
    row_mass, column_mass = np.empty(num_rows), np.empty(num_columns)
    scratch, nothing = np.empty(max(num_rows, num_columns)), np.zeros(num_columns)
    row_bits, column_bits = np.empty(num_row_bits), np.empty(num_column_bits)
    rows, counts = np.empty((num_tiles, num_rows), np.int64), np.empty(num_tiles, np.int64)
    for t in range(num_tiles):
        counts[t] = _rows_that_count(q[t], negligible, rows[t])
    for j in range(bias.size):
        subset_sums(row_weights[j], row_sums)
        subset_sums(column_weights[j], column_sums)
        reach = 0.0
        for b in range(num_columns):
            right[b] = math.exp(-column_sums[b])
            reach = max(reach, abs(column_sums[b]))
        for t in range(num_tiles):
            if counts[t] == 0:
                continue
            shift = bias[j] + bit_sum(outer_weights[j], first_tile + t)
            direct = reach > _LARGEST
            for k in range(counts[t]):
                direct = direct or abs(shift + row_sums[rows[t, k]]) > _LARGEST
            for b in range(num_columns):
                column_mass[b] = 0.0
            for a in range(num_rows):
                row_mass[a] = 0.0
            for k in range(0, counts[t], 1 if direct else 2):
                a = rows[t, k]
                if direct:
                    row_mass[a] = _slopes_of_row_direct(
                        q[t, a], column_sums, shift + row_sums[a], column_mass
                    )
                    continue
                left = math.exp(-(shift + row_sums[a]))
                if k + 1 < counts[t]:
                    other = rows[t, k + 1]
                    row_mass[a], row_mass[other] = _slopes_of_rows(
                        q[t, a], q[t, other], right, left, math.exp(-(shift + row_sums[other])), column_mass
                    )
                else:
                    row_mass[a], _ = _slopes_of_rows(q[t, a], nothing, right, left, 0.0, column_mass)
            total = 0.0
            for k in range(counts[t]):
                total += row_mass[rows[t, k]]
            bit_masses(row_mass, scratch, row_bits)
            bit_masses(column_mass, scratch, column_bits)
            for i in range(num_outer):
                if ((first_tile + t) >> i) & 1:
                    slopes[j, i] += total
            for i in range(num_row_bits):
                slopes[j, num_outer + i] += row_bits[i]
            for i in range(num_column_bits):
                slopes[j, num_outer + num_row_bits + i] += column_bits[i]
            slopes[j, slopes.shape[1] - 1] += total


@kernel
def add_pair_moments(q, num_row_bits, first_bit, moments):
    """Add to moments[i, j] the sum over s of q[s] s_i s_j for one tile q (rows, columns).

    s = (row bits, column bits).
    """
    num_rows, num_columns = q.shape
    num_column_bits = moments.shape[0] - first_bit - num_row_bits
    column = first_bit + num_row_bits
    row_mass, column_mass = np.empty(num_rows), np.empty(num_columns)
    scratch = np.empty(max(num_rows, num_columns))
    row_bits, column_bits = np.empty(num_row_bits), np.empty(num_column_bits)
    for i in range(num_row_bits):
        for b in range(num_columns):
            column_mass[b] = 0.0
        for a in range(num_rows):
            row_mass[a] = 0.0
            if (a >> i) & 1:
                for b in range(num_columns):
                    column_mass[b] += q[a, b]
                    row_mass[a] += q[a, b]
        bit_masses(row_mass, scratch, row_bits)
        bit_masses(column_mass, scratch, column_bits)
        for j in range(num_row_bits):
            moments[first_bit + i, first_bit + j] += row_bits[j]
        for j in range(num_column_bits):
            moments[first_bit + i, column + j] += column_bits[j]
            moments[column + j, first_bit + i] += column_bits[j]
    for b in range(num_columns):
        column_mass[b] = 0.0
    for a in range(num_rows):
        for b in range(num_columns):
            column_mass[b] += q[a, b]
    marked = np.empty(num_columns)
    for i in range(num_column_bits):
        for b in range(num_columns):
            marked[b] = column_mass[b] if (b >> i) & 1 else 0.0
        bit_masses(marked, scratch, column_bits)
        for j in range(num_column_bits):
            moments[column + i, column + j] += column_bits[j]


@kernel
def add_tile_moments(q, first_tile, num_outer, num_row_bits, moments):
    """Add the second moments of tiles q (T, rows, columns), outer bits too, to ``moments`` (d, d)."""
    bits = np.empty((1, moments.shape[0]))
    size = moments.shape[0]
    inner = np.empty((size, size))
    for t in range(q.shape[0]):
        for i in range(size):
            for j in range(size):
                inner[i, j] = 0.0
        add_pair_moments(q[t], num_row_bits, num_outer, inner)
        total = 0.0
        for a in range(q.shape[1]):
            for b in range(q.shape[2]):
                total += q[t, a, b]
        for i in range(num_outer, size):
            bits[0, i] = inner[i, i]
            for j in range(num_outer, size):
                moments[i, j] += inner[i, j]
        for i in range(num_outer):
            if ((first_tile + t) >> i) & 1:
                for j in range(num_outer):
                    if ((first_tile + t) >> j) & 1:
                        moments[i, j] += total
                for j in range(num_outer, size):
                    moments[i, j] += bits[0, j]
                    moments[j, i] += bits[0, j]
