"""Slow references for neural decoders, linear Gaussian models, deep networks and normal distributions.

Pure Python like ``naive``, nothing from fastvi: nested lists, nats, each function the definition.
"""

from __future__ import annotations

import itertools
import math
import statistics

import naive

# ---- normal distributions --------------------------------------------------------------------------------


def normal_log_density(value, mean, std):
    return -((value - mean) ** 2) / (2 * std**2) - math.log(std) - math.log(2 * math.pi) / 2


def normal_log_prob(z, mean, std):
    """log q(z) for one z (d,), mean (d,) and std (d,)."""
    return math.fsum(normal_log_density(*numbers) for numbers in zip(z, mean, std, strict=True))


def normal_entropy(std):
    return math.fsum(math.log(s * math.sqrt(2 * math.pi * math.e)) for s in std)


def standard_normal_draw(num_latents, seed, datum, sample):
    """One z of mean 0 and standard deviation 1, from 64 bits for each latent: 53 of a tail, 1 of a sign."""
    word = 2**32 - 1
    z = []
    for i in range(num_latents):
        counter = [2**30 + i // 2, sample & word, sample >> 32, datum]
        words = naive.philox(counter, (seed & word, seed >> 32))
        high, low = words[2 * (i % 2)], words[2 * (i % 2) + 1]
        tail = ((high * 2**32 + low) // 2**11 + 0.5) / 2**54
        size = -statistics.NormalDist().inv_cdf(tail)
        z.append(size if low % 2 == 0 else -size)
    return z


# ---- neural decoders -------------------------------------------------------------------------------------

ACTIVATIONS = {
    "relu": lambda t: max(t, 0.0),
    "tanh": math.tanh,
    "sigmoid": naive.sigmoid,
    "softplus": naive.softplus,
    "leaky_relu": lambda t: t if t > 0 else 0.01 * t,
    "elu": lambda t: t if t > 0 else math.expm1(t),
    "gelu": lambda t: t * math.erfc(-t / math.sqrt(2)) / 2,
    "silu": lambda t: t * naive.sigmoid(t),
    "identity": lambda t: t,
}


def decoder_outputs(layers, activation, z):
    """eta(z): layers with an activation between any two."""
    hidden = list(z)
    for i, (weight, bias) in enumerate(layers):
        if i:
            hidden = [ACTIVATIONS[activation](value) for value in hidden]
        hidden = naive.sbn_logits(weight, bias, hidden)
    return hidden


def decoder_log_likelihood(layers, activation, x, z, noise_std=None, observed=None):
    """log p(x | z) of the pixels that are observed; binary pixels where there is no ``noise_std``."""
    eta = decoder_outputs(layers, activation, z)
    seen = [True] * len(eta) if observed is None else observed
    terms = [
        naive.log_sigmoid(e if value else -e)
        if noise_std is None
        else normal_log_density(value, e, noise_std)
        for e, value, keep in zip(eta, x, seen, strict=True)
        if keep
    ]
    return math.fsum(terms)


def decoder_log_marginal(layers, activation, prior_logits, x, noise_std=None, observed=None):
    """log p(x) of one x under binary latents, by enumeration of all 2^d states."""
    return naive.log_sum_exp(
        naive.bernoulli_log_prob(z, prior_logits)
        + decoder_log_likelihood(layers, activation, x, z, noise_std, observed)
        for z in naive.states(len(prior_logits))
    )


def decoder_log_marginal_by_quadrature(
    layers, activation, mean, std, x, nodes, weights, noise_std=None, observed=None
):
    """log p(x) of one x under normal latents, on the product grid of a one-dimensional rule.

    The rule is for expectations under the standard normal distribution: its weights sum to 1.
    """
    rule = list(zip(nodes, weights, strict=True))
    terms = []
    for point in itertools.product(rule, repeat=len(mean)):
        z = [m + s * node for m, s, (node, _) in zip(mean, std, point, strict=True)]
        log_weight = math.fsum(naive.log(weight) for _, weight in point)
        terms.append(log_weight + decoder_log_likelihood(layers, activation, x, z, noise_std, observed))
    return naive.log_sum_exp(terms)


# ---- linear Gaussian models ------------------------------------------------------------------------------


def linear_gaussian_log_joint(weights, bias, noise_std, x, z):
    d = len(z)
    prior = normal_log_prob(z, [0.0] * d, [1.0] * d)
    return prior + decoder_log_likelihood([(weights, bias)], None, x, z, noise_std)


def linear_gaussian_log_marginal(weights, bias, noise_std, x, observed=None):
    """log N(x; b, W W^T + s^2 I) of the pixels that are observed, by elimination in the dense covariance."""
    kept = [j for j in range(len(bias)) if observed is None or observed[j]]
    matrix = [
        [
            math.fsum(a * b for a, b in zip(weights[i], weights[j], strict=True))
            + (noise_std**2 if i == j else 0.0)
            for j in kept
        ]
        for i in kept
    ]
    right = [x[j] - bias[j] for j in kept]
    solution, log_determinant = solve(matrix, right)
    square = math.fsum(a * b for a, b in zip(right, solution, strict=True))
    return -(square + log_determinant + len(kept) * math.log(2 * math.pi)) / 2


def solve(matrix, right):
    """Solution of a linear system and log |determinant|, by Gaussian elimination with row pivots."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    size, log_determinant = len(rows), 0.0
    for k in range(size):
        pivot = max(range(k, size), key=lambda i: abs(rows[i][k]))
        rows[k], rows[pivot] = rows[pivot], rows[k]
        log_determinant += math.log(abs(rows[k][k]))
        for i in range(k + 1, size):
            factor = rows[i][k] / rows[k][k]
            rows[i] = [a - factor * b for a, b in zip(rows[i], rows[k], strict=True)]
    solution = [0.0] * size
    for k in reversed(range(size)):
        known = math.fsum(rows[k][i] * solution[i] for i in range(k + 1, size))
        solution[k] = (rows[k][size] - known) / rows[k][k]
    return solution, log_determinant


# ---- deep sigmoid belief networks ------------------------------------------------------------------------


def deep_sbn_log_marginal(weights, bias, upper, x, observed=None):
    """log p(x) of two layers, by enumeration of both; ``upper`` = (weights, bias, prior_logits)."""
    upper_weights, upper_bias, prior_logits = upper
    return naive.log_sum_exp(
        naive.sbn_log_likelihood(weights, bias, x, z, observed)
        + naive.sbn_log_joint(upper_weights, upper_bias, prior_logits, z, top)
        for z in naive.states(len(upper_bias))
        for top in naive.states(len(prior_logits))
    )
