"""Sums of importance weights, row by row, relative to the row's largest weight.

A row is read once: block by block the maximum, then the weights relative to the largest so far, while the
block is in the first-level cache (512 float64 are 4 KiB). Where a block has a new maximum, the sums so far
are scaled to it.

NaN and +inf are not looked for: they make the row's sum NaN, and the caller looks at that.
"""

from __future__ import annotations

import math

import numpy as np

from fastvi.kernels.jit import inline, kernel, reducing_kernel
from fastvi.kernels.scalar import exp_of_negative

_BLOCK = 512
LANES = 16


@inline
def _block_max(block, largest, lanes):
    """Return the largest of ``largest`` and the block.

    Lane by lane, as a single running maximum does not vectorise.
    """
    for c in range(LANES):
        lanes[c] = largest
    panels = block.size // LANES
    for panel in range(panels):
        for c in range(LANES):
            value = np.float64(block[panel * LANES + c])
            lanes[c] = value if value > lanes[c] else lanes[c]
    for i in range(panels * LANES, block.size):
        value = np.float64(block[i])
        largest = value if value > largest else largest
    for c in range(LANES):
        largest = lanes[c] if lanes[c] > largest else largest
    return largest


@reducing_kernel
def _block_sums(block, shift):
    """Return the sums of w and w^2 for w = exp(block - shift).

    The loop begins at 0: from an unknown start, an index could be negative, and Numba's wrapping of those
    makes gathers.
    """
    total = squares = 0.0
    for i in range(block.size):
        weight = exp_of_negative(np.float64(block[i]) - shift)
        total += weight
        squares += weight * weight
    return total, squares


@inline
def segment_sums(row, first, last, lanes):
    """Return (largest, sum of w, sum of w^2) for w = exp(row[first:last] - largest).

    The result is (-inf, 0, 0) if all are -inf.

    ``lanes`` is scratch of LANES float64.
    """
    largest, total, squares = -math.inf, 0.0, 0.0
    for start in range(first, last, _BLOCK):
        block = row[start : min(start + _BLOCK, last)]
        top = _block_max(block, largest, lanes)
        if top > largest:
            factor = math.exp(largest - top)
            total *= factor
            squares *= factor * factor
            largest = top
        # -inf - -inf would be NaN; a shift of 0 gives weights of 0 and lets a NaN through
        block_total, block_squares = _block_sums(block, largest if largest > -math.inf else 0.0)
        total += block_total
        squares += block_squares
    return largest, total, squares


@kernel
def weight_sums(log_w, largest, total, squares):
    """Write each row's largest log weight and the sums of w and w^2 for w = exp(log_w - largest).

    ``log_w`` is (N, K).

    From these: log mean = largest + log(total / K), effective sample size = total^2 / squares, the largest
    weight's share = 1 / total (the largest weight is 1 here), and squared relative error of the mean =
    (squares / total^2 - 1 / K) K / (K - 1).
    """
    lanes = np.empty(LANES)
    for n in range(log_w.shape[0]):
        largest[n], total[n], squares[n] = segment_sums(log_w[n], 0, log_w.shape[1], lanes)
