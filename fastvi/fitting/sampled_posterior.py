"""Distributions fitted to each datum by sampled gradients, for any model of latents with a prior."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastvi.core.registry import rules_of
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.distributions.normal import Normal
from fastvi.fitting.adam import Adam, cosine
from fastvi.fitting.fit_results import PosteriorFit
from fastvi.fitting.model_access import prior_parameters
from fastvi.fitting.sampled_bound import REWEIGHTED, sampled_bound, step_seed

_FINAL = 1000  # draws of the objective that is reported
_AVERAGED = 0.25  # share of the steps, the last ones, whose parameters are averaged


def climb(
    model: Any, x: np.ndarray, *, num_samples: int, num_steps: int, learning_rate: float,
    importance_weighted: bool, estimator: str, seed: int, dtype: str,
) -> PosteriorFit:  # fmt: skip
    """Fit each datum's q by Adam from the prior; what a datum finds does not depend on its batch.

    The means of the last quarter of the steps are kept: they have less of the draws' noise.
    """
    start = prior_parameters(model, len(x))
    values = {"q": np.array(start, np.float64)}
    adam, history = Adam(values), np.empty((num_steps, len(x)))
    mean, count, weighted = np.zeros_like(start), 0, importance_weighted or estimator == REWEIGHTED
    options: dict[str, Any] = {"importance_weighted": weighted, "estimator": estimator, "dtype": dtype}
    first_averaged = num_steps - math.ceil(_AVERAGED * num_steps)
    for step in range(num_steps):
        found = sampled_bound(
            model, x, values["q"], num_samples=num_samples, seed=step_seed(seed, step), **options
        )
        history[step] = found.value
        adam.ascend({"q": found.slope}, cosine(learning_rate, step, num_steps))
        if step >= first_averaged:
            count += 1
            mean += (values["q"] - mean) / count
    # as many samples as a bound of so many weights needs, several times
    repeats = max(1, _FINAL // num_samples) if weighted else 1
    final = np.zeros(len(x))
    for k in range(repeats):
        num = num_samples if weighted else _FINAL
        found = sampled_bound(model, x, mean, num_samples=num, seed=step_seed(seed, k, 1), **options)
        final += found.value / repeats
    q: Bernoulli | Normal = Bernoulli(mean)
    if rules_of(model).real_latents:
        centre, log_std = np.split(mean, 2, axis=1)
        q = Normal(centre, np.exp(log_std))
    curve = history.mean(axis=1) if len(x) else np.empty(0)
    # all steps are taken, none is judged
    return PosteriorFit(q=q, objective=final, history=curve, converged=np.zeros(len(x), bool))
