"""Sigmoid belief network to start from where nothing is known but the data."""

from __future__ import annotations

import numpy as np

from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork

_INITIAL_STD = 0.1


def pixel_shares(
    x: np.ndarray, data_weights: np.ndarray | None = None, observed: np.ndarray | None = None
) -> np.ndarray:
    """Share of each pixel of ``x`` (N, D), 0 and 1, with half a pixel each way: logits of it are finite.

    A weight (N,) says how many times a datum counts, ``observed`` (N, D) which pixels count; 0 stands in
    place of the others.
    """
    if data_weights is None and observed is None:
        return np.asarray((x.sum(axis=0) + 0.5) / (len(x) + 1.0))
    times = np.ones(len(x)) if data_weights is None else data_weights
    if times.max() > 2.0**52:  # beside so many half a pixel is nothing, and their sum may overflow
        times = times * (2.0**52 / times.max())
    seen = np.broadcast_to(times[:, None], x.shape) if observed is None else times[:, None] * observed
    return np.asarray(((x * seen).sum(axis=0) + 0.5) / (seen.sum(axis=0) + 1.0))


def starting_network(
    x: np.ndarray, num_latents: int, seed: int, data_weights: np.ndarray | None = None,
    observed: np.ndarray | None = None,
) -> SigmoidBeliefNetwork:  # fmt: skip
    """Small random weights, and the shares of the pixels of ``x`` (N, D), 0 and 1, as biases."""
    share = pixel_shares(x, data_weights, observed)
    generator = np.random.Generator(np.random.Philox(key=seed))
    weights = _INITIAL_STD * generator.standard_normal((x.shape[1], num_latents))
    return SigmoidBeliefNetwork(weights, np.log(share / (1.0 - share)), np.zeros(num_latents))
