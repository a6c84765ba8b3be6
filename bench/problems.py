"""The benchmarked problems: sizes, and random models with data drawn from them."""

from __future__ import annotations

import gzip
import os
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True)
class Shape:
    """Latents d, pixels D, data N; tied: how many distinct columns the weights have, None for d; samples of
    each datum, where it is sampled.
    """

    num_latents: int
    num_pixels: int
    num_data: int
    tied: int | None = None
    num_samples: int | None = None

    def __str__(self) -> str:
        return f"d = {self.num_latents}, D = {self.num_pixels}, N = {self.num_data:,}"

    def fewer_latents(self, num: int) -> Shape:
        return replace(self, num_latents=max(self.num_latents - num, 1))

    @property
    def terms(self) -> int:
        """States times pixels: the softplus terms of the definition."""
        return 2**self.num_latents * self.num_pixels

    @property
    def multiply_adds(self) -> int:
        """States times data: what a batch takes beside the terms."""
        return self.num_data * 2**self.num_latents


@dataclass(frozen=True)
class Size:
    """What one run measures: ``--size full`` or ``--size smoke``."""

    name: str
    headline: Shape
    one_datum: Shape
    thousand_data: Shape
    mnist: Shape
    large: Shape
    machines: tuple[int, ...]  # units of Boltzmann machines, one for each of peers.MACHINES
    large_machine: int
    grid: int  # rows and columns of a sparse machine
    regular: int  # units of a sparse machine that have three couplings each
    restricted: Shape  # without data
    program: Shape
    log_joint: Shape
    decoder: Shape
    hidden: int  # units of the decoder's hidden layer
    memory: Shape
    few_data: int  # of the same, where each state and datum takes an exponential
    sampled: Shape  # one datum, many samples
    estimates: tuple[Shape, ...]
    num_samples: int
    log_weights: tuple[int, int]
    bound: Shape  # sampled, with gradients
    roots: tuple[Shape, Shape, Shape]  # upper bounds
    searches: tuple[Shape, Shape, Shape]  # certified intervals; all but the last are enumerated, too
    dgemm: int
    loop: int  # turns of the loops that measure multiplications
    read_bytes: int
    rounds: int
    processes: int
    drop: bool  # slow peers run with fewer latents


SIZES = {
    "full": Size(
        name="full",
        headline=Shape(20, 784, 100),
        one_datum=Shape(20, 784, 1),
        thousand_data=Shape(16, 784, 1000),
        mnist=Shape(20, 784, 10_000),
        # five groups of four equal columns and two of three: an oracle visits 5^5 * 4^2 states, not 2^26
        large=Shape(26, 784, 100, tied=7),
        machines=(20, 24, 30),
        large_machine=36,
        grid=20,
        regular=116,
        restricted=Shape(20, 784, 0),
        program=Shape(12, 784, 10),
        log_joint=Shape(16, 64, 20),
        decoder=Shape(16, 784, 100),
        hidden=200,
        memory=Shape(26, 64, 200, tied=7),
        few_data=20,
        sampled=Shape(20, 784, 1, num_samples=10**8),
        estimates=(Shape(20, 784, 100), Shape(100, 784, 100, tied=3)),
        num_samples=1000,
        log_weights=(1000, 10_000),
        bound=Shape(200, 784, 100, num_samples=50),
        roots=(Shape(24, 784, 1000), Shape(50, 784, 1000), Shape(200, 784, 1000)),
        searches=(Shape(24, 784, 1), Shape(28, 784, 1), Shape(32, 784, 1)),
        dgemm=2000,
        loop=3_000_000,
        read_bytes=80_000_000,
        rounds=10,
        processes=5,
        drop=True,
    ),
    "smoke": Size(
        name="smoke",
        headline=Shape(8, 16, 5),
        one_datum=Shape(7, 16, 1),
        thousand_data=Shape(6, 16, 20),
        mnist=Shape(7, 784, 20),
        large=Shape(9, 16, 5, tied=4),
        machines=(6, 7, 8),
        large_machine=12,
        grid=4,
        regular=12,
        restricted=Shape(6, 16, 0),
        program=Shape(4, 16, 5),
        log_joint=Shape(6, 8, 5),
        decoder=Shape(6, 16, 5),
        hidden=8,
        memory=Shape(9, 16, 20, tied=4),
        few_data=5,
        sampled=Shape(6, 16, 1, num_samples=10**5),
        estimates=(Shape(6, 16, 5), Shape(30, 16, 5, tied=3)),
        num_samples=200,
        log_weights=(7, 50),
        bound=Shape(40, 16, 5, num_samples=6),
        roots=(Shape(4, 16, 5), Shape(9, 16, 5), Shape(40, 16, 5)),
        searches=(Shape(4, 16, 1), Shape(13, 16, 1), Shape(14, 16, 1)),
        dgemm=200,
        loop=10_000,
        read_bytes=800_000,
        rounds=2,
        processes=1,
        drop=False,
    ),
}


