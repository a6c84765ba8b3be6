"""Variational distributions: the arguments ``q`` and ``proposal``, checked once and cut to groups of data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastvi.core import validation
from fastvi.core.options import PROPOSALS
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.distributions.categorical import Categorical, log_softmax
from fastvi.distributions.encoder import Encoder
from fastvi.distributions.mixture import Mixture
from fastvi.distributions.multivariate_normal import MultivariateNormal
from fastvi.distributions.normal import Normal
from fastvi.engine.importance.proposals import (
    Ancestral,
    BernoulliMixture,
    Categories,
    NormalMixture,
    Proposal,
)
from fastvi.engine.states.remote_data import refuse_pixels
from fastvi.inputs.data import Group, groups_of, read_data
from fastvi.inputs.memory import OTHER
from fastvi.inputs.options import Limits
from fastvi.inputs.question import check_size, exact_log_z
from fastvi.rules.base import Rules
from fastvi.rules.joint_table import JointTableRules


class Bounded(NamedTuple):
    """Question of a bound: groups of data, each with its own part of q."""

    num_data: int
    groups: list[Group]
    log_z: float  # to be subtracted


def read_bound(
    rules: Rules, x: Any, q: Any, observed: Any, normalized: bool, limits: Limits, device: str | None = None,
    *, summed: Callable[[Group], bool],
) -> Bounded:  # fmt: skip
    """Check the arguments of a bound, group the data by mask, cut q.

    ``device`` is as for ``read_data``; ``summed`` says of which groups the states are enumerated.
    """
    data, mask = read_data(rules, x, observed, device)
    q = _at_data(q, "q", data, mask)
    _check_q(rules, q, len(data))
    groups = [group._replace(q=_cut(q, group.members, group.free)) for group in groups_of(rules, data, mask)]
    for group in groups:
        if summed(group):
            check_size(rules, [group], OTHER, limits)
    log_z = exact_log_z(rules, device or "cpu", limits) if normalized else 0.0 - rules.constant
    return Bounded(len(data), groups, log_z)


def _at_data(q: Any, name: str, data: Any, mask: np.ndarray | None) -> Any:
    """Return what an encoder says of the data; anything else as it is."""
    if not isinstance(q, Encoder):
        return q
    if mask is not None:
        raise TypeError(
            f"{name} must not be an Encoder where observed is given, for it reads whole data, got {q!r}"
        )
    refuse_pixels(data, f"where {name} is an Encoder, which reads it")
    return q(data)


def _check_q(rules: Rules, q: Any, num_data: int) -> None:
    if rules.real_latents:
        if not isinstance(q, Normal | MultivariateNormal):
            raise TypeError(f"q must be a normal distribution for real latents, got {validation.shown(q)}")
        name, parameters = "mean", q.mean
    else:
        name, parameters = "logits", validation.instance(q, "q", Bernoulli).logits
    validation.per_datum(parameters, "q", name, num_data, rules.num_latents)


def _cut(q: Any, members: np.ndarray, free: np.ndarray) -> Any:
    """Q of some data and latents; real latents are never observed."""
    if not free.size:
        return q
    if q.num_data in (None, len(members)) and free.size == q.num_latents:  # all of it
        return q
    if isinstance(q, Bernoulli):
        rows = q.logits if q.num_data is None else q.logits[members]
        return Bernoulli(rows[..., free])
    if q.num_data is None:
        return q
    return type(q)(**{name: value[members] for name, value in q.arrays().items()})


def drawn_from(q: Any) -> Proposal:
    """Return a group's q as the engine draws from it."""
    if isinstance(q, Bernoulli):
        return BernoulliMixture((np.atleast_2d(q.logits),), np.ones(1))
    if not isinstance(q, Normal):
        raise TypeError(f"q must be a Bernoulli or a Normal to be sampled from, got {q!r}")
    return NormalMixture((np.atleast_2d(q.mean),), (np.atleast_2d(q.std),), np.ones(1))


