"""KL(q || p(z | x)), exact."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fastvi.bounds.arguments import model_data_q
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.engine import requests
from fastvi.engine.expectations import divergence_to_posterior
from fastvi.engine.log_sum import log_sums
from fastvi.engine.runs import Run
from fastvi.engine.softplus_form import softplus_form
from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork


def kl_to_posterior(
    model: SigmoidBeliefNetwork,
    x: ArrayLike,
    q: Bernoulli,
    *,
    device: str = "cpu",
    memory_limit: int | None = None,
    max_states: int = requests.MAX_STATES,
) -> np.ndarray:
    r"""Divergence of q from the exact posterior, the gap of the ELBO.

    .. math::
        KL(q \| p(z|x)) = \sum_z \left[ p - q - q \log \frac{p}{q} \right] = \log p(x) - \mathrm{ELBO}(q)

    with q = q(z) and p = p(z | x). Every term of the sum is non-negative and none is a small difference of
    large numbers, so that a divergence of 1e-12 keeps its digits, which the difference of log p(x) and the
    ELBO would not.

    Parameters
    ----------
    model
        A :class:`~fastvi.SigmoidBeliefNetwork`.
    x : array_like
        (N, D) of 0 and 1.
    q
        A :class:`~fastvi.Bernoulli` with logits (d,) or (N, d).
    device, memory_limit, max_states
        As in :func:`~fastvi.log_marginal`.

    Returns
    -------
    ndarray, (N,), float64
        KL in nats, at least 0.

    Raises
    ------
    ValueError, TypeError
        For wrong input.
    """
    data, logits = model_data_q(model, x, q, memory_limit, max_states)
    requests.check_device(device)
    form = softplus_form(model.weights, model.bias, model.prior_logits)
    return divergence_to_posterior(form, data, logits, log_sums(form, data, Run()))
