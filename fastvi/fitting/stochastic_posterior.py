"""A q for each datum by sampled gradients, where z cannot be enumerated or more than one weight is wanted."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastvi.core.registry import rules_of
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.distributions.normal import Normal
from fastvi.fitting.adam import Adam, cosine
from fastvi.fitting.fit import Fit
from fastvi.fitting.sampled_bound import REWEIGHTED, sampled_bound, step_seed

_FINAL = 1000  # draws of the objective that is reported
_AVERAGED = 0.25  # share of the steps, the last ones, whose parameters are averaged


def climb(
    model: Any, x: np.ndarray, start: np.ndarray, *, num_samples: int, num_steps: int, learning_rate: float,
    importance_weighted: bool, estimator: str, seed: int,
) -> Fit:  # fmt: skip
    """Adam from ``start`` (N, P), q's parameters; what a datum finds does not depend on its batch.

    The means of the last quarter of the steps are kept: they have less of the draws' noise.
    """
    values = {"q": np.array(start, np.float64)}
    adam, history = Adam(values), np.empty((num_steps, len(x)))
    mean, count, weighted = np.zeros_like(start), 0, importance_weighted or estimator == REWEIGHTED
    options: dict[str, Any] = {"importance_weighted": weighted, "estimator": estimator}
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
    # as many samples as a bound of so many particles needs, several times
    repeats = max(1, _FINAL // num_samples) if weighted else 1
    final = np.zeros(len(x))
    for k in range(repeats):
        found = sampled_bound(
            model,
            x,
            mean,
            num_samples=num_samples if weighted else _FINAL,
            seed=step_seed(seed, k, 1),
            **options,
        )
        final += found.value / repeats
    q: Any = Bernoulli(mean)
    if rules_of(model).real_latents:
        centre, log_std = np.split(mean, 2, axis=1)
        q = Normal(centre, np.exp(log_std))
    curve = history.mean(axis=1) if len(x) else np.empty(0)
    return Fit(q, final, curve, np.zeros(len(x), bool))  # all steps are taken, none is judged


def prior_parameters(model: Any, num_data: int) -> np.ndarray:
    """Where a fit begins: at the prior where it is a distribution, else at logits of 0."""
    prior = rules_of(model).prior()
    if isinstance(prior, Normal):
        own = np.concatenate([prior.mean, np.log(prior.std)])
    elif isinstance(prior, Bernoulli):
        own = prior.logits
    else:
        own = np.zeros(model.num_latents)
    return np.tile(own, (num_data, 1))
