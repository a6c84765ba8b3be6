"""Slow references for importance weights in pure Python: lists, ``math``, ``mpmath``, nothing from fastvi."""

from __future__ import annotations

import math

import mpmath


def weights(log_w):
    """(largest log weight, weights relative to it)."""
    top = max(log_w)
    return top, [math.exp(v - top) if top > -math.inf else 0.0 for v in log_w]


def log_mean_exp(log_w):
    top, w = weights(log_w)
    return top + math.log(math.fsum(w) / len(w)) if top > -math.inf else -math.inf


def effective_sample_size(log_w):
    top, w = weights(log_w)
    return math.fsum(w) ** 2 / math.fsum(v * v for v in w) if top > -math.inf else 0.0


def importance_weighted_bound(log_w, k):
    blocks = [log_w[i : i + k] for i in range(0, len(log_w) - k + 1, k)]
    return sum(log_mean_exp(block) for block in blocks) / len(blocks)


def jackknife_bound(log_w):
    """K times log mean exp of all, less K - 1 times its mean over the sets without one, in many digits."""
    num = len(log_w)
    if max(log_w) == -math.inf:
        return -math.inf
    finite = [v for v in log_w if v > -math.inf]
    if len(finite) == 1:
        return math.inf
    # one weight may be all but e^-2000 of the sum
    with mpmath.workdps(60 + int((max(finite) - min(finite)) / math.log(10))):
        w = [mpmath.exp(mpmath.mpf(v)) if v > -math.inf else mpmath.mpf(0) for v in log_w]
        total = mpmath.fsum(w)
        rests = [(total - v) / (num - 1) for v in w]
    with mpmath.workdps(60):
        # rounded first: mpmath 1.3 takes log(1/4 + 1e-68) of more digits than it works with for about 0
        left_out = mpmath.fsum(mpmath.log(+rest) for rest in rests) / num
        return float(num * mpmath.log(+(total / num)) - (num - 1) * left_out)


def renyi_bound(log_w, alpha):
    """The definition in 80 digits, of which alpha - 1 takes 16."""
    if alpha == -math.inf:
        return max(log_w)
    if alpha == math.inf:
        return min(log_w)
    if -math.inf in log_w and (alpha >= 1 or max(log_w) == -math.inf):
        return -math.inf
    if alpha == 1:
        return math.fsum(log_w) / len(log_w)
    with mpmath.workdps(80):
        power = 1 - mpmath.mpf(alpha)
        w = [mpmath.exp(power * mpmath.mpf(v)) if v > -math.inf else mpmath.mpf(0) for v in log_w]
        return float(mpmath.log(mpmath.fsum(w) / len(w)) / power)


def equal(log_w):
    """Whether log weights differ by rounding alone."""
    return min(log_w) >= max(log_w) - 1e-12


def estimate(log_w):
    """(log_marginal, std_error, ess, pareto_k, max_weight_share) as ``Estimate`` defines them."""
    top, w = weights(log_w)
    num = len(w)
    if top == -math.inf:
        return -math.inf, math.nan, 0.0, math.nan, math.nan
    total, squares = math.fsum(w), math.fsum(v * v for v in w)
    if sum(v > 0.0 for v in w) == 1:
        error = math.inf
    elif equal(log_w):
        error = 0.0
    else:
        mean = total / num
        error = math.sqrt(math.fsum((v - mean) ** 2 for v in w) * num / (num - 1)) / total
    k = -math.inf if equal(log_w) else psis(log_w)[1]
    return top + math.log(total / num), error, total**2 / squares, k, 1 / total


def fit_generalised_pareto(x):
    """(k, sigma) of ascending x > 0 by Zhang and Stephens (2009), prior on k of Vehtari et al. (2024)."""
    n = len(x)
    m = 30 + int(math.sqrt(n))
    quartile = x[int(n / 4 + 0.5) - 1]
    bs = [1 / x[-1] + (1 - math.sqrt(m / (j - 0.5))) / (3 * quartile) for j in range(1, m + 1)]

    def shape(b):
        return math.fsum(math.log1p(-b * v) for v in x) / n

    scores = [n * (math.log(-b / shape(b)) - shape(b) - 1) for b in bs]
    posterior = [1 / math.fsum(math.exp(min(other - score, 700)) for other in scores) for score in scores]
    kept = [(p, b) for p, b in zip(posterior, bs, strict=True) if p >= 10 * 2.0**-52]
    b = math.fsum(p * b for p, b in kept) / math.fsum(p for p, _ in kept)
    return (n * shape(b) + 5) / (n + 10), -shape(b) / b


def psis(log_w):
    """(smoothed log weights, k).

    k is inf where fewer than 5 lie above the cutoff or all that do are equal (to 1e-12), nan where all are
    -inf.
    """
    num, top = len(log_w), max(log_w)
    if top == -math.inf:
        return list(log_w), math.nan
    length = math.ceil(min(num / 5, 3 * math.sqrt(num)))
    relative = [v - top for v in log_w]
    order = sorted(range(num), key=lambda i: (relative[i], i))
    cutoff = max(relative[order[-length - 1]], math.log(2.0**-1022)) if length < num else 0.0
    tail = [i for i in order if relative[i] > cutoff]
    if len(tail) < 5 or relative[tail[0]] >= -1e-12:
        return list(log_w), math.inf
    # exp(v) - exp(cutoff), without its cancellation where the two are close
    k, sigma = fit_generalised_pareto(
        [-math.exp(relative[i]) * math.expm1(cutoff - relative[i]) for i in tail]
    )
    smoothed = list(log_w)
    for rank, i in enumerate(tail):
        p = (rank + 0.5) / len(tail)
        value = math.exp(cutoff) + sigma * math.expm1(min(-k * math.log1p(-p), 700)) / k
        smoothed[i] = top + min(math.log(value), 0.0)
    return smoothed, k
