"""Variational distributions fitted datum by datum."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastvi.core import validation
from fastvi.core.registry import rules_of
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.exact.exact_posterior import exact_posterior
from fastvi.fitting import normal_posterior
from fastvi.fitting.data import check_reach
from fastvi.fitting.fit import Fit
from fastvi.fitting.sampled_bound import REWEIGHTED, check_has_prior, checked_estimator
from fastvi.fitting.stochastic_posterior import climb, prior_parameters
from fastvi.inputs.options import Options
from fastvi.inputs.question import ask
from fastvi.models.base import LatentVariableModel
from fastvi.models.binary_sparse_coding import BinarySparseCoding
from fastvi.models.neural_decoder import NeuralDecoder
from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork

# models with a prior and a log joint that is linear or quadratic in z given x, so that tiles hold it
TILED = (SigmoidBeliefNetwork, BinarySparseCoding)
OBJECTIVES = ("reverse_kl", "forward_kl", "importance_weighted")
MAX_LATENTS = 24  # the table of all states is kept: 128 MiB at 24


def fit_posterior(
    model: LatentVariableModel,
    x: ArrayLike,
    *,
    objective: str = "reverse_kl",
    num_restarts: int = 4,
    max_sweeps: int = 200,
    tolerance: float = 1e-8,
    num_samples: int | None = None,
    estimator: str | None = None,
    learning_rate: float | None = None,
    seed: int = 0,
) -> Fit:
    r"""Fit a q(z) of independent latents, Bernoulli or normal as the model's are, to each datum's posterior.

    .. math:: q_n = \arg\max_q \mathrm{ELBO}_n(q) = \arg\min_q KL(q \| p(z|x_n))

    ("reverse_kl") from the prior and from random starts; the best of them is kept, which need not be the
    global optimum. It settles on one mode where there are several, and its variances are too small.

    .. math:: q_n = \arg\min_q KL(p(z|x_n) \| q)

    ("forward_kl") has the exact posterior's means, of real latents also its variances, whatever the posterior
    is. It covers all modes, but it has no correlations and so puts mass between modes.

    .. math:: q_n = \arg\max_q E_q\Big[\log \frac{1}{K} \sum_k \frac{p(x_n, z_k)}{q(z_k)}\Big]

    ("importance_weighted") lies between: the more samples, the wider q may be.

    Parameters
    ----------
    model
        Exact: for "reverse_kl" a :class:`~fastvi.SigmoidBeliefNetwork` (also a deep one) of at most 24
        latents (coordinate ascent; a table of all 2^d states is kept), a
        :class:`~fastvi.BinarySparseCoding` of any size (coordinate ascent from its couplings), a
        :class:`~fastvi.NeuralDecoder` with a Bernoulli prior of at most 24 latents (a table of 2^d states
        for each datum, as many data at a time as 128 MiB hold) or with a Normal prior of at most 3 latents
        (L-BFGS on an ELBO integrated by the trapezoid rule), or a :class:`~fastvi.LinearGaussian` (a
        formula). For "forward_kl" any model that :func:`~fastvi.exact_posterior` takes, a LinearGaussian, or
        a decoder of at most 3 normal latents. By sampling any of them, of any size.
    x : array_like
        (N, D), as for :func:`~fastvi.log_marginal`.
    objective
        "reverse_kl", "forward_kl" or "importance_weighted".
    num_restarts
        Random starts beside the prior (logits of 0 where the prior is a model), at least 0. Sampled fits
        start from the prior alone.
    max_sweeps
        Sweeps over all latents, or steps of L-BFGS or of sampled fits, at most.
    tolerance
        A datum has converged when a sweep moves no q(z_i = 1) by more; L-BFGS stops when no derivative is
        larger.
    num_samples
        None is exact. A number K draws so many states for each datum and step and climbs unbiased gradients
        by Adam; "importance_weighted" needs it, and "forward_kl" with it takes the K weighted draws in place
        of the posterior's (biased as 1 / K).
    estimator
        Of the sampled gradient, as in :func:`~fastvi.fit_encoder`.
    learning_rate
        Of Adam, > 0; None is 0.1. Its rate falls to 0 along half a cosine, and q is the mean of the last
        quarter of the steps.
    seed
        Of the random starts, which are the same for all data: what a datum gets depends on nothing but
        itself. Or of the draws, of which those of a datum depend on its number in ``x`` as well, not on the
        data after it.

    Returns
    -------
    Fit
        ``q`` has logits, or means and standard deviations, (N, d). ``objective`` is each datum's ELBO, or
        KL(p || q) for "forward_kl"; sampled, the bound (for "forward_kl" that of K weights) by 1,000 fresh
        draws.

    Raises
    ------
    ValueError, TypeError
        For wrong input, models too large for exact fits among it.

    Warns
    -----
    AccuracyWarning
        Where an integral over normal latents did not come to rest for some data: it says which.

    References
    ----------
    Bishop (2006), Pattern Recognition and Machine Learning, eq. 10.9. Saul, Jaakkola, Jordan (1996), Mean
    field theory for sigmoid belief networks. Burda, Grosse, Salakhutdinov (2016), Importance weighted
    autoencoders, ICLR. B. T. Polyak, A. B. Juditsky (1992), Acceleration of stochastic approximation by
    averaging (the mean of the last steps).
    """
    rules_of(model)
    objective = validation.choice(objective, "objective", OBJECTIVES)
    num_restarts = validation.positive_int(num_restarts, "num_restarts", 0)
    max_sweeps = validation.positive_int(max_sweeps, "max_sweeps")
    tolerance = validation.real_number(tolerance, "tolerance", "finite and >= 0")
    if tolerance == math.inf:
        raise ValueError("tolerance must be finite and >= 0, got inf")
    if tolerance < 0:
        raise ValueError(f"tolerance must be >= 0, got {tolerance}")
    seed = validation.seed(seed)
    if num_samples is not None:
        return _sampled(model, x, objective, num_samples, estimator, learning_rate, max_sweeps, seed)
    for name, value in (("estimator", estimator), ("learning_rate", learning_rate)):
        if value is not None:
            raise TypeError(f"{name} must be None without num_samples, got {validation.shown(value)}")
    if objective == "importance_weighted":
        raise TypeError("num_samples must be a number for objective='importance_weighted', got None")
    if rules_of(model).real_latents:
        data, _ = rules_of(model).check_data(x, None)
        check_reach(model, data)
        if objective == "forward_kl":
            return normal_posterior.forward(model, data)
        return normal_posterior.reverse(model, data, num_restarts, max_sweeps, tolerance, seed)
    if objective == "forward_kl":
        return _forward(model, x)
    validation.instance(model, "model", (*TILED, NeuralDecoder))
    question = ask(rules_of(model), x, None, Options(), partial(_in_reach, model))
    (group,) = question.groups
    check_reach(model, group.x)
    starts = _starts(model, question.num_data, num_restarts, seed)
    found = rules_of(model).mean_field(group.x, starts, max_sweeps, tolerance)
    sweeps = int((found.history != found.history[:, -1:]).sum(axis=1).max(initial=0)) + 1
    history = found.history[:, :sweeps].mean(axis=0) if question.num_data else np.empty(0)
    return Fit(Bernoulli(found.logits), found.objective, history, found.converged)


def _in_reach(model: Any, pixels: np.ndarray) -> bool:
    """Whether no states are summed; refuses models that are too large."""
    if isinstance(model, BinarySparseCoding):
        return True
    if model.num_latents > MAX_LATENTS:
        raise ValueError(
            f"model must have at most {MAX_LATENTS} latents to be fitted exactly, got {model.num_latents}; "
            "pass num_samples to fit it by sampling"
        )
    return False


def _starts(model: LatentVariableModel, num_data: int, num_restarts: int, seed: int) -> list[np.ndarray]:
    """Logits (N, d), the same for all data: the prior's, then random ones. Each restart has a stream of its
    own.
    """
    d = model.num_latents
    generators = [np.random.Generator(np.random.Philox(key=seed + (k << 64))) for k in range(num_restarts)]
    starts = [_prior_logits(model), *(generator.normal(scale=2.0, size=d) for generator in generators)]
    return [np.broadcast_to(start, (num_data, d)) for start in starts]


def _sampled(
    model: LatentVariableModel, x: ArrayLike, objective: str, num_samples: Any, estimator: Any,
    learning_rate: Any, num_steps: int, seed: int,
) -> Fit:  # fmt: skip
    check_has_prior(model)
    num_samples = validation.positive_int(num_samples, "num_samples")
    rate = 0.1 if learning_rate is None else validation.positive_float(learning_rate, "learning_rate")
    weighted = objective == "importance_weighted"
    if objective == "forward_kl":
        if estimator is not None:
            raise TypeError(
                f"estimator must be None for objective='forward_kl', got {validation.shown(estimator)}"
            )
        estimator = REWEIGHTED
    else:
        estimator = checked_estimator(model, weighted, estimator, num_samples)
    data, _ = rules_of(model).check_data(x, None)
    check_reach(model, data)
    return climb(
        model, data, prior_parameters(model, len(data)), num_samples=num_samples, num_steps=num_steps,
        learning_rate=rate, importance_weighted=weighted, estimator=estimator, seed=seed,
    )  # fmt: skip


def _prior_logits(model: LatentVariableModel) -> np.ndarray:
    """Where a fit begins: at the prior, if it is factorised."""
    prior = rules_of(model).prior()
    return prior.logits if isinstance(prior, Bernoulli) else np.zeros(model.num_latents)


def _forward(model: LatentVariableModel, x: ArrayLike) -> Fit:
    """Of all factorised q that with the posterior's means is closest to it from the posterior's side."""
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
    return Fit(q, divergence, history, np.ones(len(mean), bool))
