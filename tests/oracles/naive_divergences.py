"""Slow references for divergences: the definitions at 400 digits, nothing from fastvi.

Distributions over states are lists of log probabilities, in one order of states; -inf is a state that cannot
be.
"""

from __future__ import annotations

import math

import mpmath

DIGITS = 400  # a mass of 1e-300 beside one of 1 keeps its digits


def _mass(t):
    return mpmath.mpf(0) if t == -math.inf else mpmath.exp(t)


def bernoulli_logs(states, logits):
    """log q(z) of each state for logits (d,), infinite ones too, as mpmath numbers."""
    with mpmath.workdps(DIGITS):
        return [
            sum((_bit_log(t if bit else -t) for bit, t in zip(z, logits, strict=True)), mpmath.mpf(0))
            for z in states
        ]


def _bit_log(t):
    """log sigmoid(t)."""
    if t == math.inf:
        return mpmath.mpf(0)
    return mpmath.mpf("-inf") if t == -math.inf else -mpmath.log1p(mpmath.exp(-mpmath.mpf(t)))


def kl(log_q, log_p):
    """sum q log(q / p) of two normalised distributions."""
    with mpmath.workdps(DIGITS):
        total = mpmath.mpf(0)
        for a, b in zip(log_q, log_p, strict=True):
            if a == -math.inf:
                continue
            if b == -math.inf:
                return math.inf
            total += _mass(a) * (mpmath.mpf(a) - mpmath.mpf(b))
        return float(total)


def log_total(logs):
    """log of the sum of the masses, as an mpmath number."""
    with mpmath.workdps(DIGITS):
        total = sum((_mass(t) for t in logs), mpmath.mpf(0))
        return mpmath.log(total) if total else mpmath.mpf("-inf")


def posterior(log_joint):
    """log p(z | x) of each state from log p(x, z)."""
    with mpmath.workdps(DIGITS):
        evidence = log_total(log_joint)
        return [mpmath.mpf(t) - evidence if t > -math.inf else t for t in log_joint]


def chi_square(log_joint, log_q):
    """log(sum p^2 / q) / 2."""
    with mpmath.workdps(DIGITS):
        terms = []
        for a, b in zip(log_joint, log_q, strict=True):
            if a > -math.inf and b == -math.inf:
                return math.inf
            if a > -math.inf:
                terms.append(2 * mpmath.mpf(a) - b)
        return float(log_total(terms) / 2)


def categorical_logs(logits):
    """log probabilities."""
    with mpmath.workdps(DIGITS):
        evidence = log_total(logits)
        return [mpmath.mpf(t) - evidence if t > -math.inf else t for t in logits]


def normal_kl(mean, std, other_mean, other_std):
    """One latent."""
    with mpmath.workdps(DIGITS):
        m, s, other_m, other_s = (mpmath.mpf(t) for t in (mean, std, other_mean, other_std))
        return float(
            mpmath.log(other_s / s) + (s**2 + (m - other_m) ** 2) / (2 * other_s**2) - mpmath.mpf(1) / 2
        )


def multivariate_kl(mean, covariance, other_mean, other_covariance):
    """[tr(C'^-1 C) - d + (m' - m)^T C'^-1 (m' - m) + log |C'| / |C|] / 2."""
    with mpmath.workdps(DIGITS):
        own, other = mpmath.matrix(covariance), mpmath.matrix(other_covariance)
        d, inverse = len(mean), other**-1
        shift = mpmath.matrix(other_mean) - mpmath.matrix(mean)
        trace = sum((inverse * own)[i, i] for i in range(d))
        logs = mpmath.log(mpmath.det(other)) - mpmath.log(mpmath.det(own))
        return float((trace - d + (shift.T * inverse * shift)[0] + logs) / 2)
