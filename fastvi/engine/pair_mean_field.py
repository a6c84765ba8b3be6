"""Mean-field coordinate ascent of pairwise models, from their couplings: no table of states, any size.

Given the others the best logit is t_i + sum_j J_ij m_j.
"""

from __future__ import annotations

import numpy as np

from fastvi.engine.mean_field import MeanFieldFit
from fastvi.engine.pair_form import PairParts
from fastvi.engine.threads import data_slices, parallel_map
from fastvi.kernels.cpu.coordinate_ascent import fit_pairs


def ascend(
    parts: PairParts, x: np.ndarray, start: np.ndarray, max_sweeps: int, tolerance: float
) -> MeanFieldFit:
    """From logits ``start`` (N, d) in the model's order; the couplings must be finite."""
    terms = parts.data.terms(x)
    num_data, linear = len(x), terms.linear + parts.centre
    couplings = np.ascontiguousarray(parts.couplings)
    logits = np.ascontiguousarray(start[:, parts.order])
    history = np.empty((num_data, max_sweeps))
    objective, converged = np.empty(num_data), np.empty(num_data, bool)

    def task(data: slice) -> None:
        fit_pairs(
            couplings, linear[data], terms.constant[data], max_sweeps, tolerance, logits[data], history[data],
            objective[data], converged[data],
        )  # fmt: skip

    parallel_map(task, data_slices(num_data))
    ordered = np.empty_like(logits)
    ordered[:, parts.order] = logits
    return MeanFieldFit(ordered, objective, history, converged)
