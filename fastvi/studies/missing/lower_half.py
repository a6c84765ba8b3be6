"""Log p(seen part): a sum over all that the unseen part might be, beside what single ways add to it."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastvi
from fastvi.models.boltzmann_machine import BoltzmannMachine
from fastvi.studies.common.completion import Completion
from fastvi.studies.common.result import Table, rows_to_table

COLUMNS = (
    "index", "label", "log_seen", "log_true", "num_drawn", "num_distinct", "log_best_drawn", "share_drawn"
)  # fmt: skip


def sums_and_parts(
    model: Any, completion: Completion, index: np.ndarray, labels: list[int | None]
) -> tuple[Table, np.ndarray]:
    """Table of ``COLUMNS``, and log p (N, S) of the drawn images; of equal ones the first, NaN for others."""
    rows, parts = [], np.full(completion.samples.shape[:2], np.nan)
    for n, drawn in enumerate(completion.samples):
        _, first = np.unique(drawn, axis=0, return_index=True)
        first = np.sort(first)
        value = (
            model.log_joint(None, drawn[first])
            if isinstance(model, BoltzmannMachine)
            else fastvi.log_marginal(model, drawn[first])
        )
        parts[n, first] = value
        seen = float(completion.log_seen[n])
        rows.append((
            int(index[n]), labels[n], seen, seen + float(completion.log_prob[n]), len(drawn), len(first),
            float(value.max()), float(np.exp(value - seen).sum()),
        ))  # fmt: skip
    return rows_to_table(COLUMNS, rows), parts
