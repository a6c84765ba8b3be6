"""Reverse-KL fits of every datum by coordinate ascent on the exact ELBO, beside log_marginal.

Wanted: the gradient in q's logits, (dE_q[log p(x, z)] / dlogit_i - m_i (1 - m_i) logit_i), of a norm of at
most
1e-6 for every datum, within 50 times the time of log_marginal of the same data.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle
import pytest
from problems import Problem, Size, mild_problem, random_problem

import fastvi
from fastvi.core.registry import rules_of
from fastvi.engine.expectation.elbo_gradient import expected_log_joint

KINDS = {"concentrated": random_problem, "spread over all states": mild_problem}
STARTS = {"from the prior": 0, "from the prior and four random starts": 4}
GRADIENT_NORM = 1e-6
CHECKED = 50  # data whose ELBO is compared with the oracle's


def _problem(record: Any, size: Size, kind: str, who: str) -> tuple[Problem, fastvi.SigmoidBeliefNetwork]:
    shape = size.thousand_data
    problem = KINDS[kind](shape)
    record.describe(f"mean-field fit to a gradient of 1e-6, {kind}, {shape}", who, shape.terms)
    return problem, fastvi.SigmoidBeliefNetwork(*problem[:3])


def _gradient_norms(model: fastvi.SigmoidBeliefNetwork, x: np.ndarray, q: fastvi.Bernoulli) -> np.ndarray:
    form = rules_of(model).form(np.ones(model.num_pixels, bool), "float64")
    slope = expected_log_joint(form, x.astype(np.uint8), q.logits).slope
    # the derivative of the entropy; where m (1 - m) is 0 the logit is large, not infinite
    gradient = slope - q.mean * (1.0 - q.mean) * q.logits
    return np.asarray(np.sqrt(np.square(gradient).sum(axis=1)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("starts", STARTS)
def test_fit(record: Any, size: Size, starts: str, kind: str) -> None:
    problem, model = _problem(record, size, kind, f"fastvi, {starts}")
    fit = record.run(
        lambda: fastvi.fit_posterior(model, problem.x, num_restarts=STARTS[starts]), min(size.rounds, 5)
    )
    largest = float(_gradient_norms(model, problem.x, fit.q).max())
    record.info["note"] = f"largest gradient norm {largest:.1e}, {fit.history.size} sweeps"
    assert fit.converged.all()
    assert largest <= GRADIENT_NORM
    elbo = oracle.enumeration(*problem[:3]).elbo(problem.x[:CHECKED], fit.q.logits[:CHECKED])
    record.check(fit.objective[:CHECKED], elbo)


@pytest.mark.parametrize("kind", KINDS)
def test_beside_log_marginal(record: Any, size: Size, kind: str) -> None:
    problem, model = _problem(record, size, kind, "fastvi.log_marginal, exact")
    values = record.run(lambda: fastvi.log_marginal(model, problem.x), size.rounds)
    record.check(values[:CHECKED], oracle.log_marginal(*problem[:3], problem.x[:CHECKED]))
