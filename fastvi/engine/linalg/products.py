"""C = A B + bias in float64 by our own kernels.

The same bits for any number of threads, which no BLAS promises.

Measured on two Zen 1 cores, (2^14, 200) times (200, 784), packing included: 14.6 * 10^9 multiply-adds a
second on two threads and 8.0 on one, 88 % and 94 % of OpenBLAS's dgemm.
"""

from __future__ import annotations

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.run.threads import parallel_map
from fastvi.kernels.cpu.dense.products import ROWS, pack_columns, pack_rows, product
from fastvi.kernels.host import COLUMNS

_LEFT_NUMBERS = 1 << 15  # of a block of rows: 256 KiB, half of the second-level cache


def panel_columns(dtype: str) -> int:
    """Columns of a panel, whose rows are as many bytes in both types."""
    return COLUMNS if dtype == "float64" else 2 * COLUMNS


def padded_bias(bias: Array | None, num_columns: int, padding: float = 0.0, dtype: str = "float64") -> Array:
    """``bias``, or zeros, in whole panels of columns."""
    width = panel_columns(dtype)
    out = np.full(-(-num_columns // width) * width, padding, dtype)
    out[:num_columns] = 0.0 if bias is None else bias
    return out


def packed_columns(b: Array, dtype: str = "float64") -> Array:
    """(K, N) as panels of columns."""
    width = panel_columns(dtype)
    out = np.empty(-(-b.shape[1] // width) * width * b.shape[0], dtype)
    pack_columns(np.ascontiguousarray(b), out)
    return out


def packed_rows(a: Array) -> Array:
    """(M, K) as panels of rows."""
    out = np.empty(-(-a.shape[0] // ROWS) * ROWS * a.shape[1])
    pack_rows(np.ascontiguousarray(a), out)
    return out


def row_block(depth: int) -> int:
    """Rows that are multiplied together, whose panels stay in the second-level cache."""
    return max(8, min(256, _LEFT_NUMBERS // max(1, depth) // ROWS * ROWS))


class Packed:
    """B and a bias, packed once for many products. Those of float32 are for kernels, not for ``product``."""

    def __init__(
        self, b: Array, bias: Array | None = None, *, padding: float = 0.0, dtype: str = "float64"
    ) -> None:
        self.depth, self.num_columns = b.shape
        self.columns = packed_columns(b, dtype)
        self.bias = padded_bias(bias, self.num_columns, padding, dtype)

    def product(self, a: Array) -> Array:
        """A B + bias, in this thread."""
        out = np.empty((len(a), self.num_columns))
        step = row_block(self.depth)
        for first in range(0, len(a), step):
            rows = slice(first, first + step)
            product(packed_rows(a[rows]), self.columns, self.bias, self.depth, out[rows])
        return out


def matmul(a: Array, b: Array, bias: Array | None = None) -> Array:
    """A B + bias for A (M, K), B (K, N) and bias (N,), on all threads."""
    packed = Packed(b, bias)
    out = np.empty((len(a), packed.num_columns))
    step = row_block(packed.depth)

    def task(first: int) -> None:
        rows = slice(first, first + step)
        product(packed_rows(a[rows]), packed.columns, packed.bias, packed.depth, out[rows])

    parallel_map(task, range(0, len(a), step), 1.0 * a.size * packed.num_columns)
    return out
