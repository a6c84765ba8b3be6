"""Networks of weights of any size, every operation in as many digits as it takes; nothing from fastvi."""

from __future__ import annotations

import itertools

import mpmath

DIGITS = 700  # 1e300 and 1e-300 in one sum, with digits to spare
_FLAT = 2000  # exp(-2000) is nothing beside 1 in a double


def number(value):
    return mpmath.mpf(float(value))


def log_sigmoid(t):
    if abs(t) > _FLAT:
        return min(t, mpmath.mpf(0))
    return -mpmath.log1p(mpmath.exp(-t))


def log_sum_exp(values):
    values = list(values)
    top = max(values)
    return top + mpmath.log(mpmath.fsum(mpmath.exp(max(v - top, -_FLAT)) for v in values))


def logits(weights, bias, z):
    return [
        number(b) + mpmath.fsum(number(w) for w, bit in zip(row, z, strict=True) if bit)
        for row, b in zip(weights, bias, strict=True)
    ]


def bernoulli(bits, etas, seen=None):
    """Log probability of the bits that were seen."""
    seen = [True] * len(bits) if seen is None else seen
    return mpmath.fsum(
        log_sigmoid(eta if bit else -eta) for bit, eta, one in zip(bits, etas, seen, strict=True) if one
    )


def states(d):
    return list(itertools.product((0, 1), repeat=d))


def log_joints(weights, bias, log_prior, x, seen=None):
    """log p(x, z) of all z in the order of ``states``; ``log_prior`` takes a state."""
    return [bernoulli(x, logits(weights, bias, z), seen) + log_prior(z) for z in states(len(weights[0]))]


def factorised(prior_logits):
    return lambda z: bernoulli(z, [number(c) for c in prior_logits])


def log_marginal(weights, bias, prior_logits, x, seen=None):
    with mpmath.workdps(DIGITS):
        if not len(bias):
            return 0.0
        return float(log_sum_exp(log_joints(weights, bias, factorised(prior_logits), x, seen)))


def posterior(weights, bias, prior_logits, x):
    """p(z | x) of all z in the order of ``states``, as mpmath numbers."""
    with mpmath.workdps(DIGITS):
        logs = log_joints(weights, bias, factorised(prior_logits), x)
        evidence = log_sum_exp(logs)
        return [mpmath.exp(max(value - evidence, -_FLAT)) for value in logs]


def gradient(weights, bias, prior_logits, x):
    """Of log p(x) in W, b and c, by Fisher's identity."""
    with mpmath.workdps(DIGITS):
        d, found = len(prior_logits), posterior(weights, bias, prior_logits, x)
        of_bias, of_prior = [mpmath.mpf(0)] * len(bias), [mpmath.mpf(0)] * d
        of_weights = [[mpmath.mpf(0)] * d for _ in bias]
        for share, z in zip(found, states(d), strict=True):
            for i, c in enumerate(prior_logits):
                of_prior[i] += share * (z[i] - mpmath.exp(log_sigmoid(number(c))))
            for j, eta in enumerate(logits(weights, bias, z)):
                # x - sigmoid(eta), without a difference
                pull = mpmath.exp(log_sigmoid(-eta)) if x[j] else -mpmath.exp(log_sigmoid(eta))
                of_bias[j] += share * pull
                for i in range(d):
                    of_weights[j][i] += share * pull * z[i]
        return (
            [[float(v) for v in row] for row in of_weights],
            [float(v) for v in of_bias],
            [float(v) for v in of_prior],
        )


def expected_log_joint(weights, bias, prior_logits, x, q_logits):
    """E_q[log p(x, z)] of a factorised q."""
    with mpmath.workdps(DIGITS):
        logs = log_joints(weights, bias, factorised(prior_logits), x)
        q = factorised(q_logits)
        terms = (
            mpmath.exp(max(q(z), -_FLAT)) * value
            for z, value in zip(states(len(q_logits)), logs, strict=True)
        )
        return float(mpmath.fsum(terms))


def relu_decoder_log_marginal(layers, prior_logits, x):
    """Bernoulli pixels under a network of "relu" units and bits."""
    with mpmath.workdps(DIGITS):
        found = []
        for z in states(len(prior_logits)):
            values = [mpmath.mpf(bit) for bit in z]
            for i, (weight, bias) in enumerate(layers):
                values = [max(v, mpmath.mpf(0)) for v in values] if i else values
                values = [
                    number(b) + mpmath.fsum(number(w) * v for w, v in zip(row, values, strict=True))
                    for row, b in zip(weight, bias, strict=True)
                ]
            found.append(bernoulli(x, values) + factorised(prior_logits)(z))
        return float(log_sum_exp(found))


def energy(couplings, bias, z):
    """sum over i < j of J_ij z_i z_j + h . z."""
    pairs = (number(couplings[i][j]) for i in range(len(z)) for j in range(i) if z[i] and z[j])
    return mpmath.fsum(pairs) + mpmath.fsum(number(h) for h, bit in zip(bias, z, strict=True) if bit)
