"""Running log-sum-exp of each datum over tiles, and sums in log space beyond the fast path."""

from __future__ import annotations

import math

from fastvi.kernels.bits import bit_sum
from fastvi.kernels.cuda.blocks import block_max
from fastvi.kernels.cuda.target import FLOAT64, INT64, array, cuda, device, kernel
from fastvi.kernels.scalar import add_scaled

THREADS = 256


@device
def merge_block(largest, total, tops, sums):
    """Merge the threads' sums in the order of a tree. Every thread must call."""
    thread = cuda.threadIdx.x
    tops[thread], sums[thread] = largest, total
    cuda.syncthreads()
    half = THREADS // 2
    while half > 0:
        if thread < half:
            top, value = add_scaled(tops[thread], sums[thread], tops[thread + half], sums[thread + half])
            tops[thread], sums[thread] = top, value
        cuda.syncthreads()
        half //= 2
    return tops[0], sums[0]


@kernel(
    array(FLOAT64, 2), array(FLOAT64, 2), array(FLOAT64, 1), INT64, INT64, array(FLOAT64, 2),
    array(FLOAT64, 1), array(FLOAT64, 1), array(FLOAT64, 1), array(FLOAT64, 1), threads=THREADS,
)  # fmt: skip
def merge_tile_sums(sums, row_scales, tile_scales, first, width, outer, base, largest, total, bound):
    """Add tiles ``first``, ... to the running sum of datum ``block``.

    ``bound`` keeps the largest scale of any tile.

    Tile t of datum n is sums[t // width, n * width + t % width] times the exponentials of ``row_scales`` at
    the same place (unless it is empty), of tile_scales[t], base[n] and <outer[n], bits of first + t>.
    """
    tops = cuda.shared.array(THREADS, FLOAT64)  # a line each: the simulator tells them apart by their lines
    totals = cuda.shared.array(THREADS, FLOAT64)
    n, thread = cuda.blockIdx.x, cuda.threadIdx.x
    num_tiles = tile_scales.size
    share = (num_tiles + THREADS - 1) // THREADS  # neighbours in time are one thread's
    top, value, highest = -math.inf, 0.0, -math.inf
    t = thread * share
    while t < min(num_tiles, (thread + 1) * share):
        scale = base[n] + tile_scales[t] + bit_sum(outer[n], first + t)
        if row_scales.shape[0] > 0:
            scale += row_scales[t // width, n * width + t % width]
        highest = max(highest, scale)
        top, value = add_scaled(top, value, scale, sums[t // width, n * width + t % width])
        t += 1
    top, value = merge_block(top, value, tops, totals)
    cuda.syncthreads()
    highest = block_max(highest, tops)
    if thread == 0:
        bound[n] = max(bound[n], highest)
        largest[n], total[n] = add_scaled(largest[n], total[n], top, value)


@kernel(
    array(FLOAT64, 3), array(FLOAT64, 2), INT64, INT64, INT64, array(FLOAT64, 2), INT64, array(FLOAT64, 2),
    array(FLOAT64, 2), threads=THREADS,
)  # fmt: skip
def log_space_sums(log_tiles, linear, first_bit, row_bits, column_bits, outer_linear, width, scales, sums):
    """Sum tile block.x of datum block.y in log space: sums * exp(scales), both (T / width, N * width).

    With ``log_tiles`` of one tile, that tile serves all outer states, and outer_linear[o] is added to the
    coefficients.
    """
    tops = cuda.shared.array(THREADS, FLOAT64)  # a line each: the simulator tells them apart by their lines
    totals = cuda.shared.array(THREADS, FLOAT64)
    t, n, thread = cuda.blockIdx.x, cuda.blockIdx.y, cuda.threadIdx.x
    columns = 1 << column_bits
    tile = t if log_tiles.shape[0] > 1 else 0
    outer = t if outer_linear.shape[0] > 1 else 0
    top, value = -math.inf, 0.0
    s = thread
    while s < columns << row_bits:
        row, column = s // columns, s % columns
        term = log_tiles[tile, row, column]
        for i in range(row_bits):
            if (row >> i) & 1:
                term += linear[n, first_bit + i] + outer_linear[outer, i]
        for i in range(column_bits):
            if (column >> i) & 1:
                term += linear[n, first_bit + row_bits + i] + outer_linear[outer, row_bits + i]
        top, value = add_scaled(top, value, term, 1.0)
        s += THREADS
    top, value = merge_block(top, value, tops, totals)
    if thread == 0:
        scales[t // width, n * width + t % width] = top
        sums[t // width, n * width + t % width] = value
