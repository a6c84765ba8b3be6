"""Tiles with a pixel that no product can hold: summed in log space, with an exponential a term."""

from __future__ import annotations

import math
from typing import Any

from fastvi.kernels.bits import bit_sum
from fastvi.kernels.cuda.blocks import block_max
from fastvi.kernels.cuda.softplus_product import COLUMN_BITS, COLUMNS, LIMITS, PER_THREAD, ROW_BITS, THREADS
from fastvi.kernels.cuda.target import BOOL, FLOAT32, FLOAT64, INT32, INT64, array, cuda, kernel
from fastvi.kernels.scalar import LOG_TWO, exp_fast, softplus


def _add_direct(dtype: Any, flush: int) -> Any:
    """Return the kernel body for numbers of ``dtype``."""

    def add_direct(
        direct, first, bias, outer_weights, row_weights, column_weights, outer_linear, row_linear,
        column_linear, num_rows, num_columns, sign, in_log_space, tiles, tile_scales,
    ):  # fmt: skip
        """Fill the tiles that ``multiply`` leaves out, state by state.

        softplus(eta) = max(eta, 0) + log(1 + exp(-|eta|)).
        """
        peaks = cuda.shared.array(THREADS, FLOAT64)
        values = cuda.local.array(PER_THREAD, FLOAT64)
        t = cuda.blockIdx.x
        if direct[t] == 0:  # the whole block
            return
        thread, outer = cuda.threadIdx.x, first + t
        largest = -math.inf
        for k in range(PER_THREAD):
            row, column = (k * THREADS + thread) // COLUMNS, (k * THREADS + thread) % COLUMNS
            value = bit_sum(outer_linear, outer) + bit_sum(row_linear, row) + bit_sum(column_linear, column)
            for j in range(bias.size):
                eta = bias[j]
                for i in range(outer_linear.size):
                    if (outer >> i) & 1:
                        eta += outer_weights[i, j]
                for i in range(ROW_BITS):
                    if (row >> i) & 1:
                        eta += row_weights[i, j]
                for i in range(COLUMN_BITS):
                    if (column >> i) & 1:
                        eta += column_weights[i, j]
                value -= softplus(eta)
            value = -value if sign > 0 else value
            values[k] = value
            if row < num_rows and column < num_columns:
                largest = max(largest, value)
        largest = block_max(largest, peaks)
        largest = 0.0 if in_log_space else largest
        if thread == 0:
            tile_scales[t] = largest
        for k in range(PER_THREAD):
            row, column = (k * THREADS + thread) // COLUMNS, (k * THREADS + thread) % COLUMNS
            value = 0.0
            if row < num_rows and column < num_columns:
                value = values[k]
                if not in_log_space:
                    value = exp_fast(value - largest) if value - largest >= flush * LOG_TWO else 0.0
            tiles[t, row, column] = dtype(value)

    return add_direct


_VECTOR, _MATRIX = array(FLOAT64, 1), array(FLOAT64, 2)


def _declare(name: str, dtype: Any) -> Any:
    """Declare the kernel for numbers of ``dtype``."""
    return kernel(
        array(INT32, 1), INT64, _VECTOR, *(_MATRIX,) * 3, *(_VECTOR,) * 3, INT32, INT32, INT32, BOOL,
        array(dtype, 3), _VECTOR, threads=THREADS, blocks=1, name=f"add_direct_{name[-2:]}",
    )(_add_direct(dtype, LIMITS[name][2]))  # fmt: skip


KERNELS = {"float64": _declare("float64", FLOAT64), "float32": _declare("float32", FLOAT32)}
