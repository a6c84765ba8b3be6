"""Annealed importance sampling of a restricted Boltzmann machine's log Z, and of a network's log p(x): fastvi
against NumPy.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import oracle
import pytest
from baselines import numpy_annealing, numpy_annealing_latents
from problems import Shape, Size, random_problem

import fastvi

_SEED = 7
_TIED = 5  # distinct hidden units of the machine that is checked: (m + 1)^5 states instead of 2^d


class _Case(NamedTuple):
    """D visible and d hidden units; num_temperatures of fastvi, num_few of the slow peer (scaled by work)."""

    num_visible: int
    num_hidden: int
    num_temperatures: int
    num_few: int
    num_chains: int


_CASES = {
    "full": (_Case(784, 20, 1000, 1000, 100), _Case(784, 500, 1000, 100, 100)),
    "smoke": (_Case(20, 10, 60, 60, 30), _Case(24, 70, 20, 10, 10)),
}


def _machine(case: _Case) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, visible and hidden bias; a third of the visible units is on. Hidden units are tied if few."""
    rng = np.random.default_rng(5)
    columns = _TIED if case.num_hidden <= 20 else case.num_hidden
    owner = np.arange(case.num_hidden) % columns
    scale = 1.0 / math.sqrt(case.num_visible + case.num_hidden)
    weights = np.ascontiguousarray(scale * rng.standard_normal((case.num_visible, columns))[:, owner])
    return weights, rng.standard_normal(case.num_visible) - 1.0, 0.5 * rng.standard_normal(columns)[owner]


def _exact(weights: np.ndarray, visible_bias: np.ndarray, hidden_bias: np.ndarray) -> float:
    """log Z; equal hidden units are counted together, m of them have m + 1 states with binomial weights."""
    size = len(hidden_bias) // _TIED
    counts = np.array(list(itertools.product(range(size + 1), repeat=_TIED)), dtype=np.float64)
    choices = np.log([math.comb(size, k) for k in range(size + 1)])
    log_p = choices[counts.astype(int)].sum(axis=1) + counts @ hidden_bias[:_TIED]
    log_p += np.logaddexp(0.0, counts @ weights[:, :_TIED].T + visible_bias).sum(axis=1)
    return float(np.logaddexp.reduce(log_p))


def _call(tool: str, case: _Case, num_temperatures: int, dtype: Any) -> Callable[[], tuple[float, float]]:
    """What is timed: the estimate of log Z and its standard error."""
    machine = _machine(case)
    if tool == "numpy":
        return lambda: numpy_annealing.log_partition(
            *machine, num_temperatures, case.num_chains, _SEED, dtype
        )
    model = fastvi.RestrictedBoltzmannMachine(*machine)

    def call() -> tuple[float, float]:
        estimate = fastvi.annealed_importance_sampling(
            model, num_temperatures=num_temperatures, num_chains=case.num_chains, seed=_SEED, dtype=dtype
        )
        return float(estimate.log_marginal[0]), float(estimate.std_error[0])

    return call


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("tool", ["fastvi", "numpy"])
def test_annealing(record: Any, size: Size, which: int, tool: str, dtype: str) -> None:
    case = _CASES[size.name][which]
    num_temperatures = case.num_temperatures if tool == "fastvi" else case.num_few
    job = (
        f"log Z by annealing, {case.num_visible} x {case.num_hidden}, "
        f"{case.num_temperatures:,} temperatures, {case.num_chains} chains"
    )
    if dtype == "float32":
        job += ", float32"
    work = float(num_temperatures * case.num_chains)
    measured_at = f"{num_temperatures:,} temperatures"
    record.describe(job, {"fastvi": "fastvi", "numpy": "NumPy"}[tool], work, measured_at=measured_at)
    call, few = _call(tool, case, num_temperatures, dtype), _call(tool, case, 2, dtype)
    value, std_error = record.run(call, min(size.rounds, 3), warmup=few)
    assert std_error < 0.5  # beyond, five of them would check nothing
    assert math.isfinite(value)
    if which == 0:
        off = abs(value - _exact(*_machine(case))) / std_error
        record.info["max_standard_errors_off"] = float(off)
        assert off <= 5.0


class _LatentsCase(NamedTuple):
    """A network and its data. Both tools do all of the work: few temperatures leave nothing to check."""

    shape: Shape
    num_temperatures: int
    num_chains: int


_LATENTS = {
    "full": _LatentsCase(Shape(20, 784, 20), 100, 16),
    "smoke": _LatentsCase(Shape(6, 16, 5), 20, 16),
}


def _latents_call(
    tool: str, case: _LatentsCase, num_temperatures: int
) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
    """What is timed: the estimates of log p(x_n) and their standard errors."""
    problem = random_problem(case.shape)
    if tool == "numpy":
        return lambda: numpy_annealing_latents.log_marginal(
            *problem, num_temperatures, case.num_chains, _SEED
        )
    model, x = fastvi.SigmoidBeliefNetwork(*problem[:3]), problem.x.astype(np.uint8)

    def call() -> tuple[np.ndarray, np.ndarray]:
        estimate = fastvi.annealed_importance_sampling(
            model, x, num_temperatures=num_temperatures, num_chains=case.num_chains, seed=_SEED
        )
        return estimate.log_marginal, estimate.std_error

    return call


@pytest.mark.parametrize("tool", ["fastvi", "numpy"])
def test_annealing_of_latents(record: Any, size: Size, tool: str) -> None:
    case = _LATENTS[size.name]
    shape, num_temperatures, num_chains = case
    job = f"log p(x) by annealing, {shape}, {num_temperatures:,} temperatures, {num_chains} chains"
    work = float(num_temperatures * num_chains * shape.num_data)
    record.describe(job, {"fastvi": "fastvi", "numpy": "NumPy"}[tool], work)
    call, few = _latents_call(tool, case, num_temperatures), _latents_call(tool, case, 2)
    values, std_errors = record.run(call, min(size.rounds, 3) if tool == "fastvi" else 1, warmup=few)
    assert (std_errors < 1.0).all()  # beyond, five of them would check nothing
    problem = random_problem(shape)
    exact = oracle.Enumeration(*problem[:3]).log_marginal(problem.x)
    # the mean of exp(estimate - log p(x)) is 1, within what its spread over data says
    ratios = np.exp(values - exact)
    off = abs(ratios.mean() - 1.0) * len(ratios) ** 0.5 / ratios.std(ddof=1)
    record.info["max_standard_errors_off"] = float(off)
    assert off <= 5.0
