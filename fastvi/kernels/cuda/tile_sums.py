"""Sums over tiles for a batch: u_n^T E v_n for all n, a matrix product with its dot product fused.

u is never stored: with a row number a = 8 h + l, u[a] = low[l] * high[h], and a panel is made of the two
where it passes through shared memory. v likewise, with 64 low values. So a datum has 8 + R/8 + 64 + C/64
numbers in global memory in place of R + C: for 512 x 512 states 144 in place of 1,024.

A *row* is a datum, or under a pair form a datum together with an outer state.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvi.kernels.cuda.target import ALIGNED, FLOAT32, FLOAT64, INT64, array, cuda, kernel
from fastvi.kernels.scalar import exp_fast

LOW_ROWS, LOW_COLUMNS = 8, 64  # rows of a panel, columns of a block
DATA = 128  # rows of the batch that a block of threads takes
THREADS = 256
_TILE_DATA, _TILE_COLUMNS = 8, 4  # of a thread
_ACROSS = LOW_COLUMNS // _TILE_COLUMNS
_DATA_PAIRS, _COLUMN_PAIRS = _TILE_DATA // 2, _TILE_COLUMNS // 2
_DATA_STEP, _COLUMN_STEP = DATA // _DATA_PAIRS, LOW_COLUMNS // _COLUMN_PAIRS
_SUMS = (_TILE_DATA, _TILE_COLUMNS)
_LEFT, _RIGHT, _PARTIAL = LOW_ROWS * DATA, LOW_ROWS * LOW_COLUMNS, DATA * _ACROSS
_LOADS = _LEFT // THREADS
_UNROLL = 2  # of 4 the compiler makes a loop again: 63 % of its inner loop are then arithmetic, of 2 76 %


def _bit_tables(dtype: Any) -> Any:
    """Return the kernel body for numbers of ``dtype``."""

    def bit_tables(
        linear, outer_linear, base, first_bit, row_bits, column_bits, row_width, column_width, tables, scales
    ):
        """Write tables of exp<t, bits> of each row, relative to the largest.

        ``scales`` are base[n] and the logs of those.

        Row n * O + o has t = linear[n, first_bit:] + outer_linear[o]. ``tables`` (numbers, rows): LOW_ROWS
        of the low row bits, 2^(row_width - 3) of the high ones, LOW_COLUMNS of the low column bits,
        2^(column_width - 6) of the high ones; 0 where a state has bits beyond ``row_bits`` or
        ``column_bits``, and in rows beyond the last.
        """
        row = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
        if row >= tables.shape[1]:
            return
        num_outer = outer_linear.shape[0]
        n, o = row // num_outer, row % num_outer
        inside = n < linear.shape[0]
        scale, at, bit = base[n] if inside else 0.0, 0, 0
        for group in range(4):
            bits = 0
            width = 0
            if group == 0:
                bits, width = min(row_bits, 3), 3
            elif group == 1:
                bits, width = max(row_bits - 3, 0), row_width - 3
            elif group == 2:
                bits, width = min(column_bits, 6), 6
            else:
                bits, width = max(column_bits - 6, 0), column_width - 6
            tables[at, row] = dtype(1.0) if inside else dtype(0.0)
            for i in range(width):
                half = 1 << i
                zero, one = dtype(1.0), dtype(0.0)
                if inside and i < bits:
                    value = linear[n, first_bit + bit + i] + outer_linear[o, bit + i]
                    # the exponential of the smaller; 1 for the larger
                    small = dtype(exp_fast(-abs(value)))
                    zero = small if value > 0.0 else dtype(1.0)
                    one = dtype(1.0) if value > 0.0 else small
                    scale += max(value, 0.0)
                for s in range(half):
                    held = tables[at + s, row]
                    tables[at + half + s, row] = held * one
                    tables[at + s, row] = held * zero
            at += 1 << width
            bit += bits
        scales[row] = scale

    return bit_tables


def _tile_sums(dtype: Any) -> Any:
    """Return the kernel body for numbers of ``dtype``."""

    def tile_sums(tables, tiles, sums):
        """Set sums[t, n] to u_n^T tiles[t] v_n.

        Tiles are (T, R, C) with R a multiple of LOW_ROWS and C of LOW_COLUMNS.
        """
        left_panel = cuda.shared.array(_LEFT, dtype, alignment=ALIGNED)
        right_panel = cuda.shared.array(_RIGHT, dtype, alignment=ALIGNED)
        partial = cuda.shared.array(_PARTIAL, dtype)
        total = cuda.local.array(_SUMS, dtype)
        a = cuda.local.array(_TILE_DATA, dtype)
        b = cuda.local.array(_TILE_COLUMNS, dtype)
        low = cuda.local.array(_LOADS, dtype)
        thread = np.uint64(cuda.threadIdx.x)
        first, t = np.uint64(cuda.blockIdx.x) * np.uint64(DATA), np.uint64(cuda.blockIdx.y)
        at_data = np.uint64(2) * (thread // np.uint64(_ACROSS))
        at_column = np.uint64(2) * (thread % np.uint64(_ACROSS))
        high_rows = np.uint64(tiles.shape[1] // LOW_ROWS)
        high_columns = np.uint64(tiles.shape[2] // LOW_COLUMNS)
        columns_at = np.uint64(LOW_ROWS) + high_rows  # of the tables
        mine = at_data * np.uint64(_ACROSS) + thread % np.uint64(_ACROSS)  # of the partial sums
        for r in range(_TILE_DATA):
            partial[mine + np.uint64(((r // 2) * _DATA_STEP + r % 2) * _ACROSS)] = dtype(0.0)
        # a thread fills the panels for one row of the batch, whose low factors it keeps
        own = first + thread % np.uint64(DATA)
        for q in range(_LOADS):
            low[q] = tables[np.uint64(q * (THREADS // DATA)) + thread // np.uint64(DATA), own]
        block = np.uint64(0)
        while block < high_columns:
            for r in range(_TILE_DATA):
                for c in range(_TILE_COLUMNS):
                    total[r, c] = dtype(0.0)
            first_column = block * np.uint64(LOW_COLUMNS)
            panel = np.uint64(0)
            while panel < high_rows:
                high = tables[np.uint64(LOW_ROWS) + panel, own]
                for q in range(_LOADS):
                    left_panel[np.uint64(q * THREADS) + thread] = low[q] * high
                for q in range(_RIGHT // THREADS):
                    at = np.uint64(q * THREADS) + thread
                    row = panel * np.uint64(LOW_ROWS) + at // np.uint64(LOW_COLUMNS)
                    right_panel[at] = tiles[t, row, first_column + at % np.uint64(LOW_COLUMNS)]
                cuda.syncthreads()
                data, column = at_data, at_column
                while data < np.uint64(_LEFT):
                    for k in range(_UNROLL):
                        for r in range(_DATA_PAIRS):
                            a[2 * r] = left_panel[data + np.uint64(k * DATA + r * _DATA_STEP)]
                            a[2 * r + 1] = left_panel[data + np.uint64(k * DATA + r * _DATA_STEP + 1)]
                        for c in range(_COLUMN_PAIRS):
                            b[2 * c] = right_panel[column + np.uint64(k * LOW_COLUMNS + c * _COLUMN_STEP)]
                            b[2 * c + 1] = right_panel[
                                column + np.uint64(k * LOW_COLUMNS + c * _COLUMN_STEP + 1)
                            ]
                        for r in range(_TILE_DATA):
                            for c in range(_TILE_COLUMNS):
                                total[r, c] += a[r] * b[c]
                    data += np.uint64(_UNROLL * DATA)
                    column += np.uint64(_UNROLL * LOW_COLUMNS)
                cuda.syncthreads()
                panel += np.uint64(1)
            for r in range(_TILE_DATA):
                n = first + at_data + np.uint64((r // 2) * _DATA_STEP + r % 2)
                value = dtype(0.0)
                for c in range(_TILE_COLUMNS):
                    column = at_column + np.uint64((c // 2) * _COLUMN_STEP + c % 2)
                    value += total[r, c] * tables[columns_at + column, n]
                value *= tables[columns_at + np.uint64(LOW_COLUMNS) + block, n]
                partial[mine + np.uint64(((r // 2) * _DATA_STEP + r % 2) * _ACROSS)] += value
            block += np.uint64(1)
        cuda.syncthreads()
        if thread < np.uint64(DATA):
            value = 0.0
            for c in range(_ACROSS):
                value += partial[thread * np.uint64(_ACROSS) + np.uint64(c)]
            sums[t, first + thread] = value

    return tile_sums


def _declare(dtype: Any, suffix: str) -> tuple[Any, Any]:
    """Declare the kernels for numbers of ``dtype``."""
    matrix, reals = array(dtype, 2), array(FLOAT64, 2)
    make = kernel(
        reals,
        reals,
        array(FLOAT64, 1),
        *(INT64,) * 5,
        matrix,
        array(FLOAT64, 1),
        threads=THREADS,
        name=f"bit_tables_{suffix}",
    )(_bit_tables(dtype))
    add = kernel(matrix, array(dtype, 3), reals, threads=THREADS, blocks=2, name=f"tile_sums_{suffix}")(
        _tile_sums(dtype)
    )
    return make, add


# of each dtype: bit_tables, tile_sums
KERNELS = {"float64": _declare(FLOAT64, "64"), "float32": _declare(FLOAT32, "32")}
