"""KL(q || p(z | x)), by summing over all states or in closed form."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fastvi.bounds.posterior_divergence import posterior_divergence
from fastvi.core.limits import MAX_STATES
from fastvi.core.options import Device
from fastvi.distributions.base import Distribution
from fastvi.distributions.categorical import Categorical
from fastvi.distributions.encoder import Encoder
from fastvi.models.base import LatentVariableModel
from fastvi.models.joint_table import JointTable


def kl_to_posterior(
    model: LatentVariableModel | JointTable,
    x: ArrayLike | None,
    q: Distribution | Encoder | Categorical,
    *,
    observed: ArrayLike | None = None,
    device: Device = "cpu",
    memory_limit: int | None = None,
    max_states: int = MAX_STATES,
) -> np.ndarray:
    r"""Divergence of q from the exact posterior, the gap of the ELBO.

    .. math::
        KL(q \| p(z|x)) = \sum_z \left[ p - q - q \log \frac{p}{q} \right] = \log p(x) - \mathrm{ELBO}(q)

    with q = q(z) and p = p(z | x). Every term of the sum is non-negative and none is a small difference of
    large numbers, so that a divergence of 1e-12 keeps its digits, which the difference of log p(x) and the
    ELBO would not. An error of log p(x) enters with its square.

    Parameters
    ----------
    model
        A model with binary latents: :class:`~fastvi.SigmoidBeliefNetwork`,
        :class:`~fastvi.BinarySparseCoding`, :class:`~fastvi.BoltzmannMachine`,
        :class:`~fastvi.RestrictedBoltzmannMachine` (a formula where all pixels are observed),
        :class:`~fastvi.NeuralDecoder` with a Bernoulli prior, :class:`~fastvi.LogJoint`; or a
        :class:`~fastvi.LinearGaussian`, whose posterior is normal (a formula); or a
        :class:`~fastvi.JointTable`.
    x : array_like
        As for :func:`~fastvi.log_marginal`.
    q
        A :class:`~fastvi.Bernoulli` with logits (d,) or (N, d), for a :class:`~fastvi.LinearGaussian` a
        :class:`~fastvi.Normal` or a :class:`~fastvi.MultivariateNormal`; or an :class:`~fastvi.Encoder`,
        which makes one of x. For a table a :class:`~fastvi.Categorical` with logits (num_z,) or (N, num_z).
        Of a Boltzmann machine those units count that were not observed.
    observed
        As in :func:`~fastvi.log_marginal`: the posterior is then that given what was observed.
    device, memory_limit, max_states
        As in :func:`~fastvi.log_marginal`.

    Returns
    -------
    ndarray, (N,), float64
        KL in nats, at least 0. +inf where the posterior rules out a state that q does not, NaN where p(x) is
        0.

    Raises
    ------
    ValueError, TypeError
        For wrong input.

    Examples
    --------
    >>> import fastvi
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
    >>> fastvi.kl_to_posterior(model, [[1, 0]], fastvi.Bernoulli([1.0])).round(6)
    array([0.000427])
    """
    return posterior_divergence(model, x, q, observed, device, memory_limit, max_states, from_posterior=False)
