"""Factorised normal distribution over continuous latents."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastvi.core import validation
from fastvi.core.functions import LOG_TWO_PI, normal_log_prob
from fastvi.core.seeds import takes_rng
from fastvi.distributions.base import Distribution


class Normal(Distribution):
    """Factorised normal distribution over real latents: q(z) = prod_i N(z_i; mean_i, std_i^2).

    Parameters
    ----------
    mean : array_like, (d,) or (N, d)
        Finite. d >= 1, N >= 0.
    std : array_like, the shape of mean
        Standard deviations, finite and > 0.

    Attributes
    ----------
    mean, std : ndarray, (d,) or (N, d), float64, read-only
    num_latents : int
        Number of latents, d.
    num_data : int or None
        N, or None where the parameters are (d,).

    Raises
    ------
    ValueError, TypeError
        For shapes that differ, for values that are not finite, for std <= 0, and where a draw could overflow.

    Examples
    --------
    >>> import fastvi
    >>> q = fastvi.Normal([0.0, 1.0], [1.0, 0.5])
    >>> q.log_prob([[0.0, 1.0], [1.0, 2.0]])
    array([-1.14472989, -3.64472989])
    >>> q.entropy()
    array([2.14472989])
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    def __init__(self, mean: ArrayLike, std: ArrayLike) -> None:
        centre = validation.float_array(mean, "mean", ndim=(1, 2))
        if centre.shape[-1] < 1:
            raise ValueError(f"mean must have at least 1 latent in the last axis, got shape {centre.shape}")
        spread = validation.float_array(std, "std", ndim=(1, 2))
        if spread.shape != centre.shape:
            raise ValueError(f"std must have the shape of mean, {centre.shape}, got shape {spread.shape}")
        validation.require(spread, spread > 0, "std must be > 0")
        with np.errstate(over="ignore"):
            reach = np.abs(centre) + 9.0 * spread  # beyond every draw
        validation.require(reach, np.isfinite(reach), "mean and std must keep |mean| + 9 std finite")
        self._set(
            mean=validation.frozen_array(centre),
            std=validation.frozen_array(spread),
            num_latents=centre.shape[-1],
            num_data=centre.shape[0] if centre.ndim == 2 else None,
        )

    def __repr__(self) -> str:
        return f"Normal(num_latents={self.num_latents}, num_data={self.num_data})"

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"mean": self.mean, "std": self.std}

    @takes_rng
    def sample(
        self, num: int, seed: int | None = None, *, rng: np.random.Generator | None = None
    ) -> NDArray[np.float64]:
        """Draw from q.

        Parameters
        ----------
        num
            Draws for each datum, at least 0.
        seed
            0 <= seed < 2**64. The draw of a datum n and a sample k depends on (seed, n, k), its mean and std
            and nothing else.
        rng
            A generator that gives the seed, in place of ``seed``.

        Returns
        -------
        ndarray, (num, N, d), float64
            N = 1 where the parameters are (d,).

        Raises
        ------
        ValueError, TypeError
            For ``num`` that is not an int of at least 0 and ``seed`` that is not one with 0 <= seed < 2**64.

        Examples
        --------
        >>> import fastvi
        >>> z = fastvi.Normal([0.0, 1.0], [1.0, 0.5]).sample(100000, seed=0)
        >>> z.mean(axis=0).round(1), z.std(axis=0).round(1)
        (array([[0., 1.]]), array([[1. , 0.5]]))
        """
        num = validation.positive_int(num, "num", 0)
        seed = validation.seed(seed)
        # imported here, so that distributions do not import numba
        from fastvi.kernels.cpu.random.normal_draws import standard_normals

        mean, std = np.atleast_2d(self.mean), np.atleast_2d(self.std)
        draws = standard_normals(num, mean.shape[0], self.num_latents, seed)
        draws *= std
        draws += mean
        return draws

    def log_prob(self, z: ArrayLike) -> NDArray[np.float64]:
        """Log density of points under q, in nats.

        Parameters
        ----------
        z : array_like of real numbers, (..., d)
            (..., N, d), as from :meth:`sample`, gives (..., N). With 1 in place of N, or (d,) alone, a z
            serves all data; where the parameters are (d,) all leading axes do as they like.

        Returns
        -------
        ndarray, float64
            The shape without the last axis. -inf where the density is below every double's log.

        Raises
        ------
        ValueError, TypeError
            For z that is not an array of finite real numbers, and for shapes that do not fit.

        Examples
        --------
        >>> import fastvi
        >>> fastvi.Normal([0.0, 1.0], [1.0, 0.5]).log_prob([[0.0, 1.0], [1.0, 2.0]]).round(3)
        array([-1.145, -3.645])
        """
        points = validation.real_array(z, "z", self.num_latents)
        validation.for_each_datum(points.shape, "z", self.num_data, self.num_latents)
        return np.asarray(normal_log_prob(points, self.mean, self.std).sum(axis=-1))

    def entropy(self) -> NDArray[np.float64]:
        """Entropy of q in nats, shape (N,); N = 1 where the parameters are (d,).

        H(q) = sum_i log(std_i sqrt(2 pi e)).

        Examples
        --------
        >>> import fastvi
        >>> fastvi.Normal([[0.0], [0.0]], [[1.0], [2.0]]).entropy().round(3)
        array([1.419, 2.112])
        """
        return np.asarray((np.log(np.atleast_2d(self.std)) + 0.5 * (1.0 + LOG_TWO_PI)).sum(axis=-1))
