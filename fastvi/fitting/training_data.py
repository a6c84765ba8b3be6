"""Data to train on, clean and within the reach of a fit."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvi.core import validation
from fastvi.fitting.model_access import check_data

# of |x| / noise_std in a fit: gradients grow as its square, and their squares must stay in the range
_FARTHEST = 2.0**200


def training_data(model: Any, x: Any, name: str) -> np.ndarray:
    """Clean data, at least one; ``name`` is the argument that an error names."""
    data = check_data(model, x, name)
    if len(data) < 1:
        raise ValueError(f"{name} must hold at least 1 datum, got shape {data.shape}")
    check_reach(model, data, name)
    return data


def check_reach(model: Any, data: np.ndarray, name: str = "x") -> None:
    """Refuse real pixels so far away that gradients, or what Adam makes of them, would leave the range."""
    noise_std = getattr(model, "noise_std", None)
    if noise_std is None:
        return
    with np.errstate(over="ignore"):
        near = np.abs(data) / noise_std <= _FARTHEST
    must = f"{name} must keep |{name}| / noise_std at most 2^200 (1.6e60) in a fit with noise_std {noise_std}"
    validation.require(data, near, must)
