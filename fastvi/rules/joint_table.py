"""Rules of JointTable: sums of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from fastvi.core import validation
from fastvi.models.joint_table import JointTable
from fastvi.rules.base import Gradient, Rules
from fastvi.rules.questions import ESTIMATE, LOG_MARGINAL, LOG_MARGINAL_GRADIENT, OBSERVED

if TYPE_CHECKING:
    from fastvi.engine.importance.table_target import JointTableTarget


class JointTableRules(Rules):
    """Rules of :class:`~fastvi.JointTable`, whose x are the numbers of rows."""

    model: JointTable
    questions = frozenset({LOG_MARGINAL, OBSERVED, LOG_MARGINAL_GRADIENT, ESTIMATE})
    is_table = True
    num_pixels = 1
    num_latents = 1

    def form(self, observed: np.ndarray, dtype: str = "float64") -> NoReturn:
        raise TypeError("model must have binary latents for its states to be enumerated, got a JointTable")

    def memory(self, observed: np.ndarray, dtype: str = "float64") -> NoReturn:
        self.form(observed, dtype)

    def rows(self, x: ArrayLike | None) -> np.ndarray:
        """Return the argument ``x``, numbers of rows (N,); None is every row in order."""
        num_x = self.model.num_x
        return np.arange(num_x) if x is None else validation.index_vector(x, "x", num_x)

    def log_marginal(self, x: ArrayLike | None, observed: Any) -> np.ndarray:
        """Return logs of the sums of rows (N,); of the total where x was not seen."""
        rows = self.rows(x)
        mask = validation.observed_mask(observed, len(rows), 1)
        with np.errstate(divide="ignore"):
            result = np.log(self.model.probabilities.sum(axis=1))[rows]
        if mask is not None:
            result = np.where(mask.reshape(-1), result, np.log(self.model.total))
        return np.asarray(result)

    def gradient_of_rows(self, rows: np.ndarray, weights: np.ndarray) -> Gradient:
        """Return the gradient of sum_n weights_n log p(x_n): log p(x) is the log of a row's sum."""
        sums = self.model.probabilities.sum(axis=1)[rows]
        validation.require(sums, sums > 0, "x must have a positive probability for the gradient to exist")
        out = np.zeros_like(self.model.probabilities)
        with np.errstate(over="ignore", invalid="ignore"):
            np.add.at(out, rows, (weights / sums)[:, None])
        validation.require(out, np.isfinite(out), "data_weights must keep the gradient finite")
        return {"probabilities": out}

    def sampling_target(
        self, observed: np.ndarray, num_states: int, *, with_prior: bool = True
    ) -> JointTableTarget:
        from fastvi.engine.importance.table_target import JointTableTarget

        return JointTableTarget(self.model.probabilities)


make_rules = JointTableRules
