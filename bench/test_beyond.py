"""Certified intervals around log p(x) of one image, beside enumeration; bounds without a search."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import oracle
import pytest
from problems import Problem, Shape, Size, random_problem

import fastvi

_SCALE = 0.3  # of weights with which a search takes about as many subcubes as under trained networks
_TOLERANCE = 1e-3
_ROUNDINGS = 1e-9  # nats


def _title(shape: Shape) -> str:
    return f"log p(x) within {_TOLERANCE:g} nats, {shape}"


def _question(shape: Shape) -> tuple[fastvi.SigmoidBeliefNetwork, np.ndarray]:
    problem = random_problem(shape, scale=_SCALE)
    return fastvi.SigmoidBeliefNetwork(*problem[:3]), problem.x


@functools.cache
def _exact(shape: Shape) -> np.ndarray:
    """By all states in NumPy where that takes seconds, else by enumeration as it is timed below."""
    if shape.num_latents <= 20:
        return np.asarray(oracle.log_marginal(*random_problem(shape, scale=_SCALE)))
    return fastvi.log_marginal(*_question(shape))


@pytest.mark.parametrize("number", range(3))
def test_log_marginal_bounds(record: Any, size: Size, number: int) -> None:
    shape = size.searches[number]
    model, x = _question(shape)
    record.describe(_title(shape), "fastvi", 1)
    found = record.run(
        lambda: fastvi.log_marginal_bounds(model, x, tolerance=_TOLERANCE), min(size.rounds, 3)
    )
    record.info["note"] = f"{found.num_bounds[0]:,} subcubes, {found.gap[0]:.1g} nats wide"
    assert (found.lower <= found.upper).all()
    if number < 2:
        assert found.converged.all()
        assert (found.lower <= _exact(shape) + _ROUNDINGS).all()
        assert (_exact(shape) - _ROUNDINGS <= found.upper).all()


@pytest.mark.parametrize("number", range(2))
def test_enumeration(record: Any, size: Size, number: int) -> None:
    shape = size.searches[number]
    model, x = _question(shape)
    record.describe(_title(shape), "fastvi, all states summed", 1)
    record.arithmetic_limit(shape.terms, shape.multiply_adds)
    record.check(record.run(lambda: fastvi.log_marginal(model, x), 1 if number else 3), _exact(shape))


@pytest.mark.parametrize("side", ["above", "below"])
def test_bounds_without_a_search(record: Any, size: Size, side: str) -> None:
    shape = size.headline
    problem: Problem = random_problem(shape)
    model, x = fastvi.SigmoidBeliefNetwork(*problem[:3]), problem.x
    job, exact = f"bounds of log p(x), {shape}", oracle.log_marginal(*problem)
    if side == "above":
        record.describe(job, "fastvi, upper_bound", shape.num_data)
        upper = record.run(lambda: fastvi.upper_bound(model, x), size.rounds)
        assert (exact - _ROUNDINGS <= upper).all()
    else:
        q = fastvi.Bernoulli(np.random.default_rng(1).standard_normal((shape.num_data, shape.num_latents)))
        record.describe(job, "fastvi, elbo of a given q", shape.num_data)
        lower = record.run(lambda: fastvi.elbo(model, x, q).value, size.rounds)
        assert (lower <= exact + _ROUNDINGS).all()
