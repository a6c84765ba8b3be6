"""Models quadratic in z with all logarithms as sums of two doubles (``double_word``).

Products over states take exponentials exp(high) exp(low) of differences, exact to the last place however
large their terms are. Single states are added up in two words and rounded once.
"""

from __future__ import annotations

import math

import numpy as np

from fastvi.kernels.double_word import add_words, multiply_words, product_rest, two_sum, upper_half
from fastvi.kernels.host import COLUMNS
from fastvi.kernels.jit import inline, kernel
from fastvi.kernels.scalar import add_scaled, exp_fast

_NEVER = -1e300  # of columns that pad a tile: finite, so that no remainder is nan


@kernel
def gram_words(weights, factor, factor_low, gram, gram_low):
    """Turn gram (d, d), of zeros, into factor W^T W for ``weights`` (D, d).

    Dot products are compensated (Ogita, Rump, Oishi 2005).
    """
    num_pixels, d = weights.shape
    half, rest = np.empty(d), np.empty(d)
    for j in range(num_pixels):
        for i in range(d):
            half[i] = upper_half(weights[j, i])
            rest[i] = weights[j, i] - half[i]
        for i in range(d):
            for k in range(d):
                product = weights[j, i] * weights[j, k]
                low = product_rest(product, half[i], rest[i], half[k], rest[k])
                gram[i, k], lost = two_sum(gram[i, k], product)
                gram_low[i, k] += lost + low
    for i in range(d):
        for k in range(d):
            high, low = add_words(gram[i, k], gram_low[i, k], 0.0, 0.0)
            gram[i, k], gram_low[i, k] = multiply_words(high, low, factor, factor_low)


@kernel
def residual_terms(
    x, bias, unit, weights, factor, factor_low, constant, constant_low, offset, offset_low, linear,
    linear_low, values, values_low,
):  # fmt: skip
    """Write the terms of data with residual r = unit (x[n] - b), in two words.

    linear[n] = offset + factor W^T r and values[n] = constant - factor r^2 / 2.

    ``unit`` is a power of two, by which ``weights`` (D, d) are multiplied. A datum of which r^2 overflows has
    no coefficients, and the logarithm -inf.
    """
    d = offset.size
    halves, rests = np.empty(weights.shape), np.empty(weights.shape)
    for j in range(weights.shape[0]):
        for i in range(d):
            halves[j, i] = upper_half(weights[j, i])
            rests[j, i] = weights[j, i] - halves[j, i]
    total, total_low = np.empty(d), np.empty(d)
    for n in range(x.shape[0]):
        for i in range(d):
            total[i], total_low[i] = 0.0, 0.0
        square, square_low = 0.0, 0.0
        for j in range(x.shape[1]):
            residual, rest = two_sum(x[n, j], -bias[j])
            residual *= unit
            rest *= unit
            a = upper_half(residual)
            b = residual - a
            for i in range(d):
                product = residual * weights[j, i]
                low = product_rest(product, a, b, halves[j, i], rests[j, i])
                total[i], lost = two_sum(total[i], product)
                total_low[i] += (lost + low) + rest * weights[j, i]
            product = residual * residual
            low = product_rest(product, a, b, a, b) + 2.0 * residual * rest
            square, lost = two_sum(square, product)
            square_low += lost + low
        high, low = add_words(square, square_low, 0.0, 0.0)
        high, low = multiply_words(-0.5 * high, -0.5 * low, factor, factor_low)
        values[n], values_low[n] = add_words(high, low, constant, constant_low)
        possible = abs(values[n]) < math.inf
        for i in range(d):
            high, low = add_words(total[i], total_low[i], 0.0, 0.0)
            high, low = multiply_words(high, low, factor, factor_low)
            high, low = add_words(high, low, offset[i], offset_low[i])
            possible = possible and abs(high) < math.inf
            linear[n, i], linear_low[n, i] = high, low
        if not possible:
            values[n], values_low[n] = -math.inf, 0.0
            for i in range(d):
                linear[n, i], linear_low[n, i] = 0.0, 0.0


@inline
def subset_words(high, low, out, out_low):
    """Sum coefficients in two words over the bits set in s, for every s."""
    out[0], out_low[0] = 0.0, 0.0
    for i in range(high.size):
        half = 1 << i
        for s in range(half):
            out[half + s], out_low[half + s] = add_words(out[s], out_low[s], high[i], low[i])


