"""Binary units with pairwise couplings, every one of them latent until it is observed."""

from __future__ import annotations

import os
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from fastvi.core import validation
from fastvi.core.blocks import BLOCK, in_blocks
from fastvi.core.limits import MAX_STATES, check_draws
from fastvi.core.registry import rules_of
from fastvi.core.seeds import takes_rng
from fastvi.formats.quadratic import Quadratic, bqm_log_weight, bqm_of, ising_log_weight
from fastvi.formats.uai import read_uai
from fastvi.models.base import LatentVariableModel, Pairs
from fastvi.models.energies import MAX_ENERGY, MAX_ENERGY_TEXT


class BoltzmannMachine(LatentVariableModel):
    """Boltzmann machine: binary units that are coupled in pairs.

        p(z) proportional to exp(c + z^T J z / 2 + h^T z), z in {0, 1}^d, J = couplings, h = bias.

    Since J is symmetric with a zero diagonal, and z_i z_j is 1 only where both units are on,

        log p(z) = c + sum_{i < j} J_ij z_i z_j + sum_i h_i z_i - log Z,

    with log Z the logarithm of the sum of exp of the rest over all z. The constant c is part of the
    unnormalised log weights, and so of log Z; log p(z) does not depend on it. Any unit can be observed: the
    model has as many pixels as latents, and x is a copy of z.

    Parameters
    ----------
    couplings : array_like, (d, d)
        J, symmetric with a zero diagonal, d >= 1. Entries are finite, or -inf where two units must not be on
        together (a hard constraint).
    bias : array_like, (d,)
        h, finite.
    constant : float
        c in nats, finite: what a model from elsewhere has in each energy. It is no parameter that is learned.

    Attributes
    ----------
    couplings, bias : ndarray, float64, read-only
    constant : float
    num_units, num_latents, num_pixels : int
        All three are d.

    Raises
    ------
    ValueError, TypeError
        For shapes that do not fit, for couplings that are NaN, +inf or not symmetric, for a diagonal that is
        not 0, for a bias or a constant that is not finite, and where the finite |values| have a sum above
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
    >>> machine.num_units, machine.num_latents, machine.num_pixels
    (3, 3, 3)
    """

    couplings: np.ndarray
    bias: np.ndarray
    constant: float
    num_units: int
    num_latents: int
    num_pixels: int

    def __init__(self, couplings: ArrayLike, bias: ArrayLike, constant: float = 0.0) -> None:
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
            constant=validation.finite_float(constant, "constant"),
            num_units=num_units,
            num_latents=num_units,
            num_pixels=num_units,
        )

    @classmethod
    def from_ising(cls, h: Any, J: Any, beta: float = 1.0, offset: float = 0.0) -> Self:  # noqa: N803 (dimod's)
        """Machine of an Ising model: p(s) proportional to exp(-beta E(s)), s in {-1, +1}^d.

        E(s) = offset + sum_i h_i s_i + sum_{i < j} J_ij s_i s_j. Units are z = (s + 1) / 2.

        Parameters
        ----------
        h : array_like (d,), or dict of numbers
            A dict's variables are units in its order, then those that only J names.
        J : dict of numbers, or array_like (d, d)
            Keys are pairs (i, j); (i, j) and (j, i) add up. A matrix is symmetric, or triangular, which means
            the same; its diagonal is 0.
        beta
            Inverse temperature, finite, above 0.
        offset
            Finite; it becomes ``constant``.

        Raises
        ------
        ValueError, TypeError
            For values that are not finite, other shapes and keys, and more than 4096 variables.

        Examples
        --------
        >>> import fastvi
        >>> round(fastvi.log_partition(fastvi.BoltzmannMachine.from_ising([0.5, 0.0], {(0, 1): -1.0})), 6)
        1.94019
        """
        return cls(*ising_log_weight(h, J, beta, offset))

    @classmethod
    def from_bqm(cls, bqm: Any, beta: float = 1.0) -> Self:
        """Machine of a ``dimod.BinaryQuadraticModel``, SPIN or BINARY: p proportional to exp(-beta E).

        Parameters
        ----------
        bqm
            Any object with its ``variables``, ``linear``, ``quadratic``, ``offset`` and ``vartype``. Units
            are in the order of ``variables``, whose names are not kept; spin -1 is a unit that is off.
        beta
            Inverse temperature, finite, above 0.

        Raises
        ------
        ValueError, TypeError
            For another object, values that are not finite, and more than 4096 variables.

        Examples
        --------
        >>> import fastvi
        >>> from dimod import BinaryQuadraticModel  # doctest: +SKIP
        >>> problem = BinaryQuadraticModel.from_ising({"a": 0.5}, {("a", "b"): -1.0})  # doctest: +SKIP
        >>> machine = fastvi.BoltzmannMachine.from_bqm(problem, beta=2.0)  # doctest: +SKIP
        >>> round(fastvi.log_partition(machine), 6)  # doctest: +SKIP
        3.145078
        """
        return cls(*bqm_log_weight(bqm, beta))

    @classmethod
    def from_uai(cls, path: str | os.PathLike[str]) -> Self:
        """Machine of a .uai file: kind MARKOV, binary variables, factors over one or two of them.

        p(z) is the product of the factors over its sum; ``log_partition`` is that sum's logarithm.

        Parameters
        ----------
        path
            The file. Entries are at least 0. A 0 where both variables of a pair are 1 becomes a coupling of
            -inf; any other 0 would need a bias of -inf and is refused.

        Raises
        ------
        ValueError
            For any other kind, cardinality or scope, a file that is cut short or goes on, and more than 4096
            variables.
        OSError
            Where the file cannot be opened.

        Examples
        --------
        Two variables, a factor of one and a factor of both:

        >>> import math, pathlib, tempfile
        >>> import fastvi
        >>> text = "MARKOV 2 2 2 2  1 0  2 0 1  2 1.0 3.0  4 2.0 1.0 1.0 2.0"
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "pair.uai")
        ...     _ = path.write_text(text)
        ...     machine = fastvi.BoltzmannMachine.from_uai(path)
        >>> round(math.exp(fastvi.log_partition(machine)), 6)
        12.0
        """
        return cls(*read_uai(path))

    def to_bqm(self, vartype: str = "BINARY") -> Any:
        """Return the ``dimod.BinaryQuadraticModel`` whose energy is minus the unnormalised log weight.

        Parameters
        ----------
        vartype
            "BINARY", or "SPIN" for spins 2 z - 1. Variables are the numbers 0 ... d - 1.

        Raises
        ------
        ImportError
            Where dimod is not installed.
        ValueError, TypeError
            For another ``vartype``, and couplings of -inf, which an energy cannot have.

        Examples
        --------
        >>> import fastvi
        >>> machine = fastvi.BoltzmannMachine([[0.0, 2.0], [2.0, 0.0]], [0.5, -1.0])
        >>> float(machine.to_bqm().energy({0: 1, 1: 1}))  # doctest: +SKIP
        -1.5
        >>> float(-machine.log_joint(None, [1, 1]))
        -1.5
        """
        return bqm_of(Quadratic(self.couplings, self.bias, self.constant), vartype)

    def __repr__(self) -> str:
        return f"BoltzmannMachine(num_units={self.num_units})"

    def arrays(self) -> dict[str, np.ndarray]:
        arrays = {"couplings": self.couplings, "bias": self.bias}
        # left out where it is 0: files and digests are those of machines that had none
        return {**arrays, "constant": np.array(self.constant)} if self.constant else arrays

    def log_joint(self, x: ArrayLike | None, z: ArrayLike) -> np.ndarray:
        """The unnormalised log p~(z) = c + z^T J z / 2 + h^T z in nats; log Z is not subtracted.

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

        Examples
        --------
        Differences are log ratios of probabilities; log p(z) takes log Z as well:

        >>> import fastvi
        >>> machine = fastvi.BoltzmannMachine([[0.0, 2.0], [2.0, 0.0]], [0.5, -1.0])
        >>> machine.log_joint(None, [[0, 0], [1, 1]])
        array([0. , 1.5])
        >>> round(float(machine.log_joint(None, [1, 1])) - fastvi.log_partition(machine), 6)
        -0.514675
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
        """Log p~ of each row of z, (S,). Not by BLAS: its last bits depend on the number of threads."""
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
        if self.constant:
            out += self.constant
        return out

    def check_draws(self) -> None:
        """Refuse to draw where that takes too many states."""
        bits = self.num_units
        if 1 << bits > MAX_STATES:  # few couplings may take fewer terms
            bits = min(bits, rules_of(self).draw_bits)
        check_draws(self, bits, (
            "draw approximately, by Gibbs sampling, or give some units to exact_posterior as observed: its "
            "sample draws the others"
        ))  # fmt: skip

    @takes_rng
    def sample(self, num: int, seed: int | None = None, *, rng: np.random.Generator | None = None) -> Pairs:
        """Draw states exactly.

        Where few couplings make elimination cheaper than to go through all 2^d states, units are drawn one
        after the other. What takes more than 2^40 states or terms is refused.

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
        x : ndarray, (num, d), uint8
            A copy of z.

        Examples
        --------
        >>> import fastvi
        >>> machine = fastvi.BoltzmannMachine([[0.0, 2.0], [2.0, 0.0]], [0.5, -1.0])
        >>> machine.sample(10000, seed=0).z.mean(axis=0).round(1)
        array([0.8, 0.6])
        >>> fastvi.exact_posterior(machine).mean.round(1)
        array([[0.8, 0.6]])
        """
        num, seed = validation.positive_int(num, "num", 0), validation.seed(seed)
        self.check_draws()
        z = rules_of(self).sample_partition(num, seed)
        return Pairs(z, z.copy())


def _finite_part(couplings: np.ndarray) -> np.ndarray:
    """``couplings`` with 0 in place of -inf."""
    return np.where(np.isneginf(couplings), 0.0, couplings)


def _exclude_differences(x: np.ndarray, z: np.ndarray, out: np.ndarray) -> None:
    """-inf to ``out`` where x is not z."""
    out[(x != z).any(axis=-1)] = -np.inf
