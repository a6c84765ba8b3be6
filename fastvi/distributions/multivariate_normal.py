"""Normal distribution with a full covariance over continuous latents."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastvi.core import validation
from fastvi.core.functions import LOG_TWO_PI
from fastvi.core.seeds import takes_rng
from fastvi.distributions.base import Distribution
from fastvi.distributions.normal import Normal
from fastvi.engine.linalg.triangular import lower_factor, solve_lower, times_vectors

# relative to the latents' own sizes: what sums in another order differ by, and no more
_ASYMMETRY = 2.0**-36


def moments_of(
    q: Normal | MultivariateNormal, num_data: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return means (N, d) of a normal distribution, and L (N, d, d) of z = mean + L u.

    u is standard normal.
    """
    d = q.num_latents
    scale = q.std[..., None] * np.eye(d) if isinstance(q, Normal) else q.cholesky
    return np.broadcast_to(q.mean, (num_data, d)), np.broadcast_to(scale, (num_data, d, d))


class MultivariateNormal(Distribution):
    """Normal distribution with a full covariance: q(z) = N(z; mean, covariance), z in R^d.

    Parameters
    ----------
    mean : array_like, (d,) or (N, d)
        Finite. d >= 1, N >= 0.
    covariance : array_like, (d, d) or (N, d, d)
        Finite, symmetric to 2^-36 of the standard deviations, positive definite beyond rounding: what is left
        of each variance once the latents before it are known is above d 2^-52 of it. Where one of mean and
        covariance is given for each datum and the other is not, the other serves all of them.

    Attributes
    ----------
    mean : ndarray, (d,) or (N, d), float64, read-only
    covariance : ndarray, (d, d) or (N, d, d), float64, read-only
        Exactly symmetric.
    cholesky : ndarray, the shape of covariance, float64, read-only
        Lower triangular L of positive diagonal with L L^T = covariance.
    std : ndarray, the shape of mean, float64, read-only
        Standard deviation of each latent alone.
    num_latents : int
        Number of latents, d.
    num_data : int or None
        N, or None where the parameters are (d,) and (d, d).

    Raises
    ------
    ValueError, TypeError
        For shapes that do not fit, for values that are not finite, for a covariance that is not symmetric or
        not positive definite, and where a draw could overflow.

    Examples
    --------
    >>> import fastvi
    >>> q = fastvi.MultivariateNormal([0.0, 1.0], [[1.0, 0.5], [0.5, 1.0]])
    >>> q.std, q.cholesky.round(3)
    (array([1., 1.]), array([[1.   , 0.   ],
           [0.5  , 0.866]]))
    >>> float(q.log_prob([0.0, 1.0]).round(6))
    -1.694036
    >>> q.entropy().round(6)
    array([2.694036])
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    cholesky: NDArray[np.float64]
    std: NDArray[np.float64]

    def __init__(self, mean: ArrayLike, covariance: ArrayLike) -> None:
        centre = validation.float_array(mean, "mean", ndim=(1, 2))
        d = centre.shape[-1]
        if d < 1:
            raise ValueError(f"mean must have at least 1 latent in the last axis, got shape {centre.shape}")
        matrix = validation.float_array(covariance, "covariance", ndim=(2, 3), shape=(d, d))
        if centre.ndim == 2 and matrix.ndim == 3 and len(centre) != len(matrix):
            raise ValueError(
                f"covariance must have shape ({d}, {d}) or ({len(centre)}, {d}, {d}), got {matrix.shape}"
            )
        matrix, lower = _checked(matrix)
        if centre.ndim == 1 and matrix.ndim == 3:
            centre = np.broadcast_to(centre, (len(matrix), d))
        elif centre.ndim == 2 and matrix.ndim == 2:
            matrix, lower = (np.broadcast_to(each, (len(centre), d, d)) for each in (matrix, lower))
        with np.errstate(over="ignore"):
            reach = np.abs(centre) + 9.0 * np.abs(lower).sum(axis=-1)  # beyond every draw
        validation.require(
            reach, np.isfinite(reach), "mean and covariance must keep |mean| + 9 sum |cholesky_i| finite"
        )
        self._set(
            mean=validation.frozen_array(centre),
            covariance=validation.frozen_array(matrix),
            cholesky=validation.frozen_array(lower),
            std=validation.frozen_array(np.sqrt(np.diagonal(matrix, axis1=-2, axis2=-1))),
            num_latents=d,
            num_data=len(centre) if centre.ndim == 2 else None,
        )

    def __repr__(self) -> str:
        return f"MultivariateNormal(num_latents={self.num_latents}, num_data={self.num_data})"

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"mean": self.mean, "covariance": self.covariance}

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
            0 <= seed < 2**64. The draw of a datum n and a sample k depends on (seed, n, k), its mean and
            covariance and nothing else: it is mean + L u with u the draw of a :class:`~fastvi.Normal` of mean
            0 and standard deviation 1.
        rng
            A generator that gives the seed, in place of ``seed``.

        Returns
        -------
        ndarray, (num, N, d), float64
            N = 1 where the parameters are (d,) and (d, d).

        Raises
        ------
        ValueError, TypeError
            For ``num`` that is not an int of at least 0 and ``seed`` that is not one with 0 <= seed < 2**64.

        Examples
        --------
        >>> import fastvi, numpy
        >>> z = fastvi.MultivariateNormal([0.0, 1.0], [[1.0, 0.5], [0.5, 1.0]]).sample(100000, seed=0)
        >>> numpy.cov(z[:, 0].T).round(1)
        array([[1. , 0.5],
               [0.5, 1. ]])
        """
        num = validation.positive_int(num, "num", 0)
        seed = validation.seed(seed)
        # imported here, so that distributions do not import numba
        from fastvi.kernels.cpu.random.normal_draws import standard_normals

        mean = np.atleast_2d(self.mean)
        draws = times_vectors(self.cholesky, standard_normals(num, len(mean), self.num_latents, seed))
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
        >>> q = fastvi.MultivariateNormal([0.0, 1.0], [[1.0, 0.5], [0.5, 1.0]])
        >>> q.log_prob([[0.0, 1.0], [1.0, 2.0], [1.0, 0.0]]).round(3)
        array([-1.694, -2.361, -3.694])
        """
        points = validation.real_array(z, "z", self.num_latents)
        validation.for_each_datum(points.shape, "z", self.num_data, self.num_latents)
        with np.errstate(over="ignore", invalid="ignore"):
            white = solve_lower(self.cholesky, (points - self.mean)[..., None])[..., 0]
            squares = np.square(white).sum(axis=-1)
        # inf - inf where a point is beyond every double of standard deviations
        squares = np.where(np.isnan(squares), np.inf, squares)
        return np.asarray(-0.5 * (squares + self.num_latents * LOG_TWO_PI) - _log_diagonal(self.cholesky))

    def entropy(self) -> NDArray[np.float64]:
        """Entropy of q in nats, shape (N,); N = 1 where the parameters are (d,) and (d, d).

        H(q) = sum_i log L_ii + d / 2 log(2 pi e).

        Examples
        --------
        Correlation leaves less of it than latents on their own have:

        >>> import fastvi
        >>> fastvi.MultivariateNormal([0.0, 1.0], [[1.0, 0.5], [0.5, 1.0]]).entropy().round(3)
        array([2.694])
        >>> fastvi.Normal([0.0, 1.0], [1.0, 1.0]).entropy().round(3)
        array([2.838])
        """
        constant = 0.5 * self.num_latents * (1.0 + LOG_TWO_PI)
        return np.atleast_1d(_log_diagonal(self.cholesky)) + constant


def _log_diagonal(lower: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return half of the covariance's log determinant."""
    return np.asarray(np.log(np.diagonal(lower, axis1=-2, axis2=-1)).sum(axis=-1))


