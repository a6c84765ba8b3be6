"""Pareto smoothed importance sampling: Vehtari, Simpson, Gelman, Yao and Gabry (2024), JMLR 25(72).

The tail of a row of K weights is what lies above its (M + 1)-th largest, M = ceil(min(K / 5, 3 sqrt(K))). A
generalised Pareto distribution is fitted to the excesses over that cutoff by Zhang and Stephens (2009), with
the weakly informative prior of the paper's appendix on its shape k.

Rows hold no NaN and no +inf. A row of -inf alone has k = nan. Where there is nothing to fit (fewer than 5
entries above the cutoff, as with equal weights or K <= 20, or none but equal ones) or the fit overflows,
k = inf.
"""

from __future__ import annotations

import math

import numpy as np

from fastvi.kernels.cpu.simd.exponentials import exp_weight, expm1_weight
from fastvi.kernels.cpu.weights.tails import buffer_size, largest_entries
from fastvi.kernels.jit import inline, kernel, reducing_kernel
from fastvi.kernels.scalar import log_fast

_LOG_TINY = (
    -708.3964185322641
)  # log of the smallest normal number: cutoffs are at least this, relative to the largest weight
EQUAL = 1e-12  # log weights that differ by no more are equal: what is left is rounding, and no tail
_FEWEST = 5  # entries in a tail
_GRID = 30  # Zhang and Stephens: 20 + sqrt(n) points; 30 in the PSIS paper
_PRIOR_SCALE = 3.0  # their prior on b is scaled by 3 times the first quartile
_PRIOR_COUNT, _PRIOR_K = 10.0, 0.5  # k is pulled to 1/2 as if by 10 more observations
_NEGLIGIBLE = 10 * 2.220446049250313e-16
_FACTORS = 16  # of 1 - b x, whose product is taken before the logarithm
_LOWEST_REACH = -1152921504606846976.0  # -2^60
_ROUND = 64  # excesses are filled up with zeros to a multiple: factors of 1 in whole vectors


