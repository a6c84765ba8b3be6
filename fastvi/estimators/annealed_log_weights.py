"""Which chains of annealed importance sampling a model with latents takes, and from where they start."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvi.core import validation
from fastvi.core.functions import bernoulli_log_prob
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.distributions.normal import Normal
from fastvi.engine.annealing.chains import Schedule
from fastvi.engine.annealing.coding import sparse_coding_log_weights
from fastvi.engine.annealing.general import general_log_weights
from fastvi.engine.annealing.hamiltonian import Problem, hamiltonian_log_weights
from fastvi.engine.annealing.targets import NetworkTarget, UserTarget
from fastvi.engine.annealing.units import softplus_log_weights
from fastvi.engine.decoder.large_logits import are_large
from fastvi.models.binary_sparse_coding import BinarySparseCoding
from fastvi.models.enumerable import LogPrior
from fastvi.models.linear_gaussian import LinearGaussian
from fastvi.models.log_joint import LogJoint
from fastvi.models.neural_decoder import NeuralDecoder
from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork

WITH_LATENTS = (SigmoidBeliefNetwork, BinarySparseCoding, NeuralDecoder, LinearGaussian, LogJoint)


def checked_initial(model: Any, initial: Any, num_data: int) -> Bernoulli | Normal:
    """The distribution that chains start from."""
    kind: type[Bernoulli] | type[Normal] = Normal if model._real_latents else Bernoulli
    if isinstance(initial, str):
        validation.choice(initial, "initial", ("prior",))
        if isinstance(model, LogJoint):
            raise ValueError(
                "initial must be a Bernoulli or Uniform distribution where model is a LogJoint, whose prior "
                "is not known, got 'prior'"
            )
        if isinstance(model, SigmoidBeliefNetwork) and model.is_deep:
            raise ValueError(
                "initial must be a Bernoulli or Uniform distribution where model is a deep network, whose "
                "prior is not factorised, got 'prior'"
            )
        return model.prior  # type: ignore[no-any-return]
    if not isinstance(initial, kind):
        raise TypeError(
            f"initial must be 'prior' or {validation.with_article(kind.__name__)}, got "
            f"{validation.shown(initial)}"
        )
    parameters = initial.logits if isinstance(initial, Bernoulli) else initial.mean
    validation.per_datum(parameters, "initial", "parameters", num_data, model.num_latents)
    if isinstance(initial, Bernoulli):
        validation.require(parameters, np.isfinite(parameters), "initial must have finite logits")
    return initial


def checked_data(model: Any, x: Any) -> np.ndarray:
    """Data (N, D) as the model's kernels read them; those of a LogJoint as they came, float64."""
    data, _ = model._check_data(x, None)
    return np.ascontiguousarray(data[:, 0]) if isinstance(model, LogJoint) else data


def checked_latents(model: Any, x: np.ndarray, latents: Any, num_chains: int) -> np.ndarray:
    """States (N M, d), chain by chain, datum by datum."""
    num_data, d = len(x), model.num_latents
    check = validation.real_array if model._real_latents else validation.binary_array
    states = check(latents, "latents", d)
    allowed = ((num_data, d), (num_chains, num_data, d))
    if states.shape not in allowed:
        raise ValueError(f"latents must have shape {allowed[0]} or {allowed[1]}, got shape {states.shape}")
    chains = np.broadcast_to(states, (num_chains, num_data, d)).transpose(1, 0, 2)
    if isinstance(model, LogJoint) or model._real_latents:
        for n in range(num_data):
            if model._real_latents:
                logs = model.log_joint(x[n], chains[n])
            else:
                logs = model._table(x[n : n + 1], chains[n].astype(np.float64))[0]
            if np.isneginf(logs).any():
                raise ValueError(
                    f"latents must have p(x, z) > 0, got 0 for datum {n}, chain {int(np.argmin(logs))}"
                )
    return np.ascontiguousarray(chains).reshape(-1, d)


def _rows(parameters: np.ndarray, num_data: int) -> np.ndarray:
    """(d,) or (N, d) as (N, d): a copy, so that kernels are compiled for writeable arrays only."""
    return np.array(np.broadcast_to(parameters, (num_data, parameters.shape[-1])), order="C")


def log_weights(
    model: Any, x: np.ndarray, initial: Bernoulli | Normal, num_leapfrog: int, schedule: Schedule
) -> np.ndarray:
    """Log weights (N, M) of chains, of reversed ones -log w."""
    if isinstance(initial, Normal):
        flat = _continuous(model, x, initial, num_leapfrog, schedule)
    else:
        flat = _binary(model, x, _rows(initial.logits, len(x)), schedule)
    return flat.reshape(len(x), schedule.num_chains)


def _continuous(
    model: Any, x: np.ndarray, initial: Normal, num_leapfrog: int, schedule: Schedule
) -> np.ndarray:
    decoder = model._decoder if isinstance(model, LinearGaussian) else model
    # the prior is a part of the problem itself, which needs its gradient
    target = NetworkTarget(decoder.layers, decoder.activation, decoder.noise_std, x, _no_prior)
    prior: Any = decoder.prior
    mean, std = _rows(initial.mean, len(x)), _rows(initial.std, len(x))
    problem = Problem(target, prior.mean, prior.std, mean, std, num_leapfrog)
    return hamiltonian_log_weights(problem, schedule)


def _no_prior(z: np.ndarray) -> np.ndarray:
    return np.zeros(len(z))


def _binary(model: Any, x: np.ndarray, base: np.ndarray, schedule: Schedule) -> np.ndarray:
    if isinstance(model, BinarySparseCoding):
        return sparse_coding_log_weights(
            model.weights, model.bias, model.noise_std, model.prior_logits, x, base, schedule
        )
    if isinstance(model, SigmoidBeliefNetwork):
        layers = [(model.weights, model.bias)]
        if not model.is_deep and not are_large(layers, "relu", model.prior_logits):
            return softplus_log_weights(model.weights, model.bias, model.prior_logits, x, base, schedule)
        log_prior = LogPrior(model._deep_prior) if model.is_deep else model._log_prior
        target = NetworkTarget(layers, "relu", None, x, log_prior, bits=True)
        return general_log_weights(target, base, schedule)
    if isinstance(model, NeuralDecoder):
        logits: Any = model.prior.logits  # type: ignore[union-attr]
        target = NetworkTarget(
            model.layers, model.activation, model.noise_std, x,
            lambda z: np.asarray(bernoulli_log_prob(z, logits).sum(axis=-1)), bits=True,
        )  # fmt: skip
        return general_log_weights(target, base, schedule)
    # a function of arrays is the caller's, and stays in the calling thread
    user = UserTarget(model._table, x, in_threads=not model.vectorized)
    return general_log_weights(user, base, schedule)
