"""Sums of importance weights, row by row, relative to the row's largest weight.

A row is read once: block by block the maximum, then the weights relative to the largest so far, while the
block is in the first-level cache (8 KiB). Where a block has a new maximum, the sums so far are scaled to it.
The last entries, fewer than a step of the loops, are filled up with -inf.

NaN and +inf are not looked for: they make the row's sum NaN, and the caller looks at that.
"""

from __future__ import annotations

import math

import numpy as np

from fastvi.kernels.cpu.simd.denormals import begin_flushing, end_flushing
from fastvi.kernels.cpu.weights.lanes import BLOCK_BYTES, STEP_BYTES, fill_step, largest_of, sums_of
from fastvi.kernels.jit import inline, kernel

LANES = 16


@inline
def segment_sums(row, first, last, step):
    """Return (largest, sum of w, sum of w^2) for w = exp(row[first:last] - largest).

    The result is (-inf, 0, 0) if all are -inf.

    ``step`` is scratch of the row's dtype, as long as a step of the loops.
    """
    kind = row.dtype.type
    largest, total, squares = kind(-np.inf), 0.0, 0.0
    lanes, at = STEP_BYTES // row.itemsize, first
    while at < last:
        steps = min(BLOCK_BYTES // row.itemsize, last - at) // lanes
        block, where = row, at
        if steps == 0:
            fill_step(row, at, last, step[:lanes])
            block, where, steps = step, 0, 1
        top = largest_of(block, where, steps, largest)
        if top > largest:
            factor = math.exp(np.float64(largest) - np.float64(top))
            total *= factor
            squares *= factor * factor
            largest = top
        # -inf - -inf would be NaN; a shift of 0 lets a NaN through
        more, more_squares = sums_of(block, where, steps, largest if largest > -np.inf else kind(0.0))
        total += more
        squares += more_squares
        at += steps * lanes
    # weights of 0 count as e^-708 each, which is nothing beside a 1; without that 1 the sum is 0, or NaN
    scale = 1.0 if largest > -np.inf else 0.0
    return np.float64(largest), scale * total, scale * squares


@kernel
def weight_sums(log_w, largest, total, squares):
    """Write each row's largest log weight and the sums of w and w^2 for w = exp(log_w - largest).

    ``log_w`` is (N, K). Where it is float32, so are the exponentials: the sums are within 3e-7 of themselves.

    From these: log mean = largest + log(total / K), effective sample size = total^2 / squares, the largest
    weight's share = 1 / total (the largest weight is 1 here), and squared relative error of the mean =
    (squares / total^2 - 1 / K) K / (K - 1).
    """
    step = np.empty(STEP_BYTES // log_w.itemsize, log_w.dtype)
    before = begin_flushing()  # squares of small weights are denormal
    for n in range(log_w.shape[0]):
        largest[n], total[n], squares[n] = segment_sums(log_w[n], 0, log_w.shape[1], step)
    end_flushing(before)
