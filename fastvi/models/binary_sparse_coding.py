"""Real pixels: a sum of those columns of a matrix that binary latents switch on, and Gaussian noise."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from fastvi.core import validation
from fastvi.core.blocks import BLOCK, in_blocks
from fastvi.core.functions import bernoulli_log_prob, sigmoid
from fastvi.core.seeds import takes_rng
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.models.base import LatentVariableModel, Pairs


class BinarySparseCoding(LatentVariableModel):
    """Binary sparse coding: real pixels that are a sum of patterns, each in it or not, and of noise.

        p(x, z) = prod_i Bernoulli(z_i; prior_logits_i) prod_j Normal(x_j; eta_j, s^2), eta = W z + b.

    With s = noise_std, c = prior_logits and softplus(t) = log(1 + exp(t)),

        log p(x, z) = sum_i [z_i c_i - softplus(c_i)] - sum_j (x_j - eta_j)^2 / (2 s^2) - D log(s sqrt(2 pi)).

    However small s is beside W and x, results are as exact as sums of residuals; data whose squares are too
    large for products or single doubles take longer (measured on one thread: log p(x) 13 times as long at d =
    20, samples 3 to 5 times, chains of annealing up to 2 times), and a GPU leaves those beyond 2^20 to the
    CPU.

    Parameters
    ----------
    weights : array_like, (D, d)
        W, finite, in the units of x. D >= 0 pixels, d >= 1 latents.
    bias : array_like, (D,)
        b, finite, in the units of x.
    noise_std
        s, the standard deviation of the noise of every pixel, finite and > 0, in the units of x.
    prior_logits : array_like, (d,)
        Log odds of z_i = 1 before anything is seen, finite. Negative ones make the code sparse.

    Attributes
    ----------
    weights, bias, prior_logits : ndarray, float64, read-only
    noise_std : float
    num_pixels, num_latents : int
        D and d.
    prior : Bernoulli
        p(z).

    Raises
    ------
    ValueError, TypeError
        For shapes that do not fit, for values that are not finite, for a noise_std that is not > 0, and for
        weights so large beside the noise that the square of eta_j / s overflows.

    References
    ----------
    M. Henniges, G. Puertas, J. Bornschein, J. Eggert and J. Lücke, "Binary sparse coding", Latent Variable
    Analysis and Signal Separation (2010), section 2.

    Examples
    --------
    >>> import fastvi
    >>> model = fastvi.BinarySparseCoding([[2.0, 0.0], [0.0, -1.0]], [0.0, 0.5], 0.5, [0.0, 0.0])
    >>> model.log_joint([2.0, -0.5], [[0, 0], [1, 1]])
    array([-11.83787707,  -1.83787707])
    """

    weights: np.ndarray
    bias: np.ndarray
    noise_std: float
    prior_logits: np.ndarray
    num_pixels: int
    num_latents: int

    def __init__(
        self, weights: ArrayLike, bias: ArrayLike, noise_std: float, prior_logits: ArrayLike
    ) -> None:
        w = validation.float_array(weights, "weights", ndim=2)
        num_pixels, num_latents = w.shape
        if num_latents < 1:
            raise ValueError(f"weights must have shape (num_pixels, num_latents >= 1), got shape {w.shape}")
        b = validation.float_array(bias, "bias", ndim=1, shape=(num_pixels,))
        std = validation.positive_float(noise_std, "noise_std")
        prior = validation.float_array(prior_logits, "prior_logits", ndim=1, shape=(num_latents,))
        with np.errstate(over="ignore"):
            reach = np.square((np.abs(w).sum(axis=1) + np.abs(b)) / std).sum()
        validation.require(
            reach,
            np.isfinite(reach),
            "weights, bias and noise_std must keep sum ((|weights_j| + |bias_j|) / noise_std)^2 finite",
        )
        self._set(
            weights=validation.frozen_array(w),
            bias=validation.frozen_array(b),
            noise_std=std,
            prior_logits=validation.frozen_array(prior),
            num_pixels=num_pixels,
            num_latents=num_latents,
        )

    def __repr__(self) -> str:
        return (
            f"BinarySparseCoding(num_pixels={self.num_pixels}, num_latents={self.num_latents}, "
            f"noise_std={self.noise_std})"
        )

    def arrays(self) -> dict[str, np.ndarray]:
        return {
            "weights": self.weights,
            "bias": self.bias,
            "noise_std": np.array(self.noise_std),
            "prior_logits": self.prior_logits,
        }

    @property
    def prior(self) -> Bernoulli:
        """p(z), a factorised Bernoulli distribution.

        Examples
        --------
        >>> import fastvi
        >>> model = fastvi.BinarySparseCoding([[2.0, 0.0], [0.0, -1.0]], [0.0, 0.5], 0.5, [0.0, -2.0])
        >>> model.prior.mean.round(3)
        array([0.5  , 0.119])
        """
        return Bernoulli(self.prior_logits)

    def _means(self, z: np.ndarray) -> np.ndarray:
        """Eta = W z + b, (..., D). Not by BLAS: its last bits depend on the number of threads."""
        return np.einsum("...i,ji->...j", z.astype(np.float64), self.weights) + self.bias

    def log_joint(self, x: ArrayLike, z: ArrayLike) -> np.ndarray:
        """Log p(x, z) in nats, a density in x.

        Parameters
        ----------
        x : array_like of finite real numbers, (..., D)
        z : array_like of 0 and 1, (..., d)
            The leading axes of x and z broadcast as in NumPy: ``log_joint(x[:, None], z[None])`` gives all
            pairs, (N, S).

        Returns
        -------
        ndarray, float64
            The broadcast shape of the leading axes. -inf where the square of (x - eta) / noise_std
            overflows.

        Examples
        --------
        One datum under all four states, and their sum:

        >>> import fastvi, numpy
        >>> model = fastvi.BinarySparseCoding([[2.0, 0.0], [0.0, -1.0]], [0.0, 0.5], 0.5, [0.0, -2.0])
        >>> found = model.log_joint([2.0, 0.5], [[0, 0], [0, 1], [1, 0], [1, 1]])
        >>> found.round(3)
        array([ -9.272, -13.272,  -1.272,  -5.272])
        >>> bool(abs(numpy.logaddexp.reduce(found) - fastvi.log_marginal(model, [[2.0, 0.5]])[0]) < 1e-12)
        True
        """
        pixels = validation.real_array(x, "x", self.num_pixels)
        latents = validation.binary_array(z, "z", self.num_latents)
        shape = validation.broadcasting("x[..., 0]", pixels.shape[:-1], "z[..., 0]", latents.shape[:-1])
        out = np.broadcast_to(bernoulli_log_prob(latents, self.prior_logits).sum(axis=-1), shape).copy()
        in_blocks(self._add_log_likelihood, pixels, latents, out, self.num_pixels, BLOCK)
        return out

    def _add_log_likelihood(self, x: np.ndarray, z: np.ndarray, out: np.ndarray) -> None:
        with np.errstate(over="ignore"):
            squares = np.square((x - self._means(z)) / self.noise_std).sum(axis=-1)
        out -= 0.5 * squares + self.num_pixels * (math.log(self.noise_std) + 0.5 * math.log(2 * math.pi))

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

        z : ndarray, (num, d), uint8
        x : ndarray, (num, D), float64

        Examples
        --------
        >>> import fastvi
        >>> model = fastvi.BinarySparseCoding([[2.0, 0.0], [0.0, -1.0]], [0.0, 0.5], 0.5, [0.0, -2.0])
        >>> z, x = model.sample(10000, seed=0)
        >>> x.mean(axis=0).round(1), z.mean(axis=0).round(1)
        (array([1. , 0.4]), array([0.5, 0.1]))
        """
        num = validation.positive_int(num, "num", 0)
        generator = np.random.Generator(np.random.Philox(key=validation.seed(seed)))
        z = np.empty((num, self.num_latents), dtype=np.uint8)
        x = np.empty((num, self.num_pixels))
        rows = max(1, BLOCK // max(self.num_pixels, self.num_latents))
        blocks = [slice(start, start + rows) for start in range(0, num, rows)]
        # all of z before any x: the stream is then read in an order that does not depend on the size of a
        # block
        for block in blocks:
            z[block] = generator.random(z[block].shape) < sigmoid(self.prior_logits)
        for block in blocks:
            noise = generator.standard_normal(x[block].shape)
            x[block] = self._means(z[block]) + self.noise_std * noise
        return Pairs(z, x)
