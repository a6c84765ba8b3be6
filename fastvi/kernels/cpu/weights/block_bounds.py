"""Log mean weights of blocks of several sizes, averaged over the blocks of a row.

Where the finite log weights of a row lie within 600 nats, all weights relative to the row's largest are
normal numbers, so that their sums keep all digits whatever the scale of a block. Their exponentials are then
taken once for all sizes, 512 at a time, and a block costs additions and a logarithm. Other rows are summed
block by block, each relative to its own largest.

NaN and +inf make the results of their row NaN, wherever they are.
"""

from __future__ import annotations

import math

import numpy as np

from fastvi.kernels.cpu.weights.log_weights import LANES, segment_sums
from fastvi.kernels.jit import inline, kernel, reducing_kernel
from fastvi.kernels.scalar import exp_of_negative, log_fast

_CHUNK = 512
_SPREAD = 600.0


@inline
def _ends(row, lanes):
    """Return the largest entry and the smallest that is not -inf, lane by lane.

    They are (-inf, inf) for -inf alone.
    """
    for c in range(LANES):
        lanes[c], lanes[LANES + c] = -math.inf, math.inf
    panels = row.size // LANES
    for panel in range(panels):
        for c in range(LANES):
            value = np.float64(row[panel * LANES + c])
            lanes[c] = value if value > lanes[c] else lanes[c]
            finite = value if value > -math.inf else math.inf
            lanes[LANES + c] = finite if finite < lanes[LANES + c] else lanes[LANES + c]
    largest, smallest = -math.inf, math.inf
    for i in range(panels * LANES, row.size):
        value = np.float64(row[i])
        largest = value if value > largest else largest
        finite = value if value > -math.inf else math.inf
        smallest = finite if finite < smallest else smallest
    for c in range(LANES):
        largest = lanes[c] if lanes[c] > largest else largest
        smallest = lanes[LANES + c] if lanes[LANES + c] < smallest else smallest
    return largest, smallest


@inline
def _weights(row, first, count, shift, out):
    """Set out to exp(row[first : first + count] - shift)."""
    for i in range(count):
        out[i] = exp_of_negative(np.float64(row[first + i]) - shift)


@reducing_kernel
def _sum(values, first, count):
    """Return the sum of ``count`` values."""
    total = 0.0
    for i in range(count):
        total += values[first + i]
    return total


@reducing_kernel
def _sum_log(values, count):
    """Return the sum of the logs of ``count`` values."""
    total = 0.0
    for i in range(count):
        total += log_fast(values[i])
    return total


@inline
def _means_of_blocks(weights, count, size, partial, filled, means):
    """Go on with blocks of ``size`` and write the means of completed ones to ``means``.

    ``partial`` is the sum of the ``filled`` entries of the block that has begun. Returns both, and how many
    blocks were completed.
    """
    done = i = 0
    while i < count:
        take = min(size - filled, count - i)
        partial += _sum(weights, i, take)
        i += take
        filled += take
        if filled == size:
            means[done] = partial / size
            done += 1
            partial, filled = 0.0, 0
    return partial, filled, done


@inline
def _near_bounds(row, shift, sizes, partial, filled, weights, means, out):
    """Bound a row whose weights are normal numbers relative to ``shift``, for all sizes at once."""
    for s in range(sizes.size):
        partial[s], filled[s], out[s] = 0.0, 0, 0.0
    for first in range(0, row.size, _CHUNK):
        count = min(_CHUNK, row.size - first)
        _weights(row, first, count, shift, weights)
        for s in range(sizes.size):
            partial[s], filled[s], done = _means_of_blocks(
                weights, count, sizes[s], partial[s], filled[s], means
            )
            out[s] += _sum_log(means, done)
    for s in range(sizes.size):
        # what fills no block has no part in the bound, but a NaN among it is one
        out[s] = shift + out[s] / (row.size // sizes[s]) if partial[s] == partial[s] else math.nan


@inline
def _far_bound(row, size, lanes):
    """Return the bound of a row block by block, each relative to its own largest weight."""
    bounds, num_blocks = 0.0, row.size // size
    for block in range(num_blocks):
        first = block * size
        largest, total, _ = segment_sums(row, first, first + size, lanes)
        # a block of -inf alone has total 0; math.log(0) is an error in plain Python
        bounds += largest + math.log(total / size) if total != 0.0 else -math.inf
    _, unused, _ = segment_sums(row, num_blocks * size, row.size, lanes)
    return bounds / num_blocks if unused == unused else math.nan


@kernel
def mean_block_bounds(log_w, sizes, out):
    """Set out[n, s] to the log mean exp of whole blocks of sizes[s] entries, averaged over row n."""
    lanes = np.empty(2 * LANES)
    partial, filled = np.empty(sizes.size), np.empty(sizes.size, np.int64)
    weights, means = np.empty(_CHUNK), np.empty(_CHUNK)
    for n in range(log_w.shape[0]):
        row = log_w[n]
        largest, smallest = _ends(row, lanes)
        # of -inf alone smallest is inf, and a shift of 0 lets a NaN through
        if smallest >= largest - _SPREAD:
            shift = largest if largest > -math.inf else 0.0
            _near_bounds(row, shift, sizes, partial, filled, weights, means, out[n])
        else:
            for s in range(sizes.size):
                out[n, s] = _far_bound(row, sizes[s], lanes)
