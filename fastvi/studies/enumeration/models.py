"""Models of a given number of latents, made from the one that the enumeration study looks at."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvi.distributions.bernoulli import Bernoulli
from fastvi.models.binary_sparse_coding import BinarySparseCoding
from fastvi.models.neural_decoder import NeuralDecoder
from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork


def widened(model: SigmoidBeliefNetwork, num_latents: int, seed: int) -> SigmoidBeliefNetwork:
    """The model's first latents; random ones beyond them.

    They are there for the cost alone. Measured at 2^20 states: 0.011 to 0.019 s, whether the values are
    these, all random, five times as large or 0; large values leave some states negligible.

    Random columns are standard normal with prior logits 0; a latent has the same column at every d.
    """
    extra = max(0, num_latents - model.num_latents)
    more = np.stack(
        [np.random.default_rng([seed, k]).standard_normal(model.num_pixels) for k in range(extra)], axis=1
    ) if extra else np.empty((model.num_pixels, 0))  # fmt: skip
    weights = np.concatenate([model.weights, more], axis=1)[:, :num_latents]
    prior_logits = np.concatenate([model.prior_logits, np.zeros(extra)])[:num_latents]
    return SigmoidBeliefNetwork(weights, model.bias, prior_logits)


def is_plain_network(model: Any) -> bool:
    """Whether it is a network whose latents are independent: the baselines are written for such a one."""
    return isinstance(model, SigmoidBeliefNetwork) and not model.is_deep


def narrowed(model: Any, num_latents: int) -> Any:
    """The model's first latents; None where they make no model of the same kind."""
    if is_plain_network(model):
        return SigmoidBeliefNetwork(
            model.weights[:, :num_latents], model.bias, model.prior_logits[:num_latents]
        )
    if isinstance(model, BinarySparseCoding):
        return BinarySparseCoding(
            model.weights[:, :num_latents], model.bias, model.noise_std, model.prior_logits[:num_latents]
        )
    if isinstance(model, NeuralDecoder) and isinstance(model.prior, Bernoulli):
        (weight, bias), *others = model.layers
        return NeuralDecoder(
            [(weight[:, :num_latents], bias), *others], model.activation,
            Bernoulli(model.prior.logits[:num_latents]), model.likelihood, model.noise_std,
        )  # fmt: skip
    return None
