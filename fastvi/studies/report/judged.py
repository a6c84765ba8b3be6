"""What q is worth: ELBO, gap, importance-weighted bounds and the health of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

import fastvi
from fastvi.core.registry import rules_of
from fastvi.fitting.fit_posterior import MAX_LATENTS
from fastvi.rules.questions import FIT_POSTERIOR, KL_TO_POSTERIOR
from fastvi.studies.report.settings import ReportSettings
from fastvi.studies.report.truth import CERTIFIED, EXACT, Truth


class Fitted(NamedTuple):
    """The best q of independent latents for each datum, and how it was found."""

    q: Any
    words: str


class Gap(NamedTuple):
    """ELBO (N,) and how far it lies below log p(x), at least and at most."""

    elbo: np.ndarray
    std_error: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Averaged(NamedTuple):
    """An importance-weighted bound and the standard error of its estimate, (N,)."""

    value: np.ndarray
    std_error: np.ndarray


def best_q(model: Any, x: np.ndarray, settings: ReportSettings, seed: int, *, summed: bool) -> Fitted:
    """Fit q by reverse KL, datum by datum; where it is a formula, the posterior itself."""
    rules = rules_of(model, tables=True)
    if FIT_POSTERIOR not in fastvi.supported(model):
        q = fastvi.fit_posterior(model, x, objective="forward_kl").q
        return Fitted(q, "the exact posterior, whose latents are independent")
    if rules.is_table:
        return Fitted(fastvi.fit_posterior(model, x).q, "the exact posterior, a table")
    exact = (rules.closed_expectations or model.num_latents <= MAX_LATENTS) and _is_exact(model, summed)
    if exact:
        return Fitted(fastvi.fit_posterior(model, x, seed=seed).q, "fitted by reverse KL, exactly")
    q = fastvi.fit_posterior(model, x, num_samples=settings.fit_num_samples, seed=seed).q
    return Fitted(q, f"fitted by reverse KL from {settings.fit_num_samples} draws a step")


def _is_exact(model: Any, summed: bool) -> bool:
    """Tell whether expectations under q are taken exactly: by a formula, an integral or a sum."""
    rules = rules_of(model, tables=True)
    return summed or (rules.closed_expectations and not rules.real_latents)


def gap_of(
    model: Any, x: np.ndarray, q: Any, truth: Truth, settings: ReportSettings, seed: int, *, summed: bool
) -> Gap:
    """ELBO of q, exact or sampled, and the gap that is KL(q || p(z | x))."""
    if _is_exact(model, summed):
        bound = fastvi.elbo(model, x, q)
    else:
        bound = fastvi.elbo(
            model, x, q, num_samples=settings.num_samples, seed=seed, device=settings.device,
            dtype=settings.dtype,
        )  # fmt: skip
    value, low, high = (part - bound.value for part in (truth.value, truth.low, truth.high))
    if truth.how == CERTIFIED:
        low = np.maximum(low, 0.0)  # which no divergence is below, however wide the interval
    if truth.how == EXACT and KL_TO_POSTERIOR in fastvi.supported(
        model
    ):  # which keeps the digits of a small gap
        value = low = high = fastvi.kl_to_posterior(model, x, q)
    return Gap(bound.value, bound.std_error, value, low, high)


def weighted_bounds(
    model: Any, x: np.ndarray, q: Any, weights: fastvi.Estimate, settings: ReportSettings, seed: int
) -> dict[int, Averaged]:
    """Importance-weighted bounds of q: mean log estimates of independent blocks of K draws.

    The largest K has one block, that of the ``weights``.
    """
    found = {}
    for size in settings.sizes[:-1]:
        blocks = settings.num_samples // size
        # against a truth of 0 the bias is the mean of log p_hat itself
        own = fastvi.calibrate(
            model,
            x,
            proposals={"q": q},
            num_samples=size,
            num_repeats=blocks,
            seed=seed,
            truth=np.zeros(len(x)),
        )["q"]
        found[size] = Averaged(own.bias, own.std / np.sqrt(blocks))
    found[settings.sizes[-1]] = Averaged(weights.log_marginal, weights.std_error)
    return found


def calibrated(
    model: Any, x: np.ndarray, q: Any, truth: Truth, settings: ReportSettings, seed: int
) -> tuple[np.ndarray, fastvi.Calibration | None]:
    """Errors of estimates from q over many repeats, for the first data whose truth is known; their places."""
    some = np.flatnonzero(truth.known)[: settings.calibration_num_data]
    if not some.size:
        return some, None
    return some, fastvi.calibrate(
        model, x[some], proposals={"q": _of(q, some)}, num_samples=settings.sizes,
        num_repeats=settings.calibration_num_repeats, seed=seed, truth=truth.value[some],
    )  # fmt: skip


def weigh(
    model: Any, x: np.ndarray, q: Any, settings: ReportSettings, seed: int, where: Mapping[str, Any]
) -> fastvi.Estimate:
    """The weights of ``num_samples`` draws from q for each datum."""
    return fastvi.estimate_log_marginal(
        model, x, proposal=q, num_samples=settings.num_samples, seed=seed, dtype=settings.dtype, **where
    )


def _of(q: Any, some: np.ndarray) -> Any:
    """The part of a distribution that belongs to some data."""
    if q.num_data is None:
        return q
    return type(q)(*(array[some] for array in q.arrays().values()))
