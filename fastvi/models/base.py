"""Base classes of models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastvi.core.frozen import Frozen


class Pairs(NamedTuple):
    """Independent draws (z, x) from a model, the first axis the draws."""

    z: np.ndarray
    x: np.ndarray


class Model(Frozen, ABC):
    """A joint distribution p(x, z) of what is observed, x, and what is latent, z.

    Examples
    --------
    Every model of the package is one. What its log joint says, summed over z, is log p(x):

    >>> import fastvi, numpy
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
    >>> isinstance(model, fastvi.Model)
    True
    >>> float(numpy.logaddexp.reduce(model.log_joint([1, 0], [[0], [1]])).round(6))
    -0.998273
    >>> fastvi.log_marginal(model, [[1, 0]]).round(6)
    array([-0.998273])
    """

    @abstractmethod
    def sample(self, num: int, seed: int | None = None, *, rng: np.random.Generator | None = None) -> Pairs:
        """Return ``num`` independent draws, a named tuple (z, x): a pure function of its arguments.

        Examples
        --------
        >>> import fastvi
        >>> z, x = fastvi.JointTable([[0.1, 0.3], [0.6, 0.0]]).sample(10000, seed=0)
        >>> round(float(((x == 1) & (z == 0)).mean()), 2)
        0.59
        """

    @abstractmethod
    def log_joint(self, x: ArrayLike, z: ArrayLike) -> np.ndarray:
        """Return log p(x, z) in nats; leading axes of x and z broadcast as in NumPy.

        Examples
        --------
        Every model of the package is one. What its log joint says, summed over z, is log p(x):

        >>> import fastvi, numpy
        >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
        >>> isinstance(model, fastvi.Model)
        True
        >>> float(numpy.logaddexp.reduce(model.log_joint([1, 0], [[0], [1]])).round(6))
        -0.998273
        >>> fastvi.log_marginal(model, [[1, 0]]).round(6)
        array([-0.998273])
        """


class LatentVariableModel(Model):
    """A model of ``num_pixels`` observed and ``num_latents`` latent variables.

    Rules say how its latents are summed out: see :class:`fastvi.Rules` and :func:`fastvi.register`.

    Examples
    --------
    >>> import fastvi
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
    >>> isinstance(model, fastvi.LatentVariableModel), model.num_pixels, model.num_latents
    (True, 2, 1)
    """

    num_pixels: int
    num_latents: int
