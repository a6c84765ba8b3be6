"""Bits of the numbers of states."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvi.core.arrays import Array


def bits_of(numbers: Array, places: Array, dtype: Any = np.uint8) -> Array:
    """Bit i of each of ``numbers`` (...,) in column places[i] of (..., d)."""
    out = np.empty((*numbers.shape, len(places)), dtype)
    for i, place in enumerate(places):
        out[..., place] = (numbers >> i) & 1
    return out
