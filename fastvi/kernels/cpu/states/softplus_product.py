"""Tiles of A(z) = sum_j softplus(eta_j(z)) as products: no transcendental function per term.

The logits are eta = W z + b.

A state is split in three groups of bits, z = (outer, row, column). One tile holds all rows and columns of
one outer state. With alpha_j = b_j + W_j outer + W_j row + s_j and beta_j = W_j column - s_j (s_j centres
beta_j),

    softplus(alpha + beta) = beta + log(exp(-beta) + exp(alpha)),

so a tile is a product over pixels of (left[row, j] + right[column, j]), one addition and one multiplication
a term, and the sum of beta_j is linear in the column's bits. (The textbook form 1 + exp(alpha) exp(beta)
takes a fused multiply-add and a multiplication: both want the multiplier, and on cores with adders of their
own, as all Zen, that is 1.6 times slower: 4.8 against 8.1 * 10^9 terms a second measured on one core.) The
running product is split in mantissa and exponent before it can leave the range of its type; where that is,
follows from bounds on every factor in the tile.

A pixel is of one of four kinds in a tile, by the range of its logits there:

- product: |log left| and |log right| are within ``limit``; the form above.
- off: all logits below -SATURATED; softplus is zero to the last digit.
- on: all logits above SATURATED; softplus is the logit, linear in the bits.
- direct: none of these; max(eta, 0) is summed and 1 + exp(-|eta|) multiplied in, with an exponential per
  term.

Only the left panel differs from tile to tile. A pixel that is not "product" has left = 0 there; what right
then contributes, -beta_j, is taken back by the linear part.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from fastvi.kernels.bits import power_of_two
from fastvi.kernels.cpu.simd.product_tiles import FLUSH_EXPONENT, product_block
from fastvi.kernels.host import COLUMNS
from fastvi.kernels.jit import inline, kernel
from fastvi.kernels.scalar import LOG_TWO, exp_fast, log_fast

SATURATED = 42.0  # exp(-42) = 6e-19: 784 saturated pixels move A by less than 5e-16

PRODUCT, OFF, ON, DIRECT = 0, 1, 2, 3


class SoftplusTables(NamedTuple):
    """Tables that all tiles of one model share; d = outer + row + column bits.

    Panels are packed as the register tiles read them. Few arrays, since each costs a call 0.3 us and the
    compiler some milliseconds.
    """

    left: Any  # (row panels * D * panel_rows,) float64: exp of the centred row sums
    right: Any  # (column panels * D * COLUMNS,) float32 or float64: exp(-beta)
    # (5, D): bias, middle and half of the range of the row sums, s_j, half of the range of beta_j; right is 1
    # where that exceeds limit
    ranges: Any
    outer_weights: Any  # (D, outer bits)
    row_weights: Any  # (D, row bits)
    column_weights: Any  # (D, column bits)
    linear: Any  # (d,) linear function of z that is added to -A
    limit: float  # largest |log| of an entry of a panel
    block_limit: float  # largest |log| of a running product
    longest_block: int  # pixels whose right panel fits in the first-level cache
    panel_rows: int  # rows of the register tile
    # what is quadratic in z, added to A: (outer bits, d) couplings of the outer bits, (0, 0) without any, and
    # a packed tile of the exponentials of those of the inner bits, the largest 1; (0,) without any
    pairs: Any
    pair_tile: Any


class Bits(NamedTuple):
    """Layout of a float, for splitting off its exponent."""

    shift: Any
    bias: Any
    mantissa: Any
    one: Any


BITS_64 = Bits(np.int64(52), np.int64(1023), np.int64((1 << 52) - 1), np.int64(1023 << 52))
BITS_32 = Bits(np.int32(23), np.int32(127), np.int32((1 << 23) - 1), np.int32(127 << 23))


@kernel
def subset_sums(coefficients, out):
    """Set out[s] to the sum of the coefficients whose bit is set in s."""
    out[0] = 0.0
    for i in range(coefficients.size):
        half = 1 << i
        for s in range(half):
            out[half + s] = out[s] + coefficients[i]


@kernel
def pack_exponentials(weights, sign, limit, width, padding, middle, spread, out):
    """Pack exp(sign * (w_s - middle)) of all subset sums w_s of the columns of ``weights`` (D, bits).

    ``middle`` and ``spread`` (D,) are middle and half of the range of the sums. Panels are (panel of s, D,
    width); ``padding`` fills the last. Where the spread exceeds ``limit`` the entries are 1. By doubling: an
    exponential for each weight, and a multiplication, with its rounding, for each bit that is set.
    """
    num_pixels, num_bits = weights.shape
    size = 1 << num_bits
    panels = (size + width - 1) // width
    table = np.empty(panels * width)
    for s in range(size, table.size):
        table[s] = padding
    for j in range(num_pixels):
        above, below = 0.0, 0.0
        for i in range(num_bits):
            above += max(weights[j, i], 0.0)
            below += min(weights[j, i], 0.0)
        middle[j], spread[j] = (above + below) / 2, (above - below) / 2
        inside = spread[j] <= limit
        table[0] = exp_fast(-sign * middle[j]) if inside else 1.0
        for i in range(num_bits):
            half, factor = 1 << i, exp_fast(sign * weights[j, i]) if inside else 1.0
            upper = table[half:]
            for s in range(half):
                upper[s] = table[s] * factor
        for p in range(panels):
            at, source = (p * num_pixels + j) * width, table[p * width :]
            for c in range(width):
                out[at + c] = source[c]


@inline
def plan_tile(tables, outer, kinds, middles, blocks, row_linear, column_linear):
    """Write pixel kinds, blocks [first, last) and linear parts of one tile.

    It returns (blocks, constant, direct pixels). There is one block at least.
    """
    num_pixels, outer_bits, row_bits = kinds.size, tables.outer_weights.shape[1], row_linear.size
    for i in range(row_bits):
        row_linear[i] = tables.linear[outer_bits + i]
    for i in range(column_linear.size):
        column_linear[i] = tables.linear[outer_bits + row_bits + i]
    constant = 0.0
    for i in range(outer_bits):
        if (outer >> i) & 1:
            constant += tables.linear[i]
            if tables.pairs.size > 0:
                for k in range(i):
                    if (outer >> k) & 1:
                        constant += tables.pairs[k, i]
                for k in range(row_bits):
                    row_linear[k] += tables.pairs[i, outer_bits + k]
                for k in range(column_linear.size):
                    column_linear[k] += tables.pairs[i, outer_bits + row_bits + k]
    num_blocks, first, high, low, direct = 0, 0, LOG_TWO, 0.0, 0
    for j in range(num_pixels):
        left_middle, spread = tables.ranges[1, j], tables.ranges[2, j]
        right_middle, right_spread = tables.ranges[3, j], tables.ranges[4, j]
        middle = tables.ranges[0, j] + left_middle + right_middle
        for i in range(outer_bits):
            if (outer >> i) & 1:
                middle += tables.outer_weights[j, i]
        packed = right_spread <= tables.limit  # else right is 1
        kind = DIRECT
        if middle + spread + right_spread < -SATURATED:
            kind = OFF
        elif middle - spread - right_spread > SATURATED:
            kind = ON
        elif packed and spread <= tables.limit and middle + spread <= tables.limit:
            kind = PRODUCT
        else:
            direct += 1
        kinds[j] = kind
        middles[j] = middle
        times = 1.0 if packed else 0.0  # how often beta_j is in the linear part
        if kind == ON:
            times += 1.0
            constant -= middle - left_middle
            for i in range(row_bits):
                row_linear[i] -= tables.row_weights[j, i]
        if times > 0.0:
            constant += times * right_middle
            for i in range(column_linear.size):
                column_linear[i] -= times * tables.column_weights[j, i]
        up = right_spread if packed else 0.0
        down = -up
        if kind == PRODUCT:
            up = max(up, middle + spread) + LOG_TWO
            down = max(down, middle - spread)
        if j > first and (
            high + max(up, 0.0) > tables.block_limit
            or low + min(down, 0.0) < -tables.block_limit
            or j - first >= tables.longest_block
        ):
            blocks[num_blocks] = first
            num_blocks += 1
            first, high, low = j, LOG_TWO, 0.0
        high += max(up, 0.0)
        low += min(down, 0.0)
    blocks[num_blocks] = first
    blocks[num_blocks + 1] = num_pixels
    return num_blocks + 1, constant, direct


@inline
def left_scales(kinds, middles, rows, scales):
    """Set ``rows`` numbers of each pixel to what multiplies its left panel: 0 where it is not "product"."""
    for j in range(kinds.size):
        scale = exp_fast(middles[j]) if kinds[j] == PRODUCT else 0.0
        for r in range(rows):
            scales[j * rows + r] = scale


@inline
def pack_left(tables, scales, first, last, panel):
    """Write the left panels of the pixels ``first`` .. ``last`` - 1."""
    rows, num_pixels = tables.panel_rows, tables.ranges.shape[1]
    width = (last - first) * rows
    factors = scales[first * rows : last * rows]
    for p in range(tables.left.size // max(num_pixels * rows, 1)):
        source = tables.left[(p * num_pixels + first) * rows :]
        target = panel[p * width :]
        for i in range(width):
            target[i] = source[i] * factors[i]


@inline
def multiply_block(tables, panel, first, last, padded_rows, start, powers, mantissa, exponent):
    """Multiply a block of pixels into mantissa * 2^exponent.

    The block that begins with pixel 0 starts from ``start`` * 2^``powers``, one register tile of 1 * 2^0.
    """
    rows, num_pixels, length = tables.panel_rows, tables.ranges.shape[1], last - first
    before, before_powers = (start, powers) if first == 0 else (mantissa, exponent)
    for column_panel in range(mantissa.size // (padded_rows * COLUMNS)):
        right_at = (column_panel * num_pixels + first) * COLUMNS
        for row_panel in range(padded_rows // rows):
            at = (column_panel * padded_rows + row_panel * rows) * COLUMNS
            product_block(
                before, before_powers, 0 if first == 0 else at, panel, row_panel * length * rows,
                tables.right, right_at, length, mantissa, exponent, at,
            )  # fmt: skip


@kernel
def fill_products(tables, outer, padded_rows, kinds, middles, row_linear, column_linear, mantissa, exponent):
    """Set mantissa * 2^exponent to a tile's product over pixels of left + right.

    It returns the constant, and how many pixels are left for ``multiply_direct``.
    """
    num_pixels, rows = kinds.size, tables.panel_rows
    blocks, scales = np.empty(num_pixels + 2, np.int64), np.empty(num_pixels * rows)
    num_blocks, constant, direct = plan_tile(tables, outer, kinds, middles, blocks, row_linear, column_linear)
    left_scales(kinds, middles, rows, scales)
    start, powers = np.empty(rows * COLUMNS, mantissa.dtype), np.empty(rows * COLUMNS, exponent.dtype)
    for i in range(start.size):
        start[i], powers[i] = 1.0, 0
    panel = np.empty(padded_rows * min(num_pixels, tables.longest_block), mantissa.dtype)
    for block in range(num_blocks):
        first, last = blocks[block], blocks[block + 1]
        pack_left(tables, scales, first, last, panel)
        multiply_block(tables, panel, first, last, padded_rows, start, powers, mantissa, exponent)
    return constant, direct


@inline
def _split(mantissa, bits, exponent, layout):
    """Move the exponents of positive numbers from the mantissas to ``exponent``."""
    for i in range(mantissa.size):
        exponent[i] += (bits[i] >> layout.shift) - layout.bias
        bits[i] = (bits[i] & layout.mantissa) | layout.one


@kernel
def multiply_direct(tables, kinds, middles, padded_rows, mantissa, bits, exponent, layout):
    """Multiply in the pixels that no product can hold.

    softplus(eta) = max(eta, 0) + log(1 + exp(-|eta|)).
    """
    num_rows, num_columns = 1 << tables.row_weights.shape[1], 1 << tables.column_weights.shape[1]
    above = np.zeros(mantissa.size)
    row_sums, column_sums = np.empty(num_rows), np.empty(num_columns)
    for j in range(kinds.size):
        if kinds[j] != DIRECT:
            continue
        subset_sums(tables.row_weights[j], row_sums)
        subset_sums(tables.column_weights[j], column_sums)
        offset = middles[j] - tables.ranges[1, j] - tables.ranges[3, j]
        for b in range(num_columns):
            at = (b // COLUMNS) * padded_rows * COLUMNS + b % COLUMNS
            for a in range(num_rows):
                eta = (row_sums[a] + offset) + column_sums[b]
                above[at + a * COLUMNS] += max(eta, 0.0)
                mantissa[at + a * COLUMNS] *= 1.0 + exp_fast(-abs(eta))
        _split(mantissa, bits, exponent, layout)
    for i in range(mantissa.size):
        power = math.floor(above[i] / LOG_TWO)
        mantissa[i] *= exp_fast(above[i] - power * LOG_TWO)
        exponent[i] += int(power)
    _split(mantissa, bits, exponent, layout)


@inline
def split_log(values, scales, powers):
    """Split exp(values) into scales * 2^powers with scales in [1, 2)."""
    for i in range(values.size):
        power = math.floor(values[i] / LOG_TWO)
        scales[i] = exp_fast(values[i] - power * LOG_TWO)
        powers[i] = power


@kernel
def tile_weights(mantissa, exponent, row_linear, column_linear, padded_rows, out):
    """Set out to exp(linear(z)) / (mantissa * 2^exponent) relative to a power of two.

    It returns the log of that power.
    """
    num_rows, num_columns = 1 << row_linear.size, 1 << column_linear.size
    padded_columns = mantissa.size // padded_rows
    row_scale, row_power = np.empty(num_rows), np.empty(num_rows, np.int64)
    # what pads the columns is 0 * 2^-(2^40), so it never counts
    scale, power = np.zeros(padded_columns), np.full(padded_columns, -(1 << 40), np.int64)
    subset_sums(row_linear, row_scale)
    split_log(row_scale, row_scale, row_power)
    column_log = np.empty(num_columns)
    subset_sums(column_linear, column_log)
    split_log(column_log, scale, power)
    largest = -(1 << 60)
    for first in range(0, padded_columns, COLUMNS):
        for a in range(num_rows):
            at = first * padded_rows + a * COLUMNS
            for c in range(COLUMNS):
                largest = max(largest, row_power[a] + power[first + c] - exponent[at + c])
    for first in range(0, padded_columns, COLUMNS):
        for a in range(padded_rows):
            at = first * padded_rows + a * COLUMNS
            for c in range(COLUMNS):
                if a < num_rows:
                    shift = row_power[a] - largest + power[first + c] - exponent[at + c]
                    value = row_scale[a] * scale[first + c] / mantissa[at + c]
                    value *= power_of_two(max(shift, FLUSH_EXPONENT))
                    out[at + c] = value if shift >= FLUSH_EXPONENT else 0.0
                else:
                    out[at + c] = 0.0
    return largest * LOG_TWO


@kernel
def tile_log_weights(mantissa, exponent, row_linear, column_linear, padded_rows, constant, out):
    """Set out to linear(z) + constant - log(mantissa * 2^exponent), the logarithm of the tile.

    The padding is 0.
    """
    row_log, column_log = np.empty(1 << row_linear.size), np.empty(1 << column_linear.size)
    subset_sums(row_linear, row_log)
    subset_sums(column_linear, column_log)
    for i in range(out.size):
        out[i] = 0.0
    for b in range(column_log.size):
        at = (b // COLUMNS) * padded_rows * COLUMNS + b % COLUMNS
        for a in range(row_log.size):
            i = at + a * COLUMNS
            value = log_fast(float(mantissa[i])) + exponent[i] * LOG_TWO
            out[i] = (row_log[a] + column_log[b] + constant) - value
