"""Uniform distribution over all states of the binary latents."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fastvi.core import validation
from fastvi.distributions.bernoulli import Bernoulli


class Uniform(Bernoulli):
    """Uniform distribution over all states of the latents: q(z) = 2^-d for every z in {0, 1}^d.

    It is the Bernoulli distribution whose logits are all 0.

    Parameters
    ----------
    num_latents
        d, at least 1.

    Attributes
    ----------
    logits, mean : ndarray, (d,)
        Zeros and halves.
    num_latents : int
    num_data : None

    Raises
    ------
    ValueError, TypeError
        Where ``num_latents`` is not an int of at least 1.

    Examples
    --------
    >>> import fastvi
    >>> fastvi.Uniform(3).entropy() / fastvi.Uniform(1).entropy()
    array([3.])
    """

    def __init__(self, num_latents: int) -> None:
        super().__init__(np.zeros(validation.positive_int(num_latents, "num_latents")))

    def __repr__(self) -> str:
        return f"Uniform(num_latents={self.num_latents})"

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"num_latents": np.array(self.num_latents)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> Self:
        return cls(**arrays)  # type: ignore[arg-type]  # a 0-d integer array is an index like any other
