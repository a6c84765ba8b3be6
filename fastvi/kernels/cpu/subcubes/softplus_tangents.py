"""Tangents of subcubes of which nothing is known but the fixed bits; formulas stand in ``softplus_nodes``."""

from __future__ import annotations

import math

import numpy as np

from fastvi.kernels.cpu.subcubes.softplus_nodes import (
    FARTHEST,
    LONGEST,
    PIXELS,
    apply_inverse,
    bound_at,
    curvature,
    factorise,
    invert,
    place_subcube,
)
from fastvi.kernels.jit import reducing_kernel

_NEAR = 1e-3  # nats from the best tangent, where it ends
# From the whole cube's tangent point, digits under 24 to 50 latents take two to five matrices, mostly three.
_MATRICES, _HALVINGS = 12, 6


@reducing_kernel
def bound_nodes(rows, bias, linear, constants, members, states, logits, upper, fields):
    """Bound subcubes by tangents near the best ones.

    Parameters
    ----------
    rows : (f, D), W transposed
    bias : (D,)
    linear, constants : (N, f) and (N,), t(x) and c(x)
    members : (n,), the datum of each subcube
    states : (n, f) int8, -1 where a bit is free
    logits : (N, f), where all subcubes of a datum begin
    upper : (n,), set
    fields : (n, f), set to t - W' g of the tangent: what is summed under it is a product of coins that have
        these logits. -inf and inf where a bit is fixed to 0 and to 1
    """
    num_bits, num_pixels = rows.shape
    base, slopes = np.empty(num_pixels), np.empty(num_pixels)
    scaled = np.empty((num_bits, min(PIXELS, num_pixels)))
    matrix, factor, inverse = np.empty((3, num_bits, num_bits))
    free = np.empty(num_bits, np.int64)
    q, at, field, root_v, right, step, work, more, best = np.empty((9, num_bits))
    for n in range(members.size):
        t = linear[members[n]]
        num_free, constant = place_subcube(rows, bias, t, constants[members[n]], states[n], base, free)
        for i in range(num_bits):
            fields[n, i] = 0.0 if states[n, i] < 0 else math.inf if states[n, i] > 0 else -math.inf
        for k in range(num_free):
            start = logits[members[n], free[k]]
            best[k] = at[k] = min(max(start, -FARTHEST), FARTHEST)
            step[k] = 0.0
        upper[n] = math.inf
        value, length, tries, matrices = -math.inf, 1.0, 0, 0
        while True:
            found, away = bound_at(base, rows, free, num_free, t, constant, at, -1, 0.0, q, slopes, field)
            if found < upper[n]:
                upper[n] = found
                for k in range(num_free):
                    fields[n, free[k]] = field[k]
            if found - away > value:
                if away < _NEAR or matrices == _MATRICES:
                    break
                value, length, tries, matrices = found - away, 1.0, 0, matrices + 1
                curvature(rows, free, num_free, slopes, scaled, matrix)
                for k in range(num_free):
                    best[k], right[k] = at[k], field[k] - at[k]
                    root_v[k] = math.sqrt(q[k] * (1.0 - q[k]))
                    more[k] = root_v[k] * right[k]
                factorise(matrix, num_free, root_v, factor)
                invert(factor, num_free, inverse)
                apply_inverse(inverse, num_free, more, work, step)
                for k in range(num_free):
                    more[k] = root_v[k] * step[k]
                longest = 0.0
                for k in range(num_free):
                    row, total = matrix[k], 0.0
                    for i in range(num_free):
                        total += row[i] * more[i]
                    step[k] = right[k] - total
                    longest = max(longest, abs(step[k]))
                if longest > LONGEST:
                    length = LONGEST / longest
            else:  # F did not grow
                length, tries = 0.5 * length, tries + 1
                if tries > _HALVINGS:
                    break
            for k in range(num_free):
                at[k] = min(max(best[k] + length * step[k], -FARTHEST), FARTHEST)
