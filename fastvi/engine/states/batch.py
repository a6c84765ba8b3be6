"""Data of one chunk under a form: what sums them over the states of a wave."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.states.data_terms import Terms
from fastvi.engine.states.sums import Moments, Sums


class Batch(ABC):
    """Pickled without the tables that a subclass keeps: a worker makes them for itself."""

    def __init__(self, form: Any, terms: Terms) -> None:
        self.form = form
        self.terms = terms

    def __getstate__(self) -> tuple[Any, Terms]:
        return self.form, self.terms

    def __setstate__(self, state: tuple[Any, Terms]) -> None:
        self.form, self.terms = state

    @property
    def num_data(self) -> int:
        return len(self.terms.constant)

    @cached_property
    def outer(self) -> Array:
        """Coefficients of the outer bits, (N, outer bits)."""
        return np.ascontiguousarray(self.terms.linear[:, : self.form.tiling.outer_bits])

    @abstractmethod
    def sums(self, first: int) -> Sums:
        """One wave's part of each datum's sum; the wave begins with tile ``first``."""

    @abstractmethod
    def moments(self, first: int) -> Moments:
        """One wave's part of each datum's sum, and of the sums over the states that have a latent's bit."""
