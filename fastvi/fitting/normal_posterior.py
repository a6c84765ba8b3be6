"""Normal distributions fitted to each datum by exact objectives, for models of real latents."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.optimize import minimize

from fastvi.bounds.kl_divergence import kl_divergence
from fastvi.core.registry import rules_of
from fastvi.distributions.normal import Normal
from fastvi.engine.quadrature.normal_expectation import NormalExpectation, report_uncertain
from fastvi.engine.run.threads import parallel_map
from fastvi.fitting.fit_results import PosteriorFit
from fastvi.fitting.model_access import expected_log_likelihood

# where q is looked for, in standard deviations of the prior: beyond, the first steps lead to expectations
# that no grid holds
_NARROWEST, _WIDEST, _FARTHEST = 1e-8, 8.0, 20.0


def reverse(
    model: Any, x: np.ndarray, num_restarts: int, max_steps: int, tolerance: float, seed: int
) -> PosteriorFit:
    """Climb the ELBO of each datum: a formula where all is linear, else the best of several climbs."""
    if rules_of(model).has_normal_posterior:
        mean, _, _ = rules_of(model).posterior_moments(x)
        precision = 1.0 + np.square(model.weights / model.noise_std).sum(axis=0)
        q = Normal(mean, np.broadcast_to(1.0 / np.sqrt(precision), mean.shape))
        return _done(q, expected_log_likelihood(model, x, q) - kl_divergence(q, rules_of(model).prior()))
    prior, d = model.prior, model.num_latents
    everything = np.ones(model.num_pixels, bool)
    expectation = NormalExpectation(model.layers, model.activation, model.noise_std, everything, x)
    log_std = np.log(prior.std)
    # from the prior, and from narrower ones somewhere in it, the same for all data
    generators = [np.random.Generator(np.random.Philox(key=seed + (k << 64))) for k in range(num_restarts)]
    shifts = [generator.standard_normal(d) for generator in generators]
    starts = [np.concatenate([prior.mean, log_std])]
    starts += [np.concatenate([prior.mean + prior.std * shift, log_std - 1.0]) for shift in shifts]

    def minus_elbo(parameters: np.ndarray, n: int) -> tuple[float, np.ndarray]:
        """Minus the ELBO of datum n, and its gradient."""
        mean, std = parameters[:d], np.exp(parameters[d:])
        found = expectation(n, mean, np.diag(std))
        away, wide = (mean - prior.mean) / prior.std, std / prior.std
        divergence = (0.5 * (np.square(away) + np.square(wide) - 1.0) - np.log(wide)).sum()
        slope = np.concatenate([found.of_mean - away / prior.std, found.of_log_std - np.square(wide) + 1.0])
        return float(divergence - found.value), -slope

    lowest, highest = prior.mean - _FARTHEST * prior.std, prior.mean + _FARTHEST * prior.std
    bounds = list(zip(lowest, highest, strict=True))
    bounds += [(low + math.log(_NARROWEST), low + math.log(_WIDEST)) for low in log_std]

    def task(n: int) -> tuple[float, np.ndarray, bool, list[float]]:
        best: Any = None
        for start in starts:
            steps: list[float] = []

            # the name of its argument tells SciPy what to pass
            def keep(intermediate_result: Any) -> None:
                steps.append(-float(intermediate_result.fun))  # noqa: B023 (called before the next start)

            found = minimize(
                minus_elbo, start, (n,), "L-BFGS-B", jac=True, bounds=bounds, callback=keep,
                options={"maxiter": max_steps, "gtol": tolerance, "ftol": 0.0},
            )  # fmt: skip
            if best is None or found.fun < best[0]:
                best = found.fun, found.x, np.abs(found.jac).max() <= max(1e-6, tolerance), steps
        return best

    fits = parallel_map(task, range(len(x)))
    parameters = np.array([fit[1] for fit in fits]).reshape(-1, 2 * d)
    q = Normal(parameters[:, :d], np.exp(parameters[:, d:]))
    report_uncertain([expectation(n, q.mean[n], np.diag(q.std[n])) for n in range(len(x))])
    objective, converged = np.array([-fit[0] for fit in fits]), np.array([fit[2] for fit in fits], bool)
    return PosteriorFit(q=q, objective=objective, history=_history(fits), converged=converged)


def _history(fits: list[Any]) -> np.ndarray:
    """Mean ELBO after each step; data that were done before keep theirs."""
    longest = max((len(fit[3]) for fit in fits), default=0)
    rows = [(fit[3] or [-fit[0]]) for fit in fits]
    full = np.array([row + [row[-1]] * (max(longest, 1) - len(row)) for row in rows])
    return full.mean(axis=0) if fits else np.empty(0)


def forward(model: Any, x: np.ndarray) -> PosteriorFit:
    """Take the posterior's means and standard deviations: no other q is closer from the posterior's side."""
    mean, std, entropy = rules_of(model).posterior_moments(x)
    cross = (np.log(std) + 0.5 * (1.0 + math.log(2.0 * math.pi))).sum(axis=1)  # - E_p[log q]
    return _done(Normal(mean, std), np.maximum(cross - entropy, 0.0))


def _done(q: Normal, objective: np.ndarray) -> PosteriorFit:
    history = np.array([objective.mean()]) if objective.size else np.empty(0)
    return PosteriorFit(q=q, objective=objective, history=history, converged=np.ones(objective.size, bool))
