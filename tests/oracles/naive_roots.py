"""Sums over all states of log p(x, z) = c + <t, z> - sum_j softplus(W z + b)_j, their tangents, and ELBOs."""

from __future__ import annotations

import itertools

import mpmath
import numpy as np


def states(num_bits):
    """All of them (2^f, f)."""
    return np.array(list(itertools.product((0.0, 1.0), repeat=num_bits))).reshape(-1, num_bits)


def log_joints(weights, bias, linear, constant):
    """Of each datum and state (N, 2^f)."""
    z = states(weights.shape[1])
    eta = bias + z @ weights.T
    return constant[:, None] + linear @ z.T - np.logaddexp(0.0, eta).sum(axis=1)


def log_sums(weights, bias, linear, constant):
    """The logs of their sums (N,)."""
    return np.logaddexp.reduce(log_joints(weights, bias, linear, constant), axis=1)


def coin_entropy(p):
    """Of coins, in nats."""
    parts = [
        np.where(each > 0.0, each * np.log(np.where(each > 0.0, each, 1.0)), 0.0) for each in (p, 1.0 - p)
    ]
    return -sum(parts)


def tangent(weights, bias, linear, constant, logits):
    """The bound by A's tangent at sigmoid(logits), and the concave function that it exceeds, of one datum."""
    q = 1.0 / (1.0 + np.exp(-logits))
    eta = weights @ q + bias
    g = 1.0 / (1.0 + np.exp(-eta))
    fields = linear - weights.T @ g
    bound = constant - (g * bias + coin_entropy(g)).sum() + np.logaddexp(0.0, fields).sum()
    return bound, constant + linear @ q + coin_entropy(q).sum() - np.logaddexp(0.0, eta).sum()


def exact_log_sum(weights, bias, linear, constant):
    """Of one datum, in 40 digits."""
    with mpmath.workdps(40):
        total = mpmath.mpf(0)
        for z in itertools.product((0, 1), repeat=len(linear)):
            value = mpmath.mpf(constant) + mpmath.fsum(
                mpmath.mpf(t) * bit for t, bit in zip(linear, z, strict=True)
            )
            for row, b in zip(weights, bias, strict=True):
                eta = mpmath.mpf(b) + mpmath.fsum(mpmath.mpf(w) * bit for w, bit in zip(row, z, strict=True))
                value -= mpmath.log1p(mpmath.exp(eta))
            total += mpmath.exp(value)
        return mpmath.log(total)


def best_elbo(weights, bias, linear, constant, sweeps=40):
    """The largest ELBO of a factorised q that coordinate ascent finds from the middle, of one datum."""
    z, q = states(len(linear)), np.full(len(linear), 0.5)
    logs = log_joints(weights, bias, linear[None], np.array([constant]))[0]
    for _ in range(sweeps):
        for i in range(len(q)):
            others = np.where(z == 1.0, q, 1.0 - q)
            others[:, i] = 1.0
            mass = others.prod(axis=1)
            one = z[:, i] == 1.0
            q[i] = 1.0 / (1.0 + np.exp(-((mass * logs)[one].sum() - (mass * logs)[~one].sum())))
    mass = np.where(z == 1.0, q, 1.0 - q).prod(axis=1)
    return mass @ logs + coin_entropy(q).sum()
