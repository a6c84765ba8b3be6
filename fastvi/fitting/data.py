"""Data to train on."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvi.models.enumerable import Enumerable


def training_data(model: Enumerable, x: Any, name: str) -> np.ndarray:
    """Clean data, at least one; ``name`` is the argument that an error names."""
    if x is None:
        raise TypeError(f"{name} must be an array of data, got None")
    try:
        data, _ = model._check_data(x, None)
    except (ValueError, TypeError) as error:
        if name == "x":
            raise
        raise type(error)(str(error).replace("x ", f"{name} ", 1)) from None
    if len(data) < 1:
        raise ValueError(f"{name} must hold at least 1 datum, got shape {data.shape}")
    return data
