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
    """A joint distribution p(x, z) of what is observed, x, and what is latent, z."""

    @abstractmethod
    def sample(self, num: int, seed: int | None = None, *, rng: np.random.Generator | None = None) -> Pairs:
        """Return ``num`` independent draws, a named tuple (z, x): a pure function of its arguments."""

    @abstractmethod
    def log_joint(self, x: ArrayLike, z: ArrayLike) -> np.ndarray:
        """Return log p(x, z) in nats; leading axes of x and z broadcast as in NumPy."""


class LatentVariableModel(Model):
    """A model of ``num_pixels`` observed and ``num_latents`` latent variables.

    Rules say how its latents are summed out: see :class:`fastvi.Rules` and :func:`fastvi.register`.
    """

    num_pixels: int
    num_latents: int
