"""Base class of variational distributions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastvi.core.frozen import Frozen


class Distribution(Frozen, ABC):
    """A distribution over latents z: parameters (d,) serve all data, parameters (N, d) one datum each.

    Examples
    --------
    Bernoulli, Normal and MultivariateNormal derive from it:

    >>> import fastvi
    >>> q = fastvi.Normal([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]], [[1.0, 0.5]] * 3)
    >>> isinstance(q, fastvi.Distribution), q.num_data, q.num_latents
    (True, 3, 2)
    >>> fastvi.Uniform(2).num_data is None  # it serves any number of data
    True
    """

    num_latents: int
    num_data: int | None  # None where the parameters are (d,)

    @abstractmethod
    def sample(
        self, num: int, seed: int | None = None, *, rng: np.random.Generator | None = None
    ) -> NDArray[Any]:
        """Draw ``num`` states for each datum, shape (num, N, d); N = 1 where the parameters are (d,).

        Examples
        --------
        >>> import fastvi
        >>> fastvi.Normal([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]], [[1.0, 0.5]] * 3).sample(1000, seed=0).shape
        (1000, 3, 2)
        """

    @abstractmethod
    def log_prob(self, z: ArrayLike) -> NDArray[np.float64]:
        """Log probability (or density) of z (..., N, d) in nats, (..., N); (..., 1, d) and (d,) serve all.

        Examples
        --------
        Each state under the distributions of all data:

        >>> import fastvi
        >>> q = fastvi.Bernoulli([[0.0, 0.0], [2.0, -2.0]])
        >>> q.log_prob([[[0, 0]], [[1, 0]]]).round(3)
        array([[-1.386, -2.254],
               [-1.386, -0.254]])
        """

    @abstractmethod
    def entropy(self) -> NDArray[np.float64]:
        """Entropy in nats, shape (N,); N = 1 where the parameters are (d,).

        Examples
        --------
        >>> import fastvi
        >>> fastvi.Bernoulli([[0.0, 0.0], [2.0, -2.0]]).entropy().round(3)
        array([1.386, 0.731])
        """
