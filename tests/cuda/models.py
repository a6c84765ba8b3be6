"""Models and data that the tests of CUDA share; a seed for each shape."""

from __future__ import annotations

import numpy as np

import fastvi


def network(d, num_pixels, scale=1.0, seed=0):
    rng = np.random.default_rng([d, num_pixels, seed])
    weights = scale * rng.normal(size=(num_pixels, d))
    return fastvi.SigmoidBeliefNetwork(weights, rng.normal(size=num_pixels), rng.normal(size=d))


def machine(d, scale=1.0, *, never=False):
    rng = np.random.default_rng(d)
    couplings = np.triu(scale * rng.normal(size=(d, d)), 1)
    if never:
        couplings[0, 1] = couplings[2, d - 1] = -np.inf
    return fastvi.BoltzmannMachine(couplings + couplings.T, rng.normal(size=d))


def bits(num, width, seed=0):
    return (np.random.default_rng([num, width, seed]).random((num, width)) < 0.5).astype(np.uint8)
