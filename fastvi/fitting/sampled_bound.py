"""Bounds by sampling and their gradients, in q's parameters and in the model's, for any model of latents."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from fastvi.core import validation
from fastvi.core.functions import normal_log_prob, sigmoid
from fastvi.core.options import DType
from fastvi.core.registry import rules_of
from fastvi.engine.expectation.q_draws import binary_draws, log_probabilities_of, normal_draws
from fastvi.engine.expectation.sampled_joint import SampledJoint
from fastvi.fitting.path_gradients import through_draws
from fastvi.fitting.score_gradients import disarm, leave_one_out, normalized_weights, reweighted, vimco
from fastvi.inputs.options import check_dtype

Estimator = Literal["leave_one_out", "disarm", "vimco", "reparameterized"]

# of the ELBO and of the K-sample bound
BINARY = (("leave_one_out", "disarm"), ("vimco",))
REAL = (("reparameterized",), ("reparameterized",))
REWEIGHTED = "reweighted"
_FROM_SAMPLES = ("forward_kl", "wake_sleep", "reweighted_wake_sleep")

_CHUNK_NUMBERS = 1 << 22  # pixels of samples that are kept together: 32 MiB


class SampledBound(NamedTuple):
    """A bound on each datum's log p(x), its gradient in q's parameters, and in the model's, summed."""

    value: np.ndarray  # (N,)
    slope: np.ndarray  # (N, P)
    of_model: dict[str, np.ndarray]
    of_pixels: np.ndarray | None  # (N, D), each datum's times its weight


class _Draws(NamedTuple):
    """Log weights of some data, and what an estimator makes of them."""

    log_w: np.ndarray  # (N, K)
    slope: np.ndarray  # (N, P)
    share: np.ndarray  # (N, K) of each sample in the gradient of the model
    joint: SampledJoint


def step_seed(seed: int, step: int, purpose: int = 0) -> int:
    """Seed of the draws of a step, independent of those of all others."""
    return int(np.random.SeedSequence([seed, step, purpose]).generate_state(1, np.uint64)[0])


def checked_estimator(model: Any, objective: str, estimator: Any, num_samples: int) -> str:
    """The argument ``estimator``; None is "leave_one_out", "vimco" or "reparameterized".

    ``REWEIGHTED`` where q learns from its samples, weighted, for which there is nothing to choose.
    """
    if objective in _FROM_SAMPLES:
        if estimator is not None:
            came = validation.shown(estimator)
            raise TypeError(f"estimator must be None for objective={objective!r}, got {came}")
        return REWEIGHTED
    allowed = (REAL if rules_of(model).real_latents else BINARY)[objective == "importance_weighted"]
    if estimator is None:
        estimator = allowed[0]
    validation.choice(estimator, "estimator", allowed)
    if estimator != "reparameterized" and num_samples < 2:
        raise ValueError(f"num_samples must be at least 2 for estimator={estimator!r}, got {num_samples}")
    if estimator == "disarm" and num_samples % 2:
        raise ValueError(f"num_samples must be even for estimator='disarm', got {num_samples}")
    return str(estimator)


def checked_dtype(model: Any, dtype: Any, *, sampled: bool) -> DType:
    """The argument ``dtype``: "float32" is for the states of some models, where they are ``sampled``."""
    checked = check_dtype(dtype)
    if not sampled and checked != "float64":
        raise ValueError(f"dtype must be 'float64' where nothing is sampled, got {checked!r}")
    rules_of(model, tables=True).check_sampling_dtype(checked)
    return checked


def check_exact(objective: str, **sampling: Any) -> None:
    """Refuse what has no meaning without num_samples."""
    for name, value in sampling.items():
        if value is not None:
            raise TypeError(f"{name} must be None without num_samples, got {validation.shown(value)}")
    if objective == "importance_weighted":
        raise TypeError("num_samples must be a number for objective='importance_weighted', got None")


