"""The chi-square upper bound on log p(x), by summing over all states."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from fastvi.bounds.bounds_of_tables import ask_table, chi_square_of_table
from fastvi.bounds.states import check_binary, factorised_posterior, is_enumerated
from fastvi.core import validation
from fastvi.core.functions import log_sigmoid
from fastvi.core.limits import MAX_STATES
from fastvi.core.options import Device
from fastvi.core.registry import rules_of
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.distributions.encoder import Encoder
from fastvi.engine.expectation.expectations import half_log_square_sum
from fastvi.inputs.data import Group
from fastvi.inputs.options import check_device, check_limits
from fastvi.inputs.variational import read_bound
from fastvi.models.base import LatentVariableModel
from fastvi.rules.base import Rules
from fastvi.rules.joint_table import JointTableRules


def chi_square_bound(
    model: LatentVariableModel,
    x: ArrayLike | None,
    q: Bernoulli | Encoder,
    *,
    observed: ArrayLike | None = None,
    normalized: bool = True,
    device: Device = "cpu",
    memory_limit: int | None = None,
    max_states: int = MAX_STATES,
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
        A model with binary latents, as in :func:`~fastvi.kl_to_posterior`, or a table.
    x : array_like
        As for :func:`~fastvi.log_marginal`.
    q
        A :class:`~fastvi.Bernoulli` with logits (d,) or (N, d), or an :class:`~fastvi.Encoder`, which makes
        one of x; for a table a :class:`~fastvi.Categorical`. Of a Boltzmann machine those units count that
        were not observed.
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
    rules = rules_of(model, tables=True)
    check_device(device)
    check_binary(rules, " or be a JointTable")
    limits = check_limits(memory_limit, max_states)
    normalized = validation.flag(normalized, "normalized")
    if isinstance(rules, JointTableRules):
        return chi_square_of_table(ask_table(rules, x, q, observed, limits))
    question = read_bound(rules, x, q, observed, normalized, limits, summed=partial(is_enumerated, rules))
    out = np.empty(question.num_data)
    for group in question.groups:
        out[group.members] = _of_part(rules, group)
    return out - question.log_z


def _of_part(rules: Rules, group: Group) -> np.ndarray:
    """Not normalised."""
    if group.free.size == 0:  # all units were observed: there is one state
        return rules.closed_form(group.x, group.observed)
    posterior = factorised_posterior(rules, group)
    if posterior is not None:
        return rules.closed_form(group.x, group.observed) + _half_log_squares(
            posterior.logits, group.q.logits
        )
    return half_log_square_sum(rules.kept_form(group.observed), group.x, group.q.logits)


def _half_log_squares(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Sum over i of log(sum_b p_i(b)^2 / q_i(b)) / 2.

    For two products of Bernoulli distributions, from their logits.
    """
    one, zero = (2.0 * log_sigmoid(sign * p) - log_sigmoid(sign * q) for sign in (1.0, -1.0))
    return 0.5 * np.logaddexp(one, zero).sum(axis=-1)
