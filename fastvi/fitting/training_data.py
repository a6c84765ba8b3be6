"""Data to train on, clean and within the reach of a fit."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastvi.core import validation
from fastvi.fitting.model_access import check_data

# of |x| / noise_std in a fit: gradients grow as its square, and their squares must stay in the range
_FARTHEST = 2.0**200


class TrainingData(NamedTuple):
    """Clean data, how much each counts, and what was seen of them."""

    x: np.ndarray  # (N, D)
    weights: np.ndarray | None = None  # (N,) > 0, of mean 1; None where all count alike
    observed: np.ndarray | None = None  # (D,) or (N, D); None where everything was seen

    def mean(self, values: np.ndarray) -> float:
        """The weighted mean of ``values`` (N,)."""
        if self.weights is None:
            return float(values.mean())
        return float((self.weights * values).sum() / self.weights.sum())

    def weights_of(self, batch: np.ndarray) -> np.ndarray:
        """Weights of the data ``batch`` (indices)."""
        return np.ones(len(batch)) if self.weights is None else self.weights[batch]

    def observed_of(self, batch: np.ndarray) -> np.ndarray | None:
        """What was seen of the data ``batch`` (indices)."""
        return self.observed if self.observed is None or self.observed.ndim == 1 else self.observed[batch]


def training_data(
    model: Any, x: Any, name: str, data_weights: Any = None, observed: Any = None
) -> TrainingData:
    """Clean data, at least one; ``name`` is the argument that an error names.

    Data of weight 0 are left out. Weights that are all alike are None, as where none are given.
    """
    data, mask = check_data(model, x, name, observed)
    if len(data) < 1:
        raise ValueError(f"{name} must hold at least 1 datum, got shape {data.shape}")
    check_reach(model, data, name)
    weights = None
    if data_weights is not None:
        weights = checked_weights(data_weights, len(data), "data_weights")
        weights = weights / weights.max()  # so that no sum of them overflows
        kept = weights > 0
        if not kept.all():
            data, weights = data[kept], weights[kept]
            mask = mask if mask is None or mask.ndim == 1 else mask[kept]
        weights = None if (weights == weights[0]).all() else weights / weights.mean()
    return TrainingData(data, weights, None if mask is None or mask.all() else mask)


def checked_weights(value: Any, num_data: int, name: str) -> np.ndarray:
    """Weights (N,) of at least one datum: finite, at least 0, one of them above 0."""
    weights = validation.float_array(value, name, ndim=1, shape=(num_data,))
    validation.require(weights, weights >= 0, f"{name} must be finite numbers >= 0")
    if not weights.any():
        raise ValueError(f"{name} must hold at least one number > 0, got zeros alone")
    return weights


def check_reach(model: Any, data: np.ndarray, name: str = "x") -> None:
    """Refuse real pixels so far away that gradients, or what Adam makes of them, would leave the range."""
    noise_std = getattr(model, "noise_std", None)
    if noise_std is None:
        return
    with np.errstate(over="ignore"):
        near = np.abs(data) / noise_std <= _FARTHEST
    must = f"{name} must keep |{name}| / noise_std at most 2^200 (1.6e60) in a fit with noise_std {noise_std}"
    validation.require(data, near, must)
