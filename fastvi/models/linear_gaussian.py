"""Real pixels that are linear in normal latents: the model whose log marginal has a closed form."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from fastvi.core import validation
from fastvi.core.seeds import takes_rng
from fastvi.distributions.normal import Normal
from fastvi.models.base import LatentVariableModel, Pairs
from fastvi.models.neural_decoder import NeuralDecoder

_LOG_TWO_PI = math.log(2.0 * math.pi)
# |x - b| / noise_std below it has a square that can be summed over any number of pixels
FARTHEST = 1e150


class LinearGaussian(LatentVariableModel):
    """Probabilistic principal component analysis: real pixels that are linear in normal latents, and noise.

        p(x, z) = N(z; 0, I_d) N(x; W z + b, noise_std^2 I_D).

    With s = noise_std,

        log p(x, z) = -|x - W z - b|^2 / (2 s^2) - |z|^2 / 2 - D log s - (D + d) / 2 log(2 pi),

    and x alone is normal with mean b and covariance W W^T + s^2 I_D.

    Parameters
    ----------
    weights : array_like, (D, d)
        W, finite. D >= 0 pixels, d >= 1 latents.
    bias : array_like, (D,)
        b, finite, in the unit of x.
    noise_std : float
        Standard deviation of a pixel given z, finite and > 0, in the unit of x.

    Attributes
    ----------
    weights, bias : ndarray, float64, read-only
    noise_std : float
    num_pixels, num_latents : int
        D and d.
    prior : Normal
        p(z), of mean 0 and standard deviation 1.

    Raises
    ------
    ValueError, TypeError
        For shapes that do not fit, for values that are not finite, for noise_std <= 0, and for weights so
        large that (weights / noise_std)^2 overflows.

    References
    ----------
    M. E. Tipping, C. M. Bishop, "Probabilistic principal component analysis", Journal of the Royal
    Statistical Society B 61 (1999), section 3.

    Examples
    --------
    >>> import fastvi
    >>> model = fastvi.LinearGaussian([[1.0], [2.0]], [0.0, 1.0], 0.5)
    >>> model.log_joint([0.5, 2.0], [[0.0], [0.5]]).round(3)
    array([-3.871, -1.496])
    >>> fastvi.log_marginal(model, [[0.5, 2.0]]).round(3)
    array([-2.093])
    >>> model.prior.mean, model.prior.std
    (array([0.]), array([1.]))
    """

    weights: np.ndarray
    bias: np.ndarray
    noise_std: float
    num_pixels: int
    num_latents: int
    prior: Normal
    _decoder: NeuralDecoder

    def __init__(self, weights: ArrayLike, bias: ArrayLike, noise_std: float) -> None:
        w = validation.float_array(weights, "weights", ndim=2)
        num_pixels, num_latents = w.shape
        if num_latents < 1:
            raise ValueError(f"weights must have shape (num_pixels, num_latents >= 1), got shape {w.shape}")
        b = validation.float_array(bias, "bias", ndim=1, shape=(num_pixels,))
        noise_std = validation.positive_float(noise_std, "noise_std")
        with np.errstate(over="ignore"):
            reach = np.abs(w).sum(axis=1) + np.abs(b)
            squares = np.square(w / noise_std).sum(axis=1)
        validation.require(
            reach, np.isfinite(reach), "weights and bias must keep sum |weights_j| + |bias_j| finite"
        )
        validation.require(
            squares, squares < FARTHEST**2, "weights must keep sum (weights_j / noise_std)^2 below 1e300"
        )
        prior = Normal(np.zeros(num_latents), np.ones(num_latents))
        w, b = validation.frozen_array(w), validation.frozen_array(b)
        self._set(
            weights=w,
            bias=b,
            noise_std=noise_std,
            num_pixels=num_pixels,
            num_latents=num_latents,
            prior=prior,
            # one layer has no activation
            _decoder=NeuralDecoder([(w, b)], "relu", prior, "gaussian", noise_std),
        )

    def __repr__(self) -> str:
        return (
            f"LinearGaussian(num_pixels={self.num_pixels}, num_latents={self.num_latents}, "
            f"noise_std={self.noise_std})"
        )

    def arrays(self) -> dict[str, np.ndarray]:
        return {"weights": self.weights, "bias": self.bias, "noise_std": np.array(self.noise_std)}

    def log_joint(self, x: ArrayLike, z: ArrayLike) -> np.ndarray:
        """Log p(x, z), a density, in nats.

        Parameters
        ----------
        x : array_like of real numbers, (..., D)
        z : array_like of real numbers, (..., d)
            The leading axes of x and z broadcast as in NumPy: ``log_joint(x[:, None], z[None])`` gives all
            pairs, (N, S).

        Returns
        -------
        ndarray, float64
            The broadcast shape of the leading axes.

        Examples
        --------
        >>> import fastvi
        >>> model = fastvi.LinearGaussian([[1.0], [2.0]], [0.0, 1.0], 0.5)
        >>> model.log_joint([[0.5, 2.0], [0.0, 0.0]], [0.5]).round(3)
        array([-1.496, -9.996])
        """
        return self._decoder.log_joint(x, z)

    @takes_rng
    def sample(self, num: int, seed: int | None = None, *, rng: np.random.Generator | None = None) -> Pairs:
        """Draw z from the prior and x given z.

        Parameters
        ----------
        num
            Number of draws, at least 0.
        seed
            0 <= seed < 2**64; the draws are a pure function of it.
        rng
            A generator that gives the seed, in place of ``seed``.

        Returns
        -------
        A named tuple of

        z : ndarray, (num, d), float64
        x : ndarray, (num, D), float64

        Examples
        --------
        The covariance of x is W W^T + noise_std^2 I:

        >>> import fastvi, numpy
        >>> model = fastvi.LinearGaussian([[1.0], [2.0]], [0.0, 1.0], 0.5)
        >>> x = model.sample(100000, seed=0).x
        >>> numpy.cov(x.T).round(1)
        array([[1.3, 2. ],
               [2. , 4.3]])
        """
        return self._decoder.sample(num, seed)
