"""The exact posterior p(z | x) of a table."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from fastvi.core import validation
from fastvi.core.results import PerDatum
from fastvi.core.seeds import takes_rng
from fastvi.distributions.categorical import Categorical, entropies
from fastvi.engine.importance.proposals import CategoryDraws
from fastvi.inputs.options import Options
from fastvi.rules.joint_table import JointTableRules


@dataclass(frozen=True, eq=False)
class TablePosterior(PerDatum):
    """Exact posteriors of N data over the values of a table's latent, 0 to num_z - 1.

    ``len(posterior)`` is N; ``posterior[2:5]`` and ``posterior[mask]`` are the posteriors of some data,
    ``posterior[3]`` that of one. A datum keeps its number for draws: ``posterior[3].sample(num, seed)`` is
    ``posterior.sample(num, seed)[:, 3:4]``. What is said of a datum is NaN where p(x_n) is 0, and its mode
    is then 0.

    Attributes
    ----------
    log_marginal : ndarray, (N,)
        log p(x_n) in nats, that of entries as they stand.
    log_probs : ndarray, (N, num_z)
        log p(z | x_n) of every z in nats.

    Examples
    --------
    >>> import fastvi
    >>> table = fastvi.JointTable([[0.1, 0.3], [0.6, 0.0]])
    >>> posterior = fastvi.exact_posterior(table, [0, 1], top_k=1)
    >>> posterior.probabilities.round(3), posterior.log_probs.round(3)
    (array([[0.25, 0.75],
           [1.  , 0.  ]]), array([[-1.386, -0.288],
           [ 0.   ,   -inf]]))
    >>> posterior.log_marginal.round(3), posterior.entropy.round(3)
    (array([-0.916, -0.511]), array([0.562, 0.   ]))
    >>> posterior.mode, posterior.mode_log_prob.round(3)
    (array([1, 0]), array([-0.288,  0.   ]))
    >>> posterior.top_states.tolist(), posterior.top_log_probs.round(3).tolist()
    ([[1], [0]], [[-0.288], [0.0]])

    As the q of a bound it leaves no gap:

    >>> (fastvi.log_marginal(table) - fastvi.elbo(table, [0, 1], posterior.distribution).value).round(9)
    array([0., 0.])
    """

    log_marginal: np.ndarray
    log_probs: np.ndarray
    _top_k: int = field(repr=False)
    _numbers: np.ndarray = field(repr=False)  # (N,) by which draws are keyed

    _axes: ClassVar = {
        "probabilities": ("category",),
        "top_states": ("rank",),
        "top_log_probs": ("rank",),
    }

    def _columns(self) -> dict[str, Any]:
        names = ["log_marginal", "probabilities", "entropy", "mode", "mode_log_prob"]
        names += ["top_states", "top_log_probs"] if self._top_k else []
        return {name: getattr(self, name) for name in names}

    @property
    def probabilities(self) -> np.ndarray:
        """The probability p(z | x_n) of every z, (N, num_z)."""
        return np.exp(self.log_probs)

    @cached_property
    def distribution(self) -> Categorical:
        """Return the posteriors as a distribution, for what takes a q; refused where some p(x_n) is 0."""
        self._refuse_impossible("for its posterior to be a distribution")
        return Categorical(self.log_probs)

    @cached_property
    def entropy(self) -> np.ndarray:
        """H(p(z | x_n)) in nats, (N,)."""
        return entropies(self.log_probs)

    @cached_property
    def top_states(self) -> np.ndarray:
        """The k most probable z in descending order, of equal ones the first, (N, k) int64."""
        order = np.argsort(-self.log_probs, axis=-1, kind="stable")
        return order[:, : self._top_k].astype(np.int64)

    @property
    def top_log_probs(self) -> np.ndarray:
        """Log p(z | x_n) of the k most probable states, (N, k)."""
        return np.take_along_axis(self.log_probs, self.top_states, axis=-1)

    @property
    def mode(self) -> np.ndarray:
        """Most probable z of each datum, of equal ones the first, (N,) int64."""
        return self.log_probs.argmax(axis=-1).astype(np.int64)

    @property
    def mode_log_prob(self) -> np.ndarray:
        """Log p(mode | x_n), (N,)."""
        return np.take_along_axis(self.log_probs, self.mode[:, None], axis=-1)[:, 0]

    def __repr__(self) -> str:
        num_data, num_z = self.log_probs.shape
        mean = f", mean log_marginal={self.log_marginal.mean():.6g}" if num_data else ""
        return f"TablePosterior(num_data={num_data}, num_z={num_z}{mean})"

    def log_prob(self, z: ArrayLike) -> np.ndarray:
        """Log p(z | x_n) of given z.

        Parameters
        ----------
        z : array_like of integers in 0 ... num_z - 1, (..., N)
            As :meth:`sample` gives them. With 1 in place of N, or without axes, a z serves all data.

        Returns
        -------
        ndarray, (..., N), float64
            NaN where p(x_n) is 0.

        Examples
        --------
        >>> import fastvi, numpy
        >>> posterior = fastvi.exact_posterior(fastvi.JointTable([[0.1, 0.3], [0.6, 0.0]]))
        >>> numpy.exp(posterior.log_prob([[0], [1]])).round(3)  # states by data
        array([[0.25, 1.  ],
               [0.75, 0.  ]])
        """
        num_data, num_z = self.log_probs.shape
        categories = validation.index_array(z, "z", num_z)
        validation.for_each_datum(categories.shape, "z", num_data)
        return np.asarray(self.log_probs[np.arange(num_data), categories])

    @takes_rng
    def sample(
        self, num: int, seed: int | None = None, *, rng: np.random.Generator | None = None
    ) -> np.ndarray:
        """Exact, independent draws from p(z | x_n).

        Parameters
        ----------
        num
            Draws for each datum, at least 0.
        seed
            0 <= seed < 2**64. Draw k of datum n depends on (seed, n, k) and the posterior alone. The draws
            are those of ``distribution.sample``.
        rng
            A generator that gives the seed, in place of ``seed``.

        Returns
        -------
        ndarray, (num, N), int64

        Raises
        ------
        ValueError, TypeError
            For wrong input, and where p(x_n) is 0: nothing can then be drawn.

        Examples
        --------
        >>> import fastvi
        >>> posterior = fastvi.exact_posterior(fastvi.JointTable([[0.1, 0.3], [0.6, 0.0]]))
        >>> posterior.sample(100000, seed=0).mean(axis=0).round(2)
        array([0.75, 0.  ])
        """
        num, seed = validation.positive_int(num, "num", 0), validation.seed(seed)
        self._refuse_impossible("for its posterior to be drawn from")
        out, draws = np.empty((num, len(self)), np.int64), CategoryDraws(self.probabilities, seed)
        for n, number in enumerate(self._numbers.tolist()):
            out[:, n] = draws.draw(n, number, 0, num)
        return out

    def _refuse_impossible(self, why: str) -> None:
        impossible = np.isneginf(self.log_marginal)
        if impossible.any():
            raise ValueError(
                f"x must have a positive probability {why}, got 0 at index {impossible.argmax()}"
            )


def posterior_of_table(
    rules: JointTableRules, x: Any, observed: Any, options: Options, top_k: int, pairwise: bool
) -> TablePosterior:
    """Return p(z | x); every argument but ``top_k`` and ``pairwise`` is checked here."""
    limits = options.checked_for_table()
    num_z = rules.model.num_z
    if pairwise:
        raise ValueError("pairwise must be False for a JointTable, whose latent is one category, got True")
    if top_k > num_z:
        raise ValueError(f"top_k must be at most {num_z}, the number of states, got {top_k}")
    rows = rules.rows(x, observed)
    # log_probs, its logarithms on the way, what top_k orders; logarithms of the table, made once
    need = 8 * (5 * len(rows) * num_z + 2 * rules.log_rows.size)
    limits.check(0, need, f"{len(rows)} data of {num_z} states")
    return TablePosterior(rules.log_sums(rows), rules.log_posteriors(rows), top_k, np.arange(len(rows)))
