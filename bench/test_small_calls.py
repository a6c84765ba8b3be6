"""What a call costs beside its arithmetic: one datum, a few latents, against one compiled loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import oracle
import pytest
from baselines import numba_products
from problems import Problem, Shape, Size, mild_problem

import fastvi

_SHAPES = {"full": Shape(8, 64, 1), "smoke": Shape(5, 16, 1)}
_ROUNDS = {"full": 1000, "smoke": 2}
_NUM_SAMPLES = 100
_LOGITS = 0.5


def _problem(size: Size) -> tuple[str, Problem]:
    shape = _SHAPES[size.name]
    problem = mild_problem(shape)
    return f"a small call, {shape}", problem._replace(x=problem.x.astype(np.uint8))


def _calls(problem: Problem) -> dict[str, tuple[Callable[[], Any], Callable[[Any, Any], None]]]:
    """Each call, and how its result is checked."""
    *parameters, x = problem
    model = fastvi.SigmoidBeliefNetwork(*parameters)
    logits = np.full(model.num_latents, _LOGITS)
    q, exact = fastvi.Bernoulli(logits), oracle.enumeration(*parameters)

    def gradient(record: Any, found: Any) -> None:
        record.check_all(found.values(), oracle.gradient(*problem))

    def estimate(record: Any, found: Any) -> None:
        off = np.abs(found.log_marginal - oracle.log_marginal(*problem)) / found.std_error
        assert np.all(off <= 5.0)
        assert np.all(found.std_error < 1.0)  # beyond, five of them would check nothing

    def values(record: Any, found: Any) -> None:
        record.check(found, oracle.log_marginal(*problem))

    return {
        "log_marginal": (lambda: fastvi.log_marginal(model, x), values),
        "log_marginal, a model for each call": (
            lambda: fastvi.log_marginal(fastvi.SigmoidBeliefNetwork(*parameters), x),
            values,
        ),
        "exact_posterior": (
            lambda: fastvi.exact_posterior(model, x),
            lambda record, found: record.check(found.mean, exact.posterior_mean(x), scale=1.0),
        ),
        "elbo": (
            lambda: fastvi.elbo(model, x, q),
            lambda record, found: record.check(found.value, exact.elbo(x, np.tile(logits, (len(x), 1)))),
        ),
        "log_marginal_gradient": (lambda: fastvi.log_marginal_gradient(model, x), gradient),
        "estimate_log_marginal": (
            lambda: fastvi.estimate_log_marginal(model, x, num_samples=_NUM_SAMPLES, seed=3),
            estimate,
        ),
    }


_NAMES = (
    "log_marginal",
    "log_marginal, a model for each call",
    "exact_posterior",
    "elbo",
    "log_marginal_gradient",
    "estimate_log_marginal",
)


@pytest.mark.parametrize("name", _NAMES)
def test_call(record: Any, size: Size, name: str) -> None:
    job, problem = _problem(size)
    call, check = _calls(problem)[name]
    record.describe(job, f"fastvi, {name}", 1)
    found = record.run(call, _ROUNDS[size.name])
    check(record, found)


def test_compiled_loop(record: Any, size: Size) -> None:
    job, problem = _problem(size)
    record.describe(job, "a compiled loop for log p(x)", 1)
    values = record.run(lambda: numba_products.log_marginal(*problem), _ROUNDS[size.name])
    record.check(values, oracle.log_marginal(*problem))
