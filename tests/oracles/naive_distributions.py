"""Slow references for encoders and mixtures.

Pure Python like ``naive``, nothing from fastvi: nested lists, nats, each function the definition.
"""

from __future__ import annotations

import itertools
import math

import naive
import naive_models

# ---- encoders --------------------------------------------------------------------------------------------


def encoder_parameters(layers, activation, family, x):
    """For one x (D,): (logits,) of a Bernoulli, or (means, standard deviations) of a normal distribution."""
    outputs = naive_models.decoder_outputs(layers, activation, x)
    if family == "bernoulli":
        return (outputs,)
    half = len(outputs) // 2
    return outputs[:half], [math.exp(t) for t in outputs[half:]]


# ---- mixtures --------------------------------------------------------------------------------------------


def bernoulli_log_prob(z, logits):
    """log q(z) of one z (d,); an infinite logit is a point mass, so that no infinity is multiplied."""
    if any(math.isinf(t) and (t > 0) != bool(bit) for bit, t in zip(z, logits, strict=True)):
        return -math.inf
    pairs = [(bit, t) for bit, t in zip(z, logits, strict=True) if not math.isinf(t)]
    return naive.bernoulli_log_prob([bit for bit, _ in pairs], [t for _, t in pairs])


def mixture_log_prob(weights, log_probs):
    """log sum_c w_c q_c(z) from log q_c(z)."""
    return naive.log_sum_exp(math.log(w) + t for w, t in zip(weights, log_probs, strict=True))


def component_uniform(seed, datum, sample):
    """A multiple of 2^-53 in [0, 1): the high 53 of the 64 bits of words 0 and 1."""
    word = 2**32 - 1
    counter = (2**29 + 2**28, sample & word, sample >> 32, datum)
    high, low, _, _ = naive.philox(counter, (seed & word, seed >> 32))
    return ((high * 2**32 + low) // 2**11) / 2**53


def picked_component(weights, seed, datum, sample):
    """The first component whose cumulative weight is above the uniform number."""
    u = component_uniform(seed, datum, sample)
    for c, total in enumerate(itertools.accumulate(weights)):
        if u < total:
            return c
    return len(weights) - 1
