"""Exact posteriors and gradients for two kinds of posterior, and log_marginal on the same problem."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import oracle
import peers
import pytest
from problems import Problem, Size, mild_problem, random_problem

import fastvi

KINDS = {"concentrated": random_problem, "spread over all states": mild_problem}
MEANS = "exact posterior means"
EVERYTHING = "exact posterior means, entropy and mode"
GRADIENT = "exact gradient of log p(x)"
CHECKED = 50  # data whose posterior is compared with the oracle's; gradients hold all data


def _setting(
    record: Any, size: Size, what: str, kind: str, who: str
) -> tuple[Problem, fastvi.SigmoidBeliefNetwork]:
    problem = KINDS[kind](size.thousand_data)
    record.describe(f"{what}, {kind}, {size.thousand_data}", who, size.thousand_data.terms)
    return problem, fastvi.SigmoidBeliefNetwork(*problem[:3])


@pytest.mark.parametrize("kind", KINDS)
def test_means(record: Any, size: Size, kind: str) -> None:
    problem, model = _setting(record, size, MEANS, kind, "fastvi")
    mean = record.run(lambda: fastvi.exact_posterior(model, problem.x).mean, size.rounds)
    record.check(mean[:CHECKED], oracle.enumeration(*problem[:3]).posterior_mean(problem.x[:CHECKED]))


@pytest.mark.parametrize("kind", KINDS)
def test_everything(record: Any, size: Size, kind: str) -> None:
    """Entropy and mode take a second pass, over single states."""
    problem, model = _setting(record, size, EVERYTHING, kind, "fastvi")

    def call() -> tuple[np.ndarray, ...]:
        posterior = fastvi.exact_posterior(model, problem.x)
        return posterior.mean, posterior.entropy, posterior.mode_log_prob

    mean, entropy, log_prob = record.run(call, min(size.rounds, 5))
    expected = oracle.enumeration(*problem[:3]).posterior(problem.x[:CHECKED])
    record.check(mean[:CHECKED], expected.mean)
    # in nats: both are close to 0 where one state has it all
    record.check(entropy[:CHECKED], expected.entropy, scale=1.0)
    record.check(log_prob[:CHECKED], expected.top_log_probs[:, 0], scale=1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient(record: Any, size: Size, kind: str) -> None:
    problem, model = _setting(record, size, GRADIENT, kind, "fastvi")
    found = record.run(lambda: fastvi.log_marginal_gradient(model, problem.x), min(size.rounds, 5))
    names = ("weights", "bias", "prior_logits")
    record.check_all([found[name] for name in names], oracle.gradient(*problem))


@pytest.mark.skipif(not peers.installed("jax"), reason="needs JAX")
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_peer(record: Any, size: Size, kind: str) -> None:
    problem, _ = _setting(record, size, GRADIENT, kind, "JAX, grad of the jitted scan, checkpointed")
    baseline = importlib.import_module("baselines.jax_gradient")
    found = record.run(lambda: baseline.log_marginal_gradient(*problem), min(size.rounds, 3))
    record.check_all(found, oracle.gradient(*problem))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", [MEANS, EVERYTHING, GRADIENT])
def test_beside_log_marginal(record: Any, size: Size, what: str, kind: str) -> None:
    problem, model = _setting(record, size, what, kind, "fastvi.log_marginal, exact")
    values = record.run(lambda: fastvi.log_marginal(model, problem.x), size.rounds)
    record.check(values[:CHECKED], oracle.log_marginal(*problem[:3], problem.x[:CHECKED]))
