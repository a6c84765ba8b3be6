"""Variational distributions fitted datum by datum."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fastvi import validation
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.engine import mean_field
from fastvi.engine.softplus_form import softplus_form
from fastvi.fitting.fit import Fit
from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork, factorised

OBJECTIVES = ("reverse_kl", "forward_kl", "importance_weighted")
MAX_LATENTS = 24  # the table of all states is kept: 128 MiB at 24


def fit_posterior(
    model: SigmoidBeliefNetwork,
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

    by coordinate ascent on the exact ELBO, from the prior and from random starts; the best of them is kept,
    which need not be the global optimum.

    Parameters
    ----------
    model
        A :class:`~fastvi.SigmoidBeliefNetwork` of at most 24 latents (a table of all 2^d states is kept).
    x : array_like
        (N, D) of 0 and 1.
    objective
        "reverse_kl". The others are not built yet and raise NotImplementedError.
    num_restarts
        Random starts beside the prior, at least 0.
    max_sweeps
        Sweeps over all latents, at most.
    tolerance
        A datum has converged when a sweep moves no q(z_i = 1) by more.
    seed
        Of the random starts.

    Returns
    -------
    Fit
        ``q`` has logits (N, d).

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
    factorised(model)
    data = validation.binary_matrix(x, "x", model.num_pixels)
    if validation.choice(objective, "objective", OBJECTIVES) != "reverse_kl":
        raise NotImplementedError(f"objective={objective!r} is not built yet: use 'reverse_kl'")
    num_restarts = validation.positive_int(num_restarts, "num_restarts", 0)
    max_sweeps = validation.positive_int(max_sweeps, "max_sweeps")
    tolerance = float(validation.float_array(tolerance, "tolerance", ndim=0))
    if tolerance < 0:
        raise ValueError(f"tolerance must be >= 0, got {tolerance}")
    seed = validation.seed(seed)
    if model.num_latents > MAX_LATENTS:
        raise ValueError(
            f"model must have at most {MAX_LATENTS} latents to be fitted, got {model.num_latents}"
        )
    shape = (len(data), model.num_latents)
    starts = [np.broadcast_to(model.prior_logits, shape)]
    generator = np.random.Generator(np.random.Philox(key=seed))
    starts += [generator.normal(scale=2.0, size=shape) for _ in range(num_restarts)]
    form = softplus_form(model.weights, model.bias, model.prior_logits)
    found = mean_field.fit(form, data, starts, max_sweeps, tolerance)
    sweeps = int((found.history != found.history[:, -1:]).sum(axis=1).max(initial=0)) + 1
    history = found.history[:, :sweeps].mean(axis=0) if len(data) else np.empty(0)
    return Fit(Bernoulli(found.logits), found.objective, history, found.converged)
