"""Distributions that the sampling study draws latents from, and the variance of one weight under each."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import fastvi
from fastvi.core.registry import rules_of
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.distributions.mixture import Mixture
from fastvi.distributions.uniform import Uniform
from fastvi.models.binary_sparse_coding import BinarySparseCoding
from fastvi.models.neural_decoder import NeuralDecoder
from fastvi.studies.common.states import log_joint_of_states, log_q_of_states, require_finite
from fastvi.studies.enumeration.models import is_plain_network

UNIFORM, PRIOR, LEARNED, MEANS = "uniform", "prior", "learned q", "exact means"
_SHARE = 0.1  # of the prior in both mixtures: no weight is above 10 p(x | z)


class Setup(NamedTuple):
    """A model, data, their log p(x), log p(z | x) of every state (N, 2^d), and the proposals by name."""

    model: Any
    x: np.ndarray
    truth: np.ndarray
    log_posterior: np.ndarray
    proposals: dict[str, Bernoulli | Mixture]

    def log_q(self, name: str) -> np.ndarray:
        """(N, 2^d): log q_n(z) of every state."""
        return log_q_of_states(self.proposals[name], rules_of(self.model).num_latents, len(self.x))


def mixed(q: Bernoulli, wide: Bernoulli) -> Mixture:
    """Nine tenths of ``q``; what it leaves out is found by the tenth that is wide."""
    return Mixture([q, wide], [1.0 - _SHARE, _SHARE])


def independent_prior(model: Any) -> Bernoulli | None:
    """The model's prior where its latents are independent there."""
    if is_plain_network(model) or isinstance(model, BinarySparseCoding):
        return Bernoulli(model.prior_logits)
    if isinstance(model, NeuralDecoder) and isinstance(model.prior, Bernoulli):
        return model.prior
    return None


def set_up(model: Any, x: np.ndarray) -> Setup:
    """The truth, and those proposals that the model answers for.

    "learned q" has independent latents and the smallest KL(q || p(z | x)). "learned q + prior" is nine tenths
    of it and a tenth of the prior. "exact means + prior" has the exact posterior means in place of the
    learned q: of all q of independent latents that one has the smallest KL(p(z | x) || q). Where the prior's
    latents are not independent, uniform draws stand in its place.
    """
    truth = fastvi.log_marginal(model, x)
    require_finite(truth)
    log_joint = log_joint_of_states(model, x)
    top = log_joint.max(axis=1, keepdims=True)
    log_sum = top + np.log(np.exp(log_joint - top).sum(axis=1, keepdims=True))
    answered, prior = fastvi.supported(model), independent_prior(model)
    uniform = Uniform(rules_of(model).num_latents)
    proposals: dict[str, Any] = {UNIFORM: uniform}
    if prior is not None:
        proposals[PRIOR] = prior
    wide, word = (uniform, UNIFORM) if prior is None else (prior, PRIOR)
    if "fit_posterior" in answered:
        learned: Any = fastvi.fit_posterior(model, x, objective="reverse_kl").q
        proposals |= {LEARNED: learned, f"{LEARNED} + {word}": mixed(learned, wide)}
    means: Any = fastvi.fit_posterior(model, x, objective="forward_kl").q
    proposals[f"{MEANS} + {word}"] = mixed(means, wide)
    return Setup(model, x, truth, log_joint - log_sum, proposals)


def chi_square(setup: Setup, name: str) -> np.ndarray:
    """(N,): sum over z of p(z | x_n)^2 / q(z), less 1: relative variance of one weight."""
    return np.asarray(np.exp(2.0 * setup.log_posterior - setup.log_q(name)).sum(axis=1) - 1.0)
