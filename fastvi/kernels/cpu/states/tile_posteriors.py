"""Posteriors summed over data, a tile at a time: Q(z) = sum_n w_n p(z | x_n).

Q = E * (U^T diag(share) V): a matrix product over data. What a gradient needs of Q are its sums against
functions of the state that no datum enters.
"""

from __future__ import annotations

import numpy as np

from fastvi.kernels.bits import bit_sum
from fastvi.kernels.cpu.simd.denormals import begin_flushing, end_flushing
from fastvi.kernels.cpu.simd.register_tiles import store_block
from fastvi.kernels.cpu.states.softplus_product import subset_sums
from fastvi.kernels.cpu.states.tile_masses import bit_masses
from fastvi.kernels.cpu.states.tile_sums import DATA_ROWS, FLUSH
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
        # one division for two terms: 1.6 times as fast as two (a division takes as long as 8
        # multiplications); one for four is no faster (Zen 3)
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


# pixels at a time: their tables, sums and two rows of posteriors take 24 KiB at 2^7 columns. 784 pixels and
# 2^13 states, which else come from the second-level cache for each pixel: 1.5 against 2.0 ms (Zen 3)
_PIXELS = 8

_LARGEST = 170.0  # |log| of a factor: the product of two denominators stays below exp(680)


@inline
def _keep_rows(q, negligible, kept, rows):
    """Copy the rows whose states hold more than ``negligible``, and list them; return how many.

    A row of zeros follows them, so that there is an even number. What is too small for a normal double is 0:
    a product with a denormal number takes 100 cycles.
    """
    count = 0
    for a in range(q.shape[0]):
        mass = 0.0
        for b in range(q.shape[1]):
            mass += abs(q[a, b])
        if mass > negligible:
            rows[count] = a
            for b in range(q.shape[1]):
                kept[count, b] = q[a, b] if abs(q[a, b]) >= FLUSH else 0.0
            count += 1
    for b in range(q.shape[1]):
        kept[count, b] = 0.0
    return count


@inline
def _reach(weights, shift):
    """Return the largest |shift + sum of some of the weights|."""
    low, high = shift, shift
    for i in range(weights.size):
        low += min(weights[i], 0.0)
        high += max(weights[i], 0.0)
    return max(high, -low)


@inline
def _subset_exponentials(weights, shift, out):
    """Set out[s] to exp(-(shift + the sum of the weights whose bit is set in s)), none out of range."""
    out[0] = exp_fast(-shift)
    for i in range(weights.size):
        half, factor = 1 << i, exp_fast(-weights[i])
        for s in range(half):
            out[half + s] = out[s] * factor


@inline
def _add_bits(row_mass, column_mass, outer, num_outer, scratch, row_bits, column_bits, slopes):
    """Add a tile's slopes of one pixel to those of the latents, the last of ``slopes`` that of no latent."""
    total = 0.0
    for a in range(row_mass.size):
        total += row_mass[a]
    bit_masses(row_mass, scratch, row_bits)
    bit_masses(column_mass, scratch, column_bits)
    for i in range(num_outer):
        if (outer >> i) & 1:
            slopes[i] += total
    for i in range(row_bits.size):
        slopes[num_outer + i] += row_bits[i]
    for i in range(column_bits.size):
        slopes[num_outer + row_bits.size + i] += column_bits[i]
    slopes[slopes.size - 1] += total


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
    left, right = np.empty((_PIXELS, num_rows)), np.empty((_PIXELS, num_columns))
    row_mass, column_mass = np.empty((_PIXELS, num_rows)), np.empty((_PIXELS, num_columns))
    scratch, sums = np.empty(max(num_rows, num_columns)), np.empty(num_columns)
    row_bits, column_bits = np.empty(num_row_bits), np.empty(num_column_bits)
    far, direct = np.empty(_PIXELS, np.bool_), np.empty(_PIXELS, np.bool_)
    kept = np.empty((num_tiles, num_rows + 1, num_columns))
    rows, counts = np.empty((num_tiles, num_rows), np.int64), np.empty(num_tiles, np.int64)
    before = begin_flushing()
    for t in range(num_tiles):
        counts[t] = _keep_rows(q[t], negligible, kept[t], rows[t])
    for first in range(0, bias.size, _PIXELS):
        count = min(_PIXELS, bias.size - first)
        for p in range(count):
            far[p] = _reach(column_weights[first + p], 0.0) > _LARGEST
            if not far[p]:
                _subset_exponentials(column_weights[first + p], 0.0, right[p])
        for t in range(num_tiles):
            if counts[t] == 0:
                continue
            for p in range(count):
                j = first + p
                shift = bias[j] + bit_sum(outer_weights[j], first_tile + t)
                for b in range(num_columns):
                    column_mass[p, b] = 0.0
                for a in range(num_rows):
                    row_mass[p, a] = 0.0
                direct[p] = far[p] or _reach(row_weights[j], shift) > _LARGEST
                if not direct[p]:
                    _subset_exponentials(row_weights[j], shift, left[p])
                    continue
                subset_sums(row_weights[j], left[p])
                subset_sums(column_weights[j], sums)
                for k in range(counts[t]):
                    a = rows[t, k]
                    row_mass[p, a] = _slopes_of_row_direct(
                        kept[t, k], sums, shift + left[p, a], column_mass[p]
                    )
            for k in range(0, counts[t], 2):  # two rows of posteriors stay in the first-level cache
                a, other = rows[t, k], rows[t, min(k + 1, counts[t] - 1)]
                for p in range(count):
                    if not direct[p]:
                        total, other_total = _slopes_of_rows(
                            kept[t, k], kept[t, k + 1], right[p], left[p, a], left[p, other], column_mass[p]
                        )
                        row_mass[p, a] += total  # the other may be a row of zeros
                        row_mass[p, other] += other_total
            for p in range(count):
                _add_bits(
                    row_mass[p], column_mass[p], first_tile + t, num_outer, scratch, row_bits, column_bits,
                    slopes[first + p],
                )  # fmt: skip
    end_flushing(before)


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
