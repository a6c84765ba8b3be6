"""Sums of importance weights, row by row: one pass, relative to the largest weight so far."""

from __future__ import annotations

import math
from typing import Any

from fastvi.kernels.cuda.target import FLOAT32, FLOAT64, INT64, array, cuda, device, kernel
from fastvi.kernels.scalar import exp_of_negative

THREADS = 256
SEGMENT = 1 << 14  # weights of a block


@device
def merge(top, total, squares, other_top, other_total, other_squares):
    """Return sums relative to the larger of two largest weights; NaN stays."""
    if other_top == -math.inf:
        return top, total + other_total, squares + other_squares
    if other_top > top:
        factor = exp_of_negative(top - other_top) if top > -math.inf else 0.0
        return other_top, total * factor + other_total, squares * factor * factor + other_squares
    factor = exp_of_negative(other_top - top)
    return top, total + other_total * factor, squares + other_squares * factor * factor


@device
def merge_block(top, total, squares, lowest, tops, totals, all_squares, lows):
    """Merge the threads' sums and smallest weights in the order of a tree."""
    thread = cuda.threadIdx.x
    tops[thread], totals[thread], all_squares[thread], lows[thread] = top, total, squares, lowest
    cuda.syncthreads()
    half = THREADS // 2
    while half > 0:
        if thread < half:
            other = thread + half
            a, b, c = merge(
                tops[thread],
                totals[thread],
                all_squares[thread],
                tops[other],
                totals[other],
                all_squares[other],
            )
            tops[thread], totals[thread], all_squares[thread] = a, b, c
            lows[thread] = min(lows[thread], lows[other])
        cuda.syncthreads()
        half //= 2


def _weight_sums(log_w, largest, total, squares, smallest):
    """Write the largest log weight, the sums of w and w^2 relative to it, and the smallest of a segment.

    The segment is number block.x of row block.y.

    NaN and +inf make the sum NaN. Each output is (rows, segments).
    """
    tops = cuda.shared.array(THREADS, FLOAT64)
    totals = cuda.shared.array(THREADS, FLOAT64)
    all_squares = cuda.shared.array(THREADS, FLOAT64)
    lows = cuda.shared.array(THREADS, FLOAT64)
    n, segment, thread = cuda.blockIdx.y, cuda.blockIdx.x, cuda.threadIdx.x
    last = min((segment + 1) * SEGMENT, log_w.shape[1])
    top, sum_1, sum_2, lowest = -math.inf, 0.0, 0.0, math.inf
    k = segment * SEGMENT + thread
    while k < last:
        value = float(log_w[n, k])
        lowest = min(lowest, value)
        if not value < math.inf:
            sum_1 = math.nan
        elif value > top:
            factor = exp_of_negative(top - value) if top > -math.inf else 0.0
            sum_1, sum_2, top = sum_1 * factor + 1.0, sum_2 * factor * factor + 1.0, value
        elif value > -math.inf:
            weight = exp_of_negative(value - top)
            sum_1 += weight
            sum_2 += weight * weight
        k += THREADS
    merge_block(top, sum_1, sum_2, lowest, tops, totals, all_squares, lows)
    if thread == 0:
        largest[n, segment], total[n, segment] = tops[0], totals[0]
        squares[n, segment], smallest[n, segment] = all_squares[0], lows[0]


_MATRIX, _VECTOR = array(FLOAT64, 2), array(FLOAT64, 1)
WEIGHT_SUMS: dict[str, Any] = {
    name: kernel(array(dtype, 2), *(_MATRIX,) * 4, threads=THREADS, name=f"weight_sums_{name[-2:]}")(
        _weight_sums
    )
    for name, dtype in (("float64", FLOAT64), ("float32", FLOAT32))
}


@kernel(*(_MATRIX,) * 4, *(_VECTOR,) * 4, threads=THREADS)
def add_segments(
    largest, total, squares, smallest, running, running_total, running_squares, running_smallest
):
    """Add the segments of row ``block`` to running sums."""
    tops = cuda.shared.array(THREADS, FLOAT64)
    totals = cuda.shared.array(THREADS, FLOAT64)
    all_squares = cuda.shared.array(THREADS, FLOAT64)
    lows = cuda.shared.array(THREADS, FLOAT64)
    n, thread = cuda.blockIdx.x, cuda.threadIdx.x
    top, sum_1, sum_2, lowest = -math.inf, 0.0, 0.0, math.inf
    segment = thread
    while segment < largest.shape[1]:
        top, sum_1, sum_2 = merge(
            top, sum_1, sum_2, largest[n, segment], total[n, segment], squares[n, segment]
        )
        lowest = min(lowest, smallest[n, segment])
        segment += THREADS
    merge_block(top, sum_1, sum_2, lowest, tops, totals, all_squares, lows)
    if thread == 0:
        top, sum_1, sum_2 = merge(
            running[n], running_total[n], running_squares[n], tops[0], totals[0], all_squares[0]
        )
        running[n], running_total[n], running_squares[n] = top, sum_1, sum_2
        running_smallest[n] = min(running_smallest[n], lows[0])


def _collect_above(log_w, lowest, found, counts):
    """Collect the entries of row block.y above lowest[row] in found[row], in any order.

    It takes as many as found[row] holds; ``counts`` says how many there are.
    """
    n, k = cuda.blockIdx.y, cuda.blockIdx.x * THREADS + cuda.threadIdx.x
    if k >= log_w.shape[1]:
        return
    value = float(log_w[n, k])
    if value > lowest[n]:
        place = cuda.atomic.add(counts, n, 1)
        if place < found.shape[1]:
            found[n, place] = value


COLLECT: dict[str, Any] = {
    name: kernel(
        array(dtype, 2), _VECTOR, _MATRIX, array(INT64, 1), threads=THREADS, name=f"collect_above_{name[-2:]}"
    )(_collect_above)
    for name, dtype in (("float64", FLOAT64), ("float32", FLOAT32))
}
