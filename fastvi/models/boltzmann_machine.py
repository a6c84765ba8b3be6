"""Binary units with pairwise couplings, every one of them latent until it is observed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastvi.core import validation
from fastvi.core.blocks import BLOCK, in_blocks
from fastvi.models.base import Pairs
from fastvi.models.enumerable import MAX_ENERGY, MAX_ENERGY_TEXT, NO_DATA, Enumerable


class BoltzmannMachine(Enumerable):
    """p(z) proportional to exp(z^T J z / 2 + h^T z), z in {0, 1}^d, J = couplings, h = bias.

    Since J is symmetric with a zero diagonal, and z_i z_j is 1 only where both units are on,

        log p(z) = sum_{i < j} J_ij z_i z_j + sum_i h_i z_i - log Z,

    with log Z the logarithm of the sum of exp of the rest over all z. Any unit can be observed: the model has
    as many pixels as latents, and x is a copy of z.

    Parameters
    ----------
    couplings : array_like, (d, d)
        J, symmetric with a zero diagonal, d >= 1. Entries are finite, or -inf where two units must not be on
        together (a hard constraint).
    bias : array_like, (d,)
        h, finite.

    Attributes
    ----------
    couplings, bias : ndarray, float64, read-only
    num_units, num_latents, num_pixels : int
        All three are d.

    Raises
    ------
    ValueError, TypeError
        For shapes that do not fit, for couplings that are NaN, +inf or not symmetric, for a diagonal that is
        not 0, for a bias that is not finite, and where the finite |values| have a sum above
        1e8: energies are summed in float64, which leaves 1e-6 nats up to there.

    References
    ----------
    D. H. Ackley, G. E. Hinton and T. J. Sejnowski, "A learning algorithm for Boltzmann machines", Cognitive
    Science 9 (1985), section 2.

    Examples
    --------
    The second and the third unit exclude each other:

    >>> import fastvi
    >>> never = -float("inf")
    >>> machine = fastvi.BoltzmannMachine([[0, 2, 0], [2, 0, never], [0, never, 0]], [0.5, -1.0, 0.0])
    >>> machine.log_joint(None, [[1, 1, 0], [0, 1, 1]])
    array([ 1.5, -inf])
    """

    couplings: np.ndarray
    bias: np.ndarray
    num_units: int
    num_latents: int
    _has_expectations = True
    num_pixels: int

    def __init__(self, couplings: ArrayLike, bias: ArrayLike) -> None:
        pairs = validation.float_array(couplings, "couplings", ndim=2, allow_infinite=True)
        num_units = pairs.shape[0]
        if num_units < 1 or pairs.shape[1] != num_units:
            raise ValueError(
                f"couplings must have shape (num_units >= 1, num_units), got shape {pairs.shape}"
            )
        validation.require(pairs, pairs < np.inf, "couplings must be finite or -inf")
        validation.require(
            pairs, (pairs == 0) | ~np.eye(num_units, dtype=bool), "couplings must have a diagonal of 0"
        )
        different = np.argwhere(pairs != pairs.T)
        if len(different):
            i, j = (int(index) for index in different[0])
            raise ValueError(
                f"couplings must be symmetric, got {pairs[i, j]} at index {(i, j)} and {pairs[j, i]} at "
                f"index {(j, i)}"
            )
        h = validation.float_array(bias, "bias", ndim=1, shape=(num_units,))
        with np.errstate(over="ignore"):
            reach = np.abs(_finite_part(pairs)).sum() + np.abs(h).sum()
        validation.require(
            reach, np.isfinite(reach), "couplings and bias must keep the sum of their finite |values| finite"
        )
        validation.require(
            reach, reach <= MAX_ENERGY,
            f"couplings and bias must have a sum of finite |values| {MAX_ENERGY_TEXT} (couplings of -inf "
            "exclude pairs)",
        )  # fmt: skip
        self._set(
            couplings=validation.frozen_array(pairs),
            bias=validation.frozen_array(h),
            num_units=num_units,
            num_latents=num_units,
            num_pixels=num_units,
        )

    def __repr__(self) -> str:
        return f"BoltzmannMachine(num_units={self.num_units})"

    def _arrays(self) -> dict[str, np.ndarray]:
        return {"couplings": self.couplings, "bias": self.bias}

    _may_lack_data = True
    _data_by_terms = True

    def _check_data(self, x: Any, observed: Any) -> tuple[np.ndarray, np.ndarray | None]:
        if x is None:
            if observed is not None:
                raise TypeError("x must be an array of 0 and 1 where observed is given, got None")
            return np.zeros((1, self.num_units), np.uint8), np.zeros(self.num_units, bool)
        return super()._check_data(x, observed)

    def _free(self, pixels: np.ndarray) -> np.ndarray:
        return np.flatnonzero(~pixels)

    def _form(self, pixels: np.ndarray, dtype: str) -> Any:
        from fastvi.engine.states.pair_form import boltzmann_form

        return boltzmann_form(self.couplings, self.bias, pixels)

    def _memory(self, pixels: np.ndarray, dtype: str) -> Any:
        from fastvi.engine.memory.pairs import PairMemory

        seen = int(pixels.sum())
        return PairMemory.of(self.num_units - seen, seen, 1)

    def _target(self, pixels: np.ndarray, num_states: int, *, with_prior: bool = True) -> Any:
        from fastvi.engine.importance.pair_target import PairTarget
        from fastvi.engine.states.pair_form import boltzmann_parts

        return PairTarget(boltzmann_parts(self.couplings, self.bias, pixels))

    def _expected_joint(self, x: np.ndarray, pixels: np.ndarray, logits: np.ndarray) -> np.ndarray:
        from fastvi.engine.expectation.elbo_gradient import expected_log_joint
        from fastvi.engine.states.pair_form import boltzmann_parts

        return expected_log_joint(boltzmann_parts(self.couplings, self.bias, pixels), x, logits).value

    def _is_closed(self, pixels: np.ndarray) -> bool:
        return bool(pixels.all())

    _has_closed_gradient = _is_closed

    def _closed_form(self, x: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        return np.asarray(self._form(pixels, "float64").data.terms(x).constant)

    def _partition_form(self) -> Any:
        return self._form(np.zeros(self.num_units, bool), "float64")

    def _partition_memory(self) -> Any:
        return self._memory(np.zeros(self.num_units, bool), "float64")

    def _closed_bytes(self, num_data: int, pixels: np.ndarray) -> int:
        form = self._memory(pixels, "float64")
        return form.making + 2 * form.terms(num_data)

    def _gradient_bytes(self, num_data: int, pixels: np.ndarray) -> int:
        # means of all units, of those that are free in two orders, weighted; of those that are seen, weighted
        return 8 * num_data * (4 * self.num_units + int(pixels.sum()))

    def _no_gradient(self) -> dict[str, np.ndarray]:
        return {"couplings": np.zeros_like(self.couplings), "bias": np.zeros_like(self.bias)}

    def _gradient(
        self, x: np.ndarray, data_weights: np.ndarray, pixels: np.ndarray, run: Any
    ) -> dict[str, np.ndarray]:
        from fastvi.engine.posterior.state_moments import state_moments

        free = ~pixels
        moments = np.zeros((self.num_units, self.num_units))
        means = np.empty((len(x), self.num_units))
        means[:, pixels] = x
        if free.any():
            found = state_moments(self._form(pixels, "float64"), x, data_weights, run)
            means[:, free] = found.mean
            moments[np.ix_(free, free)] = found.values
        else:  # what is impossible has no gradient
            means[np.isneginf(self._unnormalized(x)) & (data_weights != 0.0)] = np.nan
        # einsum, not BLAS, so that the bits of a result do not depend on threads
        seen = means[:, pixels] * data_weights[:, None]
        moments[pixels] = np.einsum("ni,nj->ij", seen, means)
        moments[:, pixels] = moments[pixels].T
        np.fill_diagonal(moments, 0.0)
        # E[z_i z_j] and E[z_j z_i] are added in other orders; couplings that climb it have to stay symmetric
        moments = 0.5 * (moments + moments.T)
        # exp(z^T J z / 2): an entry of J stands for half of its pair
        return {"couplings": 0.5 * moments, "bias": (means * data_weights[:, None]).sum(axis=0)}

    def _partition_gradient(self, run: Any) -> dict[str, np.ndarray]:
        return self._gradient(NO_DATA, np.ones(1), np.zeros(self.num_units, bool), run)

    def log_joint(self, x: ArrayLike | None, z: ArrayLike) -> np.ndarray:
        """The unnormalised log p~(z) = z^T J z / 2 + h^T z in nats; log Z is not subtracted.

        Every unit is a latent until it is observed, so x is a copy of z.

        Parameters
        ----------
        x : array_like of 0 and 1, (..., d), or None
            None leaves the copy out.
        z : array_like of 0 and 1, (..., d)
            The leading axes of x and z broadcast as in NumPy.

        Returns
        -------
        ndarray, float64
            The broadcast shape of the leading axes. -inf where x differs from z, and where two units are on
            that exclude each other.
        """
        states = validation.binary_array(z, "z", self.num_units)
        values = self._unnormalized(states.reshape(-1, self.num_units)).reshape(states.shape[:-1])
        if x is None:
            return values
        copies = validation.binary_array(x, "x", self.num_units)
        shape = validation.broadcasting("x[..., 0]", copies.shape[:-1], "z[..., 0]", states.shape[:-1])
        out = np.broadcast_to(values, shape).copy()
        in_blocks(_exclude_differences, copies, states, out, self.num_units, BLOCK)
        return out

    def _unnormalized(self, z: np.ndarray) -> np.ndarray:
        """log p~ of each row of z, (S,). Not by BLAS: its last bits depend on the number of threads."""
        # each pair once; 0 * -inf is NaN, so pairs that exclude each other are counted apart
        below = np.tril(_finite_part(self.couplings))
        exclusive = np.tril(np.isneginf(self.couplings)).astype(np.float64)
        any_exclusive = bool(exclusive.any())
        out = np.empty(len(z))
        rows = max(1, BLOCK // self.num_units)
        for start in range(0, len(z), rows):
            block = z[start : start + rows].astype(np.float64)
            fields = np.einsum("si,ji->sj", block, below) + self.bias
            out[start : start + rows] = (block * fields).sum(axis=-1)
            if any_exclusive:
                clashes = (block * np.einsum("si,ji->sj", block, exclusive)).any(axis=-1)
                out[start : start + rows][clashes] = -np.inf
        return out

    def _check_draws(self) -> None:
        from fastvi.inputs.requests import check_draws

        check_draws(self, self.num_units, (
            "draw approximately, by Gibbs sampling, or give some units to exact_posterior as observed: its "
            "sample draws the others"
        ))  # fmt: skip

    def sample(self, num: int, seed: int) -> Pairs:
        """Draw states exactly, by enumeration of all 2^d, at most 2^40.

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
        x : ndarray, (num, d), uint8
            A copy of z.
        """
        num, seed = validation.positive_int(num, "num", 0), validation.seed(seed)
        self._check_draws()
        from fastvi.engine.posterior.samples import sample_form

        z = sample_form(self._partition_form(), num, seed)
        return Pairs(z, z.copy())


def _finite_part(couplings: np.ndarray) -> np.ndarray:
    """``couplings`` with 0 in place of -inf."""
    return np.where(np.isneginf(couplings), 0.0, couplings)


def _exclude_differences(x: np.ndarray, z: np.ndarray, out: np.ndarray) -> None:
    """-inf to ``out`` where x is not z."""
    out[(x != z).any(axis=-1)] = -np.inf
