"""Models of each class to start from where nothing is known but the data.

Weights are small and random, so that no two latents are alike; biases make pixels as large on average as they
are in the data; bits are on with probability 1/2, and the noise is what the data vary by.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from fastvi.core import validation
from fastvi.core.options import FAMILIES, LIKELIHOODS, Activation, Family, Likelihood
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.distributions.normal import Normal
from fastvi.fitting.starting_network import pixel_shares, starting_network
from fastvi.models.base import LatentVariableModel
from fastvi.models.binary_sparse_coding import BinarySparseCoding
from fastvi.models.boltzmann_machine import BoltzmannMachine
from fastvi.models.linear_gaussian import LinearGaussian
from fastvi.models.neural_decoder import NeuralDecoder
from fastvi.models.restricted_boltzmann_machine import RestrictedBoltzmannMachine
from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork

_INITIAL_STD = 0.1  # of weights, in what the data vary by where pixels are real numbers


class Sizes(NamedTuple):
    """What a start has beside the data; a class takes of it what it has."""

    num_latents: int = 1
    hidden: Sequence[int] = ()
    activation: Activation = "tanh"
    prior: Family = "bernoulli"
    likelihood: Likelihood = "bernoulli"


def starting_model(
    name: str, x: np.ndarray, sizes: Sizes, seed: int, observed: np.ndarray | None = None
) -> LatentVariableModel:
    """Return a model of the class ``name`` to start a fit with, a pure function of its arguments.

    ``x`` (N, D) are N >= 1 data, of pixels 0 and 1 where the model's are. Where ``observed`` (N, D) is False,
    x may hold anything.
    """
    make = STARTS[validation.choice(name, "name", tuple(STARTS))]
    if binary_pixels(name, sizes):
        x = validation.binary_matrix(x, "x", x.shape[1], observed=observed)
    else:
        x = validation.real_matrix(x, "x", x.shape[1], observed=observed)
    seen = np.ones(x.shape, bool) if observed is None else observed
    return make(x, seen, sizes, seed)  # x has 0 where it was not seen


def binary_pixels(name: str, sizes: Sizes) -> bool:
    """Tell whether pixels of such a model are 0 and 1."""
    if name == "NeuralDecoder":
        return sizes.likelihood == "bernoulli"
    return name not in ("BinarySparseCoding", "LinearGaussian")


def _network(x: np.ndarray, seen: np.ndarray, sizes: Sizes, seed: int) -> SigmoidBeliefNetwork:
    return starting_network(x, sizes.num_latents, seed, None, None if seen.all() else seen)


def _restricted(x: np.ndarray, seen: np.ndarray, sizes: Sizes, seed: int) -> RestrictedBoltzmannMachine:
    weights = _normal(seed, (x.shape[1], sizes.num_latents)) * _INITIAL_STD
    return RestrictedBoltzmannMachine(weights, _logits(x, seen), np.zeros(sizes.num_latents))


def _machine(x: np.ndarray, seen: np.ndarray, sizes: Sizes, seed: int) -> BoltzmannMachine:
    """Return independent units: all are seen, so that none is like another."""
    return BoltzmannMachine(np.zeros((x.shape[1], x.shape[1])), _logits(x, seen))


def _sparse_coding(x: np.ndarray, seen: np.ndarray, sizes: Sizes, seed: int) -> BinarySparseCoding:
    mean, std = _moments(x, seen)
    weights = _normal(seed, (x.shape[1], sizes.num_latents)) * (_INITIAL_STD * std)
    return BinarySparseCoding(weights, mean - 0.5 * weights.sum(axis=1), std, np.zeros(sizes.num_latents))


def _linear(x: np.ndarray, seen: np.ndarray, sizes: Sizes, seed: int) -> LinearGaussian:
    mean, std = _moments(x, seen)
    weights = _normal(seed, (x.shape[1], sizes.num_latents)) * (_INITIAL_STD * std)
    return LinearGaussian(weights, mean, std)


def _decoder(x: np.ndarray, seen: np.ndarray, sizes: Sizes, seed: int) -> NeuralDecoder:
    """Return a network that gives nearly the same pixels for all z: its last layer has small weights."""
    zero = np.zeros(sizes.num_latents)
    bernoulli = validation.choice(sizes.prior, "prior", FAMILIES) == "bernoulli"
    prior = Bernoulli(zero) if bernoulli else Normal(zero, zero + 1.0)
    if validation.choice(sizes.likelihood, "likelihood", LIKELIHOODS) == "gaussian":
        bias, std = _moments(x, seen)
        scale, noise_std = _INITIAL_STD * std, std
    else:
        bias, scale, noise_std = _logits(x, seen), _INITIAL_STD, None
    generator = np.random.Generator(np.random.Philox(key=seed))
    widths = (sizes.num_latents, *sizes.hidden, x.shape[1])
    layers = [
        [generator.standard_normal((out, into)) / into**0.5, np.zeros(out)] for into, out in pairwise(widths)
    ]
    layers[-1] = [layers[-1][0] * scale, bias]
    return NeuralDecoder(layers, sizes.activation, prior, sizes.likelihood, noise_std)  # type: ignore[arg-type]


STARTS: dict[str, Callable[[np.ndarray, np.ndarray, Sizes, int], Any]] = {
    "SigmoidBeliefNetwork": _network,
    "RestrictedBoltzmannMachine": _restricted,
    "BoltzmannMachine": _machine,
    "BinarySparseCoding": _sparse_coding,
    "LinearGaussian": _linear,
    "NeuralDecoder": _decoder,
}


def _normal(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=seed)).standard_normal(shape)


def _logits(x: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Log odds of a pixel."""
    share = pixel_shares(x, None, seen)
    return np.asarray(np.log(share / (1.0 - share)))


def _moments(x: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the mean of each pixel, 0 of one that was never seen, and the standard deviation of all."""
    count = np.maximum(seen.sum(axis=0), 1)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused
        mean = x.sum(axis=0) / count
        variance = float((np.square(x - mean) * seen).sum() / max(int(seen.sum()), 1))
    if not 0.0 < variance < np.inf:
        raise ValueError(f"x must have a variance about the means of its pixels in (0, inf), got {variance}")
    return mean, variance**0.5
