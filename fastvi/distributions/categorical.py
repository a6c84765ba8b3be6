"""Categorical distribution over {0, ..., K - 1}."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastvi.core import validation
from fastvi.core.frozen import Frozen
from fastvi.core.seeds import takes_rng

_LARGEST = 1e300  # differences of logits, and sums of these, stay finite


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return logits - log sum exp(logits) over the last axis.

    Logits of -inf are allowed, but not for all of a row.

    The largest term is left out of the sum, so that the log probability of a category that is almost certain
    keeps its digits.
    """
    top = np.expand_dims(logits.argmax(axis=-1), -1)
    below = logits - np.take_along_axis(logits, top, -1)
    others = np.exp(below)
    np.put_along_axis(others, top, 0.0, -1)
    total: NDArray[np.float64] = others.sum(axis=-1, keepdims=True)
    return below - np.log1p(total)


def entropies(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return -sum_k exp(logs_k) logs_k over the last axis, of log probabilities."""
    # exp(-800) is 0: the bound keeps 0 * inf out
    return np.asarray((np.exp(logs) * -np.maximum(logs, -800.0)).sum(axis=-1))


class Categorical(Frozen):
    """Categorical distribution over {0, ..., K - 1}.

    q(z = k) = exp(logits_k) / sum_j exp(logits_j). Over the latent of a :class:`~fastvi.JointTable` it is a
    variational distribution and a proposal.

    Parameters
    ----------
    logits : array_like, (K,) or (N, K)
        Log probabilities up to a constant, at most 1e300 in size. -inf is allowed (probability exactly 0),
        though not for all of a row; +inf and NaN are not. K >= 1, N >= 0.

    Attributes
    ----------
    logits : ndarray, (K,) or (N, K), float64, read-only
    probabilities, mean : ndarray, the shape of logits, float64, read-only
        The same array: the probability of each category.
    num_categories : int
        Number of categories, K.
    num_data : int or None
        N, or None where logits are (K,).

    Raises
    ------
    ValueError, TypeError
        For NaN, +inf, rows of -inf alone, no category.

    Examples
    --------
    >>> import fastvi
    >>> q = fastvi.Categorical([0.0, 0.0, float("-inf")])
    >>> q.probabilities
    array([0.5, 0.5, 0. ])
    >>> q.log_prob([0, 2]).round(3)
    array([-0.693,   -inf])
    >>> q.num_categories, q.num_data
    (3, None)
    """

    logits: NDArray[np.float64]
    num_categories: int
    num_data: int | None

    def __init__(self, logits: ArrayLike) -> None:
        clean = validation.float_array(logits, "logits", ndim=(1, 2), allow_infinite=True)
        if clean.shape[-1] < 1:
            raise ValueError(
                f"logits must have at least 1 category in the last axis, got shape {clean.shape}"
            )
        validation.require(
            clean,
            (np.abs(clean) <= _LARGEST) | (clean == -np.inf),
            "logits must be -inf or between -1e300 and 1e300",
        )
        peaks = clean.max(axis=-1)
        validation.require(peaks, peaks > -np.inf, "logits must have a finite entry in every row")
        self._set(
            logits=validation.frozen_array(clean),
            num_categories=clean.shape[-1],
            num_data=clean.shape[0] if clean.ndim == 2 else None,
        )

    def __repr__(self) -> str:
        return f"Categorical(num_categories={self.num_categories}, num_data={self.num_data})"

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"logits": self.logits}

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """Probability of each category, the shape of logits.

        Examples
        --------
        >>> import fastvi, math
        >>> fastvi.Categorical([0.0, math.log(3.0)]).probabilities.round(6)
        array([0.25, 0.75])
        """
        return validation.frozen_array(np.exp(log_softmax(self.logits)))

    @property
    def mean(self) -> NDArray[np.float64]:
        """Probability of each category: the mean of z as a vector with a 1 in place k.

        Examples
        --------
        >>> import fastvi, math
        >>> fastvi.Categorical([0.0, math.log(3.0)]).mean.round(6)
        array([0.25, 0.75])
        """
        return self.probabilities

    @takes_rng
    def sample(
        self, num: int, seed: int | None = None, *, rng: np.random.Generator | None = None
    ) -> NDArray[np.int64]:
        """Draw from q: the first category whose cumulative probability is above a uniform number.

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
        ndarray, (num, N), int64
            N = 1 where logits are (K,). A category of probability 0 is never drawn.

        Raises
        ------
        ValueError, TypeError
            For ``num`` that is not an int of at least 0 and ``seed`` that is not one with 0 <= seed < 2**64.

        Examples
        --------
        >>> import fastvi, math, numpy
        >>> z = fastvi.Categorical([0.0, math.log(3.0)]).sample(100000, seed=0)
        >>> (numpy.bincount(z[:, 0]) / 100000).round(2)
        array([0.25, 0.75])
        """
        num = validation.positive_int(num, "num", 0)
        seed = validation.seed(seed)
        # imported here, so that distributions do not import numba
        from fastvi.engine.importance.proposals import CategoryDraws

        probabilities = np.atleast_2d(self.probabilities)
        draws, found = np.empty((num, len(probabilities)), np.int64), CategoryDraws(probabilities, seed)
        for n in range(len(probabilities)):
            draws[:, n] = found.draw(n, n, 0, num)
        return draws

    def log_prob(self, z: ArrayLike) -> NDArray[np.float64]:
        """Log probability of categories under q, in nats.

        Parameters
        ----------
        z : array_like of integers in 0 ... K - 1
            (..., N), as from :meth:`sample`, gives (..., N). With 1 in place of N, or without axes, a z
            serves all data; where logits are (K,) its axes do as they like.

        Returns
        -------
        ndarray, float64
            The shape of z, N in place of 1. -inf where q gives z no mass.

        Raises
        ------
        ValueError, TypeError
            For z that is not an array of integers in 0 ... K - 1, and for shapes that do not fit.

        Examples
        --------
        >>> import fastvi, math, numpy
        >>> numpy.exp(fastvi.Categorical([0.0, math.log(3.0)]).log_prob([0, 1, 1])).round(6)
        array([0.25, 0.75, 0.75])
        """
        categories = validation.index_array(z, "z", self.num_categories)
        logs = log_softmax(self.logits)
        if self.num_data is None:
            return np.asarray(logs[categories])
        validation.for_each_datum(categories.shape, "z", self.num_data)
        return np.asarray(logs[np.arange(self.num_data), categories])

    def entropy(self) -> NDArray[np.float64]:
        """Entropy of q in nats, shape (N,); N = 1 where logits are (K,).

        H(q) = -sum_k q_k log q_k.

        Every term is non-negative, so small entropies keep their relative accuracy.

        Examples
        --------
        >>> import fastvi
        >>> fastvi.Categorical([[0.0, 0.0], [0.0, float("-inf")]]).entropy().round(6)
        array([0.693147, 0.      ])
        """
        return entropies(log_softmax(np.atleast_2d(self.logits)))