def sampled_bound(
    model: Any, x: np.ndarray, parameters: np.ndarray, *, num_samples: int, seed: int,
    numbers: np.ndarray | None = None, importance_weighted: bool = False, estimator: str,
    data_weights: np.ndarray | None = None, with_model: bool = False, with_pixels: bool = False,
    dtype: str = "float64",
) -> SampledBound:  # fmt: skip
    """A sampled bound and its gradients.

    Parameters
    ----------
    x
        Clean data (N, D).
    parameters
        Of q: logits (N, d), or means and logarithms of standard deviations (N, 2 d).
    num_samples
        K.
    seed, numbers
        Draws depend on (seed, number of the datum, sample); None numbers the data 0 ... N - 1.
    importance_weighted
        The bound E[log 1/K sum_k w_k] in place of the ELBO.
    estimator
        One that ``checked_estimator`` allows, or ``REWEIGHTED``.
    data_weights
        (N,) factors of each datum's gradients; None is 1.
    with_model
        Whether ``of_model`` is wanted.
    with_pixels
        Whether ``of_pixels`` is wanted.
    dtype
        One that ``checked_dtype`` allows.
    """
    if numbers is None:
        numbers = np.arange(len(x))
    value, slope = np.empty(len(x)), np.empty(parameters.shape)
    of_model: dict[str, np.ndarray] = {}
    of_pixels = np.empty(x.shape) if with_pixels else None
    step = max(1, _CHUNK_NUMBERS // (num_samples * max(1, x.shape[1])))
    make = _real if rules_of(model).real_latents else _binary
    for first in range(0, len(x), step):
        data = slice(first, first + step)
        draws = make(
            model, x[data], parameters[data], numbers[data], num_samples, seed, importance_weighted,
            estimator, dtype,
        )  # fmt: skip
        value[data], slope[data] = _bound(draws.log_w, importance_weighted), draws.slope
        share = draws.share
        if data_weights is not None:
            slope[data] *= data_weights[data, None]
            share = share * data_weights[data, None]
        if of_pixels is not None:
            of_pixels[data] = draws.joint.of_pixels(share)
        if with_model:
            for name, part in draws.joint.of_parameters(share).items():
                of_model[name] = of_model[name] + part if name in of_model else part
    return SampledBound(value, slope, of_model, of_pixels)


def _bound(log_w: np.ndarray, importance_weighted: bool) -> np.ndarray:
    if not importance_weighted:
        return np.asarray(log_w.mean(axis=1))
    largest = log_w.max(axis=1, keepdims=True)
    return np.asarray(largest[:, 0] + np.log(np.exp(log_w - largest).mean(axis=1)))


def _shares(log_w: np.ndarray, importance_weighted: bool) -> np.ndarray:
    return normalized_weights(log_w) if importance_weighted else np.full(log_w.shape, 1.0 / log_w.shape[1])


class QDraws(NamedTuple):
    """States drawn from each datum's q; of real latents also the numbers that were scaled, and by what."""

    z: np.ndarray  # (N, K, d), uint8 or float64
    log_q: np.ndarray  # (N, K)
    noise: np.ndarray | None = None
    std: np.ndarray | None = None  # (N, d)


def draws_of(model: Any, parameters: np.ndarray, numbers: np.ndarray, num_samples: int, seed: int) -> QDraws:
    """K draws from the q with these ``parameters`` of each datum."""
    if not rules_of(model).real_latents:
        z = binary_draws(parameters, numbers, num_samples, seed)
        return QDraws(z, log_probabilities_of(parameters, z))
    mean, log_std = (np.ascontiguousarray(half) for half in np.split(parameters, 2, axis=1))
    std = np.exp(log_std)
    noise = normal_draws(mean.shape[1], numbers, num_samples, seed)
    z = mean[:, None] + std[:, None] * noise
    return QDraws(z, normal_log_prob(z, mean[:, None], std[:, None]).sum(axis=2), noise, std)


def joint_of(model: Any, x: np.ndarray, z: np.ndarray, dtype: str) -> SampledJoint:
    """log p(x_n, z_nk) of states ``z`` (N, K, d), with logits of pixels of ``dtype``."""
    options: dict[str, Any] = {} if dtype == "float64" else {"dtype": dtype}
    return rules_of(model).sampled_joint(x, z, **options)


def _binary(
    model: Any, x: np.ndarray, logits: np.ndarray, numbers: np.ndarray, num_samples: int, seed: int,
    importance_weighted: bool, estimator: str, dtype: str,
) -> _Draws:  # fmt: skip
    if estimator == "disarm":
        num = num_samples // 2
        first = binary_draws(logits, numbers, num, seed)
        # the same u against 1 - m: 1 where u < 1 - m, so 0 where 1 - u < m
        z = np.concatenate([first, 1 - binary_draws(-logits, numbers, num, seed)], axis=1)
        drawn = QDraws(z, log_probabilities_of(logits, z))
    else:
        drawn = draws_of(model, logits, numbers, num_samples, seed)
    joint, z = joint_of(model, x, drawn.z, dtype), drawn.z
    log_w = joint.value - drawn.log_q
    share = _shares(log_w, importance_weighted or estimator == REWEIGHTED)
    if estimator == "disarm":
        slope = disarm(log_w[:, :num], z[:, :num], log_w[:, num:], z[:, num:], logits)
        return _Draws(log_w, slope, share, joint)
    mean = sigmoid(logits)
    if estimator == REWEIGHTED:
        slope = reweighted(log_w, z - mean[:, None])
    else:
        slope = (leave_one_out if estimator == "leave_one_out" else vimco)(log_w, z, mean)
    return _Draws(log_w, slope, share, joint)


def _real(
    model: Any, x: np.ndarray, parameters: np.ndarray, numbers: np.ndarray, num_samples: int,
    seed: int, importance_weighted: bool, estimator: str, dtype: str,
) -> _Draws:  # fmt: skip
    z, log_q, noise, std = draws_of(model, parameters, numbers, num_samples, seed)
    assert noise is not None
    assert std is not None
    joint = joint_of(model, x, z, dtype)
    log_w = joint.value - log_q
    share = _shares(log_w, importance_weighted or estimator == REWEIGHTED)
    if estimator == REWEIGHTED:
        score = np.concatenate([noise / std[:, None], np.square(noise) - 1.0], axis=2)
        return _Draws(log_w, reweighted(log_w, score), share, joint)
    own = np.square(share) if importance_weighted else share
    return _Draws(log_w, through_draws(joint.of_latents(), noise, std, own), share, joint)
