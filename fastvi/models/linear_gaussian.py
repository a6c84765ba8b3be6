"""Real pixels that are linear in normal latents: the model whose log marginal has a closed form."""

from __future__ import annotations

import math
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from fastvi.core import validation
from fastvi.distributions.multivariate_normal import moments_of
from fastvi.distributions.normal import Normal
from fastvi.engine.linalg.triangular import solve_rows, solve_transposed_rows, upper_triangle
from fastvi.models.base import Pairs
from fastvi.models.enumerable import Enumerable
from fastvi.models.neural_decoder import NeuralDecoder

_LOG_TWO_PI = math.log(2.0 * math.pi)
# |x - b| / noise_std below it has a square that can be summed over any number of pixels
_FARTHEST = 1e150


class LinearGaussian(Enumerable):
    """p(x, z) = N(z; 0, I_d) N(x; W z + b, noise_std^2 I_D): probabilistic principal component analysis.

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
    >>> model.log_joint([0.5, 2.0], [[0.0], [0.5]])
    array([-3.87052124, -1.49552124])
    """

    weights: np.ndarray
    bias: np.ndarray
    noise_std: float
    num_pixels: int
    num_latents: int
    _real_latents = True
    _pixel_bytes = 8
    _has_expectations = True
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
            squares, squares < _FARTHEST**2, "weights must keep sum (weights_j / noise_std)^2 below 1e300"
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

    def _arrays(self) -> dict[str, np.ndarray]:
        return {"weights": self.weights, "bias": self.bias, "noise_std": np.array(self.noise_std)}

    def log_joint(self, x: ArrayLike, z: ArrayLike) -> np.ndarray:
        """log p(x, z), a density, in nats.

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
        """
        return self._decoder.log_joint(x, z)

    def sample(self, num: int, seed: int) -> Pairs:
        """Draw z from the prior and x given z.

        Parameters
        ----------
        num
            Number of draws, at least 0.
        seed
            0 <= seed < 2**64; the draws are a pure function of it.

        Returns
        -------
        A named tuple of

        z : ndarray, (num, d), float64
        x : ndarray, (num, D), float64
        """
        return self._decoder.sample(num, seed)

    def _check_data(self, x: Any, observed: Any) -> tuple[np.ndarray, np.ndarray | None]:
        return validation.observed_real_data(x, observed, self.num_pixels)

    def _form(self, pixels: np.ndarray, dtype: str) -> NoReturn:
        raise TypeError(
            "model must have binary latents for its states to be enumerated, got a LinearGaussian: its "
            "latents are continuous, and log_marginal has a closed form"
        )

    def _memory(self, pixels: np.ndarray, dtype: str) -> NoReturn:
        self._form(pixels, dtype)

    def _gradient_bytes(self, num_data: int, pixels: np.ndarray) -> int:
        # data in their places, in units of the noise, residuals, these weighted, transposed; means likewise
        return 8 * num_data * (5 * self.num_pixels + 4 * self.num_latents)

    def _closed_bytes(self, num_data: int, pixels: np.ndarray) -> int:
        # data in their places and in units of the noise, their fit, residuals; means as they are solved for
        return 8 * num_data * (4 * self.num_pixels + 4 * self.num_latents)

    def _target(self, pixels: np.ndarray, num_states: int, *, with_prior: bool = True) -> Any:
        return self._decoder._target(pixels, num_states, with_prior=with_prior)

    def _sampled_joint(self, x: np.ndarray, z: np.ndarray) -> Any:
        from fastvi.engine.expectation.sampled_joint import NormalPrior, SampledJoint

        prior, layers = NormalPrior(self.prior.mean, self.prior.std), [(self.weights, self.bias)]
        return SampledJoint(layers, "relu", self.noise_std, prior, [("weights", "bias")], x, z)

    def _reconstruction(self, x: np.ndarray, pixels: np.ndarray, q: Any) -> np.ndarray:
        from fastvi.engine.linalg.products import matmul

        mean, scale = moments_of(q, len(x))
        columns = np.ascontiguousarray((self.weights[pixels] / self.noise_std).T)
        with np.errstate(over="ignore"):  # data so far away that the value is -inf
            residual = (x - self.bias[pixels]) / self.noise_std - matmul(mean, columns)
            square = np.square(residual).sum(axis=1)
        # rows of W L_n, transposed
        spread = matmul(scale.swapaxes(1, 2).reshape(-1, self.num_latents), columns)
        spread = np.square(spread).reshape(len(x), columns.size).sum(axis=1)
        constant = columns.shape[1] * (0.5 * _LOG_TWO_PI + math.log(self.noise_std))
        return -0.5 * (square + spread) - constant

    def _prior(self) -> Any:
        return self.prior

    _prior_proposal = _prior

    def _is_closed(self, pixels: np.ndarray) -> bool:
        return True

    def _has_closed_gradient(self, pixels: np.ndarray) -> bool:
        return True

    def _closed_form(self, x: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        return self._log_marginal(self._spread(x, pixels), pixels)

    def _no_gradient(self) -> dict[str, np.ndarray]:
        return {name: np.zeros_like(array) for name, array in self._arrays().items()}

    def _spread(self, x: np.ndarray, pixels: np.ndarray | None) -> np.ndarray:
        """Data (N, D), those of the seen pixels in their places."""
        if pixels is None or x.shape[1] == self.num_pixels:
            return x
        out = np.zeros((len(x), self.num_pixels))
        out[:, pixels] = x
        return out

    def _solved(
        self, x: np.ndarray, pixels: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """In units of the noise, on the pixels that are kept: A = W / s, R, posterior means m, x - b - W m.

        R is the upper Cholesky factor of I + A^T A, the inverse of the posterior covariance, and
        m_n = (I + A^T A)^-1 A^T (x_n - b) / s.
        """
        from fastvi.engine.linalg.products import matmul

        kept = slice(None) if pixels is None else pixels
        scaled = self.weights[kept] / self.noise_std
        with np.errstate(over="ignore"):
            # columns picked by a mask lie one after the other, and sums over rows of that have last bits that
            # depend on the number of data
            centred = (np.ascontiguousarray(x[:, kept]) - self.bias[kept]) / self.noise_std
        validation.require(centred, np.abs(centred) < _FARTHEST, "(x - bias) / noise_std must be below 1e150")
        factor = upper_triangle(scaled)
        mean = solve_rows(factor, solve_transposed_rows(factor, matmul(centred, scaled)))
        return scaled, factor, mean, centred - matmul(mean, np.ascontiguousarray(scaled.T))

    def _log_marginal(self, x: np.ndarray, pixels: np.ndarray | None = None) -> np.ndarray:
        """log p(x_n), (N,), of the pixels that the boolean mask ``pixels`` (D,) keeps (None: all).

        By the matrix determinant lemma the covariance's determinant is s^(2 D) |I + A^T A|, A = W / s. In
        place of Woodbury's difference of two squares, which cancels where x is close to the span of W, the
        quadratic form is the minimum over m of |(x - b) / s - A m|^2 + |m|^2, to which an error of m adds
        its square only.
        """
        scaled, factor, mean, residual = self._solved(x, pixels)
        log_determinant = 2.0 * np.log(np.diagonal(factor)).sum()
        constant = len(scaled) * (_LOG_TWO_PI + 2.0 * math.log(self.noise_std)) + log_determinant
        return -0.5 * (np.square(residual).sum(axis=1) + np.square(mean).sum(axis=1) + constant)

    def _posterior_moments(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        _, factor, mean, _ = self._solved(x, None)
        inverse = solve_transposed_rows(
            factor, np.eye(self.num_latents)
        )  # R^-1, and the covariance is R^-1 R^-T
        entropy = 0.5 * self.num_latents * (1.0 + _LOG_TWO_PI) - np.log(np.diagonal(factor)).sum()
        std = np.sqrt(np.square(inverse).sum(axis=1))
        return mean, np.broadcast_to(std, mean.shape), np.full(len(x), entropy)

    def _gradient(
        self, x: np.ndarray, data_weights: np.ndarray, pixels: np.ndarray | None = None, run: Any = None
    ) -> dict[str, np.ndarray]:
        """Gradient of sum_n data_weights_n log p(x_n) with respect to weights, bias and noise_std (0 axes),
        for data with all columns or those of the seen pixels.

        With m_n and S the posterior's means and covariance, g_n = (x_n - b - W m_n) / s^2:

            d/db = g_n,    d/dW = g_n m_n^T - W S / s^2,
            d/ds = [|x_n - b - W m_n|^2 / s^2 + tr(W S W^T) / s^2 - D] / s.

        Rows of pixels that are not kept are 0.
        """
        kept = slice(None) if pixels is None else pixels
        scaled, factor, mean, residual = self._solved(self._spread(x, pixels), pixels)
        total = data_weights.sum()
        spread = solve_transposed_rows(factor, scaled)  # A R^-1: its rows' squares sum to tr(A S A^T)
        weights, bias = np.zeros_like(self.weights), np.zeros_like(self.bias)
        pull = data_weights[:, None] * residual
        bias[kept] = pull.sum(axis=0) / self.noise_std
        fitted = np.einsum("jn,kn->jk", pull.T.copy(), mean.T.copy()) - total * solve_rows(factor, spread)
        weights[kept] = fitted / self.noise_std
        squares = np.square(residual).sum(axis=1) + (np.square(spread).sum() - len(scaled))
        noise_std = (data_weights * squares).sum() / self.noise_std
        return {"weights": weights, "bias": bias, "noise_std": np.asarray(noise_std)}
