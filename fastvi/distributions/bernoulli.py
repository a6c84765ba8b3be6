"""Factorised Bernoulli distribution over binary latents."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastvi.core import validation
from fastvi.core.functions import bernoulli_entropy, bernoulli_log_prob, sigmoid
from fastvi.core.seeds import takes_rng
from fastvi.distributions.base import Distribution


class Bernoulli(Distribution):
    """Factorised Bernoulli distribution over binary latents.

    q(z) = prod_i sigmoid(logits_i)^z_i (1 - sigmoid(logits_i))^(1 - z_i), z in {0, 1}^d.

    Parameters
    ----------
    logits : array_like, (d,) or (N, d)
        Log odds of z_i = 1. +inf and -inf are allowed (probability exactly 1 and 0), NaN is not. d >= 1, N >=
        0.

    Attributes
    ----------
    logits : ndarray, (d,) or (N, d), float64, read-only
    mean : ndarray, the shape of logits, float64, read-only
        sigmoid(logits).
    num_latents : int
        Number of latents, d.
    num_data : int or None
        N, or None where logits are (d,).

    Raises
    ------
    ValueError, TypeError
        For NaN, for an array that is not (d,) or (N, d) with d >= 1, for values that are no real numbers.

    Examples
    --------
    >>> import fastvi
    >>> q = fastvi.Bernoulli([0.0, float("inf")])
    >>> q.logits, q.mean
    (array([ 0., inf]), array([0.5, 1. ]))
    >>> q.log_prob([[1, 1], [0, 0]]).round(3)
    array([-0.693,   -inf])
    >>> q.num_latents, q.num_data
    (2, None)
    """

    logits: NDArray[np.float64]

    def __init__(self, logits: ArrayLike) -> None:
        clean = validation.float_array(logits, "logits", ndim=(1, 2), allow_infinite=True)
        if clean.shape[-1] < 1:
            raise ValueError(f"logits must have at least 1 latent in the last axis, got shape {clean.shape}")
        self._set(
            logits=validation.frozen_array(clean),
            num_latents=clean.shape[-1],
            num_data=clean.shape[0] if clean.ndim == 2 else None,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_latents={self.num_latents}, num_data={self.num_data})"

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"logits": self.logits}

    @cached_property
    def mean(self) -> NDArray[np.float64]:
        """Probability that each latent is 1: sigmoid(logits), the shape of logits.

        Examples
        --------
        >>> import fastvi
        >>> fastvi.Bernoulli([0.0, 2.0, float("inf")]).mean.round(3)
        array([0.5  , 0.881, 1.   ])
        """
        return validation.frozen_array(sigmoid(self.logits))

    @takes_rng
    def sample(
        self, num: int, seed: int | None = None, *, rng: np.random.Generator | None = None
    ) -> NDArray[np.uint8]:
        """Draw from q.

        Parameters
        ----------
        num
            Draws for each datum, at least 0.
        seed
            0 <= seed < 2**64. The draw of a datum n and a sample k depends on (seed, n, k), its logits and
            nothing else.
        rng
            A generator that gives the seed, in place of ``seed``.

        Returns
        -------
        ndarray, (num, N, d), uint8
            N = 1 where logits are (d,).

        Raises
        ------
        ValueError, TypeError
            For ``num`` that is not an int of at least 0 and ``seed`` that is not one with 0 <= seed < 2**64.

        Examples
        --------
        >>> import fastvi
        >>> q = fastvi.Bernoulli([[0.0, 2.0], [-2.0, 0.0]])
        >>> z = q.sample(10000, seed=0)
        >>> z.shape, z.mean(axis=0).round(1)
        ((10000, 2, 2), array([[0.5, 0.9],
               [0.1, 0.5]]))
        """
        num = validation.positive_int(num, "num", 0)
        seed = validation.seed(seed)
        # imported here, so that distributions do not import numba
        from fastvi.kernels.cpu.random.draws import bernoulli_draws

        return bernoulli_draws(np.atleast_2d(self.logits), num, seed, 0, 0)

    def log_prob(self, z: ArrayLike) -> NDArray[np.float64]:
        """Log probability of states under q, in nats.

        Parameters
        ----------
        z : array_like of 0 and 1, (..., d)
            (..., N, d), as from :meth:`sample`, gives (..., N). With 1 in place of N, or (d,) alone, a z
            serves all data; where logits are (d,) all leading axes do as they like.

        Returns
        -------
        ndarray, float64
            The shape without the last axis. -inf where q gives z no mass.

        Raises
        ------
        ValueError, TypeError
            For z that is not an array of 0 and 1, and for shapes that do not fit.

        Examples
        --------
        >>> import fastvi, numpy
        >>> q = fastvi.Bernoulli([0.0, 2.0])
        >>> numpy.exp(q.log_prob([[0, 0], [0, 1], [1, 0], [1, 1]])).round(3)
        array([0.06, 0.44, 0.06, 0.44])
        """
        bits = validation.binary_array(z, "z", self.num_latents)
        validation.for_each_datum(bits.shape, "z", self.num_data, self.num_latents)
        return np.asarray(bernoulli_log_prob(bits, self.logits).sum(axis=-1))

    def entropy(self) -> NDArray[np.float64]:
        """Entropy of q in nats, shape (N,); N = 1 where logits are (d,).

        H(q) = sum_i softplus(|l_i|) - |l_i| sigmoid(|l_i|) for logits l.

        N = 1 where logits are (d,). Every term is a sum of non-negative parts, so small entropies keep their
        relative accuracy; at +-inf it is 0.

        Examples
        --------
        >>> import fastvi
        >>> fastvi.Bernoulli([[0.0], [2.0], [float("inf")]]).entropy().round(3)
        array([0.693, 0.365, 0.   ])
        """
        return bernoulli_entropy(np.atleast_2d(self.logits))
