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

from fastvi.kernels.bits import split_exponent
from fastvi.kernels.cpu.simd.denormals import begin_flushing, end_flushing
from fastvi.kernels.cpu.simd.exponentials import exp_weight, expm1_weight
from fastvi.kernels.cpu.simd.logarithms import log1p_fast
from fastvi.kernels.cpu.weights.lanes import STEP_BYTES
from fastvi.kernels.cpu.weights.log_weights import segment_sums
from fastvi.kernels.cpu.weights.tails import buffer_size, largest_entries
from fastvi.kernels.jit import inline, kernel, reducing_kernel
from fastvi.kernels.scalar import LOG_TWO, log_fast

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


@inline
def excess_size(num):
    """Return the room for the excesses of a tail of ``num``."""
    return -(-num // _FACTORS) * _FACTORS


@inline
def grid_size(num):
    """Return the number of points of the fit's grid for a tail of ``num``."""
    return _GRID + int(math.sqrt(num))


@inline
def tail_length(num):
    """Return M = ceil(min(K / 5, 3 sqrt(K))). The two meet at K = 225."""
    return (num + 4) // 5 if num <= 225 else math.ceil(3.0 * math.sqrt(num))


@reducing_kernel
def _sum_log1p(excess, b):
    """Return the sum of log(1 - b * excess)."""
    total = 0.0
    for i in range(excess.size):
        total += log1p_fast(-b * excess[i])
    return total


@inline
def _by_products(excess, num, b, mean):
    """Return whether the sum of log(1 - b * excess) may be taken of products.

    Sixteen factors of less than 2^60 stay within the doubles, and none that is not 0 is below 2^-53. Products
    lose digits where b * excess is small: 1 - b * excess is good to 2^-53, and the mean of its logarithm is
    about |b| * mean, so that 1/64 leaves a relative error of 2^-47.
    """
    return _LOWEST_REACH < b * excess[num - 1] < 1.0 and abs(b) * mean > 1.0 / 64.0


@inline
def _products(excess, grid, mantissas, exponents):
    """Set mantissa * 2^exponent to the product of 1 - b * excess, for each b of the grid.

    The loop over the grid is the one that vectorises, and no logarithm is taken. (One after another, with a
    logarithm for each lane, the points took four times as long on a Zen 3 core.)
    """
    for j in range(grid.size):
        mantissas[j], exponents[j] = 1.0, 0
    for first in range(0, excess.size, _FACTORS):
        factors = excess[first : first + _FACTORS]
        for j in range(grid.size):
            product, b = mantissas[j], grid[j]
            for i in range(_FACTORS):
                product *= 1.0 - b * factors[i]
            mantissas[j], power = split_exponent(product)
            exponents[j] += power


@inline
def _grid_of(excess, num, grid):
    """Set the points of the grid, of which the last is 1 / (largest excess) and a little."""
    points, quartile = grid.size, excess[int(num / 4 + 0.5) - 1]
    end, scale = 1.0 / excess[num - 1], 1.0 / (_PRIOR_SCALE * quartile)
    for j in range(points):
        grid[j] = end + (1.0 - math.sqrt(points / (j + 0.5))) * scale


@reducing_kernel
def _mean(values, num):
    """Return the mean of the first ``num`` values."""
    total = 0.0
    for i in range(num):
        total += values[i]
    return total / num


@inline
def _fit_generalised_pareto(excess, num, grid, weights, shapes, exponents):
    """Return (k, sigma) of ``num`` ascending positive excesses, (inf, nan) where the fit overflows.

    Zeros stand behind them to a multiple of 16. The rest is scratch.
    """
    points = grid.size
    if not excess[int(num / 4 + 0.5) - 1] > 0.0:
        return math.inf, math.nan
    mean = _mean(excess, num)
    _grid_of(excess, num, grid)
    _products(excess, grid, weights, exponents)
    for j in range(points):
        shapes[j] = (exponents[j] * LOG_TWO + log_fast(weights[j])) / num
    for j in range(points):
        if not _by_products(excess, num, grid[j], mean):
            shapes[j] = _sum_log1p(excess, grid[j]) / num
    log_mean = math.log(mean)
    for j in range(points):
        b, shape = grid[j], shapes[j]
        # in the limit of b = 0 the distribution is exponential
        inside = b != 0.0 and shape != 0.0
        scale = log_fast(-b / (shape if inside else 1.0))
        scale = scale if inside else -log_mean
        value = num * (scale - shape - 1.0)
        weights[j] = value if abs(shape) < math.inf and abs(b) < math.inf else -math.inf
    best = -math.inf
    for j in range(points):
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
    shape = _sum_log1p(excess, b) / num
    if not (-math.inf < shape < math.inf):
        return math.inf, math.nan
    sigma = -shape / b if b != 0.0 and shape != 0.0 else mean
    return (num * shape + _PRIOR_COUNT * _PRIOR_K) / (num + _PRIOR_COUNT), sigma


@inline
def pareto_k_of_tail(values, excess, points, exponents):
    """Return (k, sigma, cutoff, first) of the M + 1 largest log weights of a row, in ascending order.

    values[0] is the cutoff and values[first:] the tail; sigma and ``cutoff`` (a log) are relative to the
    largest weight. Entries equal to the cutoff are not in the tail, so that k does not depend on the order of
    equal weights. ``excess`` is scratch as large as :func:`excess_size` says, ``points`` of float64
    and ``exponents`` of int64 three times and once as large as :func:`grid_size`.
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
    room, size = excess_size(num), grid_size(num)
    for i in range(num, room):
        excess[i] = 0.0
    grid, weights, shapes = points[:size], points[size : 2 * size], points[2 * size : 3 * size]
    k, sigma = _fit_generalised_pareto(excess[:room], num, grid, weights, shapes, exponents)
    return k, sigma, cutoff, first


@kernel
def pareto_k_rows(log_w, out):
    """Set out[n] to k of row n of (N, K) log weights. Return whether all are finite or -inf."""
    kept = min(tail_length(log_w.shape[1]) + 1, log_w.shape[1])
    floats, ints = np.empty(2 * buffer_size(kept)), np.empty(4 * buffer_size(kept), np.int64)
    excess, points = np.empty(excess_size(kept)), np.empty(3 * grid_size(kept))
    exponents = np.empty(grid_size(kept), np.int64)
    for n in range(log_w.shape[0]):
        largest, _ = largest_entries(log_w[n], kept, floats, ints)
        if largest.size == 0:
            return False
        out[n] = pareto_k_of_tail(largest, excess, points, exponents)[0]
    return True


@kernel
def weight_sums_and_k(log_w, largest, total, squares, out):
    """Do what ``weight_sums`` and :func:`pareto_k_rows` do, while a row is in cache."""
    kept = min(tail_length(log_w.shape[1]) + 1, log_w.shape[1])
    floats, ints = np.empty(2 * buffer_size(kept)), np.empty(4 * buffer_size(kept), np.int64)
    excess, points = np.empty(excess_size(kept)), np.empty(3 * grid_size(kept))
    exponents = np.empty(grid_size(kept), np.int64)
    step = np.empty(STEP_BYTES // log_w.itemsize, log_w.dtype)
    for n in range(log_w.shape[0]):
        before = begin_flushing()  # squares of small weights are denormal
        largest[n], total[n], squares[n] = segment_sums(log_w[n], 0, log_w.shape[1], step)
        end_flushing(before)
        tail, _ = largest_entries(log_w[n], kept, floats, ints)
        if tail.size == 0:
            return False
        out[n] = pareto_k_of_tail(tail, excess, points, exponents)[0]
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
def smooth_rows(log_w, smoothed, out):
    """Copy rows with their tails replaced by quantiles of the fit, at most the row's largest; k to ``out``.

    Return whether all entries are finite or -inf. A row that holds others is copied, with k = nan. Both
    arrays may be one.
    """
    kept = min(tail_length(log_w.shape[1]) + 1, log_w.shape[1])
    floats, ints = np.empty(2 * buffer_size(kept)), np.empty(4 * buffer_size(kept), np.int64)
    excess, points = np.empty(excess_size(kept)), np.empty(3 * grid_size(kept))
    exponents = np.empty(grid_size(kept), np.int64)
    clean = True
    for n in range(log_w.shape[0]):
        row, copy = log_w[n], smoothed[n]
        largest, where = largest_entries(row, kept, floats, ints)
        for i in range(row.size):
            copy[i] = row[i]
        if largest.size == 0:
            out[n], clean = math.nan, False
            continue
        k, sigma, cutoff, first = pareto_k_of_tail(largest, excess, points, exponents)
        out[n] = k
        if not -math.inf < k < math.inf:
            continue
        _smooth(kept - first, k, sigma, cutoff, excess)
        for i in range(first, kept):
            copy[where[i]] = largest[kept - 1] + excess[i - first]
    return clean