@kernel
def pair_tile_words(couplings, couplings_low, linear, num_row_bits, padded_rows, tile, tile_low):
    """Fill a tile with <linear, s> plus the couplings between the bits of s = (row bits, column bits).

    The padding is 0.
    """
    num_bits = linear.size
    size = 1 << num_bits
    value, value_low = np.zeros(size), np.zeros(size)
    field, field_low = np.empty(size), np.empty(size)
    for i in range(num_bits):
        # what setting bit i adds to each state of the bits before it, by doubling
        field[0], field_low[0] = linear[i], 0.0
        for k in range(i):
            half = 1 << k
            for s in range(half):
                field[half + s], field_low[half + s] = add_words(
                    field[s], field_low[s], couplings[k, i], couplings_low[k, i]
                )
        half = 1 << i
        for s in range(half):
            value[half + s], value_low[half + s] = add_words(value[s], value_low[s], field[s], field_low[s])
    for i in range(tile.size):
        tile[i], tile_low[i] = 0.0, 0.0
    for s in range(size):
        a, b = s & ((1 << num_row_bits) - 1), s >> num_row_bits
        at = ((b // COLUMNS) * padded_rows + a) * COLUMNS + b % COLUMNS
        tile[at], tile_low[at] = value[s], value_low[s]


@inline
def _exp_small(x):
    """Return e^x for |x| <= 2^-13, the part that rounding takes from numbers up to 2^40.

    The first term left out is 2^-57.
    """
    return 1.0 + x * (1.0 + x * (1.0 / 2.0 + x * (1.0 / 6.0)))


@kernel
def multiply_by_exponentials(low, tile):
    """Multiply a tile by exp(low)."""
    for i in range(tile.size):
        tile[i] *= _exp_small(low[i])


@kernel
def outer_words(
    couplings, couplings_low, centre, num_outer, first, linear, linear_low, constant, constant_low
):
    """Write the coefficients and constants that outer states ``first`` .. add to inner bits.

    Both are in two words.
    """
    for t in range(constant.size):
        state = first + t
        high, low = 0.0, 0.0
        for j in range(linear.shape[1]):
            linear[t, j], linear_low[t, j] = 0.0, 0.0
        for i in range(num_outer):
            if not (state >> i) & 1:
                continue
            high, low = add_words(high, low, centre[i], 0.0)
            for j in range(i):
                if (state >> j) & 1:
                    high, low = add_words(high, low, couplings[i, j], couplings_low[i, j])
            for j in range(linear.shape[1]):
                linear[t, j], linear_low[t, j] = add_words(
                    linear[t, j], linear_low[t, j], couplings[i, num_outer + j],
                    couplings_low[i, num_outer + j],
                )  # fmt: skip
        constant[t], constant_low[t] = high, low


@kernel
def row_coefficients(inner, inner_low, outer, outer_low, first, linear, linear_low):
    """Write the coefficients of rows ``first`` .. in two words.

    Row k is datum k // T with outer state k % T of ``outer`` (T, inner bits).
    """
    for k in range(linear.shape[0]):
        datum, state = (first + k) // outer.shape[0], (first + k) % outer.shape[0]
        for i in range(linear.shape[1]):
            linear[k, i], linear_low[k, i] = add_words(
                inner[datum, i], inner_low[datum, i], outer[state, i], outer_low[state, i]
            )


@kernel
def exponential_factors_of_words(linear, linear_low, if_zero, if_one, scales, scales_low):
    """Take exp(linear * bit) of each bit relative to the larger of its two values.

    ``scales`` are the logs of the product of those, in two words.
    """
    for n in range(linear.shape[0]):
        scale, scale_low = 0.0, 0.0
        for i in range(linear.shape[1]):
            likely, low = linear[n, i] >= 0.0, linear_low[n, i]
            small = exp_fast(-abs(linear[n, i])) * _exp_small(-low if likely else low)
            if_one[n, i] = 1.0 if likely else small
            if_zero[n, i] = small if likely else 1.0
            if likely:
                scale, scale_low = add_words(scale, scale_low, linear[n, i], low)
        scales[n], scales_low[n] = scale, scale_low


@kernel
def join_scales(
    scales, scales_low, outer, outer_low, base, base_low, constant, constant_low, tile_scale, first, factors
):
    """Add the logarithms of each datum and tile to ``scales`` (N, T), rounded.

    They are base[n] + <outer[n], bits of tile first + t> + constant[t] + tile_scale. ``factors`` are exp of
    the part that rounding lost.
    """
    for n in range(scales.shape[0]):
        for t in range(scales.shape[1]):
            high, low = add_words(base[n], base_low[n], constant[t], constant_low[t])
            for i in range(outer.shape[1]):
                if ((first + t) >> i) & 1:
                    high, low = add_words(high, low, outer[n, i], outer_low[n, i])
            high, low = add_words(high, low, scales[n, t], scales_low[n, t])
            high, low = add_words(high, low, tile_scale, 0.0)
            scales[n, t] = high
            # of what is larger, beyond 2^53, the result is not used
            factors[n, t] = _exp_small(low) if abs(low) < 0.5 else 1.0


@inline
def _tables(linear, low, num_row_bits, shift, shift_low, rows, rows_low, columns, columns_low):
    """Sum over row bits, with the shift, each COLUMNS times, and over column bits."""
    num_rows = 1 << num_row_bits
    subset_words(linear[:num_row_bits], low[:num_row_bits], rows[:num_rows], rows_low[:num_rows])
    subset_words(linear[num_row_bits:], low[num_row_bits:], columns, columns_low)
    for a in range(num_rows - 1, -1, -1):
        high, rest = add_words(rows[a], rows_low[a], shift, shift_low)
        for c in range(COLUMNS):
            rows[a * COLUMNS + c], rows_low[a * COLUMNS + c] = high, rest
    for b in range(1 << (linear.size - num_row_bits), columns.size):
        columns[b], columns_low[b] = _NEVER, 0.0


@inline
def _add_panel(tile, tile_low, rows, rows_low, columns, columns_low, out):
    """Set out to tile + rows + columns, rounded once.

    One loop over all rows of a panel is vectorised, loops over the columns of each row are not.
    """
    for i in range(out.size):
        high, lost = two_sum(tile[i], rows[i])
        high, again = two_sum(high, columns[i])
        out[i] = high + ((tile_low[i] + rows_low[i]) + (columns_low[i] + (lost + again)))


@inline
def _log_joints(tile, tile_low, rows, rows_low, columns, columns_low, scratch, out):
    """Set out to tile + rows + columns, panel by panel, with ``rows`` from ``_tables``."""
    size = rows.size
    for first in range(0, columns.size, COLUMNS):
        for i in range(0, size, COLUMNS):
            for c in range(COLUMNS):
                scratch[0, i + c], scratch[1, i + c] = columns[first + c], columns_low[first + c]
        at = first // COLUMNS * size
        _add_panel(
            tile[at : at + size], tile_low[at : at + size], rows, rows_low, scratch[0], scratch[1],
            out[at : at + size],
        )  # fmt: skip


@inline
def _shift(base, base_low, outer, outer_low, state, constant, constant_low):
    """Return base + <outer, bits of the state> + constant in two words."""
    high, low = add_words(base, base_low, constant, constant_low)
    for i in range(outer.size):
        if (state >> i) & 1:
            high, low = add_words(high, low, outer[i], outer_low[i])
    return high, low


@inline
def _sum_of_exponentials(values, cut, least):
    """Return (largest, sum of exp(value - largest)).

    Left out are values below exp(cut) of the largest, and all where the largest is below exp(least).
    """
    best = np.full(COLUMNS, -np.inf)
    for i in range(0, values.size, COLUMNS):
        for c in range(COLUMNS):
            best[c] = max(best[c], values[i + c])
    largest = best.max()
    if largest < least:
        return -np.inf, 0.0
    sums = np.zeros(COLUMNS)
    for i in range(0, values.size, COLUMNS):
        some = False
        for c in range(COLUMNS):
            some |= values[i + c] - largest > cut
        if some:
            for c in range(COLUMNS):
                sums[c] += exp_fast(values[i + c] - largest)
    return largest, sums.sum()


@kernel
def log_space_words(
    tile, tile_low, first, num_row_bits, padded_rows, linear, linear_low, base, base_low, outer, outer_low,
    constant, constant_low, cut, negligible, largest, total,
):  # fmt: skip
    """Sum the states of outer states ``first`` .. (T, inner bits) in log space, datum by datum.

    A tile all of whose terms are below exp(negligible[n]) is passed over.
    """
    num_outer = linear.shape[1] - outer.shape[1]
    padded_columns = tile.size // padded_rows
    size = padded_rows * COLUMNS
    rows, rows_low, scratch = np.empty(size), np.empty(size), np.empty((2, size))
    columns, columns_low = np.empty(padded_columns), np.empty(padded_columns)
    inner, inner_low = np.empty(outer.shape[1]), np.empty(outer.shape[1])
    values = np.empty(tile.size)
    for n in range(base.size):
        if base[n] == -math.inf:
            continue
        for t in range(constant.size):
            for i in range(inner.size):
                inner[i], inner_low[i] = add_words(
                    linear[n, num_outer + i], linear_low[n, num_outer + i], outer[t, i], outer_low[t, i]
                )
            shift, shift_low = _shift(
                base[n], base_low[n], linear[n, :num_outer], linear_low[n, :num_outer], first + t,
                constant[t], constant_low[t],
            )  # fmt: skip
            _tables(inner, inner_low, num_row_bits, shift, shift_low, rows, rows_low, columns, columns_low)
            _log_joints(tile, tile_low, rows, rows_low, columns, columns_low, scratch, values)
            scale, term = _sum_of_exponentials(values, cut, negligible[n])
            largest[n], total[n] = add_scaled(largest[n], total[n], scale, term)


@inline
def _flipped(tile, num_rows, num_columns, row_flip, column_flip, out):
    """Copy a packed tile with state (a ^ row_flip, b ^ column_flip) at (a, b).

    The padding is very small.
    """
    for i in range(out.size):
        out[i] = _NEVER
    for b in range(num_columns):
        other = b ^ column_flip
        at = (b // COLUMNS) * num_rows * COLUMNS + b % COLUMNS
        source = (other // COLUMNS) * num_rows * COLUMNS + other % COLUMNS
        for a in range(num_rows):
            out[at + a * COLUMNS] = tile[source + (a ^ row_flip) * COLUMNS]


@kernel
def datum_log_tiles(
    tile, tile_low, begin, num_row_bits, linear, linear_low, base, base_low, outer, outer_low, constant,
    constant_low, origin, out,
):  # fmt: skip
    """Write the log joints of one datum to out[t], packed as the tile.

    The padding is about -1e300. The place of bits s holds state s ^ origin. The outer bits of t begin at a
    multiple of their number T, a power of two; ``outer`` (T, inner bits) and ``constant`` are those of states
    ``begin`` ...
    """
    num_outer = linear.size - outer.shape[1]
    num_rows, num_columns = 1 << num_row_bits, 1 << (outer.shape[1] - num_row_bits)
    padded_columns, inner_origin = tile.size // num_rows, origin >> num_outer
    size = num_rows * COLUMNS
    rows, rows_low, scratch = np.empty(size), np.empty(size), np.empty((2, size))
    columns, columns_low = np.empty(padded_columns), np.empty(padded_columns)
    inner, inner_low = np.empty(outer.shape[1]), np.empty(outer.shape[1])
    values = np.empty(tile.size)
    for t in range(out.shape[0]):
        k = t ^ (origin & (out.shape[0] - 1))
        for i in range(inner.size):
            inner[i], inner_low[i] = add_words(
                linear[num_outer + i], linear_low[num_outer + i], outer[k, i], outer_low[k, i]
            )
        shift, shift_low = _shift(
            base, base_low, linear[:num_outer], linear_low[:num_outer], begin + k, constant[k],
            constant_low[k],
        )  # fmt: skip
        if shift == -math.inf:
            for i in range(tile.size):
                out[t, i] = -math.inf
            continue
        _tables(inner, inner_low, num_row_bits, shift, shift_low, rows, rows_low, columns, columns_low)
        if inner_origin == 0:
            _log_joints(tile, tile_low, rows, rows_low, columns, columns_low, scratch, out[t])
            continue
        _log_joints(tile, tile_low, rows, rows_low, columns, columns_low, scratch, values)
        _flipped(
            values, num_rows, num_columns, inner_origin & (num_rows - 1), inner_origin >> num_row_bits, out[t]
        )
