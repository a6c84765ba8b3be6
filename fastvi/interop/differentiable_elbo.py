"""ELBO of q given by its parameters, and its vector-Jacobian products in these, in the model and the pixels.

Exact of bits and under a :class:`~fastvi.LinearGaussian`, or sampled by the estimators of
:func:`~fastvi.fit_encoder`. Nothing of another library is here, as in ``differentiable``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastvi.bounds.elbo import elbo
from fastvi.core import validation
from fastvi.core.registry import rules_of
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.distributions.normal import Normal
from fastvi.fitting.model_access import check_has_prior
from fastvi.fitting.sampled_bound import check_exact, checked_estimator, sampled_bound
from fastvi.interop.elbo_gradients import OfBound, exact_gradients
from fastvi.models.boltzmann_machine import BoltzmannMachine
from fastvi.models.linear_gaussian import LinearGaussian
from fastvi.rules.base import Gradient


class Sampling(NamedTuple):
    """How the bound is sampled; ``num_samples`` None says that it is exact."""

    num_samples: int | None = None
    seed: int = 0
    estimator: str | None = None

    def checked(self, model: Any) -> Sampling:
        """Return the clean arguments, refused where the model has no such bound."""
        seed = validation.seed(self.seed)
        rules = rules_of(model)
        rules.learnable()  # refuses what has no parameters
        if isinstance(model, BoltzmannMachine):
            raise TypeError(f"model must have latents beside its pixels, got {model!r}")
        if self.num_samples is None:
            check_exact("elbo", estimator=self.estimator)
            if rules.real_latents and not isinstance(model, LinearGaussian):
                raise TypeError(
                    f"num_samples must be a number for a decoder of real latents, got None for {model!r}"
                )
            return Sampling(None, seed)
        check_has_prior(model)
        num = validation.positive_int(self.num_samples, "num_samples")
        return Sampling(num, seed, checked_estimator(model, "elbo", self.estimator, num))


EXACT = Sampling()


def _clean(model: Any, x: Any, logits: Any) -> tuple[np.ndarray, np.ndarray]:
    rules = rules_of(model)
    data, _ = rules.check_data(x, None)
    width = model.num_latents * (2 if rules.real_latents else 1)
    return data, validation.float_array(logits, "logits", ndim=2, shape=(len(data), width))


def check_bound(model: Any, x: Any, logits: Any) -> None:
    """Refuse data and logits that the other functions here refuse."""
    _clean(model, x, logits)


def elbo_forward(model: Any, x: Any, logits: Any, sampling: Sampling = EXACT) -> np.ndarray:
    """ELBO (N,) in nats of q(z | x_n).

    Parameters
    ----------
    model
        One with latents beside its pixels: not a :class:`~fastvi.BoltzmannMachine` or a
        :class:`~fastvi.LogJoint`.
    x
        (N, D), all pixels seen.
    logits
        (N, d) of independent bits. Of real latents means, then logarithms of standard deviations, (N, 2 d).
    sampling
        Sampled, the bound is the mean of ``num_samples`` log weights, a pure function of the seed.
    """
    sampling = sampling.checked(model)
    data, clean = _clean(model, x, logits)
    if sampling.num_samples is not None:
        value: np.ndarray = _sampled(model, data, clean, sampling).value
        return value
    if not isinstance(model, LinearGaussian):
        return elbo(model, data, Bernoulli(clean)).value
    mean, log_std = np.split(clean, 2, axis=1)
    return elbo(model, data, Normal(mean, np.exp(log_std))).value


def elbo_backward(
    model: Any,
    x: Any,
    logits: Any,
    weights: Any,
    sampling: Sampling = EXACT,
    *,
    x_gradient: bool = False,
) -> tuple[Gradient, np.ndarray, np.ndarray | None]:
    """Gradient of sum_n weights_n ELBO_n in the model's parameters, in ``logits`` and, if asked, in x (N, D).

    Of a sampled bound it is that of the estimator: its expectation is the gradient of the exact ELBO.
    Parameters come in the order of ``differentiable.parameters``.
    """
    sampling = sampling.checked(model)
    data, clean = _clean(model, x, logits)
    w = validation.float_array(weights, "weights", ndim=1, shape=(len(data),))
    with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is refused below
        if sampling.num_samples is None:
            found = exact_gradients(model, data, clean, w)
        else:
            sampled = _sampled(model, data, clean, sampling, w)
            found = OfBound(sampled.of_model, sampled.slope, sampled.of_pixels)
    of_model = {name: found.model.get(name, zero) for name, zero in rules_of(model).learnable().items()}
    pixels = found.pixels if x_gradient else None
    for name, value in {
        **of_model,
        "logits": found.q,
        "x": np.zeros(0) if pixels is None else pixels,
    }.items():
        if not np.isfinite(value).all():
            raise ValueError(
                "logits must keep the ELBO finite for its gradient to exist, and weights the gradient, "
                f"got NaN or infinity in {name}"
            )
    return of_model, found.q, pixels


def _sampled(
    model: Any, x: np.ndarray, logits: np.ndarray, sampling: Sampling, weights: np.ndarray | None = None
) -> Any:
    assert sampling.num_samples is not None
    assert sampling.estimator is not None
    return sampled_bound(
        model, x, logits, num_samples=sampling.num_samples, seed=sampling.seed,
        estimator=sampling.estimator, with_model=weights is not None,
        with_pixels=weights is not None, data_weights=weights,
    )  # fmt: skip
