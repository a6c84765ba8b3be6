"""Sampling estimators and reductions of log weights: fastvi against its peers."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import oracle
import peers
import pytest
from baselines import log_mean_exp
from problems import Problem, Shape, Size, mild_problem

import fastvi

_SEED = 7


def _job(shape: Shape, size: Size) -> str:
    return f"log p(x) by sampling the prior, {shape}, K = {size.num_samples:,}"


def _check(record: Any, problem: Problem, value: np.ndarray, std_error: np.ndarray) -> None:
    """Within 5 standard errors of the exact value, and not by standard errors that are beyond use."""
    exact = oracle.log_marginal(*problem)
    record.info["max_standard_errors_off"] = float(np.max(np.abs(value - exact) / std_error))
    assert record.info["max_standard_errors_off"] <= 5.0
    assert np.all(std_error < 0.5)


@pytest.mark.parametrize("which", [0, 1])
def test_estimate(record: Any, size: Size, which: int) -> None:
    shape = size.estimates[which]
    problem = mild_problem(shape)
    model = fastvi.SigmoidBeliefNetwork(*problem[:3])
    record.describe(_job(shape, size), "fastvi", size.num_samples)

    def call() -> fastvi.Estimate:
        return fastvi.estimate_log_marginal(
            model, problem.x, proposal="prior", num_samples=size.num_samples, seed=_SEED
        )

    estimate = record.run(call, size.rounds)
    _check(record, problem, estimate.log_marginal, estimate.std_error)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("tool", [name for name in ("jax",) if peers.installed(name)])
def test_estimate_peer(record: Any, size: Size, which: int, tool: str) -> None:
    shape = size.estimates[which]
    problem = mild_problem(shape)
    baseline = importlib.import_module(f"baselines.{tool}_estimate")
    record.describe(_job(shape, size), "JAX, jitted", size.num_samples)

    def call() -> tuple[np.ndarray, np.ndarray]:
        return baseline.estimate_log_marginal(*problem, size.num_samples, _SEED)

    _check(record, problem, *record.run(call, min(size.rounds, 5)))


def _log_weights(size: Size) -> tuple[str, np.ndarray]:
    rows, columns = size.log_weights
    return f"log_mean_exp of ({rows:,}, {columns:,})", 30.0 * np.random.default_rng(3).standard_normal(
        (rows, columns)
    )


def test_log_mean_exp(record: Any, size: Size) -> None:
    job, log_w = _log_weights(size)
    record.describe(job, "fastvi", log_w.size)
    record.copy_limit(log_w.nbytes)
    values = record.run(lambda: fastvi.log_mean_exp(log_w), size.rounds)
    record.check(values, oracle.log_mean_exp(log_w))


@pytest.mark.parametrize(
    ("tool", "label"),
    [
        pair
        for pair in (("jax", "JAX, jitted"), ("torch", "PyTorch"), ("scipy", "SciPy"))
        if peers.installed(pair[0])
    ],
)
def test_log_mean_exp_peer(record: Any, size: Size, tool: str, label: str) -> None:
    job, log_w = _log_weights(size)
    record.describe(job, label, log_w.size)
    values = record.run(log_mean_exp.TOOLS[tool](log_w), size.rounds)
    record.check(values, oracle.log_mean_exp(log_w))
