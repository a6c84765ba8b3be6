"""The batch as a matrix product of cuBLAS, by CuPy: where FASTVI_CUBLAS=1 asks for it.

float64 only: there tensor cores double the rate of the A100 and the H100, while float32 would gain nothing
but from TF32, whose 10 bits no result could be certified with.

cuBLAS chooses how it sums by the shapes that it is given. They are the same for any data here, whole blocks
of rows, so that a datum has the same bits in any batch (of one card and version of cuBLAS). The price is that
few data take as long as a block does, 1,024 of them under a network of 22 latents or more (4,096 at 20,
16,384 at 18 and fewer); it is asked for, not taken, for this and because it has never run.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import Any

import numpy as np

from fastvi.engine.cuda.device import Device, MissingDeviceError
from fastvi.kernels.cuda.dense_sums import ROWS, expand_factors, weigh_columns
from fastvi.kernels.cuda.tile_sums import DATA, LOW_COLUMNS, LOW_ROWS

_MOST_PRODUCTS = 1 << 25  # numbers of U E: 256 MiB
_MOST_ROWS = 1 << 14


def wanted() -> bool:
    """Whether cuBLAS was asked for; RuntimeError where CuPy is not there, ValueError for another word."""
    asked = os.environ.get("FASTVI_CUBLAS", "0")
    if asked not in ("0", "1"):
        raise ValueError(f"FASTVI_CUBLAS must be 0 or 1, got {asked!r}")
    if asked == "1" and "cupy" not in sys.modules and find_spec("cupy") is None:
        raise MissingDeviceError(
            "FASTVI_CUBLAS=1 needs CuPy, which is not installed: pip install cupy-cuda13x, or cupy-cuda12x"
        )
    return asked == "1"


def block_rows(num_tiles: int, num_columns: int) -> int:
    """Rows of the batch that are multiplied at once, whatever their number."""
    fits = _MOST_PRODUCTS // (num_tiles * num_columns)
    return int(min(_MOST_ROWS, max(1, fits // DATA) * DATA))


def num_bytes(num_tiles: int, num_rows: int, num_columns: int) -> int:
    """Memory beside tables and tiles of shape (num_tiles, num_rows, num_columns)."""
    return 8 * block_rows(num_tiles, num_columns) * (num_rows + num_columns * (1 + num_tiles))


class BlasSums:
    """sums[t, n] = u_n^T tiles[t] v_n of tiles of one shape (T, R, C), as the kernel ``tile_sums`` has it.

    It holds what a block needs, for all launches of one wave: 256 MiB take longer to be had than to be
    multiplied.
    """

    def __init__(self, on: Device, num_tiles: int, num_rows: int, num_columns: int) -> None:
        self._on, self._block = on, block_rows(num_tiles, num_columns)
        self._left = on.empty((self._block, num_rows), np.float64)
        self._right = on.empty((self._block, num_columns), np.float64)
        self._products = on.empty((num_tiles, self._block, num_columns), np.float64)

    def __call__(self, tables: Any, tiles: Any, sums: Any) -> None:
        on, blocks = self._on, self._block // ROWS
        num_tiles, num_rows, _ = tiles.shape
        at_columns = LOW_ROWS + num_rows // LOW_ROWS
        for first in range(0, sums.shape[1], self._block):
            on.launch(expand_factors, blocks, tables, 0, LOW_ROWS, first, self._left)
            on.launch(expand_factors, blocks, tables, at_columns, LOW_COLUMNS, first, self._right)
            on.matmul(self._left, tiles, self._products)
            on.launch(weigh_columns, (blocks, num_tiles), self._products, self._right, first, sums)
