"""Answers at 50 digits, for accuracy.py: brute force over all states by mpmath. Imports nothing of fastvi.

A float is taken as the number that it is. A table holds log p(x_n, z) of N data and all 2^d states.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import mpmath
import numpy as np

DIGITS = 50
Number = Any  # mpmath's; it has no stubs
Row = list[Number]

mp = mpmath.mp.clone()
mp.dps = DIGITS


class Answers(NamedTuple):
    """Of each datum: log p(x), posterior means, ELBO of q, KL(q || p(z | x))."""

    log_marginal: Row
    mean: list[Row]
    elbo: Row
    kl: Row


def states(num: int) -> list[tuple[int, ...]]:
    return list(itertools.product((0, 1), repeat=num))


def numbers(array: np.ndarray) -> Any:
    """Nested lists of mpmath's numbers."""
    if np.ndim(array) == 0:
        return mp.mpf(float(array))
    return [numbers(part) for part in array]


def softplus(t: Number) -> Number:
    return t + mp.log1p(mp.exp(-t)) if t > 0 else mp.log1p(mp.exp(t))


def log_sum(terms: Sequence[Number]) -> Number:
    most = max(terms)
    return most + mp.log(mp.fsum(mp.exp(term - most) for term in terms))


def affine(weights: Any, bias: Any, z: Sequence[Number]) -> Row:
    return [
        b + mp.fsum(w * value for w, value in zip(row, z, strict=True))
        for row, b in zip(weights, bias, strict=True)
    ]


def coins(logits: Row, bits: Sequence[int]) -> Number:
    """log of the probability of bits, each 1 with its own logit."""
    return -mp.fsum(softplus(-t if bit else t) for t, bit in zip(logits, bits, strict=True))


def enumerated(table: list[Row], num: int, q_logits: np.ndarray) -> Answers:
    """The sums over ``states(num)``, in whose order each row of the table is."""
    log_marginal, means, elbo, kl = [], [], [], []
    for row, logits in zip(table, numbers(q_logits), strict=True):
        total = log_sum(row)
        log_q = [coins(logits, z) for z in states(num)]
        bound = mp.fsum(mp.exp(lq) * (lp - lq) for lp, lq in zip(row, log_q, strict=True))
        share = [mp.exp(lp - total) for lp in row]
        means.append(
            [mp.fsum(s for s, z in zip(share, states(num), strict=True) if z[i]) for i in range(num)]
        )
        log_marginal.append(total)
        elbo.append(bound)
        kl.append(total - bound)
    return Answers(log_marginal, means, elbo, kl)


def network(logits_of: Callable[[Sequence[int]], Row], prior_logits: np.ndarray, x: np.ndarray) -> list[Row]:
    """The table of Bernoulli pixels, whose logits a function of z gives, and of independent bits z."""
    prior = numbers(prior_logits)
    columns = []
    for z in states(len(prior)):
        logits, log_prior = logits_of(z), coins(prior, z)
        columns.append([log_prior + coins(logits, [int(bit) for bit in datum]) for datum in x])
    return [list(row) for row in zip(*columns, strict=True)]


def weight_slopes(
    logits_of: Callable[[Sequence[int]], Row], table: list[Row], num: int, x: np.ndarray
) -> list[Row]:
    """Slopes of the summed log p(x_n) in the weights (D, d) of a network of one layer."""
    totals = [log_sum(row) for row in table]
    slopes = [[mp.mpf(0)] * num for _ in x[0]]
    for k, z in enumerate(states(num)):
        shares = [mp.exp(row[k] - total) for row, total in zip(table, totals, strict=True)]
        for j, t in enumerate(logits_of(z)):
            chance = mp.exp(-softplus(-t))
            slope = mp.fsum(s * (int(datum[j]) - chance) for s, datum in zip(shares, x, strict=True))
            for i in range(num):
                slopes[j][i] += z[i] * slope
    return slopes


def coding(
    weights: np.ndarray, bias: np.ndarray, noise_std: float, prior_logits: np.ndarray, x: np.ndarray
) -> list[Row]:
    """The table of pixels that are normal around W z + b."""
    w, b, s, prior, data = (numbers(part) for part in (weights, bias, np.array(noise_std), prior_logits, x))
    constant = -len(b) * (mp.log(2 * mp.pi) / 2 + mp.log(s))
    rows: list[Row] = [[] for _ in data]
    for z in states(len(prior)):
        centre, log_prior = affine(w, b, z), coins(prior, z)
        for row, datum in zip(rows, data, strict=True):
            square = mp.fsum((value - c) ** 2 for value, c in zip(datum, centre, strict=True))
            row.append(log_prior + constant - square / (2 * s * s))
    return rows


def machine(couplings: np.ndarray, bias: np.ndarray) -> list[Row]:
    """One row: the energies of all states, not normalised."""
    num, row = len(bias), []
    j, h = numbers(couplings), numbers(bias)
    for z in states(num):
        on = [i for i in range(num) if z[i]]
        row.append(mp.fsum([h[i] for i in on] + [j[a][b] for a in on for b in on if a < b]))
    return [row]


def restricted(weights: np.ndarray, visible_bias: np.ndarray, hidden_bias: np.ndarray) -> list[Row]:
    """One row: log of the sum over the visible units, for each state of the hidden ones."""
    w, b, c = numbers(weights), numbers(visible_bias), numbers(hidden_bias)
    row = []
    for z in states(len(c)):
        field = mp.fsum(value for value, bit in zip(c, z, strict=True) if bit)
        row.append(field + mp.fsum(softplus(t) for t in affine(w, b, z)))
    return [row]


def linear_gaussian(weights: np.ndarray, bias: np.ndarray, noise_std: float, x: np.ndarray) -> Row:
    """log of the normal density of covariance W W' + s^2 I."""
    w, s, size = mp.matrix(weights.tolist()), mp.mpf(noise_std), len(bias)
    covariance = w * w.T + s * s * mp.eye(size)
    log_det = mp.log(mp.det(covariance))
    found = []
    for datum in x:
        r = mp.matrix([mp.mpf(float(value)) - mp.mpf(float(b)) for value, b in zip(datum, bias, strict=True)])
        square = (r.T * mp.lu_solve(covariance, r))[0]
        found.append(-(size * mp.log(2 * mp.pi) + log_det + square) / 2)
    return found


def integrals(layers: list[tuple[np.ndarray, np.ndarray]], x: np.ndarray) -> Row:
    """log p(x) of a decoder with tanh, Bernoulli pixels and one standard normal latent."""
    (w1, b1), (w2, b2) = [(numbers(w), numbers(b)) for w, b in layers]

    def joint(z: Number, datum: np.ndarray) -> Number:
        logits = affine(w2, b2, [mp.tanh(t) for t in affine(w1, b1, [z])])
        return mp.exp(coins(logits, [int(bit) for bit in datum]) - z * z / 2) / mp.sqrt(2 * mp.pi)

    # 12 standard deviations leave out less than 1e-30
    with mp.workdps(30):
        return [mp.log(mp.quad(lambda z, datum=datum: joint(z, datum), range(-12, 13, 4))) for datum in x]


def log_mean_exp(log_w: np.ndarray) -> Row:
    return [log_sum(row) - mp.log(len(row)) for row in numbers(log_w)]
