"""Encoders and mixtures in pure Python: lists and ``math`` only, nothing from fastvi."""

from __future__ import annotations

import math

import naive

ACTIVATIONS = {
    "relu": lambda t: max(t, 0.0),
    "tanh": math.tanh,
    "sigmoid": naive.sigmoid,
    "softplus": naive.softplus,
}


def forward(layers, activation, x):
    """Outputs of a network for one datum."""
    hidden = x
    for i, (weight, bias) in enumerate(layers):
        if i:
            hidden = [ACTIVATIONS[activation](h) for h in hidden]
        hidden = [
            math.fsum([b, *(w * h for w, h in zip(row, hidden, strict=True))])
            for row, b in zip(weight, bias, strict=True)
        ]
    return hidden


def picked(cumulative, seed, datum, sample):
    """The component that a sample is drawn from."""
    word = 2**32 - 1
    words = naive.philox((1 << 29 | 1 << 28, sample & word, sample >> 32, datum), (seed & word, seed >> 32))
    u = (words[0] << 21 | words[1] >> 11) / 2**53
    return next((c for c, upper in enumerate(cumulative) if u < upper), len(cumulative) - 1)


def log_mixture(log_probs, weights):
    """log sum_c w_c exp(log_probs_c), the weights of any sum."""
    total = math.fsum(weights)
    largest = max(log_probs)
    if largest == -math.inf:
        return -math.inf
    parts = (w / total * math.exp(log_p - largest) for w, log_p in zip(weights, log_probs, strict=True))
    return largest + math.log(math.fsum(parts))
