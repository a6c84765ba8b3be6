"""A joint distribution of two discrete variables, given as a table."""

from __future__ import annotations

import math
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from fastvi.core import validation
from fastvi.core.seeds import takes_rng
from fastvi.models.base import Model, Pairs

_TOTAL_TOLERANCE = 1e-9


class JointTable(Model):
    """Table of p(x, z) of two discrete variables: x is one of ``num_x`` values, z one of ``num_z``.

    Parameters
    ----------
    probabilities : array_like, (num_x, num_z)
        Finite entries >= 0, taken as given and never rescaled.
    unnormalized
        False: the total must be 1 within 1e-9. True: any total > 0 will do, and all logarithms are those of
        the entries as they stand.

    Attributes
    ----------
    probabilities : ndarray, (num_x, num_z), float64, read-only
    num_x, num_z : int
    total : float
        Sum of all entries, correctly rounded.
    unnormalized : bool

    Raises
    ------
    ValueError
        For entries that are negative, infinite or NaN, for a total of 0, and for a total other than 1 that
        was not asked for.

    Examples
    --------
    A textbook's table of eye colours (brown, blue, green) against eight nationalities. As printed, its rows
    sum to 0.19, 0.37 and 0.43, and in all to 0.99; the lecture that shows it prints 0.44 for green and 1.00
    in all, which is a rounding. The entries are kept as they are printed, so the table has to be declared
    unnormalized:

    >>> import fastvi
    >>> eyes = [
    ...     [0.02, 0.03, 0.02, 0.01, 0.07, 0.03, 0.01, 0.00],
    ...     [0.09, 0.01, 0.03, 0.03, 0.08, 0.04, 0.03, 0.06],
    ...     [0.01, 0.01, 0.08, 0.06, 0.07, 0.08, 0.06, 0.06],
    ... ]
    >>> fastvi.JointTable(eyes)
    Traceback (most recent call last):
        ...
    ValueError: probabilities must sum to 1 within 1e-09, got a total of 0.99: use unnormalized=True
    >>> table = fastvi.JointTable(eyes, unnormalized=True)
    >>> table.num_x, table.num_z, table.total
    (3, 8, 0.99)
    >>> table.probabilities.sum(axis=1).round(2)
    array([0.19, 0.37, 0.43])
    >>> import numpy as np
    >>> np.exp(fastvi.log_marginal(table)).round(2)
    array([0.19, 0.37, 0.43])
    >>> table.log_joint([0, 0], [4, 7])
    array([-2.65926004,        -inf])

    Nationality given eye colour, and the ELBO of a q that does not look at the eyes:

    >>> fastvi.exact_posterior(table, [0, 1]).probabilities.round(2)
    array([[0.11, 0.16, 0.11, 0.05, 0.37, 0.16, 0.05, 0.  ],
           [0.24, 0.03, 0.08, 0.08, 0.22, 0.11, 0.08, 0.16]])
    >>> q = fastvi.Categorical(np.log(table.probabilities.sum(axis=0)))
    >>> bound = fastvi.elbo(table, [1, 2], q)
    >>> bound.value.round(3), fastvi.kl_to_posterior(table, [1, 2], q).round(3)
    (array([-1.071, -0.993]), array([0.077, 0.149]))
    >>> bool(np.allclose(bound.reconstruction - bound.kl_to_prior, bound.expected_log_joint + bound.entropy))
    True
    """

    probabilities: np.ndarray
    num_x: int
    num_z: int
    total: float
    unnormalized: bool

    def __init__(self, probabilities: ArrayLike, *, unnormalized: bool = False) -> None:
        table = validation.float_array(probabilities, "probabilities", ndim=2)
        unnormalized = validation.flag(unnormalized, "unnormalized")
        validation.require(table, table >= 0, "probabilities must be >= 0")
        try:
            total = math.fsum(table.ravel())
        except OverflowError:
            total = math.inf
        if not 0 < total < math.inf:
            raise ValueError(
                f"probabilities must have a finite total > 0, got a total of {total} in shape {table.shape}"
            )
        if not unnormalized and abs(total - 1) > _TOTAL_TOLERANCE:
            raise ValueError(
                f"probabilities must sum to 1 within {_TOTAL_TOLERANCE}, got a total of {total}: "
                "use unnormalized=True"
            )
        num_x, num_z = table.shape
        self._set(
            probabilities=validation.frozen_array(table),
            num_x=num_x,
            num_z=num_z,
            total=total,
            unnormalized=unnormalized,
        )

    def __repr__(self) -> str:
        return f"JointTable(num_x={self.num_x}, num_z={self.num_z}, total={self.total})"

    def arrays(self) -> dict[str, np.ndarray]:
        return {"probabilities": self.probabilities, "unnormalized": np.array(self.unnormalized)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Self:
        return cls(
            arrays["probabilities"], unnormalized=validation.flag(arrays["unnormalized"][()], "unnormalized")
        )

    def log_joint(self, x: ArrayLike, z: ArrayLike) -> np.ndarray:
        """Log of the entry at (x, z), as given, in nats.

        Parameters
        ----------
        x, z : array_like of integers
            0 <= x < num_x and 0 <= z < num_z; their shapes broadcast (``x[:, None]`` and ``z[None]`` give all
            pairs).

        Returns
        -------
        ndarray, float64
            The broadcast shape; -inf where the entry is 0.

        Examples
        --------
        Whole rows of the table, x by z:

        >>> import fastvi, numpy
        >>> table = fastvi.JointTable([[0.1, 0.3], [0.6, 0.0]])
        >>> numpy.exp(table.log_joint([[0], [1]], [0, 1])).round(6)
        array([[0.1, 0.3],
               [0.6, 0. ]])
        """
        rows = validation.index_array(x, "x", self.num_x)
        columns = validation.index_array(z, "z", self.num_z)
        validation.broadcasting("x", rows.shape, "z", columns.shape)
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.probabilities[rows, columns]))

    @takes_rng
    def sample(self, num: int, seed: int | None = None, *, rng: np.random.Generator | None = None) -> Pairs:
        """Draw pairs in proportion to the entries.

        Parameters
        ----------
        num
            Number of pairs, at least 0.
        seed
            0 <= seed < 2**64; the draws are a pure function of it.
        rng
            A generator that gives the seed, in place of ``seed``.

        Returns
        -------
        A named tuple of

        z, x : ndarray, (num,), int64

        Examples
        --------
        >>> import fastvi, numpy
        >>> z, x = fastvi.JointTable([[0.1, 0.3], [0.6, 0.0]]).sample(10000, seed=0)
        >>> (numpy.bincount(2 * x + z, minlength=4) / 10000).round(1)
        array([0.1, 0.3, 0.6, 0. ])
        """
        num = validation.positive_int(num, "num", 0)
        generator = np.random.Generator(np.random.Philox(key=validation.seed(seed)))
        cumulative = np.cumsum(self.probabilities)
        # divided by its last entry it ends in exactly 1, above every uniform draw; side="right" skips
        # entries of 0
        state = np.searchsorted(cumulative / cumulative[-1], generator.random(num), side="right")
        x, z = np.divmod(state.astype(np.int64), self.num_z)
        return Pairs(z, x)
