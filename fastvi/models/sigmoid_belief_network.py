"""Binary pixels whose logits are linear in binary latents."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fastvi import validation
from fastvi.distributions.bernoulli import Bernoulli, bernoulli_log_prob, sigmoid
from fastvi.models.base import Model

# numbers in the largest temporary array of log_joint and sample: 8 MiB of float64
_BLOCK = 1 << 20


class SigmoidBeliefNetwork(Model):
    """p(x, z) = prod_i Bernoulli(z_i; prior_logits_i) prod_j Bernoulli(x_j; eta_j), eta = W z + b.

    With softplus(t) = log(1 + exp(t)),

        log p(x, z) = sum_j [x_j eta_j - softplus(eta_j)] + sum_i [z_i c_i - softplus(c_i)], c = prior_logits.

    Parameters
    ----------
    weights : array_like, (D, d)
        W, finite. D >= 0 pixels, d >= 1 latents.
    bias : array_like, (D,)
        b, finite.
    prior_logits : array_like, (d,)
        Log odds of z_i = 1 before anything is seen, finite.

    Attributes
    ----------
    weights, bias, prior_logits : ndarray, float64, read-only
    num_pixels, num_latents : int
        D and d.
    prior : Bernoulli
        p(z).

    Raises
    ------
    ValueError, TypeError
        For shapes that do not fit, for values that are not finite, and for weights so large that a logit
        overflows.

    References
    ----------
    R. M. Neal, "Connectionist learning of belief networks", Artificial Intelligence 56 (1992), section 3.

    Examples
    --------
    >>> import fastvi
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0, 0.0], [0.0, -1.0]], [0.0, 0.5], [0.0, 0.0])
    >>> model.log_joint([1, 0], [[0, 0], [1, 1]])
    array([-3.05351853, -1.98729936])
    """

    weights: np.ndarray
    bias: np.ndarray
    prior_logits: np.ndarray
    num_pixels: int
    num_latents: int

    def __init__(self, weights: ArrayLike, bias: ArrayLike, prior_logits: ArrayLike) -> None:
        w = validation.float_array(weights, "weights", ndim=2)
        num_pixels, num_latents = w.shape
        if num_latents < 1:
            raise ValueError(f"weights must have shape (num_pixels, num_latents >= 1), got shape {w.shape}")
        b = validation.float_array(bias, "bias", ndim=1, shape=(num_pixels,))
        prior = validation.float_array(prior_logits, "prior_logits", ndim=1, shape=(num_latents,))
        with np.errstate(over="ignore"):
            reach = np.abs(w).sum(axis=1) + np.abs(b)
        validation.require(
            reach, np.isfinite(reach), "weights and bias must keep sum |weights_j| + |bias_j| finite"
        )
        self._set(
            weights=validation.frozen_array(w),
            bias=validation.frozen_array(b),
            prior_logits=validation.frozen_array(prior),
            num_pixels=num_pixels,
            num_latents=num_latents,
        )

    def __repr__(self) -> str:
        return f"SigmoidBeliefNetwork(num_pixels={self.num_pixels}, num_latents={self.num_latents})"

    def _arrays(self) -> dict[str, np.ndarray]:
        return {"weights": self.weights, "bias": self.bias, "prior_logits": self.prior_logits}

    @property
    def prior(self) -> Bernoulli:
        """p(z), a factorised Bernoulli distribution."""
        return Bernoulli(self.prior_logits)

    def _logits(self, z: np.ndarray) -> np.ndarray:
        """eta = W z + b, (..., D). Not by BLAS: its last bits depend on the number of threads."""
        return np.einsum("...i,ji->...j", z.astype(np.float64), self.weights) + self.bias

    def log_joint(self, x: ArrayLike, z: ArrayLike) -> np.ndarray:
        """log p(x, z) in nats.

        Parameters
        ----------
        x : array_like of 0 and 1, (..., D)
        z : array_like of 0 and 1, (..., d)
            The leading axes of x and z broadcast as in NumPy: ``log_joint(x[:, None], z[None])`` gives all
            pairs, (N, S).

        Returns
        -------
        ndarray, float64
            The broadcast shape of the leading axes.
        """
        pixels = validation.binary_array(x, "x", self.num_pixels)
        latents = validation.binary_array(z, "z", self.num_latents)
        shape = validation.broadcasting("x[..., 0]", pixels.shape[:-1], "z[..., 0]", latents.shape[:-1])
        out = np.broadcast_to(bernoulli_log_prob(latents, self.prior_logits).sum(axis=-1), shape).copy()
        self._add_log_likelihood(pixels, latents, out)
        return out

    def _add_log_likelihood(self, x: np.ndarray, z: np.ndarray, out: np.ndarray) -> None:
        """Add log p(x | z) to ``out``, halving the longest leading axis until the temporaries are small."""
        if out.size * self.num_pixels <= _BLOCK or out.size <= 1:
            out += bernoulli_log_prob(x, self._logits(z)).sum(axis=-1)
            return
        axis = int(np.argmax(out.shape)) - out.ndim  # counted from the right, as broadcasting does
        for half in (slice(None, out.shape[axis] // 2), slice(out.shape[axis] // 2, None)):
            self._add_log_likelihood(_cut(x, axis - 1, half), _cut(z, axis - 1, half), _cut(out, axis, half))

    def sample(self, num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw z from the prior and x given z.

        Parameters
        ----------
        num
            Number of draws, at least 0.
        seed
            0 <= seed < 2**64; the draws are a pure function of it.

        Returns
        -------
        z : ndarray, (num, d), uint8
        x : ndarray, (num, D), uint8
        """
        num = validation.positive_int(num, "num", 0)
        generator = np.random.Generator(np.random.Philox(key=validation.seed(seed)))
        z = np.empty((num, self.num_latents), dtype=np.uint8)
        x = np.empty((num, self.num_pixels), dtype=np.uint8)
        rows = max(1, _BLOCK // max(self.num_pixels, self.num_latents))
        blocks = [slice(start, start + rows) for start in range(0, num, rows)]
        # all of z before any x: the stream is then read in an order that does not depend on the size of a
        # block
        for block in blocks:
            z[block] = generator.random(z[block].shape) < sigmoid(self.prior_logits)
        for block in blocks:
            x[block] = generator.random(x[block].shape) < sigmoid(self._logits(z[block]))
        return z, x


def _cut(array: np.ndarray, axis: int, part: slice) -> np.ndarray:
    """``part`` of ``axis`` (counted from the right), or the whole array where that axis broadcasts."""
    if -axis > array.ndim or array.shape[axis] == 1:
        return array
    index: list[slice] = [slice(None)] * array.ndim
    index[axis] = part
    return array[tuple(index)]
