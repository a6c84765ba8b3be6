"""Tiles of A(z) = sum_j softplus(eta_j(z)) as products, for CUDA.

The mathematics is that of ``kernels/cpu/states/softplus_product.py``.

A tile is ROWS x COLUMNS states and one block of threads, each with TILE_ROWS x TILE_COLUMNS running
products in registers. Panels of CHUNK pixels pass through shared memory, where the left one is multiplied
by the tile's own exp(middle_j). The products' exponents are kept in shared memory: they are touched only
where bounds say that a product could leave the range of its type, before a chunk or, where a chunk alone
could leave it, after each of its pixels.

A tile with a pixel that no product can hold is left to ``softplus_direct.py``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastvi.kernels.bits import bit_sum, power_of_two, power_of_two_32, split_exponent, split_exponent_32
from fastvi.kernels.cpu.states.softplus_product import SATURATED
from fastvi.kernels.cuda.blocks import block_max
from fastvi.kernels.cuda.target import (
    ALIGNED,
    BOOL,
    FLOAT32,
    FLOAT64,
    INT32,
    INT64,
    array,
    cuda,
    device,
    kernel,
)
from fastvi.kernels.scalar import LOG_TWO, exp_fast, log_fast

ROW_BITS, COLUMN_BITS = 7, 6
ROWS, COLUMNS = 1 << ROW_BITS, 1 << COLUMN_BITS
CHUNK = 8  # pixels that pass through shared memory together
TILE_ROWS, TILE_COLUMNS = 8, 4  # of a thread
THREADS = ROWS * COLUMNS // (TILE_ROWS * TILE_COLUMNS)
# largest |log| of an entry of a panel, of a running product; powers of two below which a weight becomes 0
LIMITS = {"float64": (340.0, 700.0, -1020), "float32": (35.0, 85.0, -120)}

_STATES = ROWS * COLUMNS
_ACROSS = COLUMNS // TILE_COLUMNS  # threads side by side
_LEFT, _RIGHT = CHUNK * ROWS, CHUNK * COLUMNS
_ROW_PAIRS, _COLUMN_PAIRS = TILE_ROWS // 2, TILE_COLUMNS // 2
_ROW_STEP, _COLUMN_STEP = ROWS // _ROW_PAIRS, COLUMNS // _COLUMN_PAIRS  # from one pair to the next
_PRODUCTS = (TILE_ROWS, TILE_COLUMNS)
_DIRECT = 1 + ROW_BITS + COLUMN_BITS  # how many pixels no product can hold, beside what is linear
_SUMS = _DIRECT + 1
_PARTIAL = _SUMS * THREADS
GO_ON, SPLIT, SPLIT_EACH = 0, 1, 2  # before a chunk; before it and after each of its pixels
_NO_POWER = -(1 << 30)
PER_THREAD = TILE_ROWS * TILE_COLUMNS
_UNROLL = 2


def _tile_terms(dtype: Any) -> Any:
    """Return the kernel body for numbers of ``dtype``."""

    def tile_terms(
        first, outer_weights, middle, left_spread, right_spread, left_middle, right_middle, row_weights,
        column_weights, outer_linear, row_linear, column_linear, constant, limit, block_limit, by_pixel, sign,
        scales, bounds, modes, direct, parts, powers, constants,
    ):  # fmt: skip
        """Prepare tile ``first`` + block: exp(middle_j), when to split, and the linear part.

        The linear part of each row and column is ``parts`` * 2^``powers`` (T, ROWS + COLUMNS). ``bounds``
        (T, 2, chunks) is scratch: what a chunk can add to the log of a product, and take from it.
        """
        partial = cuda.shared.array(_PARTIAL, FLOAT64)
        thread, t = cuda.threadIdx.x, cuda.blockIdx.x
        outer = first + t
        num_pixels, num_outer = middle.size, outer_linear.size
        for q in range(_SUMS):
            partial[q * THREADS + thread] = 0.0
        cuda.syncthreads()
        chunk = thread
        while chunk < bounds.shape[2]:
            high, low = 0.0, 0.0
            for k in range(CHUNK):
                j = chunk * CHUNK + k
                if j >= num_pixels:
                    scales[t, j] = dtype(0.0)
                    continue
                value = middle[j]
                for i in range(num_outer):
                    if (outer >> i) & 1:
                        value += outer_weights[i, j]
                spread, right = left_spread[j], right_spread[j]
                packed = right <= limit
                up = right if packed else 0.0
                down = -up
                scale = 0.0
                if value - spread - right > SATURATED:  # softplus is the logit
                    partial[thread] -= value - left_middle[j] - right_middle[j]
                    for i in range(ROW_BITS):
                        partial[(1 + i) * THREADS + thread] -= row_weights[i, j]
                    for i in range(COLUMN_BITS):
                        partial[(1 + ROW_BITS + i) * THREADS + thread] -= column_weights[i, j]
                elif value + spread + right >= -SATURATED:
                    if packed and spread <= limit and value + spread <= limit:
                        scale = exp_fast(value)
                        up = max(up, value + spread) + LOG_TWO
                        down = max(down, value - spread)
                    else:
                        partial[_DIRECT * THREADS + thread] = 1.0
                scales[t, j] = dtype(scale)
                high += max(up, 0.0)
                low += min(down, 0.0)
            bounds[t, 0, chunk] = high
            bounds[t, 1, chunk] = low
            chunk += THREADS
        cuda.syncthreads()
        half = THREADS // 2
        while half > 0:
            if thread < half:
                for q in range(_SUMS):
                    partial[q * THREADS + thread] += partial[q * THREADS + thread + half]
            cuda.syncthreads()
            half //= 2
        if thread == 0:
            value = constant + partial[0] + bit_sum(outer_linear, outer)
            constants[t] = -value if sign > 0 else value
            high, low = LOG_TWO, 0.0
            is_direct = 1 if partial[_DIRECT * THREADS] > 0.0 else 0
            for c in range(modes.shape[1]):
                up, down = bounds[t, 0, c], bounds[t, 1, c]
                alone = LOG_TWO + up > block_limit or down < -block_limit
                if alone and not by_pixel:
                    is_direct = 1
                modes[t, c] = GO_ON
                if alone or high + up > block_limit or low + down < -block_limit:
                    modes[t, c] = SPLIT_EACH if alone else SPLIT
                    high, low = LOG_TWO, 0.0
                high += 0.0 if alone else up
                low += 0.0 if alone else down
            direct[t] = is_direct
        if thread < ROWS + COLUMNS:
            value = 0.0
            if thread < ROWS:
                for i in range(ROW_BITS):
                    if (thread >> i) & 1:
                        value += row_linear[i] + partial[(1 + i) * THREADS]
            else:
                for i in range(COLUMN_BITS):
                    if ((thread - ROWS) >> i) & 1:
                        value += column_linear[i] + partial[(1 + ROW_BITS + i) * THREADS]
            value = -value if sign > 0 else value
            power = math.floor(value / LOG_TWO)
            parts[t, thread] = dtype(exp_fast(value - power * LOG_TWO))
            powers[t, thread] = int(power)

    return tile_terms


@device
def _row_of(q, thread):
    """Return the row of a thread's product number ``q``."""
    r = q // np.uint64(TILE_COLUMNS)
    first = np.uint64(2) * (thread // np.uint64(_ACROSS))
    return (r // np.uint64(2)) * np.uint64(_ROW_STEP) + r % np.uint64(2) + first


@device
def _column_of(q, thread):
    """Return the column of a thread's product number ``q``."""
    c = q % np.uint64(TILE_COLUMNS)
    first = np.uint64(2) * (thread % np.uint64(_ACROSS))
    return (c // np.uint64(2)) * np.uint64(_COLUMN_STEP) + c % np.uint64(2) + first


def _multiply(dtype: Any, split: Any, power_of: Any, flush: int, by_pixel: bool) -> Any:
    """Return the kernel body for numbers of ``dtype``."""

    def multiply(
        left, right, scales, modes, direct, parts, powers, constants, num_rows, num_columns, sign,
        in_log_space, tiles, tile_scales,
    ):  # fmt: skip
        """Set tiles (T, ROWS, COLUMNS) to exp(linear) / product over pixels of (left * scale + right).

        They are relative to exp(tile_scales). Where ``sign`` is positive the product multiplies. Where
        ``in_log_space`` tiles are logarithms, relative to 0.

        ``left`` is flat (D, ROWS), ``right`` (D, COLUMNS). States beyond ``num_rows`` and ``num_columns``
        become 0.
        """
        left_panel = cuda.shared.array(_LEFT, dtype, alignment=ALIGNED)
        right_panel = cuda.shared.array(_RIGHT, dtype, alignment=ALIGNED)
        exponents = cuda.shared.array(_STATES, INT32)
        peaks = cuda.shared.array(THREADS, INT32)
        product = cuda.local.array(_PRODUCTS, dtype)
        a = cuda.local.array(TILE_ROWS, dtype)
        b = cuda.local.array(TILE_COLUMNS, dtype)
        t = np.uint64(cuda.blockIdx.x)
        if direct[t] != 0:  # the whole block
            return
        thread = np.uint64(cuda.threadIdx.x)
        # a thread's rows and columns lie in pairs: a pair is one load, and no two threads' loads meet in a
        # bank
        at_row = np.uint64(2) * (thread // np.uint64(_ACROSS))
        at_column = np.uint64(2) * (thread % np.uint64(_ACROSS))
        for r in range(TILE_ROWS):
            for c in range(TILE_COLUMNS):
                product[r, c] = dtype(1.0)
                exponents[np.uint64((r * TILE_COLUMNS + c) * THREADS) + thread] = 0
        num_chunks = np.uint64(modes.shape[1])
        chunk = np.uint64(0)
        while chunk < num_chunks:
            for load in range(_LEFT // THREADS):
                i = np.uint64(load * THREADS) + thread
                scale = scales[t, chunk * np.uint64(CHUNK) + i // np.uint64(ROWS)]
                left_panel[i] = left[chunk * np.uint64(_LEFT) + i] * scale
            for load in range(_RIGHT // THREADS):
                i = np.uint64(load * THREADS) + thread
                right_panel[i] = right[chunk * np.uint64(_RIGHT) + i]
            mode = modes[t, chunk]
            if mode != GO_ON:
                for r in range(TILE_ROWS):
                    for c in range(TILE_COLUMNS):
                        at = np.uint64((r * TILE_COLUMNS + c) * THREADS) + thread
                        # a multiplication (exact), not the mantissa's own bits: those are half of a
                        # register pair, and the compiler then moves all pairs about in the inner loop (30
                        # moves to 128 operations)
                        _, power = split(product[r, c])
                        product[r, c] *= power_of(-power)
                        exponents[at] += power
            cuda.syncthreads()
            if by_pixel and mode == SPLIT_EACH:
                for k in range(CHUNK):
                    for r in range(TILE_ROWS):
                        for c in range(TILE_COLUMNS):
                            row = np.uint64(k * ROWS + (r // 2) * _ROW_STEP + r % 2) + at_row
                            column = np.uint64(k * COLUMNS + (c // 2) * _COLUMN_STEP + c % 2) + at_column
                            at = np.uint64((r * TILE_COLUMNS + c) * THREADS) + thread
                            part, power = split(product[r, c] * (left_panel[row] + right_panel[column]))
                            product[r, c] = part
                            exponents[at] += power
            else:
                row, column = at_row, at_column
                while row < np.uint64(_LEFT):
                    for k in range(_UNROLL):
                        for r in range(_ROW_PAIRS):
                            a[2 * r] = left_panel[row + np.uint64(k * ROWS + r * _ROW_STEP)]
                            a[2 * r + 1] = left_panel[row + np.uint64(k * ROWS + r * _ROW_STEP + 1)]
                        for c in range(_COLUMN_PAIRS):
                            b[2 * c] = right_panel[column + np.uint64(k * COLUMNS + c * _COLUMN_STEP)]
                            b[2 * c + 1] = right_panel[column + np.uint64(k * COLUMNS + c * _COLUMN_STEP + 1)]
                        for r in range(TILE_ROWS):
                            for c in range(TILE_COLUMNS):
                                product[r, c] *= a[r] + b[c]
                    row += np.uint64(_UNROLL * ROWS)
                    column += np.uint64(_UNROLL * COLUMNS)
            cuda.syncthreads()
            chunk += np.uint64(1)
        # the products go to the tile as they are, and are taken up again one at a time: all of what follows
        # in registers at once would not fit beside them
        for r in range(TILE_ROWS):
            for c in range(TILE_COLUMNS):
                row = np.uint64((r // 2) * _ROW_STEP + r % 2) + at_row
                column = np.uint64((c // 2) * _COLUMN_STEP + c % 2) + at_column
                tiles[t, row, column] = product[r, c]
        largest = _NO_POWER
        q = np.uint64(0)
        while q < np.uint64(PER_THREAD):
            row, column = _row_of(q, thread), _column_of(q, thread)
            part, power = split(tiles[t, row, column])
            at = q * np.uint64(THREADS) + thread
            power += exponents[at]
            if sign < 0:
                power = -power
            power += powers[t, row] + powers[t, np.uint64(ROWS) + column]
            weight = parts[t, row] * parts[t, np.uint64(ROWS) + column]
            tiles[t, row, column] = weight / part if sign < 0 else weight * part
            exponents[at] = power
            if row < num_rows and column < num_columns:
                largest = max(largest, power)
            q += np.uint64(1)
        highest = block_max(largest, peaks)
        if thread == 0:
            tile_scales[t] = 0.0 if in_log_space else constants[t] + highest * LOG_TWO
        q = np.uint64(0)
        while q < np.uint64(PER_THREAD):
            row, column = _row_of(q, thread), _column_of(q, thread)
            weight, power = tiles[t, row, column], exponents[q * np.uint64(THREADS) + thread]
            value = dtype(0.0)
            if row < num_rows and column < num_columns:
                if in_log_space:
                    value = dtype(log_fast(np.float64(weight)) + power * LOG_TWO + constants[t])
                elif power - highest >= flush:
                    value = weight * power_of(power - highest)
            tiles[t, row, column] = value
            q += np.uint64(1)

    return multiply


_VECTOR, _MATRIX = array(FLOAT64, 1), array(FLOAT64, 2)


def _declare(name: str, dtype: Any, split: Any, power_of: Any) -> tuple[Any, Any]:
    """Declare the kernels for numbers of ``dtype``."""
    _, _, flush = LIMITS[name]
    suffix = name[-2:]
    panel, tiles = array(dtype, 1), array(dtype, 3)
    terms = kernel(
        INT64, _MATRIX, *(_VECTOR,) * 5, *(_MATRIX,) * 2, *(_VECTOR,) * 3, *(FLOAT64,) * 3, BOOL, INT32,
        array(dtype, 2), array(FLOAT64, 3), array(INT32, 2), array(INT32, 1), array(dtype, 2),
        array(INT32, 2), _VECTOR, threads=THREADS, blocks=2, name=f"tile_terms_{suffix}",
    )(_tile_terms(dtype))  # fmt: skip
    product = kernel(
        panel, panel, array(dtype, 2), array(INT32, 2), array(INT32, 1), array(dtype, 2), array(INT32, 2),
        _VECTOR, INT32, INT32, INT32, BOOL, tiles, _VECTOR,
        threads=THREADS, blocks=2, name=f"multiply_{suffix}",
    )(_multiply(dtype, split, power_of, flush, name == "float32"))  # fmt: skip
    return terms, product


# of each dtype: tile_terms, multiply
KERNELS = {
    "float64": _declare("float64", FLOAT64, split_exponent, power_of_two),
    "float32": _declare("float32", FLOAT32, split_exponent_32, power_of_two_32),
}
