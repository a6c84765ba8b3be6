"""Sampling estimators: fastvi against its peers."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import oracle
import peers
import pytest
from problems import Problem, Size, mild_problem

import fastvi

_SEED = 7


def _call(
    tool: str, dtype: str, problem: Problem, num_samples: int
) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
    """What is timed: log mean weights and their standard errors from so many draws from the prior."""
    if tool == "jax":
        baseline = importlib.import_module("baselines.jax_estimate")
        return lambda: baseline.estimate_log_marginal(*problem, num_samples, _SEED, dtype)
    model = fastvi.SigmoidBeliefNetwork(*problem[:3])

    def call() -> tuple[np.ndarray, np.ndarray]:
        estimate = fastvi.estimate_log_marginal(
            model, problem.x, proposal="prior", num_samples=num_samples, seed=_SEED, dtype=dtype
        )
        return estimate.log_marginal, estimate.std_error

    return call


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("tool", ["fastvi", *(["jax"] if peers.installed("jax") else [])])
def test_estimate(record: Any, size: Size, which: int, tool: str, dtype: str) -> None:
    shape = size.estimates[which]
    problem = mild_problem(shape)
    who = {"fastvi": "fastvi", "jax": "JAX, jitted"}[tool] + ", float32" * (dtype == "float32")
    job = f"log p(x) by sampling the prior, {shape}, K = {size.num_samples:,}"
    record.describe(job, who, size.num_samples)
    value, std_error = record.run(_call(tool, dtype, problem, size.num_samples), min(size.rounds, 5))
    exact = oracle.log_marginal(*problem)
    record.info["max_standard_errors_off"] = float(np.max(np.abs(value - exact) / std_error))
    assert record.info["max_standard_errors_off"] <= 5.0
    assert np.all(std_error < 0.5)  # beyond, five of them would check nothing
