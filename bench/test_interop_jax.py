"""A step of exact maximum likelihood in JAX, value and gradient, beside what it stands in for."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

import numpy as np
import oracle
import peers
import pytest
from problems import Problem, Size, random_problem

import fastvi

STEP = "one step of exact maximum likelihood in JAX, jit(value_and_grad)"
NAMES = ("weights", "bias", "prior_logits")

pytestmark = pytest.mark.skipif(not peers.installed("jax"), reason="jax is not installed")


def _setting(record: Any, size: Size, who: str) -> Problem:
    """The batch of 100 that is trained with, as in the step of PyTorch."""
    shape = replace(size.thousand_data, num_data=size.thousand_data.num_data // 10)
    record.describe(f"{STEP}, {shape}", who, shape.terms)
    return random_problem(shape)


def test_step(record: Any, size: Size) -> None:
    import jax

    from fastvi.interop.jax import log_marginal

    problem = _setting(record, size, "fastvi")
    model = fastvi.SigmoidBeliefNetwork(*problem[:3])
    with jax.enable_x64(True):
        given = dict(zip(NAMES, map(jax.numpy.asarray, problem[:3]), strict=True))
        compiled = jax.jit(
            jax.value_and_grad(lambda p: log_marginal(model, problem.x, **p).sum())
        )  # fmt: skip

        def step() -> tuple[np.ndarray, list[np.ndarray]]:
            value, slope = compiled(given)
            return np.asarray(value), [np.asarray(slope[name]) for name in NAMES]

        value, slope = record.run(step, size.rounds)
    record.check(value, oracle.log_marginal(*problem).sum())
    record.check_all(slope, oracle.gradient(*problem))


def test_step_beside_the_gradient_alone(record: Any, size: Size) -> None:
    """What the operator is allowed to add to: the same gradient without JAX."""
    problem = _setting(record, size, "fastvi.log_marginal_gradient, no value")
    model = fastvi.SigmoidBeliefNetwork(*problem[:3])
    found = record.run(lambda: fastvi.log_marginal_gradient(model, problem.x), size.rounds)
    record.check_all([found[name] for name in NAMES], oracle.gradient(*problem))


def test_step_peer(record: Any, size: Size) -> None:
    problem = _setting(record, size, "JAX, grad of the jitted scan, checkpointed")
    baseline = importlib.import_module("baselines.jax_gradient")
    gradient = record.run(lambda: baseline.log_marginal_gradient(*problem), min(size.rounds, 3))
    record.check_all(list(gradient), oracle.gradient(*problem))