def _checked(matrix: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the covariances made exactly symmetric, and their factors."""
    d = matrix.shape[-1]
    variances = np.diagonal(matrix, axis1=-2, axis2=-1)
    validation.require(variances, variances > 0, "covariance must have a diagonal > 0")
    spread = np.sqrt(variances)
    mirrored = np.swapaxes(matrix, -1, -2)
    # halves keep the difference of two large numbers finite
    apart = np.abs(0.5 * matrix - 0.5 * mirrored)
    alike = apart <= 0.5 * _ASYMMETRY * spread[..., :, None] * spread[..., None, :]
    if not alike.all():
        index = tuple(int(i) for i in np.argwhere(~alike)[0])
        came = f"{matrix[index]} at index {index} and {mirrored[index]} in its mirror image"
        raise ValueError(f"covariance must be symmetric, got {came}")
    symmetric = np.where(matrix == mirrored, matrix, 0.5 * matrix + 0.5 * mirrored)
    lower, pivots = lower_factor(symmetric)
    good = pivots > d * 2.0**-52 * variances  # false of nan
    if not good.all():
        *datum, latent = (int(i) for i in np.argwhere(~good)[0])
        where = f" at index {datum[0]}" if datum else ""
        raise ValueError(
            f"covariance must be positive definite, got a matrix{where} whose latent {latent} has no "
            "variance of its own given those before it"
        )
    return symmetric, lower
