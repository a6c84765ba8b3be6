"""Rules of JointTable: sums of rows."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from fastvi.core import validation
from fastvi.distributions.categorical import Categorical, log_softmax
from fastvi.models.joint_table import JointTable
from fastvi.rules.base import Gradient, Rules
from fastvi.rules.questions import (
    CHI_SQUARE_BOUND,
    ELBO,
    ESTIMATE,
    EXACT_POSTERIOR,
    FIT_MODEL,
    FIT_MODEL_EM,
    FIT_POSTERIOR,
    FIT_POSTERIOR_FORWARD,
    KL_FROM_POSTERIOR,
    KL_TO_POSTERIOR,
    LOG_MARGINAL,
    LOG_MARGINAL_BOUNDS,
    LOG_MARGINAL_GRADIENT,
    OBSERVED,
    SAMPLED_ELBO,
)

if TYPE_CHECKING:
    from fastvi.engine.importance.table_target import JointTableTarget

_ROUNDING = 2.0**-52


class JointTableRules(Rules):
    """Rules of :class:`~fastvi.JointTable`.

    A datum is the number of a row. An x that was not seen has a row of its own, the last of ``num_x + 1``:
    the sums of columns.
    """

    model: JointTable
    questions = frozenset({
        LOG_MARGINAL, OBSERVED, LOG_MARGINAL_GRADIENT, EXACT_POSTERIOR, ESTIMATE, ELBO, SAMPLED_ELBO,
        KL_TO_POSTERIOR, KL_FROM_POSTERIOR, CHI_SQUARE_BOUND, FIT_POSTERIOR, FIT_POSTERIOR_FORWARD, FIT_MODEL,
        FIT_MODEL_EM, LOG_MARGINAL_BOUNDS,
    })  # fmt: skip
    is_table = True
    num_pixels = 1
    num_latents = 1

    def form(self, observed: np.ndarray, dtype: str = "float64") -> NoReturn:
        raise TypeError(
            "model must be one whose latents are bits for its states to be enumerated, got a JointTable"
        )

    def memory(self, observed: np.ndarray, dtype: str = "float64") -> NoReturn:
        self.form(observed, dtype)

    # ---- data ------------------------------------------------------------------------------------------

    def check_data(self, x: Any, observed: Any, name: str = "x") -> tuple[np.ndarray, np.ndarray | None]:
        """Return numbers of rows (N, 1), every row in order for None, and the mask of what was seen."""
        num_x = self.model.num_x
        rows = np.arange(num_x) if x is None else validation.index_vector(x, name, num_x)
        return rows[:, None], validation.observed_mask(observed, len(rows), 1)

    def rows(self, x: Any, observed: Any = None) -> np.ndarray:
        """Return numbers of rows (N,): ``num_x`` where x was not seen."""
        return self.seen_rows(*self.check_data(x, observed))

    def seen_rows(self, data: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        """Return the same of what :meth:`check_data` made."""
        return data[:, 0] if mask is None else np.where(mask, data, self.model.num_x)[:, 0]

    # ---- rows ------------------------------------------------------------------------------------------

    @cached_property
    def log_rows(self) -> np.ndarray:
        """Return log p(x, z) (num_x + 1, num_z)."""
        table = self.model.probabilities
        with np.errstate(divide="ignore"):
            return np.log(np.concatenate([table, table.sum(axis=0)[None]]))

    @cached_property
    def log_likelihoods(self) -> np.ndarray:
        """Return log p(x | z), the shape of :attr:`log_rows`; -inf where p(z) is 0.

        p(z) is normalised: log(total) of a table that is not is part of this.
        """
        log_prior = log_softmax(self.log_rows[-1])
        return np.where(log_prior > -np.inf, self.log_rows - np.maximum(log_prior, -1e300), -np.inf)

    @cached_property
    def _sums(self) -> np.ndarray:
        return np.append(self.model.probabilities.sum(axis=1), self.model.total)

    def log_sums(self, rows: np.ndarray) -> np.ndarray:
        """Return log p(x_n) (N,)."""
        with np.errstate(divide="ignore"):
            return np.log(self._sums)[rows]

    def log_posteriors(self, rows: np.ndarray) -> np.ndarray:
        """Return log p(z | x_n) (N, num_z); NaN where p(x_n) is 0."""
        logs = self.log_rows[rows]
        impossible = (logs == -np.inf).all(axis=-1)
        logs[impossible] = 0.0
        logs = log_softmax(logs)
        logs[impossible] = np.nan
        return logs

    def prior(self) -> Categorical:
        """Return p(z), normalised."""
        return Categorical(self.log_rows[-1])

    # ---- answers ---------------------------------------------------------------------------------------

    def log_marginal_interval(self, x: Any, observed: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return numbers below and above log p(x) (N,), as near as rounding lets them be proven.

        A sum of K entries >= 0, in any order, is off by less than K 2^-53 of itself (a column's sum, for x
        not seen, of num_x; the total is correctly rounded); NumPy's logarithm by 4 units in the last place at
        most. Both counted twice, the bounds themselves are rounded within them.
        """
        rows = self.rows(x, observed)
        found = self.log_sums(rows)
        finite = np.where(found > -np.inf, found, 0.0)
        margin = self.model.num_z * _ROUNDING + 8.0 * np.spacing(np.abs(finite))
        return found - margin, found + margin

    def gradient_of_rows(self, rows: np.ndarray, weights: np.ndarray) -> Gradient:
        """Return the gradient of sum_n weights_n log p(x_n): log p(x) is the log of a row's sum."""
        sums = self._sums[rows]
        validation.require(sums, sums > 0, "x must have a positive probability for the gradient to exist")
        out = np.zeros((len(self._sums), self.model.num_z))
        with np.errstate(over="ignore", invalid="ignore"):
            np.add.at(out, rows, (weights / sums)[:, None])
            if (rows == self.model.num_x).any():  # the total's is that of every entry
                out[:-1] += out[-1]
        validation.require(out, np.isfinite(out), "data_weights must keep the gradient finite")
        return {"probabilities": out[:-1].copy()}

    def sampling_target(
        self, observed: np.ndarray, num_states: int, *, with_prior: bool = True
    ) -> JointTableTarget:
        from fastvi.engine.importance.table_target import JointTableTarget

        return JointTableTarget(self.log_rows if with_prior else self.log_likelihoods)


make_rules = JointTableRules
