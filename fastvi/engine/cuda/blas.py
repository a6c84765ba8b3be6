"""The batch as a matrix product of cuBLAS, by CuPy: where FASTVI_CUBLAS=1 asks for it.

float64 only: there tensor cores double the rate of the A100 and the H100, while float32 would gain nothing
but from TF32, whose 10 bits no result could be certified with.

cuBLAS chooses how it sums by the shapes that it is given. They are the same for any data here, whole blocks
of rows, so that a datum has the same bits in any batch (of one card and version of cuBLAS). The price is that
few data take as long as a block does, 1,024 of them under a network; it is asked for, not taken, for this and
because it has never run.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

import numpy as np

from fastvi.engine.cuda.device import Device, Missing
from fastvi.kernels.cuda.dense_sums import ROWS, expand_factors, weigh_columns
from fastvi.kernels.cuda.tile_sums import DATA, LOW_COLUMNS, LOW_ROWS

_MOST_PRODUCTS = 1 << 25  # numbers of U E: 256 MiB
_MOST_ROWS = 1 << 14


def wanted() -> bool:
    """Whether cuBLAS was asked for; RuntimeError where CuPy is not there, ValueError for another word."""
    asked = os.environ.get("FASTVI_CUBLAS", "0")
    if asked not in ("0", "1"):
        raise ValueError(f"FASTVI_CUBLAS must be 0 or 1, got {asked!r}")
    if asked == "1" and find_spec("cupy") is None:
        raise Missing("FASTVI_CUBLAS=1 needs CuPy, which is not installed: pip install cupy-cuda13x")
    return asked == "1"


def block_rows(num_tiles: int, num_columns: int) -> int:
    """Rows of the batch that are multiplied at once, whatever their number."""
    fits = _MOST_PRODUCTS // (num_tiles * num_columns)
    return int(min(_MOST_ROWS, max(1, fits // DATA) * DATA))


def num_bytes(num_tiles: int, num_rows: int, num_columns: int) -> int:
    """Memory beside tables and tiles of shape (num_tiles, num_rows, num_columns)."""
    return 8 * block_rows(num_tiles, num_columns) * (num_rows + num_columns * (1 + num_tiles))


def tile_sums(on: Device, tables: Any, tiles: Any, sums: Any) -> None:
    """sums[t, n] = u_n^T tiles[t] v_n, as the kernel of that name has it."""
    num_tiles, num_rows, num_columns = tiles.shape
    block = block_rows(num_tiles, num_columns)
    left, right = on.empty((block, num_rows), np.float64), on.empty((block, num_columns), np.float64)
    products = on.empty((num_tiles, block, num_columns), np.float64)
    at_columns = LOW_ROWS + num_rows // LOW_ROWS
    for first in range(0, sums.shape[1], block):
        on.launch(expand_factors, block // ROWS, tables, 0, LOW_ROWS, first, left)
        on.launch(expand_factors, block // ROWS, tables, at_columns, LOW_COLUMNS, first, right)
        on.matmul(left, tiles, products)
        on.launch(weigh_columns, (block // ROWS, num_tiles), products, right, first, sums)
