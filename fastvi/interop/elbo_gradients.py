"""Exact gradients of sum_n w_n ELBO_n in a model's parameters, in those of each q, and in the pixels.

Of bits with means m the slope of E_q[F] in logit i is Cov_q(F, z_i), that of the entropy
-m_i (1 - m_i) logit_i.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastvi.core.bits import bits_of
from fastvi.core.functions import sigmoid
from fastvi.core.registry import rules_of
from fastvi.engine.decoder.block_form import BlockForm
from fastvi.engine.expectation.elbo_gradient import expected_log_joint
from fastvi.engine.expectation.q_draws import log_probabilities_of
from fastvi.engine.expectation.q_moments import q_moments
from fastvi.engine.linalg.products import matmul
from fastvi.engine.linalg.weighted_sums import weighted_sums
from fastvi.engine.run.runs import Run
from fastvi.fitting.model_access import form_of
from fastvi.models.binary_sparse_coding import BinarySparseCoding
from fastvi.models.linear_gaussian import LinearGaussian
from fastvi.models.restricted_boltzmann_machine import RestrictedBoltzmannMachine
from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork
from fastvi.rules.base import Gradient, without_partition

_STATES = 256  # of each datum that are evaluated together
_NUMBERS = 1 << 21  # of their pixels: 16 MiB


class OfBound(NamedTuple):
    """Gradients of sum_n w_n ELBO_n."""

    model: Gradient
    q: np.ndarray  # (N, P)
    pixels: np.ndarray  # (N, D)


def exact_gradients(model: Any, x: np.ndarray, q: np.ndarray, w: np.ndarray) -> OfBound:
    """Gradients of exact bounds.

    Parameters
    ----------
    x
        Clean data (N, D).
    q
        Logits (N, d) of bits; means and logarithms of standard deviations (N, 2 d) under a LinearGaussian.
    w : (N,)
    """
    if isinstance(model, LinearGaussian):
        return _of_linear_gaussian(model, x, q, w)
    if isinstance(model, RestrictedBoltzmannMachine):
        return _of_restricted_machine(model, x, q, w)
    if isinstance(model, BinarySparseCoding):
        return _of_sparse_coding(model, x, q, w)
    if isinstance(model, SigmoidBeliefNetwork) and not model.is_deep:
        form = form_of(model)
        if not isinstance(form, BlockForm):
            return _of_network(model, form, x, q, w)
    return _by_states(model, x, q, w)


def _of_entropy(q: np.ndarray) -> np.ndarray:
    return np.asarray(-sigmoid(q) * sigmoid(-q) * q)


def _linear(mean: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return matmul(mean, np.ascontiguousarray(weights.T), bias)


def _of_prior(prior_logits: np.ndarray, mean: np.ndarray, w: np.ndarray) -> np.ndarray:
    return np.asarray((w[:, None] * (mean - sigmoid(prior_logits))).sum(axis=0))


def _of_network(
    model: SigmoidBeliefNetwork, form: Any, x: np.ndarray, q: np.ndarray, w: np.ndarray
) -> OfBound:
    mean, found = sigmoid(q), q_moments(form, q, w)
    weights, bias = weighted_sums(x, w, mean)
    of_model = {
        "weights": weights - found.values[:, :-1],
        "bias": bias - found.values[:, -1],
        "prior_logits": _of_prior(model.prior_logits, mean, w),
    }
    slope = expected_log_joint(form, x, q).slope + _of_entropy(q)
    return OfBound(of_model, w[:, None] * slope, w[:, None] * _linear(mean, model.weights, model.bias))


def _of_sparse_coding(model: BinarySparseCoding, x: np.ndarray, q: np.ndarray, w: np.ndarray) -> OfBound:
    """From E_q|x - W z - b|^2 = |r|^2 + sum_i |W_i|^2 v_i, r of the means and v the variances of bits."""
    mean, weights, std = sigmoid(q), model.weights, model.noise_std
    residual = x - _linear(mean, weights, model.bias)
    pull, spread = w[:, None] * residual, (w[:, None] * (mean * sigmoid(-q))).sum(axis=0)
    square = (pull * residual).sum() + (np.square(weights) * spread).sum()
    of_model = {
        "weights": (matmul(np.ascontiguousarray(pull.T), mean) - weights * spread) / std / std,
        "bias": pull.sum(axis=0) / std / std,
        "noise_std": np.asarray((square / std / std - w.sum() * len(weights)) / std),
        "prior_logits": _of_prior(model.prior_logits, mean, w),
    }
    rules: Any = rules_of(model)
    parts = rules.parts(np.ones(model.num_pixels, bool))
    slope = expected_log_joint(parts, x, q).slope + _of_entropy(q)
    return OfBound(of_model, w[:, None] * slope, -pull / std / std)


def _of_restricted_machine(
    model: RestrictedBoltzmannMachine, x: np.ndarray, q: np.ndarray, w: np.ndarray
) -> OfBound:
    """From E_q[log p(x, z)] = b . x + (c + W^T x) . m - log Z."""
    mean, fields = sigmoid(q), matmul(x.astype(np.float64), model.weights, model.hidden_bias)
    weights, visible = weighted_sums(x, w, mean)
    of_joint = {
        "weights": weights,
        "visible_bias": visible,
        "hidden_bias": (w[:, None] * mean).sum(axis=0),
    }
    of_model = without_partition(rules_of(model), of_joint, float(w.sum()), Run())
    slope = mean * sigmoid(-q) * (fields - q)
    pixels = w[:, None] * _linear(mean, model.weights, model.visible_bias)
    return OfBound(of_model, w[:, None] * slope, pixels)


def _of_linear_gaussian(model: LinearGaussian, x: np.ndarray, q: np.ndarray, w: np.ndarray) -> OfBound:
    """From E_q|x - W z - b|^2 = |r|^2 + sum_i |W_i|^2 v_i, and the KL divergence to the standard normal."""
    mean, log_std = (np.ascontiguousarray(half) for half in np.split(q, 2, axis=1))
    weights, std, variance = model.weights / model.noise_std, model.noise_std, np.exp(2.0 * log_std)
    residual = (x - model.bias) / std - _linear(mean, weights, np.zeros(len(weights)))
    squares = np.square(weights).sum(axis=0)
    pull, spread = w[:, None] * residual, (w[:, None] * variance).sum(axis=0)
    square = (pull * residual).sum() + (squares * spread).sum()
    of_model = {
        "weights": (matmul(np.ascontiguousarray(pull.T), mean) - weights * spread) / std,
        "bias": pull.sum(axis=0) / std,
        "noise_std": np.asarray((square - w.sum() * len(weights)) / std),
    }
    of_q = np.concatenate([matmul(residual, weights) - mean, 1.0 - variance * (1.0 + squares)], axis=1)
    return OfBound(of_model, w[:, None] * of_q, -pull / std)


def _by_states(model: Any, x: np.ndarray, q: np.ndarray, w: np.ndarray) -> OfBound:
    """All states of each datum, as samples of known probability, some at a time."""
    rules, d, num_pixels = rules_of(model), model.num_latents, model.num_pixels
    of_model = dict(rules.learnable())
    slope, pixels = np.empty(q.shape), np.empty(x.shape)
    num_states = min(_STATES, 1 << d)
    step = max(1, _NUMBERS // (num_states * max(1, num_pixels)))
    for start in range(0, len(x), step):
        some = slice(start, start + step)
        mean, own, weights = sigmoid(q[some]), np.zeros(q[some].shape), w[some, None]
        # subtracted from all: the covariance is a small difference where |F| is large
        level = rules.sampled_joint(x[some], (q[some, None] > 0.0).astype(np.uint8)).value
        seen = np.zeros(x[some].shape)
        for first in range(0, 1 << d, num_states):
            states = bits_of(np.arange(first, first + num_states), np.arange(d))
            z = np.repeat(states[None], len(mean), axis=0)
            joint, share = rules.sampled_joint(x[some], z), np.exp(log_probabilities_of(q[some], z))
            own += np.einsum("nk,nki->ni", share * (joint.value - level), states - mean[:, None])
            seen += joint.of_pixels(share)
            for name, value in joint.of_parameters(share * weights).items():
                of_model[name] = of_model[name] + value
        slope[some], pixels[some] = own, seen
    return OfBound(of_model, w[:, None] * (slope + _of_entropy(q)), w[:, None] * pixels)
