"""Variational distributions fitted datum by datum."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fastvi import validation
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.engine import mean_field
from fastvi.exact.exact_posterior import exact_posterior
from fastvi.exact.question import Options, always_summed, ask
from fastvi.fitting.fit import Fit
from fastvi.models.binary_sparse_coding import BinarySparseCoding
from fastvi.models.enumerable import Enumerable, check_model
from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork

# models with a prior and a log joint that is linear or quadratic in z given x, so that tiles hold it
TILED = (SigmoidBeliefNetwork, BinarySparseCoding)
OBJECTIVES = ("reverse_kl", "forward_kl", "importance_weighted")
MAX_LATENTS = 24  # the table of all states is kept: 128 MiB at 24


def fit_posterior(
    model: Enumerable,
    x: ArrayLike,
    *,
    objective: str = "reverse_kl",
    num_restarts: int = 4,
    max_sweeps: int = 200,
    tolerance: float = 1e-8,
    seed: int = 0,
) -> Fit:
    r"""Fit a factorised Bernoulli q(z) to each datum's posterior.

    .. math:: q_n = \arg\max_q \mathrm{ELBO}_n(q) = \arg\min_q KL(q \| p(z|x_n))

    ("reverse_kl") by coordinate ascent on the exact ELBO, from the prior and from random starts; the best of
    them is kept, which need not be the global optimum. It settles on one mode where there are several, and
    its variances are too small.

    .. math:: q_n = \arg\min_q KL(p(z|x_n) \| q)

    ("forward_kl") has the exact posterior's means, whatever the posterior is. It covers all modes; its
    variances m (1 - m) are the posterior's own, but it has no correlations and so puts mass between modes.

    Parameters
    ----------
    model
        For "reverse_kl" a :class:`~fastvi.SigmoidBeliefNetwork` (also a deep one) or
        :class:`~fastvi.BinarySparseCoding` of at most 24 latents (a table of all 2^d states is kept). For
        "forward_kl" any model that :func:`~fastvi.exact_posterior` takes.
    x : array_like
        (N, D), as for :func:`~fastvi.log_marginal`.
    objective
        "reverse_kl" or "forward_kl". "importance_weighted" is not built yet and raises NotImplementedError.
    num_restarts
        Random starts beside the prior (logits of 0 where the prior is a model), at least 0.
    max_sweeps
        Sweeps over all latents, at most.
    tolerance
        A datum has converged when a sweep moves no q(z_i = 1) by more.
    seed
        Of the random starts.

    Returns
    -------
    Fit
        ``q`` has logits (N, d); ``objective`` is each datum's ELBO, or KL(p || q) for "forward_kl".

    Raises
    ------
    ValueError, TypeError
        For wrong input, more than 24 latents among it.
    NotImplementedError
        For an objective that is not built yet.

    References
    ----------
    Bishop (2006), Pattern Recognition and Machine Learning, eq. 10.9. Saul, Jaakkola, Jordan (1996), Mean
    field theory for sigmoid belief networks.
    """
    check_model(model)
    objective = validation.choice(objective, "objective", OBJECTIVES)
    num_restarts = validation.positive_int(num_restarts, "num_restarts", 0)
    max_sweeps = validation.positive_int(max_sweeps, "max_sweeps")
    tolerance = float(validation.float_array(tolerance, "tolerance", ndim=0))
    if tolerance < 0:
        raise ValueError(f"tolerance must be >= 0, got {tolerance}")
    seed = validation.seed(seed)
    if objective == "importance_weighted":
        raise NotImplementedError(
            "objective='importance_weighted' is not built yet: use 'reverse_kl' or 'forward_kl'"
        )
    if objective == "forward_kl":
        return _forward(model, x)
    validation.instance(model, "model", TILED)
    question = ask(model, x, None, Options(), always_summed)
    (group,) = question.groups
    if group.free.size > MAX_LATENTS:
        raise ValueError(f"model must have at most {MAX_LATENTS} latents to be fitted, got {group.free.size}")
    form = question.form(group)
    shape = (question.num_data, form.num_latents)
    starts = [np.broadcast_to(_prior_logits(model), shape)]
    generator = np.random.Generator(np.random.Philox(key=seed))
    starts += [generator.normal(scale=2.0, size=shape) for _ in range(num_restarts)]
    found = mean_field.fit(form, group.x, starts, max_sweeps, tolerance)
    sweeps = int((found.history != found.history[:, -1:]).sum(axis=1).max(initial=0)) + 1
    history = found.history[:, :sweeps].mean(axis=0) if question.num_data else np.empty(0)
    return Fit(Bernoulli(found.logits), found.objective, history, found.converged)


def _prior_logits(model: Enumerable) -> np.ndarray:
    """Where a fit begins: at the prior, if it is factorised."""
    prior = getattr(model, "prior_logits", None)
    return np.zeros(model.num_latents) if prior is None else prior


def _forward(model: Enumerable, x: ArrayLike) -> Fit:
    """Of all factorised q that with the posterior's means is closest to it from the posterior's side."""
    posterior = exact_posterior(model, x)
    mean = posterior.mean
    with np.errstate(divide="ignore"):
        # a mean that rounds to 1 is anything above 1 - 2^-53: q must not rule out the rest
        logits = np.log(mean) - np.log1p(-np.minimum(mean, 1.0 - 2.0**-53))
    q = Bernoulli(logits)
    # E_p[log q] is -H(q) where the means are those of p
    divergence = np.maximum(q.entropy() - posterior.entropy, 0.0)
    history = np.array([divergence.mean()]) if len(mean) else np.empty(0)
    return Fit(q, divergence, history, np.ones(len(mean), bool))
