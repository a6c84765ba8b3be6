"""What scikit-learn's callers pass, as fits take it: pixels, weights of data, seeds."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data

from fastvi.core import validation
from fastvi.fitting.training_data import checked_weights


class Pixels(NamedTuple):
    """Data of 0 and 1, and which of them were seen."""

    x: np.ndarray  # (N, D) uint8, 0 where nothing was seen
    observed: np.ndarray | None  # (N, D); None where everything was


class TrainingPixels(NamedTuple):
    """Data to learn from: each counts as often as its weight says."""

    x: np.ndarray
    observed: np.ndarray | None
    weights: np.ndarray | None


def read_pixels(estimator: Any, X: Any, *, reset: bool) -> Pixels:
    """The argument ``X``, binarised as ``estimator.binarize`` says; NaN is what was not seen.

    ``reset`` notes its features in the estimator, else they are compared with those of the fit.
    """
    data: Any = validate_data(
        estimator, X, reset=reset, accept_sparse="csr", dtype="numeric", ensure_all_finite="allow-nan"
    )
    if hasattr(data, "toarray"):
        data = data.toarray()
    missing = np.isnan(data)
    if estimator.binarize is None:
        good = (data == 0) | (data == 1) | missing
        validation.require(data, good, "X must contain only 0 and 1, or NaN, unless binarize is a threshold")
        on = data == 1
    else:
        threshold = validation.real_number(estimator.binarize, "binarize", "None or a number")
        on = data > threshold
    return Pixels(on.astype(np.uint8), ~missing if missing.any() else None)


def read_training_pixels(estimator: Any, X: Any, sample_weight: Any) -> TrainingPixels:
    """The arguments of ``fit``; data of weight 0 are gone."""
    x, observed = read_pixels(estimator, X, reset=True)
    if observed is not None and estimator.objective != "exact":
        validation.require(
            np.where(observed, x, np.nan),
            observed,
            f"X must have no NaN for objective={estimator.objective!r}, as only 'exact' sums out pixels",
        )
    if sample_weight is None:
        return TrainingPixels(x, observed, None)
    weights = checked_weights(sample_weight, len(x), "sample_weight")
    there = weights > 0
    return TrainingPixels(x[there], None if observed is None else observed[there], weights[there])


def seeds(random_state: Any, num: int) -> list[int]:
    """Seeds that a ``random_state`` of scikit-learn's gives."""
    return [int(seed) for seed in check_random_state(random_state).randint(2**31 - 1, size=num)]


def drawn(estimator: Any, n_samples: Any, random_state: Any) -> np.ndarray:
    """Exact draws of pixels (n_samples, D) from a fitted model."""
    num = validation.positive_int(n_samples, "n_samples")
    (seed,) = seeds(estimator.random_state if random_state is None else random_state, 1)
    return np.asarray(estimator.model_.sample(num, seed).x)
