"""KL(p(z | x) || q), by summing over all states or in closed form."""

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


def kl_from_posterior(
    model: LatentVariableModel | JointTable,
    x: ArrayLike | None,
    q: Distribution | Encoder | Categorical,
    *,
    observed: ArrayLike | None = None,
    device: Device = "cpu",
    memory_limit: int | None = None,
    max_states: int = MAX_STATES,
) -> np.ndarray:
    r"""Divergence of the exact posterior from q, what forward-KL fits and wake-sleep's sleep phase lower.

    .. math::
        KL(p(z|x) \| q) = \sum_z \left[ p \log \frac{p}{q} - p + q \right]

    with p = p(z | x) and q = q(z). Every term is non-negative and none is a small difference of large
    numbers; all states count, also those in which p has next to no mass. Among factorised q it is least
    where q's means are the posterior's (:func:`~fastvi.exact_posterior`): there it is the sum of the
    entropies of q's latents less the posterior's entropy.

    Parameters
    ----------
    model, x, q, observed, device, memory_limit, max_states
        As in :func:`~fastvi.kl_to_posterior`.

    Returns
    -------
    ndarray, (N,), float64
        KL in nats, at least 0. +inf where q rules out a state that the posterior does not, NaN where p(x) is
        0.

    Raises
    ------
    ValueError, TypeError
        For wrong input.

    References
    ----------
    Hinton, Dayan, Frey, Neal (1995), The wake-sleep algorithm for unsupervised neural networks, Science 268.

    Examples
    --------
    >>> import fastvi
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
    >>> fastvi.kl_from_posterior(model, [[1, 0]], fastvi.Bernoulli([1.0])).round(6)
    array([0.000422])
    """
    return posterior_divergence(model, x, q, observed, device, memory_limit, max_states, from_posterior=True)
