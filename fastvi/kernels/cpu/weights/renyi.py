"""Power means of importance weights, row by row, without cancellation where the power is near 0.

t is the power and d = log w - anchor; the anchor is the largest log weight or the smallest, so that t d <= 0.
s is the largest |t d| of a row, s / |t| its spread. Where s <= 1, log(mean exp(t d)) / t is computed as
log1p(mean expm1(t d)) / t: the terms have one sign and are at most 1 - 1/e in size, hence a relative error of
a few 2^-53, an absolute one of that times the spread. Where s > 1, an error of a few 2^-53 of the logarithm
is less than that times the spread after the division by t.
"""

from __future__ import annotations

import math

import numpy as np

from fastvi.kernels.jit import kernel, reducing_kernel
from fastvi.kernels.scalar import exp_of_negative


@reducing_kernel
def _mean_difference(row, anchor):
    """Return the mean of log w - anchor."""
    total = 0.0
    for i in range(row.size):
        total += np.float64(row[i]) - anchor
    return total / row.size


@reducing_kernel
def _mean_exp(row, anchor, power):
    """Return the mean of exp(power (log w - anchor))."""
    total = 0.0
    for i in range(row.size):
        total += exp_of_negative(power * (np.float64(row[i]) - anchor))
    return total / row.size


@reducing_kernel
def _mean_expm1(row, anchor, power):
    """Return the mean of expm1(power (log w - anchor))."""
    total = 0.0
    for i in range(row.size):
        total += math.expm1(power * (np.float64(row[i]) - anchor))
    return total / row.size


@kernel
def log_power_means(log_w, power, largest, smallest, out):
    """Set out[n] to log(mean w^power) / power of row n of (N, K), the mean of log w for power 0.

    ``largest`` and ``smallest`` (N,) are those of the rows; no entry is NaN or +inf, and ``power`` is finite.
    """
    for n in range(log_w.shape[0]):
        anchor = largest[n] if power >= 0.0 else smallest[n]
        if anchor == -math.inf:
            out[n] = -math.inf
        elif power == 0.0:
            out[n] = anchor + _mean_difference(log_w[n], anchor)
        elif abs(power) * (largest[n] - smallest[n]) <= 1.0:
            out[n] = anchor + math.log1p(_mean_expm1(log_w[n], anchor, power)) / power
        else:
            # the anchor's own term is 1: the mean is at least 1 / K
            out[n] = anchor + math.log(_mean_exp(log_w[n], anchor, power)) / power