class Problem(NamedTuple):
    """The arguments of every log_marginal baseline, in order, all float64."""

    weights: np.ndarray
    bias: np.ndarray
    prior_logits: np.ndarray
    x: np.ndarray


def random_problem(shape: Shape, scale: float = 0.5, seed: int = 20) -> Problem:
    """Weights ~ scale N(0, 1), bias ~ N(-1, 1), prior logits ~ N(0, 1) / 2, and x drawn from that network."""
    rng = np.random.default_rng(seed)
    columns = shape.tied or shape.num_latents
    owner = np.arange(shape.num_latents) % columns
    weights = np.ascontiguousarray(scale * rng.standard_normal((shape.num_pixels, columns))[:, owner])
    bias = rng.standard_normal(shape.num_pixels) - 1.0
    prior_logits = 0.5 * rng.standard_normal(columns)[owner]
    z = rng.random((shape.num_data, shape.num_latents)) < _sigmoid(prior_logits)
    x = rng.random((shape.num_data, shape.num_pixels)) < _sigmoid(z @ weights.T + bias)
    return Problem(weights, bias, prior_logits, x.astype(np.float64))


def mild_problem(shape: Shape) -> Problem:
    """Weights so small that a sample from the prior is a fair proposal at any d.

    The standard deviation of the log weights is about 1 at D = 784.
    """
    return random_problem(shape, scale=0.2 * (784 / shape.num_pixels) ** 0.5 / shape.num_latents**0.5)


class Machine(NamedTuple):
    """A Boltzmann machine, p(z) proportional to exp(z^T J z / 2 + h^T z)."""

    couplings: np.ndarray
    bias: np.ndarray


def random_machine(num_units: int, blocks: int = 1) -> Machine:
    """Couplings of a standard deviation of 1 / sqrt(units of a block), biases ~ N(0, 1).

    Units of different blocks are not coupled, which gives an oracle at any number of units; they are mixed
    at random, so that the matrix looks like any other.
    """
    rng = np.random.default_rng(num_units)
    couplings = np.zeros((num_units, num_units))
    for part in np.array_split(rng.permutation(num_units), blocks):
        upper = np.triu(rng.standard_normal((len(part), len(part))), 1) / len(part) ** 0.5
        couplings[np.ix_(part, part)] = upper + upper.T
    return Machine(couplings, rng.standard_normal(num_units))


def _sparse_machine(couples: np.ndarray) -> Machine:
    rng = np.random.default_rng(len(couples))
    upper = np.triu(couples, 1) * rng.standard_normal(couples.shape)
    return Machine(upper + upper.T, rng.standard_normal(len(couples)))


def grid_machine(size: int) -> Machine:
    """Couplings ~ N(0, 1) along the lines of a square grid, biases ~ N(0, 1)."""
    number = np.arange(size * size).reshape(size, size)
    couples = np.zeros((size * size,) * 2, bool)
    couples[number[:, :-1], number[:, 1:]] = couples[number[:-1], number[1:]] = True
    return _sparse_machine(couples)


