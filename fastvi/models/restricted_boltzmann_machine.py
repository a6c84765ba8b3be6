"""Binary pixels and binary latents, coupled to each other but not among themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from fastvi.core import validation
from fastvi.core.blocks import BLOCK, in_blocks
from fastvi.core.functions import log_sigmoid, sigmoid
from fastvi.core.limits import check_draws
from fastvi.core.registry import rules_of
from fastvi.core.seeds import takes_rng
from fastvi.formats.sklearn_machine import machine_arrays
from fastvi.models.base import LatentVariableModel, Pairs
from fastvi.models.energies import MAX_ENERGY, MAX_ENERGY_TEXT


class RestrictedBoltzmannMachine(LatentVariableModel):
    """Restricted Boltzmann machine: binary pixels coupled to binary latents, and neither among themselves.

        p(v, h) proportional to exp(v^T W h + b^T v + c^T h), v in {0, 1}^D, h in {0, 1}^d.

    The pixels x are v, the latents z are h, b = visible_bias, c = hidden_bias. With
    softplus(t) = log(1 + exp(t)), the sum over h has a closed form, the sum over v has not:

        log p(v) = b^T v + sum_k softplus(c_k + (W^T v)_k) - log Z.

    Parameters
    ----------
    weights : array_like, (D, d)
        W, finite. D >= 1 pixels, d >= 1 latents.
    visible_bias : array_like, (D,)
        b, finite.
    hidden_bias : array_like, (d,)
        c, finite.

    Attributes
    ----------
    weights, visible_bias, hidden_bias : ndarray, float64, read-only
    num_pixels, num_latents : int
        D and d.

    Raises
    ------
    ValueError, TypeError
        For shapes that do not fit, for values that are not finite, and where the |values| have a sum above
        1e8: energies are summed in float64, which leaves 1e-6 nats up to there.

    References
    ----------
    P. Smolensky, "Information processing in dynamical systems: foundations of harmony theory", in Parallel
    Distributed Processing, volume 1 (1986), chapter 6.

    Examples
    --------
    >>> import fastvi
    >>> machine = fastvi.RestrictedBoltzmannMachine([[2.0, 0.0], [0.0, -1.0]], [0.0, 0.5], [0.0, 0.0])
    >>> machine.log_joint([1, 1], [[0, 0], [1, 1]])
    array([0.5, 1.5])
    >>> machine.free_energy([1, 1])
    array(-2.9401897)
    """

    weights: np.ndarray
    visible_bias: np.ndarray
    hidden_bias: np.ndarray
    num_pixels: int
    num_latents: int

    def __init__(self, weights: ArrayLike, visible_bias: ArrayLike, hidden_bias: ArrayLike) -> None:
        w = validation.float_array(weights, "weights", ndim=2)
        num_pixels, num_latents = w.shape
        if num_pixels < 1 or num_latents < 1:
            raise ValueError(
                f"weights must have shape (num_pixels >= 1, num_latents >= 1), got shape {w.shape}"
            )
        b = validation.float_array(visible_bias, "visible_bias", ndim=1, shape=(num_pixels,))
        c = validation.float_array(hidden_bias, "hidden_bias", ndim=1, shape=(num_latents,))
        with np.errstate(over="ignore"):
            reach = np.abs(w).sum() + np.abs(b).sum() + np.abs(c).sum()
        validation.require(
            reach,
            np.isfinite(reach),
            "weights, visible_bias and hidden_bias must keep the sum of their |values| finite",
        )
        validation.require(
            reach, reach <= MAX_ENERGY,
            f"weights, visible_bias and hidden_bias must have a sum of |values| {MAX_ENERGY_TEXT}",
        )  # fmt: skip
        self._set(
            weights=validation.frozen_array(w),
            visible_bias=validation.frozen_array(b),
            hidden_bias=validation.frozen_array(c),
            num_pixels=num_pixels,
            num_latents=num_latents,
        )

    @classmethod
    def from_sklearn(cls, rbm: Any) -> Self:
        """Machine with the parameters of a fitted ``sklearn.neural_network.BernoulliRBM``.

        Parameters
        ----------
        rbm
            Any object with its attributes ``components_`` (d, D), ``intercept_visible_`` (D,) and
            ``intercept_hidden_`` (d,). They are copied, as float64.

        Raises
        ------
        ValueError, TypeError
            For an object that lacks one of them, as one that is not fitted, and for values that the
            constructor refuses.

        Examples
        --------
        >>> import fastvi, types
        >>> rbm = types.SimpleNamespace(
        ...     components_=[[2.0, -1.0]], intercept_visible_=[0.0, 0.5], intercept_hidden_=[0.0]
        ... )
        >>> machine = fastvi.RestrictedBoltzmannMachine.from_sklearn(rbm)
        >>> machine
        RestrictedBoltzmannMachine(num_pixels=2, num_latents=1)
        >>> round(fastvi.log_partition(machine), 6)
        2.932511
        """
        return cls(*machine_arrays(rbm))

    def __repr__(self) -> str:
        return f"RestrictedBoltzmannMachine(num_pixels={self.num_pixels}, num_latents={self.num_latents})"

    def arrays(self) -> dict[str, np.ndarray]:
        return {
            "weights": self.weights,
            "visible_bias": self.visible_bias,
            "hidden_bias": self.hidden_bias,
        }

    def row_blocks(self, num_data: int) -> Iterator[slice]:
        """Data whose pixels and fields are kept at a time."""
        step = max(1, BLOCK // max(self.num_pixels, self.num_latents))
        for start in range(0, num_data, step):
            yield slice(start, start + step)

    def log_joint(self, x: ArrayLike, z: ArrayLike) -> np.ndarray:
        """The unnormalised v^T W h + b^T v + c^T h in nats, x = v and z = h; log Z is not subtracted.

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

        Examples
        --------
        >>> import fastvi
        >>> machine = fastvi.RestrictedBoltzmannMachine([[2.0, 0.0], [0.0, -1.0]], [0.0, 0.5], [0.0, 0.0])
        >>> log_weight = float(machine.log_joint([1, 1], [1, 0]))
        >>> log_weight, round(log_weight - fastvi.log_partition(machine), 3)
        (2.5, -1.289)
        """
        pixels = validation.binary_array(x, "x", self.num_pixels)
        latents = validation.binary_array(z, "z", self.num_latents)
        shape = validation.broadcasting("x[..., 0]", pixels.shape[:-1], "z[..., 0]", latents.shape[:-1])
        out = np.empty(shape)
        in_blocks(self._log_joint_into, pixels, latents, out, self.num_pixels + self.num_latents, BLOCK)
        return out

    def _log_joint_into(self, x: np.ndarray, z: np.ndarray, out: np.ndarray) -> None:
        # not by BLAS: its last bits depend on the number of threads
        fields = np.einsum("...i,ji->...j", z.astype(np.float64), self.weights) + self.visible_bias
        out[...] = (x * fields).sum(axis=-1) + (z * self.hidden_bias).sum(axis=-1)

    def free_energy(self, x: ArrayLike) -> np.ndarray:
        """F(v) = -b^T v - sum_k softplus(c_k + (W^T v)_k) in nats, so that log p(v) = -F(v) - log Z.

        Parameters
        ----------
        x : array_like of 0 and 1, (..., D)

        Returns
        -------
        ndarray, float64
            The shape of the leading axes.

        References
        ----------
        G. E. Hinton, "A practical guide to training restricted Boltzmann machines", UTML TR 2010-003,
        section 16.1.

        Examples
        --------
        >>> import fastvi
        >>> machine = fastvi.RestrictedBoltzmannMachine([[2.0, 0.0], [0.0, -1.0]], [0.0, 0.5], [0.0, 0.0])
        >>> (-machine.free_energy([[1, 1]]) - fastvi.log_partition(machine)).round(6)
        array([-0.848717])
        >>> fastvi.log_marginal(machine, [[1, 1]]).round(6)
        array([-0.848717])
        """
        pixels = validation.binary_array(x, "x", self.num_pixels)
        return free_energies(self, pixels.reshape(-1, self.num_pixels)).reshape(pixels.shape[:-1])

    @takes_rng
    def sample(self, num: int, seed: int | None = None, *, rng: np.random.Generator | None = None) -> Pairs:
        """Draw pairs exactly, by enumeration of all states of the smaller layer, at most 2^40.

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
        x : ndarray, (num, D), uint8

        Examples
        --------
        >>> import fastvi
        >>> machine = fastvi.RestrictedBoltzmannMachine([[2.0, 0.0], [0.0, -1.0]], [0.0, 0.5], [0.0, 0.0])
        >>> z, x = machine.sample(10000, seed=0)
        >>> x.mean(axis=0).round(1), z.mean(axis=0).round(1)
        (array([0.8, 0.5]), array([0.8, 0.4]))
        """
        num, seed = validation.positive_int(num, "num", 0), validation.seed(seed)
        check_draws(
            self, min(self.weights.shape),
            "draw approximately, by Gibbs sampling of one layer given the other",
        )  # fmt: skip
        # a stream apart from that of the enumerated layer
        generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(1,))))
        first = rules_of(self).sample_partition(num, seed)
        hidden_first = self.num_latents <= self.num_pixels
        weights = self.weights if hidden_first else self.weights.T
        bias = self.visible_bias if hidden_first else self.hidden_bias
        second = np.empty((num, bias.size), np.uint8)
        rows = max(1, BLOCK // bias.size)
        for start in range(0, num, rows):
            part = slice(start, start + rows)
            logits = np.einsum("si,ji->sj", first[part].astype(np.float64), weights) + bias
            second[part] = generator.random(logits.shape) < sigmoid(logits)
        return Pairs(first, second) if hidden_first else Pairs(second, first)


def free_energies(model: RestrictedBoltzmannMachine, rows: np.ndarray) -> np.ndarray:
    """F(x_n) (N,) of clean data (N, D), bits or numbers between 0 and 1."""
    out = np.empty(len(rows))
    for part in model.row_blocks(len(rows)):
        v = rows[part].astype(np.float64)
        fields = np.einsum("nj,jk->nk", v, model.weights) + model.hidden_bias
        # softplus(t) = -log_sigmoid(-t)
        out[part] = log_sigmoid(-fields).sum(axis=-1) - (v * model.visible_bias).sum(-1)
    return out
