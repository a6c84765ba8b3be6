"""The argument ``proposal``: what is drawn from, for a model and its data."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvi.core import validation
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.distributions.encoder import Encoder
from fastvi.distributions.mixture import Mixture
from fastvi.distributions.normal import Normal
from fastvi.engine.importance.proposals import Ancestral, BernoulliMixture, NormalMixture, Proposal
from fastvi.engine.states.remote_data import refuse_pixels
from fastvi.models.enumerable import Enumerable

WORDS = ("uniform", "prior")


def resolved(proposal: Any, model: Enumerable, x: Any, observed: np.ndarray | None) -> Proposal:
    """Parameters of every component over all of the model's latents, for all data."""
    if isinstance(proposal, Mixture):
        components, weights = proposal.components, proposal.weights
    else:
        components, weights = (proposal,), np.ones(1)
    found = [_component(each, model, x, observed) for each in components]
    if any(isinstance(each, Ancestral) for each in found):
        if len(found) > 1:
            came = validation.shown(proposal)
            raise ValueError(f"proposal must not mix the prior of a deep network with others, got {came}")
        return found[0]
    kind = Normal if model._real_latents else Bernoulli
    for each in found:
        if not isinstance(each, kind):
            latents = "real" if model._real_latents else "binary"
            raise TypeError(
                f"proposal must be over {latents} latents, those of the model, got {validation.shown(each)}"
            )
        name, array = ("logits", each.logits) if isinstance(each, Bernoulli) else ("mean and std", each.mean)
        validation.per_datum(array, "proposal", name, len(x), model.num_latents)
    if model._real_latents:
        means, stds = (tuple(np.atleast_2d(getattr(q, name)) for q in found) for name in ("mean", "std"))
        return NormalMixture(means, stds, weights)
    return BernoulliMixture(tuple(np.atleast_2d(q.logits) for q in found), weights)


def _component(proposal: Any, model: Enumerable, x: Any, observed: np.ndarray | None) -> Any:
    """A distribution, or an Ancestral."""
    if isinstance(proposal, str):
        if validation.choice(proposal, "proposal", WORDS) == "prior":
            return model._prior_proposal()
        return Bernoulli(np.zeros(model.num_latents))
    if isinstance(proposal, Encoder):
        if observed is not None:
            raise TypeError(
                "proposal must not be an Encoder where observed is given, for it reads whole data, got "
                f"{proposal!r}"
            )
        refuse_pixels(x, "where proposal is an Encoder, which reads it")
        return proposal(x)
    if not isinstance(proposal, Bernoulli | Normal):
        raise TypeError(
            "proposal must be 'uniform', 'prior', a Bernoulli, a Normal, an Encoder or a Mixture, got "
            f"{validation.shown(proposal)}"
        )
    return proposal


def columns(proposal: Proposal, free: np.ndarray) -> Proposal:
    """That of some of the latents."""
    if isinstance(proposal, Ancestral):
        return proposal
    if isinstance(proposal, BernoulliMixture):
        return proposal._replace(logits=_picked(proposal.logits, free))
    return proposal._replace(means=_picked(proposal.means, free), stds=_picked(proposal.stds, free))


def _picked(parameters: tuple[np.ndarray, ...], free: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(np.ascontiguousarray(each[:, free]) for each in parameters)
