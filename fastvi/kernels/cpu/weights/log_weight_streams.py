"""Running sums and largest entries of streams of log weights, one stream a datum.

The largest entries of stream n are among values[n, :filled[n]], in any order; entries above lowest[n] are
appended, and a full row is cut to the largest, whose smallest is then lowest[n]. With room for half as many
again as are kept, a cut costs O(1) for each entry appended.

Entries are finite or -inf.
"""

from __future__ import annotations

import math

import numpy as np

from fastvi.kernels.cpu.weights.pareto import excess_size, grid_size, pareto_k_of_tail, tail_length
from fastvi.kernels.cpu.weights.tails import buffer_size, cut_to_largest, largest_entries
from fastvi.kernels.jit import kernel


@kernel
def add_sums(largest, total, squares, more_largest, more_total, more_squares):
    """Add sums of w and w^2, each relative to its own largest weight, to running ones.

    The sum of the smaller scale is the one that is multiplied, so that the two may be exchanged without a
    change of bits.
    """
    for n in range(largest.size):
        high, high_total, high_squares = largest[n], total[n], squares[n]
        low, low_total, low_squares = more_largest[n], more_total[n], more_squares[n]
        if low > high:
            high, high_total, high_squares, low, low_total, low_squares = (
                low,
                low_total,
                low_squares,
                high,
                high_total,
                high_squares,
            )
        factor = math.exp(low - high) if low > -math.inf else 0.0
        largest[n] = high
        total[n] = high_total + factor * low_total
        squares[n] = high_squares + factor * factor * low_squares


@kernel
def collect_largest(log_w, lengths, highest, kept, values, filled, lowest):
    """Take log_w[n, :lengths[n]] into the ``kept`` largest of stream n.

    ``highest[n]`` is at least the largest of them.

    Rows of ``values`` have room for all that is offered, or for more than ``kept`` entries.
    """
    where = np.zeros(values.shape[1], np.int64)  # positions, which nobody asks for
    for n in range(log_w.shape[0]):
        size, limit = filled[n], lowest[n]
        if size >= kept and not highest[n] > limit:
            continue
        row, buffer = log_w[n], values[n]
        for i in range(lengths[n]):
            value = np.float64(row[i])
            if value > limit or size < kept:
                if size == buffer.size:
                    cut_to_largest(buffer, where, size, kept)
                    size, limit = kept, buffer[kept - 1]
                    if not value > limit:
                        continue
                buffer[size] = value
                size += 1
        filled[n], lowest[n] = size, limit


@kernel
def pareto_k_streams(values, filled, num_samples, tail_size, out):
    """Set out[n] to k of stream n from its M + 1 largest entries, M at most ``tail_size``."""
    kept = min(min(tail_length(num_samples), tail_size) + 1, num_samples)
    floats, ints = np.empty(2 * buffer_size(kept)), np.empty(4 * buffer_size(kept), np.int64)
    excess, points = np.empty(excess_size(kept)), np.empty(3 * grid_size(kept))
    exponents = np.empty(grid_size(kept), np.int64)
    for n in range(values.shape[0]):
        largest, _ = largest_entries(values[n, : filled[n]], kept, floats, ints)
        out[n] = pareto_k_of_tail(largest, excess, points, exponents)[0]
