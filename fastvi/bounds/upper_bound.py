"""An upper bound on log p(x), by a tangent."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fastvi.core import validation
from fastvi.core.registry import rules_of
from fastvi.engine.run.slices import chunks
from fastvi.inputs.data import groups_of, read_data
from fastvi.models.base import LatentVariableModel
from fastvi.rules.base import log_probabilities


def upper_bound(model: LatentVariableModel, x: ArrayLike, *, observed: ArrayLike | None = None) -> np.ndarray:
    r"""Upper bound on log p(x) for any number of latents: the counterpart of :func:`elbo`.

    With log p(x, z) = c + <t, z> - A(z) and a convex A, the tangent of A at any q in [0, 1]^d lies below A.
    Under it the latents are independent, and the sum over z is a product. The best tangent gives

    .. math::
        \log p(x) \le \max_{q \in [0,1]^d} \; c + \langle t, q \rangle + H(q) - A(q),

    H(q) the entropy of independent bits. What is maximised is concave. Newton's method comes within 1e-4 nats
    of the maximum where weights are below 10, as learned ones are. Larger weights may leave it further away;
    the bound is valid in any case. It is moved up by what rounding may have taken from it.

    1,000 images of 784 pixels take 0.1 s under 24 latents and 0.4 s under 200, on two Zen 3 cores.

    Parameters
    ----------
    model
        A :class:`~fastvi.SigmoidBeliefNetwork` with ``prior_logits`` or a
        :class:`~fastvi.BinarySparseCoding`, of any size.
    x : array_like
        (N, D), as for :func:`~fastvi.log_marginal`.
    observed : array_like of bool, optional
        (D,) or (N, D), True where a pixel was seen, as in :func:`~fastvi.log_marginal`.

    Returns
    -------
    ndarray, (N,), float64
        Nats. The same bits for any number of threads, and for a datum in any batch.

    Raises
    ------
    ValueError, TypeError
        For wrong input, and for models whose A is not known to be convex.

    References
    ----------
    T. S. Jaakkola and M. I. Jordan (1996), Computing upper and lower bounds on likelihoods in intractable
    networks, UAI.

    Examples
    --------
    >>> import fastvi
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
    >>> bool(fastvi.upper_bound(model, [[1, 0]])[0] >= fastvi.log_marginal(model, [[1, 0]])[0])
    True
    """
    rules = rules_of(model)
    if rules.partition_memory() is not None:  # a bound of log Z from below would have to be subtracted
        raise TypeError(f"model must be normalised, without a log Z, got {validation.shown(model)}")
    data, mask = read_data(rules, x, observed)
    out = np.empty(len(data))
    for group in groups_of(rules, data, mask):
        form = rules.subcube_form(group.observed)
        for part in chunks(group.num_data):
            terms = form.terms(group.x[part])
            out[group.members[part]] = form.upper(terms) + form.error(terms)
    out[np.isnan(out)] = np.inf  # where its error overflows
    return log_probabilities(out) if rules.is_probability else out
