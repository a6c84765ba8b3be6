"""Exact log p(x) of neural decoders: fastvi against a jitted scan, in float64 and in float32."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import oracle
import peers
import pytest
from problems import Decoder, Size, random_decoder

import fastvi

ACTIVATIONS = ("tanh", "relu")
DTYPES = ("float64", "float32")


def _title(size: Size, activation: str) -> str:
    shape = size.decoder
    widths = f"{shape.num_latents}-{size.hidden}-{shape.num_pixels}"
    return f"exact log p(x), decoder {widths}, {activation}, N = {shape.num_data:,}"


def _problem(size: Size, activation: str) -> Decoder:
    return random_decoder(size.decoder, size.hidden, activation)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_decoder(record: Any, size: Size, activation: str, dtype: str) -> None:
    """The limit: a term for each pixel, a multiply-add for each weight of the last layer and for each hidden
    unit and datum; the first layer's sums can be looked up in tables.

    None for relu: units that are off need no products.
    """
    shape, problem = size.decoder, _problem(size, activation)
    layers = [problem[:2], problem[2:4]]
    model = fastvi.NeuralDecoder(layers, activation, fastvi.Bernoulli(problem.prior_logits))
    record.describe(_title(size, activation), "fastvi", 1)
    products = size.hidden * (shape.num_pixels + shape.num_data)
    if activation != "relu":
        record.arithmetic_limit(shape.terms, products * 2**shape.num_latents, dtype)
    values = record.run(lambda: fastvi.log_marginal(model, problem.x, dtype=dtype), min(size.rounds, 5))
    _check(record, problem, activation, values, dtype)


def _check(record: Any, problem: Decoder, activation: str, values: np.ndarray, dtype: str) -> None:
    expected = oracle.decoder_log_marginal(*problem, activation)
    record.check(values, expected, 1e-9 if dtype == "float64" else 1e-4)
    if dtype == "float32":
        record.info["who"] += f", float32, off by {np.max(np.abs(values - expected)):.1g} nats"


@pytest.mark.skipif(not peers.installed("jax"), reason="needs JAX")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_decoder_peer(record: Any, size: Size, activation: str, dtype: str) -> None:
    problem = _problem(size, activation)
    baseline = importlib.import_module("baselines.jax_decoder")
    record.describe(_title(size, activation), "JAX, jitted scan, softplus by hand", 1)
    values = record.run(
        lambda: baseline.log_marginal(*problem, activation=activation, dtype=dtype), min(size.rounds, 3)
    )
    _check(record, problem, activation, values, dtype)
