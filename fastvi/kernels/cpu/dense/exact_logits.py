"""Logits W z + b of bits, as if every addition were exact and only the result were rounded.

A running sum is kept as numbers that do not overlap, none of which loses a digit (Shewchuk 1997, "Adaptive
precision floating-point arithmetic and fast robust geometric predicates", section 2; as ``math.fsum`` does):
1e20 + 1 - 1e20 is 1.
"""

from __future__ import annotations

import numpy as np

from fastvi.kernels.jit import inline, kernel


@inline
def _grow(parts, count, value):
    """Add ``value`` to the sum of the first ``count`` parts, smallest first; return their new number."""
    kept = 0
    for i in range(count):
        part = parts[i]
        if abs(value) < abs(part):
            value, part = part, value
        high = value + part
        low = part - (high - value)
        if low != 0.0:
            parts[kept] = low
            kept += 1
        value = high
    parts[kept] = value
    return kept + 1


@kernel
def exact_logits(z, weights, bias, out):
    """Set out (S, D) to z W^T + b to a unit in the last place, for bits z (S, d) float64 and W (D, d)."""
    parts = np.empty(z.shape[1] + 1)
    for s in range(z.shape[0]):
        for j in range(bias.size):
            parts[0] = bias[j]
            count = 1
            for i in range(z.shape[1]):
                if z[s, i] != 0.0 and weights[j, i] != 0.0:
                    count = _grow(parts, count, weights[j, i])
            total = 0.0
            for i in range(count - 1, -1, -1):
                total += parts[i]
            out[s, j] = total
