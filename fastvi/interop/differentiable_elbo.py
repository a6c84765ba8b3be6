"""ELBO of q given by logits, and its vector-Jacobian products in the logits, the model and the pixels.

Exact where the expectation has an exact gradient, sampled by the estimators of :func:`~fastvi.fit_encoder`
else. Nothing of another library is here, as in ``differentiable``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastvi.bounds.elbo import elbo
from fastvi.core import validation
from fastvi.core.functions import sigmoid
from fastvi.core.registry import rules_of
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.engine.expectation.elbo_gradient import expected_log_joint
from fastvi.engine.expectation.q_moments import q_moments
from fastvi.engine.linalg.products import matmul
from fastvi.fitting.model_access import check_has_prior, tiled_form
from fastvi.fitting.sampled_bound import check_exact, checked_estimator, sampled_bound
from fastvi.models.binary_sparse_coding import BinarySparseCoding
from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork
from fastvi.rules.base import Gradient


class Sampling(NamedTuple):
    """How the bound is sampled; ``num_samples`` None says that it is exact."""

    num_samples: int | None = None
    seed: int = 0
    estimator: str | None = None

    def checked(self, model: Any) -> Sampling:
        """Return the clean arguments, refused where the model has no such bound."""
        seed = validation.seed(self.seed)
        if self.num_samples is None:
            check_exact("elbo", estimator=self.estimator)
            if not _is_exact(model):
                raise TypeError(
                    "num_samples must be a number for models but a BinarySparseCoding or a "
                    f"SigmoidBeliefNetwork with prior_logits, got None for {model!r}"
                )
            return Sampling(None, seed)
        check_has_prior(model)
        if rules_of(model).real_latents:
            raise TypeError(f"model must have binary latents, got {model!r}")
        num = validation.positive_int(self.num_samples, "num_samples")
        return Sampling(num, seed, checked_estimator(model, "elbo", self.estimator, num))


EXACT = Sampling()


def _is_exact(model: Any) -> bool:
    return isinstance(model, BinarySparseCoding) or (
        isinstance(model, SigmoidBeliefNetwork) and not model.is_deep
    )


def _clean(model: Any, x: Any, logits: Any) -> tuple[np.ndarray, np.ndarray]:
    data, _ = rules_of(model).check_data(x, None)
    return data, validation.float_array(logits, "logits", ndim=2, shape=(len(data), model.num_latents))


def check_bound(model: Any, x: Any, logits: Any) -> None:
    """Refuse data and logits that the other functions here refuse."""
    _clean(model, x, logits)


def elbo_forward(model: Any, x: Any, logits: Any, sampling: Sampling = EXACT) -> np.ndarray:
    """ELBO (N,) in nats of q(z | x_n), independent bits with ``logits`` (N, d).

    Sampled, it is the mean of ``sampling.num_samples`` log weights, a pure function of the seed.
    """
    sampling = sampling.checked(model)
    data, clean = _clean(model, x, logits)
    if sampling.num_samples is None:
        return elbo(model, data, Bernoulli(clean)).value
    value: np.ndarray = _sampled(model, data, clean, sampling).value
    return value


def elbo_backward(
    model: Any,
    x: Any,
    logits: Any,
    weights: Any,
    sampling: Sampling = EXACT,
    *,
    x_gradient: bool = False,
) -> tuple[Gradient, np.ndarray, np.ndarray | None]:
    """Gradient of sum_n weights_n ELBO_n in the model's parameters, the logits (N, d) and, if asked, x.

    Of a sampled bound it is that of the estimator: its expectation is the gradient of the exact ELBO.
    """
    sampling = sampling.checked(model)
    data, clean = _clean(model, x, logits)
    w = validation.float_array(weights, "weights", ndim=1, shape=(len(data),))
    if sampling.num_samples is not None:
        if x_gradient:
            raise TypeError("x must not need a gradient where the bound is sampled")
        found = _sampled(model, data, clean, sampling, w)
        of_model = found.of_model or dict(rules_of(model).learnable())
        return of_model, w[:, None] * found.slope, None
    mean = sigmoid(clean)
    form = tiled_form(model) if isinstance(model, SigmoidBeliefNetwork) else _parts(model)
    slope = expected_log_joint(form, data, clean).slope - mean * (1.0 - mean) * clean
    of_model = (_of_network if isinstance(model, SigmoidBeliefNetwork) else _of_coding)(model, data, clean, w)
    pixels = None
    if x_gradient:
        pixels = w[:, None] * matmul(mean, np.ascontiguousarray(model.weights.T), model.bias)
        if isinstance(model, BinarySparseCoding):
            pixels = (pixels - w[:, None] * data) / model.noise_std**2
    return of_model, w[:, None] * slope, pixels


def _sampled(
    model: Any, x: np.ndarray, logits: np.ndarray, sampling: Sampling, weights: np.ndarray | None = None
) -> Any:
    assert sampling.num_samples is not None
    assert sampling.estimator is not None
    return sampled_bound(
        model, x, logits, num_samples=sampling.num_samples, seed=sampling.seed,
        estimator=sampling.estimator, with_model=weights is not None, data_weights=weights,
    )  # fmt: skip


def _parts(model: BinarySparseCoding) -> Any:
    rules: Any = rules_of(model)
    return rules.parts(np.ones(model.num_pixels, bool))


def _of_network(model: SigmoidBeliefNetwork, x: np.ndarray, logits: np.ndarray, w: np.ndarray) -> Gradient:
    """Gradient of sum_n w_n E_q[log p(x_n, z)]."""
    found = q_moments(tiled_form(model), logits, w)
    weighted = w[:, None] * x
    return {
        "weights": matmul(np.ascontiguousarray(weighted.T), sigmoid(logits)) - found.values[:, :-1],
        "bias": weighted.sum(axis=0) - found.values[:, -1],
        "prior_logits": _of_prior(model.prior_logits, logits, w),
    }


def _of_coding(model: BinarySparseCoding, x: np.ndarray, logits: np.ndarray, w: np.ndarray) -> Gradient:
    """Gradient of sum_n w_n E_q[log p(x_n, z)], from E_q|x - W z - b|^2 = |r|^2 + sum_i |W_i|^2 v_i."""
    mean, weights, std = sigmoid(logits), model.weights, model.noise_std
    variance = mean * (1.0 - mean)
    residual = x - matmul(mean, np.ascontiguousarray(weights.T), model.bias)
    pull = w[:, None] * residual
    spread = (w[:, None] * variance).sum(axis=0)
    square = (pull * residual).sum() + (np.square(weights) * spread).sum()
    return {
        "weights": (matmul(np.ascontiguousarray(pull.T), mean) - weights * spread) / std**2,
        "bias": pull.sum(axis=0) / std**2,
        "noise_std": np.asarray((square / std**2 - w.sum() * len(weights)) / std),
        "prior_logits": _of_prior(model.prior_logits, logits, w),
    }


def _of_prior(prior_logits: np.ndarray, logits: np.ndarray, w: np.ndarray) -> np.ndarray:
    return np.asarray((w[:, None] * (sigmoid(logits) - sigmoid(prior_logits))).sum(axis=0))
