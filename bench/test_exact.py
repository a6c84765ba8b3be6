"""Exact log p(x): fastvi against its peers at the headline size, and fastvi alone at the others."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

import numpy as np
import oracle
import peers
import pytest
from problems import Problem, Shape, Size, image_problem, random_problem

import fastvi


def _title(shape: Shape, more: str = "") -> str:
    return f"exact log p(x), {shape}{more}"


def _fastvi(
    record: Any,
    problem: Problem,
    job: str,
    shape: Shape,
    rounds: int,
    checked: int | None = None,
    dtype: str = "float64",
) -> None:
    model = fastvi.SigmoidBeliefNetwork(*problem[:3])
    record.describe(job, "fastvi", shape.terms, checked_data=len(problem.x[:checked]))
    record.arithmetic_limit(shape.terms, shape.multiply_adds, dtype)
    values = record.run(lambda: fastvi.log_marginal(model, problem.x, dtype=dtype), rounds)
    expected = oracle.log_marginal(*problem[:3], problem.x[:checked])
    # of float32 what the docstring of fastvi.log_marginal promises, in nats, so relative to the value here
    single = 3.0 * (shape.num_pixels + 1) * 2.0**-24 / np.abs(expected)
    record.check(values[:checked], expected, single if dtype == "float32" else 1e-9)


def test_headline(record: Any, size: Size) -> None:
    shape = size.headline
    _fastvi(record, random_problem(shape), _title(shape), shape, size.rounds)


@pytest.mark.parametrize(
    "peer", [pytest.param(p, id=p.module) for p in peers.PEERS if peers.installed(p.package)]
)
def test_headline_peer(record: Any, size: Size, peer: peers.Peer) -> None:
    shape = size.headline.fewer_latents(peer.dropped if size.drop else 0)
    problem = random_problem(shape)
    baseline = importlib.import_module(f"baselines.{peer.module}")
    record.describe(_title(size.headline), peer.label, shape.terms, measured_at=str(shape))
    rounds = peer.rounds if size.drop else size.rounds
    values = record.run(lambda: baseline.log_marginal(*problem), rounds)
    record.check(values, oracle.log_marginal(*problem))


def test_headline_float32(record: Any, size: Size) -> None:
    shape = size.headline
    problem = random_problem(shape)
    _fastvi(record, problem, _title(shape, ", float32"), shape, size.rounds, dtype="float32")


@pytest.mark.parametrize("which", ["one_datum", "thousand_data"])
def test_number_of_data(record: Any, size: Size, which: str) -> None:
    shape = getattr(size, which)
    _fastvi(record, random_problem(shape), _title(shape), shape, size.rounds)


def test_images(record: Any, size: Size) -> None:
    shape = size.mnist
    problem, source = image_problem(shape)
    record.info["note"] = source
    _fastvi(record, problem, _title(shape), shape, min(size.rounds, 5), checked=50)


def test_memory(record: Any, size: Size) -> None:
    shape = size.large
    record.describe(_title(shape), "fastvi", shape.terms)
    record.arithmetic_limit(shape.terms, shape.multiply_adds)
    found = record.run_alone("log_marginal", shape, most=2**30)
    record.check(found["log_marginal"], oracle.log_marginal(*random_problem(shape)))


def test_elbo(record: Any, size: Size) -> None:
    """The exact ELBO of a factorised q for each datum; its peer is log_marginal on the same problem."""
    shape = replace(size.headline, num_data=10 * size.headline.num_data)
    problem = random_problem(shape)
    logits = np.random.default_rng(1).standard_normal((shape.num_data, shape.num_latents))
    model, q = fastvi.SigmoidBeliefNetwork(*problem[:3]), fastvi.Bernoulli(logits)
    record.describe(f"exact ELBO, {shape}", "fastvi", shape.terms)
    record.arithmetic_limit(shape.terms, shape.multiply_adds)
    values = record.run(lambda: fastvi.elbo(model, problem.x, q).value, size.rounds)
    record.check(values, oracle.enumeration(*problem[:3]).elbo(problem.x, logits))


def test_elbo_beside_log_marginal(record: Any, size: Size) -> None:
    shape = replace(size.headline, num_data=10 * size.headline.num_data)
    problem = random_problem(shape)
    model = fastvi.SigmoidBeliefNetwork(*problem[:3])
    record.describe(f"exact ELBO, {shape}", "fastvi.log_marginal, exact", shape.terms)
    values = record.run(lambda: fastvi.log_marginal(model, problem.x), size.rounds)
    record.check(values, oracle.log_marginal(*problem))
