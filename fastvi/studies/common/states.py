"""All states of a model's binary latents, where they are few enough to be listed."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastvi
from fastvi.core.registry import rules_of
from fastvi.distributions.base import Distribution
from fastvi.models.boltzmann_machine import BoltzmannMachine
from fastvi.studies.common.subject import Subject

_PART = 4096  # states that are worked on at a time


def all_states(num_latents: int) -> np.ndarray:
    """(2^d, d) uint8: bit k of a state's number is z_k."""
    number = np.arange(1 << num_latents)
    return np.asarray(((number[:, None] >> np.arange(num_latents)) & 1).astype(np.uint8))


def log_joint_of_states(model: Any, x: np.ndarray) -> np.ndarray:
    """(N, 2^d): log p(x_n, z) of every state, as ``model.log_joint`` gives it."""
    states = all_states(rules_of(model).num_latents)
    parts = [states[start : start + _PART] for start in range(0, len(states), _PART)]
    return np.concatenate([model.log_joint(x, part[:, None]).T for part in parts], axis=1)


def log_q_of_states(q: Distribution | fastvi.Mixture, num_latents: int, num_data: int) -> np.ndarray:
    """(N, 2^d): log q_n(z) of every state."""
    log_q = q.log_prob(all_states(num_latents)[:, None])
    return np.ascontiguousarray(np.broadcast_to(log_q, (1 << num_latents, num_data)).T)


def log_weights_of_states(model: Any, x: np.ndarray, q: Distribution) -> np.ndarray:
    """(N, 2^d): log p(x_n, z) - log q_n(z) of every state."""
    log_joint = log_joint_of_states(model, x)
    return log_joint - log_q_of_states(q, rules_of(model).num_latents, len(x))


def no_latent_bits(own: Subject, most: int) -> str | None:
    """Return why a model has no binary latents, at most ``most``, that a study could list; or None."""
    rules = rules_of(own.model, tables=True)
    if rules.is_table:
        return "a table has one latent and no bits; the study 'table' looks at such models"
    if isinstance(own.model, BoltzmannMachine):
        return "a Boltzmann machine's data are its units, so that no latent is left"
    if rules.real_latents:
        return f"it lists states of binary latents, and those of {_kind(own)} are real numbers"
    if rules.num_latents > most:
        return f"it lists all 2^d states and takes at most d = {most} latents, got {rules.num_latents}"
    return None


def not_answered(own: Subject, *questions: str) -> str | None:
    """Return the first of these functions that does not answer for the model, in a line; or None."""
    answered = fastvi.supported(own.model)
    missing = [question for question in questions if question not in answered]
    return f"it asks fastvi.{missing[0]}, which does not answer for {_kind(own)}" if missing else None


def _kind(own: Subject) -> str:
    return f"a {type(own.model).__name__}"


def best_product(model: Any, x: np.ndarray) -> Any:
    """The q of each datum whose latents are independent: that of the largest ELBO.

    Where ``fit_posterior`` does not answer for that, the one of the exact posterior means.
    """
    if "fit_posterior" in fastvi.supported(model):
        return fastvi.fit_posterior(model, x, objective="reverse_kl").q
    return fastvi.fit_posterior(model, x, objective="forward_kl").q


def require_finite(truth: np.ndarray) -> None:
    """Refuse data that the model rules out: no estimate has an error, and no bound a gap, there."""
    bad = np.flatnonzero(~np.isfinite(truth))
    if bad.size:
        raise ValueError(
            f"x must be possible under the model, got log p(x) = {truth[bad[0]]} of datum {bad[0]}"
        )
