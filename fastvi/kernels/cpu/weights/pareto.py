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
_STRIDE = 16  # one entry in so many is looked at for a first limit
_FACTORS = 8  # of 1 - b x, whose product is taken before the logarithm
_LOWEST_REACH = -1.329227995784916e36  # -2^120


@inline
def grid_size(num):
    """Return the number of points of the fit's grid for a tail of ``num``."""
    return _GRID + int(math.sqrt(num))


@inline
def buffer_size(kept):
    """Return the room that :func:`largest_entries` needs to collect in before it cuts."""
    return 3 * kept


@inline
def tail_length(num):
    """Return M = ceil(min(K / 5, 3 sqrt(K))). The two meet at K = 225."""
    return (num + 4) // 5 if num <= 225 else math.ceil(3.0 * math.sqrt(num))


@inline
def _swap(values, where, a, b):
    """Exchange two entries and their positions."""
    values[a], values[b] = values[b], values[a]
    where[a], where[b] = where[b], where[a]


@inline
def _select(values, where, filled, kept):
    """Bring the ``kept`` largest of values[:filled] forward, their smallest to position kept - 1 (Hoare)."""
    low, high = 0, filled - 1
    while low < high:
        pivot = values[(low + high) // 2]
        left, right = low, high
        while left <= right:
            while values[left] > pivot:
                left += 1
            while values[right] < pivot:
                right -= 1
            if left <= right:
                _swap(values, where, left, right)
                left += 1
                right -= 1
        if kept - 1 <= right:
            high = right
        elif kept - 1 >= left:
            low = left
        else:
            return


@inline
def _sort(values, where, size):
    """Sort ascending, equal values by position (Shell 1959, gaps of Knuth: short, no slow case here)."""
    gap = 1
    while gap < size // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, size):
            value, position, j = values[i], where[i], i
            while j >= gap and (
                values[j - gap] > value or (values[j - gap] == value and where[j - gap] > position)
            ):
                values[j], where[j] = values[j - gap], where[j - gap]
                j -= gap
            values[j], where[j] = value, position
        gap //= 3


@inline
def _guess(row, kept, values, where):
    """Guess from every 16th entry a number that more than ``kept`` entries exceed, and few more."""
    size = row.size // _STRIDE
    expected = kept / _STRIDE
    rank = int(expected + 4.0 * math.sqrt(expected)) + 1  # four standard deviations of a binomial count
    if rank > size or size > values.size:
        return -math.inf
    for i in range(size):
        values[i] = row[i * _STRIDE]
    _select(values, where, size, rank)
    return values[rank - 1]


@inline
def largest_entries(row, kept, values, where):
    """Write the ``kept`` largest entries of a row, ascending, to values[:kept]; positions to where[:kept].

    ``values`` and ``where`` hold more than ``kept`` entries (see :func:`buffer_size`). Entries above the
    smallest that is still in are collected; a full buffer is cut to the largest. (A heap of 301 in place of
    the buffer took 445 against 130 microseconds for 10,000 entries; a limit guessed from a sample, so that
    few are collected and mostly one cut is made, halved it again: 64.) Where the guess
    was too high for ``kept`` entries to exceed it, they are collected again without.
    """
    lowest = _guess(row, kept, values, where)
    while True:
        filled, guessed = 0, lowest
        for i in range(row.size):
            if row[i] > lowest or (filled < kept and guessed == -math.inf):
                if filled == values.size:
                    _select(values, where, filled, kept)
                    filled, lowest = kept, values[kept - 1]
                    if not row[i] > lowest:
                        continue
                values[filled], where[filled] = row[i], i
                filled += 1
        if filled >= kept:
            break
        lowest = -math.inf
    _select(values, where, filled, kept)
    _sort(values, where, kept)


@inline
def log1p_fast(t):
    """Return log(1 + t)."""
    rounded = 1.0 + t
    return log_fast(rounded) + (t - (rounded - 1.0)) / rounded


@reducing_kernel
def _sum_log1p(excess, b, first):
    """Return the sum of log(1 - b * excess) from entry ``first`` on."""
    total = 0.0
    for i in range(excess.size - first):
        total += log1p_fast(-b * excess[first + i])
    return total


@reducing_kernel
def _sum_log_of_products(excess, b):
    """Return the sum of log(1 - b * excess) with one logarithm for eight factors.

    The number of entries is a multiple of eight.
    """
    total, step = 0.0, excess.size // _FACTORS
    for i in range(step):
        product = 1.0
        for j in range(_FACTORS):
            product *= 1.0 - b * excess[i + j * step]
        total += log_fast(product)
    return total


@inline
def _mean_log1p(excess, b, mean):
    """Return the mean of log(1 - b * excess) for ascending excesses of that ``mean``.

    Eight factors of less than 2^120 stay within the doubles, and none that is not 0 is below 2^-53. Products
    lose digits where b * excess is small: 1 - b * excess is good to 2^-53, and the mean of its logarithm is
    about |b| * mean, so that 1/64 leaves a relative error of 2^-47.
    """
    reach = b * excess[excess.size - 1]
    first, total = 0, 0.0
    if _LOWEST_REACH < reach < 1.0 and abs(b) * mean > 1.0 / 64.0:
        total = _sum_log_of_products(excess, b)
        first = excess.size // _FACTORS * _FACTORS
    return (total + _sum_log1p(excess, b, first)) / excess.size


@inline
def _log_likelihood_scale(shape, b, mean):
    """Return log(-b / k); 1 / mean is its limit at b = 0, where the distribution is exponential."""
    return math.log(-b / shape) if b != 0.0 and shape != 0.0 else -math.log(mean)


@inline
def fit_generalised_pareto(excess, grid, weights):
    """Return (k, sigma) of ascending positive excesses, (inf, nan) where the fit overflows.

    The rest is scratch.
    """
    num, points = excess.size, grid.size
    quartile = excess[int(num / 4 + 0.5) - 1]
    if not quartile > 0.0:
        return math.inf, math.nan
    mean = excess.mean()
    best = -math.inf
    for j in range(points):
        grid[j] = 1.0 / excess[num - 1] + (1.0 - math.sqrt(points / (j + 0.5))) / (_PRIOR_SCALE * quartile)
        shape = _mean_log1p(excess, grid[j], mean)
        finite = -math.inf < shape < math.inf and grid[j] > -math.inf
        weights[j] = (
            num * (_log_likelihood_scale(shape, grid[j], mean) - shape - 1.0) if finite else -math.inf
        )
        best = max(best, weights[j])
    if best == -math.inf:
        return math.inf, math.nan
    total = 0.0
    for j in range(points):
        weights[j] = math.exp(weights[j] - best)
        total += weights[j]
    kept = b = 0.0
    for j in range(points):
        if weights[j] >= _NEGLIGIBLE * total:
            kept += weights[j]
            b += weights[j] * grid[j]
    b /= kept
    shape = _mean_log1p(excess, b, mean)
    if not (-math.inf < shape < math.inf):
        return math.inf, math.nan
    sigma = -shape / b if b != 0.0 and shape != 0.0 else mean
    return (num * shape + _PRIOR_COUNT * _PRIOR_K) / (num + _PRIOR_COUNT), sigma


@inline
def pareto_k_of_tail(values, excess, grid, weights):
    """Return (k, sigma, cutoff, first) of the M + 1 largest log weights of a row, in ascending order.

    values[0] is the cutoff and values[first:] the tail; sigma and ``cutoff`` (a log) are relative to the
    largest weight. Entries equal to the cutoff are not in the tail, so that k does not depend on the order of
    equal weights. ``excess`` is scratch as large as ``values``; ``grid`` and ``weights`` of at least 30 +
    sqrt(M) entries (see :func:`grid_size`).
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
        excess[i] = -math.exp(value) * math.expm1(cutoff - value)
    points = grid_size(num)
    k, sigma = fit_generalised_pareto(excess[:num], grid[:points], weights[:points])
    return k, sigma, cutoff, first


@kernel
def pareto_k_rows(log_w, out):
    """Set out[n] to k of row n of (N, K) log weights."""
    kept = min(tail_length(log_w.shape[1]) + 1, log_w.shape[1])
    values, where, excess = np.empty(buffer_size(kept)), np.empty(buffer_size(kept), np.int64), np.empty(kept)
    grid, weights = np.empty(grid_size(kept)), np.empty(grid_size(kept))
    for n in range(log_w.shape[0]):
        largest_entries(log_w[n], kept, values, where)
        out[n] = pareto_k_of_tail(values[:kept], excess, grid, weights)[0]


@inline
def _quantile(p, k, sigma):
    """Return a quantile of the generalised Pareto distribution."""
    if k == 0.0:
        return -sigma * math.log1p(-p)
    power = -k * math.log1p(-p)
    # math.expm1 of 710 is an error in plain Python
    return sigma * math.expm1(power) / k if power < 709.0 else math.inf


@kernel
def smooth_rows(log_w, out):
    """Replace the tail of each row by quantiles of the fit, at most the row's largest; k to ``out``."""
    kept = min(tail_length(log_w.shape[1]) + 1, log_w.shape[1])
    values, where, excess = np.empty(buffer_size(kept)), np.empty(buffer_size(kept), np.int64), np.empty(kept)
    grid, weights = np.empty(grid_size(kept)), np.empty(grid_size(kept))
    for n in range(log_w.shape[0]):
        largest_entries(log_w[n], kept, values, where)
        k, sigma, cutoff, first = pareto_k_of_tail(values[:kept], excess, grid, weights)
        out[n] = k
        if not -math.inf < k < math.inf:
            continue
        for i in range(first, kept):
            p = (i - first + 0.5) / (kept - first)
            value = math.log(math.exp(cutoff) + _quantile(p, k, sigma))
            log_w[n, where[i]] = values[kept - 1] + min(value, 0.0)
