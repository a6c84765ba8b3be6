"""Fits of tables, whose best q is the posterior itself and whose best parameters are counts."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvi.core import validation
from fastvi.distributions.categorical import Categorical
from fastvi.fitting.fit_results import PosteriorFit
from fastvi.fitting.training import Schedule, Trainer
from fastvi.fitting.training_data import TrainingData
from fastvi.models.joint_table import JointTable
from fastvi.rules.joint_table import JointTableRules


def posterior_of_table(rules: JointTableRules, x: Any, objective: str) -> PosteriorFit:
    """Return p(z | x), which both divergences are 0 at."""
    rows = rules.rows(x)
    log_marginal = rules.log_sums(rows)
    validation.require(log_marginal, log_marginal > -np.inf, "x must have log p(x) > -inf in a fit")
    q = Categorical(rules.log_posteriors(rows))
    objectives = np.zeros(len(rows)) if objective == "forward_kl" else log_marginal
    history = np.array([objectives.mean()]) if len(rows) else np.empty(0)
    return PosteriorFit(q=q, objective=objectives, history=history, converged=np.ones(len(rows), bool))


class TableCounts(Trainer):
    r"""The table of highest likelihood, in one step.

    The likelihood of x alone knows the sums of rows: their maximum is the share that each x has of the data.
    How a row is spread over z it leaves open. Expectation maximisation, whose M step is

    .. math:: p(x, z) = \frac{1}{\sum_n w_n} \sum_{n: x_n = x} w_n\, p(z | x),

    keeps p(z | x) as it was, and has arrived after this step. The total stays what it was: 1, unless the
    table is declared unnormalized.
    """

    judges_standstill = True

    def __init__(self, rules: JointTableRules, data: TrainingData, judged: TrainingData) -> None:
        self._rules, self._data, self._judged = rules, data, judged
        self.values = {"probabilities": np.array(rules.model.probabilities)}
        self.state = tuple(self.values.values())
        found = rules.log_sums(self._rows(data))
        validation.require(found, found > -np.inf, "x must have a positive probability to be learned from")

    def _rows(self, data: TrainingData) -> np.ndarray:
        return self._rules.seen_rows(data.x, data.observed)

    def model(self) -> JointTable:
        """The table with the present values."""
        values = self.values["probabilities"].copy()
        return JointTable(values, unnormalized=self._rules.model.unnormalized)

    def score(self) -> float:
        """Mean exact log p(x)."""
        rules = JointTableRules(self.model())
        return self._judged.mean(rules.log_sums(self._rows(self._judged)))

    def run_epoch(self, epoch: int, num_data: int, schedule: Schedule) -> None:
        start, rows = self._rules.model, self._rows(self._data)
        weights = self._data.weights_of(np.arange(len(rows)))
        seen = rows < start.num_x  # of an x that was not seen the likelihood is the total
        if not seen.any():
            return
        counts = np.bincount(rows[seen], weights[seen], start.num_x)
        shares = counts / counts.sum()
        sums = start.probabilities.sum(axis=1)
        conditional = start.probabilities / np.where(sums > 0, sums, 1.0)[:, None]
        total = start.total if start.unnormalized else 1.0
        self.values["probabilities"][...] = shares[:, None] * conditional * total
