"""Reductions of given log weights: fastvi against its peers."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle
import peers
import pytest
from baselines import log_mean_exp, pareto_smoothing
from problems import Size

import fastvi


def _log_weights(size: Size, scale: float) -> np.ndarray:
    return scale * np.random.default_rng(3).standard_normal(size.log_weights)


# relative to the result: 1e-9, or what the sums of float32 weights allow
_DTYPES = pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 1e-6)])


def _sums(size: Size, dtype: str = "float64") -> tuple[str, np.ndarray]:
    """Return as many bytes of either dtype."""
    rows, columns = size.log_weights
    if dtype == "float64":
        return f"log_mean_exp of ({rows:,}, {columns:,})", _log_weights(size, 30.0)
    log_w = 30.0 * np.random.default_rng(3).standard_normal((rows, 2 * columns))
    return f"log_mean_exp of ({rows:,}, {2 * columns:,}), {dtype}", log_w.astype(dtype)


@_DTYPES
def test_log_mean_exp(record: Any, size: Size, dtype: str, tolerance: float) -> None:
    job, log_w = _sums(size, dtype)
    record.describe(job, "fastvi", log_w.size)
    record.memory_limit(log_w.nbytes)
    values = record.run(lambda: fastvi.log_mean_exp(log_w), size.rounds)
    record.check(values, oracle.log_mean_exp(log_w.astype(np.float64)), tolerance)


@_DTYPES
@pytest.mark.parametrize(
    ("tool", "label"),
    [
        pair
        for pair in (("jax", "JAX, jitted"), ("torch", "PyTorch"), ("scipy", "SciPy"))
        if peers.installed(pair[0])
    ],
)
def test_log_mean_exp_peer(
    record: Any, size: Size, tool: str, label: str, dtype: str, tolerance: float
) -> None:
    job, log_w = _sums(size, dtype)
    record.describe(job, label, log_w.size)
    values = record.run(log_mean_exp.TOOLS[tool](log_w), size.rounds)
    record.check(values, oracle.log_mean_exp(log_w.astype(np.float64)), tolerance)


def test_effective_sample_size(record: Any, size: Size) -> None:
    """One pass over the weights gives the sums of w and w^2, and with them all but k-hat."""
    _, log_w = _sums(size)
    rows, columns = log_w.shape
    record.describe(f"effective sample size of ({rows:,}, {columns:,})", "fastvi", log_w.size)
    record.memory_limit(log_w.nbytes)
    values = record.run(lambda: fastvi.effective_sample_size(log_w), size.rounds)
    log_sum, log_squares = (oracle.log_mean_exp(power * log_w) + np.log(columns) for power in (1.0, 2.0))
    record.check(values, np.exp(2.0 * log_sum - log_squares))


def _tails(size: Size) -> tuple[str, np.ndarray]:
    rows, columns = size.log_weights
    return f"Pareto smoothing of ({rows:,}, {columns:,})", _log_weights(size, 1.0)


def test_psis(record: Any, size: Size) -> None:
    job, log_w = _tails(size)
    record.describe(job, "fastvi", log_w.size)
    smoothed, k = record.run(lambda: fastvi.psis(log_w), size.rounds)
    assert smoothed.shape == log_w.shape
    if peers.installed("arviz_stats"):
        normalised, expected = pareto_smoothing.arviz(log_w)()
        sums = fastvi.log_mean_exp(smoothed) + np.log(log_w.shape[1])
        record.check(smoothed - sums[:, None], normalised, 1e-8, scale=1.0)
        record.check(k, expected, 1e-8, scale=1.0)


@pytest.mark.skipif(not peers.installed("arviz_stats"), reason="arviz-stats is not installed")
def test_psis_peer(record: Any, size: Size) -> None:
    job, log_w = _tails(size)
    record.describe(job, "ArviZ", log_w.size)
    _, k = record.run(pareto_smoothing.arviz(log_w), min(size.rounds, 3))
    record.check(k, fastvi.pareto_k(log_w), 1e-8, scale=1.0)


def test_diagnose(record: Any, size: Size) -> None:
    _, log_w = _tails(size)
    rows, columns = log_w.shape
    record.describe(f"all diagnostics, k-hat among them, of ({rows:,}, {columns:,})", "fastvi", log_w.size)
    estimate = record.run(lambda: fastvi.diagnose(log_w), size.rounds)
    record.check(estimate.log_marginal, oracle.log_mean_exp(log_w))
    record.check(estimate.pareto_k, fastvi.pareto_k(log_w), 1e-12, scale=1.0)
