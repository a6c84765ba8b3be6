"""Reference answers for the benchmarks: float64 NumPy and math.fsum. Imports neither fastvi nor a baseline.

Latents whose columns and prior logits are equal are counted together: m of them have m + 1 states with
binomial weights, so a tied network of 26 or 100 latents has an exact answer at once.
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache

import numpy as np

_BLOCK = 8  # pixels in one product of (1 + exp(eta)); max |eta| * 8 must stay below log(1e308)


class Enumeration:
    """All distinct states of a network, and their A(z) = sum_j softplus(eta_j(z)) - log p(z)."""

    def __init__(self, weights: np.ndarray, bias: np.ndarray, prior_logits: np.ndarray) -> None:
        columns, group, counts = np.unique(
            np.vstack([weights, prior_logits]), axis=1, return_inverse=True, return_counts=True
        )
        self.weights, prior = columns[:-1], columns[-1]
        self.group = group.ravel()
        middle = len(counts) // 2
        self.halves = []
        for part in (slice(None, middle), slice(middle, None)):
            every = list(itertools.product(*(range(m + 1) for m in counts[part])))
            states = np.array(every, dtype=np.float64).reshape(len(every), len(counts[part]))
            choices = [[math.log(math.comb(m, k)) for k in range(m + 1)] for m in counts[part].tolist()]
            log_prior = np.array([math.fsum(c) for c in itertools.product(*choices)]) + states @ prior[part]
            log_prior -= counts[part] @ np.logaddexp(0.0, prior[part])
            self.halves.append((states, states @ self.weights[:, part].T, log_prior))
        (_, eta_a, log_a), (_, eta_b, log_b) = self.halves
        # (states of a, states of b)
        self.cost = _softplus_sums(eta_a, eta_b + bias) - log_a[:, None] - log_b
        self.bias = bias

    def log_marginal(self, x: np.ndarray) -> np.ndarray:
        """log p(x_n) for each row of x: the largest term, and math.fsum over exp of the others minus it."""
        (_, eta_a, _), (_, eta_b, _) = self.halves
        totals = []
        for datum in x:
            log_joint = (eta_a @ datum)[:, None] + eta_b @ datum - self.cost
            largest = log_joint.max()
            rest = log_joint[log_joint > largest - 60.0]  # 2^20 times exp(-60) is 9e-21
            totals.append(largest + math.log(math.fsum(np.exp(rest - largest).tolist())) + datum @ self.bias)
        return np.array(totals)

    def posterior_mean(self, x: np.ndarray) -> np.ndarray:
        """p(z_i = 1 | x_n), (N, d), for networks without ties."""
        (states_a, eta_a, _), (states_b, eta_b, _) = self.halves
        means = []
        for datum in x:
            log_joint = (eta_a @ datum)[:, None] + eta_b @ datum - self.cost
            p = np.exp(log_joint - log_joint.max())
            ordered = np.concatenate([p.sum(axis=1) @ states_a, p.sum(axis=0) @ states_b]) / p.sum()
            means.append(ordered[self.group])
        return np.array(means)

    def elbo(self, x: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """E_q log p(x_n, z) + H(q), q factorised with these logits (N, d); for networks without ties."""
        values = []
        for datum, row in zip(x, logits, strict=True):
            ordered = np.empty_like(row)
            ordered[self.group] = row
            middle = self.halves[0][0].shape[1]
            q = [
                np.exp(-np.logaddexp(0.0, np.where(states == 1.0, -part, part)).sum(axis=1))
                for (states, _, _), part in zip(
                    self.halves, (ordered[:middle], ordered[middle:]), strict=True
                )
            ]
            mean = 1.0 / (1.0 + np.exp(-ordered))
            entropy = np.logaddexp(0.0, ordered) - mean * ordered
            linear = datum @ (self.weights @ mean + self.bias)
            values.append(linear - q[0] @ self.cost @ q[1] + entropy.sum())
        return np.array(values)


def _softplus_sums(eta_a: np.ndarray, eta_b: np.ndarray) -> np.ndarray:
    """sum_j log(1 + exp(eta_a[s, j] + eta_b[t, j])), shape (states of a, states of b).

    Directly where that is quick; else as the logarithm of products over blocks of pixels, where no product
    can overflow.
    """
    if len(eta_a) * eta_b.size < 20_000_000:
        return np.array([np.logaddexp(0.0, row + eta_b).sum(axis=1) for row in eta_a])
    if _BLOCK * (np.abs(eta_a).max() + np.abs(eta_b).max() + 1.0) > 700.0:
        raise ValueError("logits are too large for the oracle's products of 8 pixels")
    pad = -eta_a.shape[1] % _BLOCK  # exp(-inf) = 0 adds a factor of 1
    blocks_a = np.exp(np.pad(eta_a, ((0, 0), (0, pad))).T.reshape(_BLOCK, -1, len(eta_a)))
    blocks_b = np.exp(
        np.pad(eta_b, ((0, 0), (0, pad)), constant_values=-np.inf).T.reshape(_BLOCK, -1, len(eta_b))
    )
    sums = np.empty((len(eta_a), len(eta_b)))
    for s in range(len(eta_a)):
        product = np.ones(blocks_b.shape[1:])
        for k in range(_BLOCK):
            product *= 1.0 + blocks_a[k, :, s, None] * blocks_b[k]
        sums[s] = np.log(product).sum(axis=0)
    return sums


@lru_cache(maxsize=3)
def _enumeration(weights: bytes, bias: bytes, prior_logits: bytes) -> Enumeration:
    b, prior = np.frombuffer(bias), np.frombuffer(prior_logits)
    return Enumeration(np.frombuffer(weights).reshape(len(b), len(prior)), b, prior)


@lru_cache(maxsize=10)
def _log_marginal(weights: bytes, bias: bytes, prior_logits: bytes, x: bytes) -> np.ndarray:
    network = _enumeration(weights, bias, prior_logits)
    return network.log_marginal(np.frombuffer(x).reshape(-1, len(network.bias)))


def enumeration(weights: np.ndarray, bias: np.ndarray, prior_logits: np.ndarray) -> Enumeration:
    """The enumeration of this network. The last ones are kept, for many benchmarks ask for the same."""
    return _enumeration(weights.tobytes(), bias.tobytes(), prior_logits.tobytes())


def log_marginal(
    weights: np.ndarray, bias: np.ndarray, prior_logits: np.ndarray, x: np.ndarray
) -> np.ndarray:
    """log p(x_n), shape (N,), with the signature of the baselines; kept likewise."""
    return _log_marginal(weights.tobytes(), bias.tobytes(), prior_logits.tobytes(), x.tobytes())


def log_mean_exp(log_w: np.ndarray) -> np.ndarray:
    """log mean exp over the last axis of finite log_w (N, K), summed by math.fsum."""
    largest = log_w.max(axis=1)
    scaled = np.exp(log_w - largest[:, None])
    return largest + np.log([math.fsum(row.tolist()) / len(row) for row in scaled])
