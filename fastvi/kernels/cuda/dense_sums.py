"""Kernels around a matrix product of cuBLAS: u_n^T E v_n with u, v and U E in global memory.

Tables hold u and v as two factors (``tile_sums.py``); here they are multiplied out.
"""

from __future__ import annotations

from typing import Any

from fastvi.kernels.cuda.target import FLOAT64, INT64, array, cuda, kernel

THREADS = 256
_WARP = 32
ROWS = THREADS // _WARP  # of a block: neighbours share the sectors that they read of the tables

_MATRIX = array(FLOAT64, 2)


@kernel(_MATRIX, INT64, INT64, INT64, _MATRIX, threads=THREADS)
def expand_factors(tables: Any, at: Any, low: Any, first: Any, out: Any) -> None:
    """Multiply the two factors of u or v out: out[m, a] of row n = first + m, 0 beyond the last.

    out[m, a] = tables[at + a % low, n] * tables[at + low + a // low, n].
    """
    m = cuda.blockIdx.x * ROWS + cuda.threadIdx.x // _WARP
    if m >= out.shape[0]:
        return
    inside = first + m < tables.shape[1]
    for a in range(cuda.threadIdx.x % _WARP, out.shape[1], _WARP):
        out[m, a] = (
            tables[at + a % low, first + m] * tables[at + low + a // low, first + m] if inside else 0.0
        )


@kernel(array(FLOAT64, 3), _MATRIX, INT64, _MATRIX, threads=THREADS)
def weigh_columns(products: Any, columns: Any, first: Any, sums: Any) -> None:
    """Set sums[t, first + m] to sum_c products[t, m, c] * columns[m, c], of rows that ``sums`` has."""
    partial = cuda.shared.array(THREADS, FLOAT64)
    thread = cuda.threadIdx.x
    m, t = cuda.blockIdx.x * ROWS + thread // _WARP, cuda.blockIdx.y
    total = 0.0
    if m < columns.shape[0]:
        for c in range(thread % _WARP, columns.shape[1], _WARP):
            total += products[t, m, c] * columns[m, c]
    partial[thread] = total
    cuda.syncthreads()
    if thread % _WARP == 0 and m < columns.shape[0] and first + m < sums.shape[1]:
        for lane in range(1, _WARP):
            total += partial[thread + lane]
        sums[t, first + m] = total
