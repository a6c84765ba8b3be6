"""What every variational distribution offers."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import ArrayLike

from fastvi.core.frozen import Frozen


class Distribution(Frozen, ABC):
    """A distribution over latents z: parameters (d,) serve all data, parameters (N, d) one datum each."""

    num_latents: int
    num_data: int | None  # None where the parameters are (d,)

    @abstractmethod
    def sample(self, num: int, seed: int) -> np.ndarray:
        """``num`` draws for each datum, shape (num, N, d); N = 1 where the parameters are (d,)."""

    @abstractmethod
    def log_prob(self, z: ArrayLike) -> np.ndarray:
        """log q(z) in nats, (..., N), of z (..., N, d); (..., 1, d) and (d,) serve all data."""

    @abstractmethod
    def entropy(self) -> np.ndarray:
        """Entropy in nats, shape (N,); N = 1 where the parameters are (d,)."""