def regular_machine(num_units: int) -> Machine:
    """The same on a random graph in which every unit has three neighbours."""
    rng = np.random.default_rng(num_units)
    while True:
        ends = rng.permutation(np.repeat(np.arange(num_units), 3)).reshape(-1, 2)
        couples = np.zeros((num_units, num_units), bool)
        couples[ends.min(axis=1), ends.max(axis=1)] = True
        if couples.sum() == len(ends) and not couples.diagonal().any():
            return _sparse_machine(couples)


class Restricted(NamedTuple):
    """A restricted Boltzmann machine, p(v, h) proportional to exp(v^T W h + b^T v + c^T h)."""

    weights: np.ndarray
    visible_bias: np.ndarray
    hidden_bias: np.ndarray


def restricted_machine(shape: Shape) -> Restricted:
    problem = random_problem(shape)
    return Restricted(*problem[:3])


class Decoder(NamedTuple):
    """A network with one hidden layer, W_2 f(W_1 z + b_1) + b_2 the logits of the pixels, and data."""

    weights_1: np.ndarray
    bias_1: np.ndarray
    weights_2: np.ndarray
    bias_2: np.ndarray
    prior_logits: np.ndarray
    x: np.ndarray


def random_decoder(shape: Shape, hidden: int, activation: str) -> Decoder:
    """Weights such that hidden units are of size 1 and logits of size 2, and x drawn from the network."""
    rng = np.random.default_rng(30)
    d = shape.num_latents
    first, first_bias = rng.standard_normal((hidden, d)) / d**0.5, rng.standard_normal(hidden) - 0.5
    second = 2.0 / hidden**0.5 * rng.standard_normal((shape.num_pixels, hidden))
    second_bias, prior_logits = rng.standard_normal(shape.num_pixels) - 1.0, 0.5 * rng.standard_normal(d)
    z = rng.random((shape.num_data, d)) < _sigmoid(prior_logits)
    inner = z @ first.T + first_bias
    units = np.tanh(inner) if activation == "tanh" else np.maximum(inner, 0.0)
    x = rng.random((shape.num_data, shape.num_pixels)) < _sigmoid(units @ second.T + second_bias)
    return Decoder(first, first_bias, second, second_bias, prior_logits, x.astype(np.float64))


def image_problem(shape: Shape) -> tuple[Problem, str]:
    """MNIST images, binarised at half, and a network from their principal components; and what the data are.

    The images come from the IDX file (gzip or not) that the environment variable FASTVI_MNIST names. Without
    it the data are random, of the same shape.
    """
    path = os.environ.get("FASTVI_MNIST")
    if not path:
        return random_problem(shape), "random binary data of the shape of MNIST"
    x = (_read_idx(path)[: shape.num_data] >= 128).astype(np.float64)
    if x.shape != (shape.num_data, shape.num_pixels):
        raise ValueError(
            f"FASTVI_MNIST must hold {shape.num_data} images of {shape.num_pixels} pixels, got {x.shape}"
        )
    mean = (x.sum(axis=0) + 0.5) / (len(x) + 1.0)
    values, vectors = np.linalg.eigh(np.cov(x, rowvar=False))
    weights = 8.0 * vectors[:, : -shape.num_latents - 1 : -1] * np.sqrt(values[: -shape.num_latents - 1 : -1])
    bias = np.log(mean / (1.0 - mean)) - weights.sum(axis=1) / 2.0
    return Problem(np.ascontiguousarray(weights), bias, np.zeros(shape.num_latents), x), "MNIST test images"


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-logits))


def _read_idx(path: str) -> np.ndarray:
    with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as file:
        raw = file.read()
    sizes = np.frombuffer(raw, ">i4", raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(sizes[0], -1)
