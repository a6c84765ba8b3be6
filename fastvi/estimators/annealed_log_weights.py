"""Chains of annealed importance sampling for a model's data, and where they start."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvi.core import validation
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.distributions.normal import Normal
from fastvi.engine.annealing.chains import Schedule
from fastvi.rules.base import Rules


def checked_initial(rules: Rules, initial: Any, num_data: int) -> Bernoulli | Normal:
    """The distribution that chains start from."""
    kind: type[Bernoulli] | type[Normal] = Normal if rules.real_latents else Bernoulli
    if isinstance(initial, str):
        validation.choice(initial, "initial", ("prior",))
        return rules.initial()
    if not isinstance(initial, kind):
        raise TypeError(
            f"initial must be 'prior' or {validation.with_article(kind.__name__)}, got "
            f"{validation.shown(initial)}"
        )
    parameters = initial.logits if isinstance(initial, Bernoulli) else initial.mean
    validation.per_datum(parameters, "initial", "parameters", num_data, rules.num_latents)
    if isinstance(initial, Bernoulli):
        validation.require(parameters, np.isfinite(parameters), "initial must have finite logits")
    return initial


def checked_latents(rules: Rules, x: np.ndarray, latents: Any, num_chains: int) -> np.ndarray:
    """States (N M, d), chain by chain, datum by datum."""
    num_data, d = len(x), rules.num_latents
    check = validation.real_array if rules.real_latents else validation.binary_array
    states = check(latents, "latents", d)
    allowed = ((num_data, d), (num_chains, num_data, d))
    if states.shape not in allowed:
        raise ValueError(f"latents must have shape {allowed[0]} or {allowed[1]}, got shape {states.shape}")
    chains = np.broadcast_to(states, (num_chains, num_data, d)).transpose(1, 0, 2)
    rules.check_latents(x, chains)
    return np.ascontiguousarray(chains).reshape(-1, d)


def _rows(parameters: np.ndarray, num_data: int) -> np.ndarray:
    """(d,) or (N, d) as (N, d): a copy, so that kernels are compiled for writeable arrays only."""
    return np.array(np.broadcast_to(parameters, (num_data, parameters.shape[-1])), order="C")


def log_weights(
    rules: Rules, x: np.ndarray, initial: Bernoulli | Normal, num_leapfrog: int, schedule: Schedule
) -> np.ndarray:
    """Log weights (N, M) of chains, of reversed ones -log w."""
    if isinstance(initial, Normal):
        start = np.stack([_rows(initial.mean, len(x)), _rows(initial.std, len(x))])
    else:
        start = _rows(initial.logits, len(x))
    flat = rules.annealed_log_weights(x, start, schedule, num_leapfrog)
    return flat.reshape(len(x), schedule.num_chains)
