"""Networks of weights of any size, their log p(x) in many digits, and the error that is allowed."""

from __future__ import annotations

import itertools

import naive_large_weights as naive
import numpy as np
from tolerances import EPS

import fastvi
from fastvi.engine.decoder.large_logits import largest_reach


def all_data(num_pixels):
    """Every image (2^D, D)."""
    return np.array(list(itertools.product((0, 1), repeat=num_pixels)), np.uint8).reshape(-1, num_pixels)


def truth(model, x, seen=None):
    """log p(x) of each datum in many digits."""
    parameters = model.weights, model.bias, model.prior_logits
    return np.array([naive.log_marginal(*parameters, row, seen) for row in x])


def size_of(model):
    """S: the sum of all |logits|."""
    return sum(np.abs(part).sum() for part in (model.weights, model.bias, model.prior_logits))


def allowed(model, expected):
    """The bound that ``log_marginal`` states: sums of S with a linear part, of log p(x) without one."""
    count = model.num_pixels + model.num_latents + 40
    large = size_of(model) > largest_reach(model.num_pixels)
    own = np.maximum(np.abs(expected), 1.0)
    return count * EPS * (own if large else np.maximum(own, size_of(model)))


def network(weights, bias, prior_logits=None):
    """A network of given weights, under fair coins unless a prior is given."""
    weights = np.array(weights, float)
    prior = np.zeros(weights.shape[1]) if prior_logits is None else prior_logits
    return fastvi.SigmoidBeliefNetwork(weights, bias, prior)


CANCELLING = network(
    [[1e20, 1.0, -1e20], [3e6, -3e6, 0.5], [1e300, 1e-300, -1e300]], [0.25, -1.0, 0.0], [0.3, -0.2, 1.0]
)
