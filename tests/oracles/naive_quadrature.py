"""Dense rules in NumPy for decoders with normal priors: log p(x), its posterior's moments, expectations.

Nothing from fastvi. The trapezoid rule over a box, with no refinement and no cut: its error is that of its
step, which every caller chooses so that it is negligible.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy import special

ACTIVATIONS = {
    "relu": lambda t: np.maximum(t, 0.0),
    "tanh": np.tanh,
    "sigmoid": lambda t: 1.0 / (1.0 + np.exp(-t)),
    "softplus": lambda t: np.logaddexp(0.0, t),
    "leaky_relu": lambda t: np.maximum(t, 0.01 * t),
    "elu": lambda t: np.maximum(t, np.expm1(np.minimum(t, 0.0))),
    "silu": lambda t: t / (1.0 + np.exp(-t)),
    "gelu": lambda t: t * special.ndtr(t),
    "identity": lambda t: t,
}


def log_likelihood(layers, activation, x, z, noise_std=None):
    """log p(x | z) of one x for states z (S, d)."""
    hidden = z
    for i, (weight, bias) in enumerate(layers):
        hidden = ACTIVATIONS[activation](hidden) if i else hidden
        hidden = hidden @ np.asarray(weight).T + bias
    if noise_std is None:
        return (x * hidden - np.logaddexp(0.0, hidden)).sum(axis=1)
    density = math.log(noise_std) + 0.5 * math.log(2 * math.pi)
    return (-0.5 * ((x - hidden) / noise_std) ** 2 - density).sum(axis=1)


def grid(low, high, intervals):
    """Nodes (S, d) of a box, and the volume of a cell."""
    lines = [np.linspace(a, b, intervals + 1) for a, b in zip(low, high, strict=True)]
    nodes = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, len(lines))
    return nodes, math.prod((b - a) / intervals for a, b in zip(low, high, strict=True))


def log_joints(layers, activation, mean, std, x, z, noise_std=None):
    """log p(x, z) of one x for states z (S, d)."""
    u = (z - mean) / std
    prior = -0.5 * (u**2).sum(axis=1) - np.log(std).sum() - 0.5 * len(mean) * math.log(2 * math.pi)
    return prior + log_likelihood(layers, activation, x, z, noise_std)


def posterior(layers, activation, mean, std, x, intervals, noise_std=None, low=None, high=None):
    """log p(x), means, standard deviations and entropy of p(z | x) for one x, over a box: 10 standard
    deviations of the prior where it is not given.
    """
    mean, std = np.asarray(mean, float), np.asarray(std, float)
    low, high = (mean - 10 * std, mean + 10 * std) if low is None else (low, high)
    z, volume = grid(low, high, intervals)
    # a block at a time: a dense grid of three latents is some hundred megabytes
    logs = np.concatenate(
        [
            log_joints(layers, activation, mean, std, x, z[k : k + 65536], noise_std)
            for k in range(0, len(z), 65536)
        ]
    )
    largest = logs.max()
    total = largest + math.log(np.exp(logs - largest).sum())
    share = np.exp(logs - total)
    centre = share @ z
    spread = np.sqrt(share @ (z - centre) ** 2)
    evidence = total + math.log(volume)
    return evidence, centre, spread, evidence - float(share @ logs)


def expected_log_likelihood(layers, activation, x, mean, std, intervals, noise_std=None):
    """E[log p(x | z)] of one x under a normal z of independent coordinates."""
    u, _ = grid([-9.0] * len(mean), [9.0] * len(mean), intervals)
    weights = np.exp(-0.5 * (u**2).sum(axis=1))
    values = log_likelihood(layers, activation, x, np.asarray(mean) + np.asarray(std) * u, noise_std)
    return float(weights @ values / weights.sum())


def even_decoder(rng, num_latents, num_features=3, num_pixels=6, scale=1.5):
    """Layers of eta(z) = eta(-z): a posterior has each of its modes twice."""
    ways = scale * rng.normal(size=(num_features, num_latents))
    out = rng.normal(size=(num_pixels, num_features))
    both = np.concatenate([ways, -ways])
    return [
        (both, np.full(2 * num_features, -1.0)),
        (np.concatenate([out, out], axis=1), np.zeros(num_pixels)),
    ]


def all_images(num_pixels):
    return np.array(list(itertools.product([0, 1], repeat=num_pixels)), np.uint8)
