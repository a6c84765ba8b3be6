"""The upper bound on log p(x) by the best tangent, beyond enumeration."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from problems import Problem, Size, random_problem
from scipy import optimize

import fastvi

CHECKED = 3  # data whose best tangent SciPy finds, too
_CLOSE = 1e-3  # nats between SciPy's bound and what it maximised: how well both are known


@pytest.mark.parametrize("number", range(3))
def test_upper_bound(record: Any, size: Size, number: int) -> None:
    shape = size.roots[number]
    problem = random_problem(shape)
    model, x = fastvi.SigmoidBeliefNetwork(*problem[:3]), problem.x.astype(np.uint8)
    record.describe(f"upper bound on log p(x), {shape}", "fastvi", shape.num_data)
    found = record.run(lambda: fastvi.upper_bound(model, x), size.rounds)
    # in nats
    record.check(found[:CHECKED], _best(problem)[: len(found)], _CLOSE, scale=1.0)


def _best(problem: Problem) -> np.ndarray:
    """Bounds of the tangents at the maxima of c + <t, q> + H(q) - A(q)."""
    weights, bias, prior_logits, x = problem
    out = []
    for own in x[:CHECKED]:
        linear = own @ weights + prior_logits
        constant = own @ bias - np.logaddexp(0.0, prior_logits).sum()

        def negative(q: np.ndarray, linear: np.ndarray = linear) -> tuple[float, np.ndarray]:
            eta = weights @ q + bias
            value = linear @ q - q @ np.log(q) - (1.0 - q) @ np.log1p(-q) - np.logaddexp(0.0, eta).sum()
            slopes = linear - weights.T @ _sigmoid(eta) - np.log(q) + np.log1p(-q)
            return -value, -slopes

        middle = np.full(len(linear), 0.5)
        q = optimize.minimize(
            negative, middle, jac=True, method="L-BFGS-B", bounds=[(1e-9, 1.0 - 1e-9)] * len(middle),
            options={"maxiter": 10_000, "maxfun": 20_000, "ftol": 1e-15, "gtol": 1e-9},
        ).x  # fmt: skip
        eta = weights @ q + bias
        g = _sigmoid(eta)
        tangent = np.logaddexp(0.0, eta) - g * (eta - bias)
        bound = constant - tangent.sum() + np.logaddexp(0.0, linear - weights.T @ g).sum()
        assert 0.0 <= bound - (constant - negative(q)[0]) + 1e-9 < _CLOSE
        out.append(min(bound, 0.0))
    return np.array(out)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-logits))
