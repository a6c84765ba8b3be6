"""Base class of variational distributions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastvi.core.frozen import Frozen


class Distribution(Frozen, ABC):
    """A distribution over latents z: parameters (d,) serve all data, parameters (N, d) one datum each."""

    num_latents: int
    num_data: int | None  # None where the parameters are (d,)

    @abstractmethod
    def sample(
        self, num: int, seed: int | None = None, *, rng: np.random.Generator | None = None
    ) -> NDArray[Any]:
        """Draw ``num`` states for each datum, shape (num, N, d); N = 1 where the parameters are (d,)."""

    @abstractmethod
    def log_prob(self, z: ArrayLike) -> NDArray[np.float64]:
        """Log probability (or density) of z (..., N, d) in nats, (..., N); (..., 1, d) and (d,) serve all."""

    @abstractmethod
    def entropy(self) -> NDArray[np.float64]:
        """Entropy in nats, shape (N,); N = 1 where the parameters are (d,)."""
