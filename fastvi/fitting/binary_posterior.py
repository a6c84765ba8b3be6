"""Factorised distributions of bits fitted to each datum by exact objectives."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvi.core import validation
from fastvi.core.registry import rules_of
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.exact.exact_posterior import exact_posterior
from fastvi.fitting.fit_results import PosteriorFit


def reverse(
    model: Any, x: np.ndarray, num_restarts: int, max_steps: int, tolerance: float, seed: int
) -> PosteriorFit:
    """Climb the ELBO of each datum by coordinate ascent, the best of several starts."""
    starts = _starts(model, len(x), num_restarts, seed)
    found = rules_of(model).mean_field(x, starts, max_steps, tolerance)
    steps = int((found.history != found.history[:, -1:]).sum(axis=1).max(initial=0)) + 1
    history = found.history[:, :steps].mean(axis=0) if len(x) else np.empty(0)
    return PosteriorFit(
        q=Bernoulli(found.logits), objective=found.objective, history=history, converged=found.converged
    )


def _starts(model: Any, num_data: int, num_restarts: int, seed: int) -> list[np.ndarray]:
    """Logits (N, d), the same for all data.

    The prior's, then random ones. Each restart has a stream of its own.
    """
    prior, d = rules_of(model).prior(), model.num_latents
    own = prior.logits if isinstance(prior, Bernoulli) else np.zeros(d)
    generators = [np.random.Generator(np.random.Philox(key=seed + (k << 64))) for k in range(num_restarts)]
    starts = [own, *(generator.normal(scale=2.0, size=d) for generator in generators)]
    return [np.broadcast_to(start, (num_data, d)) for start in starts]


def forward(model: Any, x: Any) -> PosteriorFit:
    """Take the posterior's means: no other factorised q is closer from the posterior's side."""
    posterior = exact_posterior(model, x)
    log_marginal = posterior.log_marginal
    validation.require(log_marginal, log_marginal > -np.inf, "x must have log p(x) > -inf in a fit")
    mean = posterior.mean
    with np.errstate(divide="ignore"):
        # a mean that rounds to 1 is anything above 1 - 2^-53: q must not rule out the rest
        logits = np.log(mean) - np.log1p(-np.minimum(mean, 1.0 - 2.0**-53))
    q = Bernoulli(logits)
    # E_p[log q] is -H(q) where the means are those of p
    divergence = np.maximum(q.entropy() - posterior.entropy, 0.0)
    history = np.array([divergence.mean()]) if len(mean) else np.empty(0)
    return PosteriorFit(q=q, objective=divergence, history=history, converged=np.ones(len(mean), bool))
