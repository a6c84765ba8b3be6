"""Real pixels: a sum of those columns of a matrix that binary latents switch on, and Gaussian noise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastvi.core import validation
from fastvi.core.blocks import BLOCK, in_blocks
from fastvi.core.functions import bernoulli_log_prob, sigmoid
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.models.base import Pairs
from fastvi.models.enumerable import Enumerable


class BinarySparseCoding(Enumerable):
    """p(x, z) = prod_i Bernoulli(z_i; prior_logits_i) prod_j Normal(x_j; eta_j, s^2), eta = W z + b.

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
    _pixel_bytes = 8
    _has_expectations = True
    _data_by_terms = True

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

    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            "weights": self.weights,
            "bias": self.bias,
            "noise_std": np.array(self.noise_std),
            "prior_logits": self.prior_logits,
        }

    @property
    def prior(self) -> Bernoulli:
        """p(z), a factorised Bernoulli distribution."""
        return Bernoulli(self.prior_logits)

    def _means(self, z: np.ndarray) -> np.ndarray:
        """eta = W z + b, (..., D). Not by BLAS: its last bits depend on the number of threads."""
        return np.einsum("...i,ji->...j", z.astype(np.float64), self.weights) + self.bias

    def _check_data(self, x: Any, observed: Any) -> tuple[np.ndarray, np.ndarray | None]:
        return validation.observed_real_data(x, observed, self.num_pixels)

    def _form(self, pixels: np.ndarray, dtype: str) -> Any:
        from fastvi.engine.states.pair_form import sparse_coding_form

        return sparse_coding_form(self.weights[pixels], self.bias[pixels], self.noise_std, self.prior_logits)

    def _memory(self, pixels: np.ndarray, dtype: str) -> Any:
        from fastvi.engine.memory.pairs import PairMemory

        return PairMemory.of(self.num_latents, int(pixels.sum()), 8)

    def _gradient_bytes(self, num_data: int, pixels: np.ndarray) -> int:
        # residuals, these weighted, predictions, and what is left, once more weighted; means in two orders
        return 8 * num_data * (5 * int(pixels.sum()) + 3 * self.num_latents)

    def _target(self, pixels: np.ndarray, num_states: int, *, with_prior: bool = True) -> Any:
        from fastvi.engine.importance.coding_target import CodingTarget

        return CodingTarget(self._parts(pixels, with_prior=with_prior))

    def _sampled_joint(self, x: np.ndarray, z: np.ndarray) -> Any:
        from fastvi.engine.expectation.sampled_joint import BernoulliPrior, SampledJoint

        prior, layers = BernoulliPrior(self.prior_logits), [(self.weights, self.bias)]
        return SampledJoint(layers, "relu", self.noise_std, prior, [("weights", "bias")], x, z)

    def _parts(self, pixels: np.ndarray, *, with_prior: bool = True) -> Any:
        """What is linear and quadratic in z. Without the prior, p(z) = 2^-d is divided out again."""
        from fastvi.engine.states.pair_form import sparse_coding_parts

        prior = self.prior_logits if with_prior else np.zeros(self.num_latents)
        parts: Any = sparse_coding_parts(self.weights[pixels], self.bias[pixels], self.noise_std, prior)
        if with_prior:
            return parts
        return parts._replace(data=parts.data._replace(constant=(0.0, 0.0)))

    def _expected_joint(self, x: np.ndarray, pixels: np.ndarray, logits: np.ndarray) -> np.ndarray:
        from fastvi.engine.expectation.elbo_gradient import expected_log_joint

        return expected_log_joint(self._parts(pixels), x, logits).value

    def _reconstruction(self, x: np.ndarray, pixels: np.ndarray, q: Any) -> np.ndarray:
        mean, weights = np.atleast_2d(q.mean), self.weights[pixels] / self.noise_std
        # einsum, not BLAS, so that the bits of a result do not depend on threads
        with np.errstate(over="ignore"):  # data so far away that the value is -inf
            residual = (x - self.bias[pixels]) / self.noise_std - np.einsum("ni,ji->nj", mean, weights)
            square = np.square(residual).sum(axis=1)
        spread = (np.square(weights).sum(axis=0) * (mean * sigmoid(-np.atleast_2d(q.logits)))).sum(axis=1)
        constant = len(weights) * (math.log(self.noise_std) + 0.5 * math.log(2.0 * math.pi))
        return -0.5 * (square + spread) - constant

    def _prior(self) -> Bernoulli:
        return Bernoulli(self.prior_logits)

    _prior_proposal = _prior

    def _no_gradient(self) -> dict[str, np.ndarray]:
        return {name: np.zeros_like(array) for name, array in self._arrays().items()}

    def _gradient(
        self, x: np.ndarray, data_weights: np.ndarray, pixels: np.ndarray, run: Any
    ) -> dict[str, np.ndarray]:
        from fastvi.engine.posterior.coding_moments import coding_moments

        found = coding_moments(self._form(pixels, "float64"), x, data_weights, run)
        out, weights, std, mean = self._no_gradient(), self.weights[pixels], self.noise_std, found.mean
        # einsum, not BLAS, so that the bits of a result do not depend on threads
        weighted = data_weights[:, None] * (x - self.bias[pixels] - np.einsum("ni,ji->nj", mean, weights))
        cross = np.einsum("nj,ni->ji", weighted, mean)
        # divided twice: the square of 1 / s may leave the range
        out["weights"][pixels] = (cross - np.einsum("ji,ik->jk", weights, found.spread)) / std / std
        out["bias"][pixels] = weighted.sum(axis=0) / std / std
        total = data_weights.sum()
        out["noise_std"] = np.asarray((found.square - total * pixels.sum()) / std)
        out["prior_logits"] = (data_weights[:, None] * mean).sum(axis=0) - total * sigmoid(self.prior_logits)
        return out

    def log_joint(self, x: ArrayLike, z: ArrayLike) -> np.ndarray:
        """log p(x, z) in nats, a density in x.

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

        z : ndarray, (num, d), uint8
        x : ndarray, (num, D), float64
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
