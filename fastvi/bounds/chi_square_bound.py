"""The chi-square upper bound on log p(x), by summing over all states."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from fastvi.bounds.states import check_binary, factorised_posterior, is_enumerated
from fastvi.core import validation
from fastvi.core.functions import log_sigmoid
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.distributions.encoder import Encoder
from fastvi.engine.expectation.expectations import half_log_square_sum
from fastvi.inputs import requests
from fastvi.inputs.bound_parts import Part, parts_of
from fastvi.models.enumerable import Enumerable


def chi_square_bound(
    model: Enumerable,
    x: ArrayLike | None,
    q: Bernoulli | Encoder,
    *,
    observed: ArrayLike | None = None,
    normalized: bool = True,
    device: str = "cpu",
    memory_limit: int | None = None,
    max_states: int = requests.MAX_STATES,
) -> np.ndarray:
    r"""Upper bound on log p(x), exact for the q that it is given.

    .. math::
        \log p(x) \le \frac{1}{2} \log E_q\left[ \left( \frac{p(x, z)}{q(z)} \right)^2 \right]
        = \log p(x) + \frac{1}{2} \log\left( 1 + \chi^2(p(z|x) \| q) \right)

    The sum of p(x, z)^2 / q(z) over all states is taken in log space. From samples of q the same bound is
    ``renyi_bound(log_w, -1)``, which is a bound on average only in the limit of many samples: its logarithm
    of a mean is too small.

    Parameters
    ----------
    model
        A model with binary latents, as in :func:`~fastvi.kl_to_posterior`.
    x : array_like
        (N, D), as for :func:`~fastvi.log_marginal`.
    q
        A :class:`~fastvi.Bernoulli` with logits (d,) or (N, d), or an :class:`~fastvi.Encoder`, which makes
        one of x. Of a Boltzmann machine those units count that were not observed.
    observed, normalized, device, memory_limit, max_states
        As in :func:`~fastvi.log_marginal`.

    Returns
    -------
    ndarray, (N,), float64
        Nats. +inf where q rules out a state that p(x, z) does not, -inf where p(x) is 0.

    Raises
    ------
    ValueError, TypeError
        For wrong input.

    References
    ----------
    Dieng, Tran, Ranganath, Paisley, Blei (2017), Variational inference via chi upper bound minimization,
    NIPS; eq. 4 with n = 2.

    Examples
    --------
    >>> import fastvi
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
    >>> q = fastvi.Bernoulli([0.0])
    >>> bound, truth = fastvi.chi_square_bound(model, [[1, 0]], q), fastvi.log_marginal(model, [[1, 0]])
    >>> bool(bound[0] >= truth[0])
    True
    """
    requests.check_device(device)
    check_binary(model)
    limits = requests.check_limits(memory_limit, max_states)
    normalized = validation.flag(normalized, "normalized")
    question = parts_of(model, x, q, observed, normalized, limits, summed=partial(is_enumerated, model))
    out = np.empty(question.num_data)
    for part in question.parts:
        out[part.members] = _of_part(model, part)
    return out - question.log_z


def _of_part(model: Enumerable, part: Part) -> np.ndarray:
    """Not normalised."""
    if part.free.size == 0:  # all units were observed: there is one state
        return model._closed_form(part.x, part.pixels)
    posterior = factorised_posterior(model, part)
    if posterior is not None:
        return model._closed_form(part.x, part.pixels) + _half_log_squares(posterior.logits, part.q.logits)
    return half_log_square_sum(model._form(part.pixels, "float64"), part.x, part.q.logits)


def _half_log_squares(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """sum_i log(sum_b p_i(b)^2 / q_i(b)) / 2 for two products of Bernoulli distributions, from their
    logits.
    """
    one, zero = (2.0 * log_sigmoid(sign * p) - log_sigmoid(sign * q) for sign in (1.0, -1.0))
    return 0.5 * np.logaddexp(one, zero).sum(axis=-1)
