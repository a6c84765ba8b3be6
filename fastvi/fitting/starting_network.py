"""Sigmoid belief network to start from where nothing is known but the data."""

from __future__ import annotations

import numpy as np

from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork

_INITIAL_STD = 0.1


def pixel_shares(x: np.ndarray) -> np.ndarray:
    """Share of each pixel of ``x`` (N, D), 0 and 1, with half a pixel each way: logits of it are finite."""
    return np.asarray((x.sum(axis=0) + 0.5) / (len(x) + 1.0))


def starting_network(x: np.ndarray, num_latents: int, seed: int) -> SigmoidBeliefNetwork:
    """Small random weights, and the shares of the pixels of ``x`` (N, D), 0 and 1, as biases."""
    share = pixel_shares(x)
    generator = np.random.Generator(np.random.Philox(key=seed))
    weights = _INITIAL_STD * generator.standard_normal((x.shape[1], num_latents))
    return SigmoidBeliefNetwork(weights, np.log(share / (1.0 - share)), np.zeros(num_latents))
