"""Truth that a report holds everything against: exact, a certified interval, or an estimate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

import fastvi
from fastvi.core.limits import TOLERANCE
from fastvi.core.registry import rules_of
from fastvi.rules.questions import LOG_MARGINAL_BOUNDS
from fastvi.studies.common.result import Progress
from fastvi.studies.report.settings import ReportSettings

EXACT, CERTIFIED, ESTIMATED = "exact", "certified", "estimated"


class Truth(NamedTuple):
    """log p(x) of N data, in nats."""

    how: str
    value: np.ndarray  # (N,): of an interval the middle
    low: np.ndarray
    high: np.ndarray
    std_error: np.ndarray  # 0 where it is no estimate
    words: str  # how it was found

    @property
    def known(self) -> np.ndarray:
        """(N,) bool: where it is certain to 1e-3 nats, the width at which the search for an interval ends."""
        return self.high - self.low <= TOLERANCE if self.how != ESTIMATED else np.zeros(len(self.value), bool)


class Sum(NamedTuple):
    """What exact log p(x) takes: states, of a table or an integral none."""

    plan: fastvi.Plan | None
    within_reach: bool


def sum_of(model: Any, num_data: int, max_states: int) -> Sum:
    """Tell whether exact log p(x) takes at most so many states."""
    if rules_of(model, tables=True).is_table:
        return Sum(None, True)
    try:
        plan = fastvi.plan(model, num_data)
    except ValueError:  # more real latents than are integrated
        return Sum(None, False)
    return Sum(plan, plan.states <= max_states)


def find_truth(
    model: Any, x: np.ndarray, q: Any, settings: ReportSettings, seed: int, progress: Progress,
    where: Mapping[str, Any], of_sum: Sum,
) -> Truth:  # fmt: skip
    """log p(x): exact within reach, else certain within an interval, else estimated from ``q``."""
    if of_sum.within_reach:
        value = fastvi.log_marginal(
            model, x, progress=lambda done, total: progress("exact log p(x)", done, total), **where
        )
        states = 0 if of_sum.plan is None else of_sum.plan.states
        words = f"all {states:,} states are summed" if states else "without a sum over states"
        return Truth(EXACT, value, value, value, np.zeros(len(value)), words)
    if LOG_MARGINAL_BOUNDS in fastvi.supported(model):
        bounds = fastvi.log_marginal_bounds(
            model, x, max_bounds=settings.max_bounds, executor=where.get("executor"),
            progress=lambda done, total: progress("certified intervals", done, total),
        )  # fmt: skip
        middle = 0.5 * (bounds.lower + bounds.upper)
        words = f"from at most {settings.max_bounds:,} bounds a datum"
        return Truth(CERTIFIED, middle, bounds.lower, bounds.upper, np.zeros(len(middle)), words)
    mixed = rules_of(model).deep_prior is None  # the prior of a deep network cannot be mixed with q
    proposal: Any = fastvi.Mixture([q, "prior"], [0.9, 0.1]) if mixed else q
    found = fastvi.estimate_log_marginal(
        model, x, proposal=proposal, num_samples=settings.truth_num_samples, seed=seed,
        progress=lambda done, total: progress("estimates of log p(x)", done, total), **where,
    )  # fmt: skip
    of = "the best q mixed with a tenth of the prior" if mixed else "the best q"
    words = f"from {settings.truth_num_samples:,} draws a datum, of {of}; nothing certifies it"
    return Truth(ESTIMATED, found.log_marginal, *found.interval(), found.std_error, words)