def read_proposal(rules: Rules, proposal: Any, x: Any, observed: np.ndarray | None) -> Proposal:
    """Return the parameters of every component of a proposal over all latents, for all data."""
    if isinstance(proposal, Mixture):
        components, weights = proposal.components, proposal.weights
    else:
        components, weights = (proposal,), np.ones(1)
    found = [_component(rules, each, x, observed) for each in components]
    if any(isinstance(each, Ancestral) for each in found):
        if len(found) > 1:
            came = validation.shown(proposal)
            raise ValueError(f"proposal must not mix the prior of a deep network with others, got {came}")
        return found[0]
    kind = Normal if rules.real_latents else Bernoulli
    for each in found:
        if not isinstance(each, kind):
            latents = "real" if rules.real_latents else "binary"
            raise TypeError(
                f"proposal must be over {latents} latents, those of the model, got {validation.shown(each)}"
            )
        name, array = ("logits", each.logits) if isinstance(each, Bernoulli) else ("mean and std", each.mean)
        validation.per_datum(array, "proposal", name, len(x), rules.num_latents)
    if rules.real_latents:
        means, stds = (tuple(np.atleast_2d(getattr(q, name)) for q in found) for name in ("mean", "std"))
        return NormalMixture(means, stds, weights)
    return BernoulliMixture(tuple(np.atleast_2d(q.logits) for q in found), weights)


def _component(rules: Rules, proposal: Any, x: Any, observed: np.ndarray | None) -> Any:
    """Return one component as a distribution, or an Ancestral."""
    if isinstance(proposal, str):
        if validation.choice(proposal, "proposal", PROPOSALS) == "prior":
            return rules.prior_proposal()
        return Bernoulli(np.zeros(rules.num_latents))
    proposal = _at_data(proposal, "proposal", x, observed)
    if not isinstance(proposal, Bernoulli | Normal):
        raise TypeError(
            "proposal must be 'uniform', 'prior', a Bernoulli, a Normal, an Encoder, a Mixture or Bounds, "
            f"got {validation.shown(proposal)}"
        )
    return proposal


def check_categorical(rules: JointTableRules, q: Any, name: str, num_data: int) -> Categorical:
    """Return the argument ``name``, a distribution over the z of a table."""
    if not isinstance(q, Categorical):
        raise TypeError(f"{name} must be a Categorical for a JointTable, got {validation.shown(q)}")
    validation.per_datum(q.logits, name, "logits", num_data, rules.model.num_z)
    return q


def categories(q: Categorical) -> Categories:
    """Return q as the engine draws from it."""
    return Categories(np.atleast_2d(q.probabilities), log_softmax(np.atleast_2d(q.logits)))


def read_categories(rules: JointTableRules, proposal: Any, num_data: int) -> Categories:
    """Return a proposal over the z of a table."""
    if isinstance(proposal, Categorical):
        return categories(check_categorical(rules, proposal, "proposal", num_data))
    if not isinstance(proposal, str):
        raise TypeError(
            "proposal must be 'uniform', 'prior' or a Categorical for a JointTable, got "
            f"{validation.shown(proposal)}"
        )
    column_sums = rules.model.probabilities.sum(axis=0)
    q = column_sums / column_sums.sum()
    if validation.choice(proposal, "proposal", PROPOSALS) == "uniform":
        q = np.full(rules.model.num_z, 1.0 / rules.model.num_z)
    with np.errstate(divide="ignore"):
        return Categories(q[None], np.log(q)[None])


def of_latents(proposal: Proposal, free: np.ndarray) -> Proposal:
    """Return the proposal of some of the latents."""
    if isinstance(proposal, Ancestral):
        return proposal
    if isinstance(proposal, BernoulliMixture):
        return proposal._replace(logits=_picked(proposal.logits, free))
    return proposal._replace(means=_picked(proposal.means, free), stds=_picked(proposal.stds, free))


def _picked(parameters: tuple[np.ndarray, ...], free: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(np.ascontiguousarray(each[:, free]) for each in parameters)
