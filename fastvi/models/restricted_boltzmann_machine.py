"""Binary pixels and binary latents, coupled to each other but not among themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastvi.core import validation
from fastvi.core.blocks import BLOCK, in_blocks
from fastvi.core.functions import log_sigmoid, sigmoid
from fastvi.engine.linalg.weighted_sums import weighted_sums
from fastvi.models.base import Pairs
from fastvi.models.enumerable import MAX_ENERGY, MAX_ENERGY_TEXT, NO_DATA, Enumerable


class RestrictedBoltzmannMachine(Enumerable):
    """p(v, h) proportional to exp(v^T W h + b^T v + c^T h), v in {0, 1}^D, h in {0, 1}^d.

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
    _data_by_terms = True

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

    def __repr__(self) -> str:
        return f"RestrictedBoltzmannMachine(num_pixels={self.num_pixels}, num_latents={self.num_latents})"

    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            "weights": self.weights,
            "visible_bias": self.visible_bias,
            "hidden_bias": self.hidden_bias,
        }

    @property
    def _sums_hidden(self) -> bool:
        """log Z sums over the smaller layer; the other one is analytic."""
        return self.num_latents <= self.num_pixels

    def _form(self, pixels: np.ndarray, dtype: str) -> Any:
        from fastvi.engine.states.softplus_form import softplus_sum_form

        return softplus_sum_form(
            self.weights[~pixels], self.visible_bias[~pixels], self.hidden_bias,
            self.weights[pixels], self.visible_bias[pixels], dtype=dtype,
        )  # fmt: skip

    def _memory(self, pixels: np.ndarray, dtype: str) -> Any:
        from fastvi.engine.memory.tiles import TileMemory

        seen = int(pixels.sum())
        return TileMemory.of(self.num_latents, self.num_pixels - seen, seen, dtype)

    def _target(self, pixels: np.ndarray, num_states: int, *, with_prior: bool = True) -> Any:
        from fastvi.engine.importance.softplus_target import ProductTarget
        from fastvi.engine.states.data_terms import BinaryData

        seen = np.ascontiguousarray(self.weights[pixels])
        data = BinaryData(seen, np.ascontiguousarray(self.visible_bias[pixels]), self.hidden_bias, 0.0)
        weights, bias = self.weights[~pixels], self.visible_bias[~pixels]
        return ProductTarget(weights, bias, 1.0, data, None, None, num_states)

    def _is_closed(self, pixels: np.ndarray) -> bool:
        # a sum over the unseen visible units costs each datum 2^unseen d terms, over the hidden ones 2^d
        unseen = int((~pixels).sum())
        return unseen + math.log2(self.num_latents) <= min(self.num_latents, 40)

    def _has_closed_gradient(self, pixels: np.ndarray) -> bool:
        return bool(pixels.all())

    def _closed_form(self, x: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        if pixels.all():
            return -self.free_energy(x)
        from fastvi.engine.posterior.log_sum import log_sums
        from fastvi.engine.run.runs import Run
        from fastvi.engine.states.softplus_form import softplus_sum_form

        # sum over v of exp(b . v + sum_k softplus(c_k + (W^T v)_k)), a form of its own for each datum
        none = np.empty((0, int((~pixels).sum()))), np.empty(0)
        weights, bias = self.weights[~pixels].T, self.visible_bias[~pixels]
        out = np.empty(len(x))
        for n, v in enumerate(x):
            fields = self.hidden_bias + self.weights[pixels][v == 1].sum(axis=0)
            form = softplus_sum_form(weights, fields, bias, *none)
            out[n] = log_sums(form, NO_DATA, Run())[0] + self.visible_bias[pixels][v == 1].sum()
        return out

    def _partition_form(self) -> Any:
        from fastvi.engine.states.softplus_form import softplus_sum_form

        none = np.empty((0, min(self.weights.shape))), np.empty(0)
        if self._sums_hidden:
            return softplus_sum_form(self.weights, self.visible_bias, self.hidden_bias, *none)
        return softplus_sum_form(self.weights.T, self.hidden_bias, self.visible_bias, *none)

    def _partition_memory(self) -> Any:
        from fastvi.engine.memory.tiles import TileMemory

        return TileMemory.of(min(self.weights.shape), max(self.weights.shape), 0)

    def _row_blocks(self, num_data: int) -> Iterator[slice]:
        """Data whose pixels and fields are kept at a time."""
        step = max(1, BLOCK // max(self.num_pixels, self.num_latents))
        for start in range(0, num_data, step):
            yield slice(start, start + step)

    def _closed_bytes(self, num_data: int, pixels: np.ndarray) -> int:
        if not pixels.all():  # a form for each datum in turn
            from fastvi.engine.memory.tiles import TileMemory

            form = TileMemory.of(int((~pixels).sum()), self.num_latents, 0)
            return 8 * num_data + max(form.making, form.tables + form.sums(1))
        # of free_energy: energies and their negative; pixels, fields and what becomes of these of a block
        rows = min(num_data, max(1, BLOCK // max(self.num_pixels, self.num_latents)))
        return 16 * num_data + 8 * rows * (2 * self.num_pixels + 5 * self.num_latents)

    def _gradient_bytes(self, num_data: int, pixels: np.ndarray) -> int:
        whole = super()._gradient_bytes(num_data, pixels)
        if not pixels.all():
            return whole
        rows = min(num_data, max(1, BLOCK // max(self.num_pixels, self.num_latents)))
        means = 8 * (num_data * self.num_latents + rows * (self.num_pixels + 5 * self.num_latents))
        return max(whole, means)

    def _no_gradient(self) -> dict[str, np.ndarray]:
        return {name: np.zeros_like(array) for name, array in self._arrays().items()}

    def _gradient(
        self, x: np.ndarray, data_weights: np.ndarray, pixels: np.ndarray, run: Any
    ) -> dict[str, np.ndarray]:
        out = self._no_gradient()
        if pixels.all():  # the hidden units are independent given all visible ones
            mean = np.empty((len(x), self.num_latents))
            for rows in self._row_blocks(len(x)):
                fields = np.einsum("nj,jk->nk", x[rows].astype(np.float64), self.weights)
                mean[rows] = sigmoid(fields + self.hidden_bias)
        else:
            from fastvi.engine.posterior.state_moments import state_moments

            found = state_moments(self._form(pixels, "float64"), x, data_weights, run)
            mean = found.mean
            out["weights"][~pixels] = found.values[:, :-1]
            out["visible_bias"][~pixels] = found.values[:, -1]
        out["weights"][pixels], out["visible_bias"][pixels] = weighted_sums(x, data_weights, mean)
        out["hidden_bias"] = (data_weights[:, None] * mean).sum(axis=0)
        return out

    def _partition_gradient(self, run: Any) -> dict[str, np.ndarray]:
        from fastvi.engine.posterior.state_moments import state_moments

        found = state_moments(self._partition_form(), NO_DATA, np.ones(1), run)
        weights, analytic, enumerated = found.values[:, :-1], found.values[:, -1], found.mean[0]
        if self._sums_hidden:
            return {"weights": weights, "visible_bias": analytic, "hidden_bias": enumerated}
        return {"weights": weights.T, "visible_bias": enumerated, "hidden_bias": analytic}

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
        """
        pixels = validation.binary_array(x, "x", self.num_pixels)
        rows = pixels.reshape(-1, self.num_pixels)
        out = np.empty(len(rows))
        for part in self._row_blocks(len(rows)):
            v = rows[part].astype(np.float64)
            fields = np.einsum("nj,jk->nk", v, self.weights) + self.hidden_bias
            # softplus(t) = -log_sigmoid(-t)
            out[part] = log_sigmoid(-fields).sum(axis=-1) - (v * self.visible_bias).sum(-1)
        return out.reshape(pixels.shape[:-1])

    def sample(self, num: int, seed: int) -> Pairs:
        """Draw pairs exactly, by enumeration of all states of the smaller layer, at most 2^40.

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
        x : ndarray, (num, D), uint8
        """
        num, seed = validation.positive_int(num, "num", 0), validation.seed(seed)
        from fastvi.engine.posterior.samples import sample_form
        from fastvi.inputs.requests import check_draws

        check_draws(
            self, min(self.weights.shape),
            "draw approximately, by Gibbs sampling of one layer given the other",
        )  # fmt: skip
        # a stream apart from that of the enumerated layer
        generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(1,))))
        first = sample_form(self._partition_form(), num, seed)
        hidden_first = self._sums_hidden
        weights = self.weights if hidden_first else self.weights.T
        bias = self.visible_bias if hidden_first else self.hidden_bias
        second = np.empty((num, bias.size), np.uint8)
        rows = max(1, BLOCK // bias.size)
        for start in range(0, num, rows):
            part = slice(start, start + rows)
            logits = np.einsum("si,ji->sj", first[part].astype(np.float64), weights) + bias
            second[part] = generator.random(logits.shape) < sigmoid(logits)
        return Pairs(first, second) if hidden_first else Pairs(second, first)
