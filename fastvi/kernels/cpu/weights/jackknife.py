"""Leave-one-out correction of log mean weights, row by row.

With S the sum of the K weights of a row and s_k = w_k / S, the jackknife is

    K log(S / K) - (K - 1) / K sum_k log((S - w_k) / (K - 1))
        = log(S / K) + (K - 1) (log(1 - 1 / K) - 1 / K sum_k log(1 - s_k)),

in which large numbers do not cancel. s_k <= 1/2 for all but the largest weight, so that 1 - s_k keeps its
digits; for the largest it is the sum of the others over S, which is summed by itself, relative to its own
largest.
"""

from __future__ import annotations

import math

import numpy as np

from fastvi.kernels.cpu.simd.logarithms import log1p_fast
from fastvi.kernels.cpu.weights.log_weights import LANES, segment_sums
from fastvi.kernels.jit import inline, kernel, reducing_kernel
from fastvi.kernels.scalar import exp_of_negative, log_add_exp


@inline
def _position(row, value):
    """Return the position of the first entry that is ``value``."""
    for i in range(row.size):
        if np.float64(row[i]) == value:
            return i
    return 0


@inline
def _log_total(row, first, last, lanes):
    """Return the log of the sum of the weights row[first:last], which are no NaN."""
    largest, total, _ = segment_sums(row, first, last, lanes)
    # math.log(0) is an error in plain Python
    return largest + math.log(total) if total > 0.0 else -math.inf


@reducing_kernel
def _sum_log1p(row, first, last, shift, total):
    """Return the sum of log(1 - w / total)."""
    logs = 0.0
    for i in range(last - first):
        logs += log1p_fast(-exp_of_negative(np.float64(row[first + i]) - shift) / total)
    return logs


@kernel
def jackknife_bounds(log_w, out):
    """Set out[n] to the jackknife of row n of (N, K), K >= 2.

    It is -inf where all weights are 0, inf where all but one are.

    NaN and +inf make it NaN.
    """
    lanes = np.empty(LANES)
    num = log_w.shape[1]
    for n in range(log_w.shape[0]):
        row = log_w[n]
        largest, total, _ = segment_sums(row, 0, num, lanes)
        if total == 0.0:
            out[n] = -math.inf
        elif total != total:
            out[n] = math.nan
        else:
            top = _position(row, largest)
            log_total = largest + math.log(total)
            others = log_add_exp(_log_total(row, 0, top, lanes), _log_total(row, top + 1, num, lanes))
            logs = _sum_log1p(row, 0, top, largest, total) + _sum_log1p(row, top + 1, num, largest, total)
            logs += others - log_total
            # log(1 - 1 / K) is math.log1p(-1 / K), and equal weights leave K times the difference of two such
            out[n] = largest + math.log(total / num) + (num - 1) * (math.log1p(-1.0 / num) - logs / num)