@inline
def excess_size(num):
    """Return the room for the excesses of a tail of ``num``."""
    return -(-num // _ROUND) * _ROUND


@inline
def grid_size(num):
    """Return the number of points of the fit's grid for a tail of ``num``."""
    return _GRID + int(math.sqrt(num))


@inline
def tail_length(num):
    """Return M = ceil(min(K / 5, 3 sqrt(K))). The two meet at K = 225."""
    return (num + 4) // 5 if num <= 225 else math.ceil(3.0 * math.sqrt(num))


@inline
def log1p_fast(t):
    """Return log(1 + t)."""
    rounded = 1.0 + t
    return log_fast(rounded) + (t - (rounded - 1.0)) / rounded


@reducing_kernel
def _sum_log1p(excess, b):
    """Return the sum of log(1 - b * excess)."""
    total = 0.0
    for i in range(excess.size):
        total += log1p_fast(-b * excess[i])
    return total


@reducing_kernel
def _sum_log_of_products(excess, b):
    """Return the sum of log(1 - b * excess) with one logarithm for 16 factors."""
    total, step = 0.0, excess.size // _FACTORS
    for i in range(step):
        product = 1.0
        for j in range(_FACTORS):
            product *= 1.0 - b * excess[i + j * step]
        total += log_fast(product)
    return total


@inline
def _mean_log1p(excess, num, b, mean):
    """Return the mean of log(1 - b * excess) for ``num`` ascending excesses of that ``mean``, and zeros.

    Sixteen factors of less than 2^60 stay within the doubles, and none that is not 0 is below 2^-53. Products
    lose digits where b * excess is small: 1 - b * excess is good to 2^-53, and the mean of its logarithm is
    about |b| * mean, so that 1/64 leaves a relative error of 2^-47.
    """
    if _LOWEST_REACH < b * excess[num - 1] < 1.0 and abs(b) * mean > 1.0 / 64.0:
        return _sum_log_of_products(excess, b) / num
    return _sum_log1p(excess, b) / num


@inline
def _log_likelihood_scale(shape, b, mean):
    """Return log(-b / k); 1 / mean is its limit at b = 0, where the distribution is exponential."""
    return math.log(-b / shape) if b != 0.0 and shape != 0.0 else -math.log(mean)


@reducing_kernel
def _mean(values, num):
    """Return the mean of the first ``num`` values."""
    total = 0.0
    for i in range(num):
        total += values[i]
    return total / num


@inline
def _fit_generalised_pareto(excess, num, grid, weights):
    """Return (k, sigma) of ``num`` ascending positive excesses, (inf, nan) where the fit overflows.

    Zeros stand behind them to a multiple of 64. The rest is scratch.
    """
    points = grid.size
    quartile = excess[int(num / 4 + 0.5) - 1]
    if not quartile > 0.0:
        return math.inf, math.nan
    mean = _mean(excess, num)
    best = -math.inf
    for j in range(points):
        grid[j] = 1.0 / excess[num - 1] + (1.0 - math.sqrt(points / (j + 0.5))) / (_PRIOR_SCALE * quartile)
        shape = _mean_log1p(excess, num, grid[j], mean)
        finite = -math.inf < shape < math.inf and grid[j] > -math.inf
        weights[j] = (
            num * (_log_likelihood_scale(shape, grid[j], mean) - shape - 1.0) if finite else -math.inf
        )
        best = max(best, weights[j])
    if best == -math.inf:
        return math.inf, math.nan
    total = 0.0
    for j in range(points):
        weights[j] = exp_weight(weights[j] - best)
        total += weights[j]
    kept = b = 0.0
    for j in range(points):
        if weights[j] >= _NEGLIGIBLE * total:
            kept += weights[j]
            b += weights[j] * grid[j]
    b /= kept
    shape = _mean_log1p(excess, num, b, mean)
    if not (-math.inf < shape < math.inf):
        return math.inf, math.nan
    sigma = -shape / b if b != 0.0 and shape != 0.0 else mean
    return (num * shape + _PRIOR_COUNT * _PRIOR_K) / (num + _PRIOR_COUNT), sigma


@inline
def pareto_k_of_tail(values, excess, grid, weights):
    """Return (k, sigma, cutoff, first) of the M + 1 largest log weights of a row, in ascending order.

    values[0] is the cutoff and values[first:] the tail; sigma and ``cutoff`` (a log) are relative to the
    largest weight. Entries equal to the cutoff are not in the tail, so that k does not depend on the order of
    equal weights. ``excess`` is scratch of ``excess_size`` entries; ``grid`` and ``weights`` of at least 30 +
    sqrt(M) (see :func:`grid_size`).
    """
    largest = values[values.size - 1]
    if largest == -math.inf:
        return math.nan, math.nan, -math.inf, values.size
    cutoff = max(values[0] - largest, _LOG_TINY)
    first = 0
    while first < values.size and not values[first] - largest > cutoff:
        first += 1
    num = values.size - first
    if num < _FEWEST or values[first] >= largest - EQUAL:
        return math.inf, math.nan, cutoff, first
    for i in range(num):
        value = values[first + i] - largest
        # exp(value) - exp(cutoff) without cancellation: nearly equal weights keep their digits
        excess[i] = -exp_weight(value) * expm1_weight(cutoff - value)
    room, points = excess_size(num), grid_size(num)
    for i in range(num, room):
        excess[i] = 0.0
    k, sigma = _fit_generalised_pareto(excess[:room], num, grid[:points], weights[:points])
    return k, sigma, cutoff, first


@kernel
def pareto_k_rows(log_w, out):
    """Set out[n] to k of row n of (N, K) log weights. Return whether all are finite or -inf."""
    kept = min(tail_length(log_w.shape[1]) + 1, log_w.shape[1])
    floats, ints = np.empty(2 * buffer_size(kept)), np.empty(4 * buffer_size(kept), np.int64)
    excess, grid, weights = np.empty(excess_size(kept)), np.empty(grid_size(kept)), np.empty(grid_size(kept))
    for n in range(log_w.shape[0]):
        largest, _ = largest_entries(log_w[n], kept, floats, ints)
        if largest.size == 0:
            return False
        out[n] = pareto_k_of_tail(largest, excess, grid, weights)[0]
    return True


@inline
def _smooth(num, k, sigma, cutoff, out):
    """Set out[i] to the log of a quantile of the fit above the cutoff, at most 0."""
    start = exp_weight(cutoff)
    for i in range(num):
        logarithm = -log1p_fast(-(i + 0.5) / num)
        power = k * logarithm
        minus_one = expm1_weight(-abs(power))
        # e^t - 1 = (1 - e^-t) / e^-t
        more = minus_one if power < 0.0 else -minus_one / exp_weight(-abs(power))
        quantile = sigma * (more / k if k != 0.0 else logarithm)
        value = log_fast(start + quantile)
        out[i] = value if value < 0.0 and power < 708.0 else 0.0


@kernel
def smooth_rows(log_w, out):
    """Replace the tail of each row by quantiles of the fit, at most the row's largest; k to ``out``.

    Return whether all entries are finite or -inf.
    """
    kept = min(tail_length(log_w.shape[1]) + 1, log_w.shape[1])
    floats, ints = np.empty(2 * buffer_size(kept)), np.empty(4 * buffer_size(kept), np.int64)
    excess, grid, weights = np.empty(excess_size(kept)), np.empty(grid_size(kept)), np.empty(grid_size(kept))
    for n in range(log_w.shape[0]):
        largest, where = largest_entries(log_w[n], kept, floats, ints)
        if largest.size == 0:
            return False
        k, sigma, cutoff, first = pareto_k_of_tail(largest, excess, grid, weights)
        out[n] = k
        if not -math.inf < k < math.inf:
            continue
        _smooth(kept - first, k, sigma, cutoff, excess)
        for i in range(first, kept):
            log_w[n, where[i]] = largest[kept - 1] + excess[i - first]
    return True
