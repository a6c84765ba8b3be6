"""Mean-field coordinate ascent of pairwise models, from their couplings: no table of states, any size.

Given the others the best logit is t_i + sum_j J_ij m_j. All data move together, latent by latent.
"""

from __future__ import annotations

import numpy as np

from fastvi.distributions.bernoulli import Bernoulli, sigmoid
from fastvi.engine.elbo_gradient import expected_log_joint
from fastvi.engine.mean_field import MeanFieldFit
from fastvi.engine.pair_form import PairParts
from fastvi.engine.threads import data_slices, parallel_map


def ascend(
    parts: PairParts, x: np.ndarray, start: np.ndarray, max_sweeps: int, tolerance: float
) -> MeanFieldFit:
    """From logits ``start`` (N, d) in the model's order; the couplings must be finite."""
    terms = parts.data.terms(x)
    num_data = len(x)
    logits = np.ascontiguousarray(start[:, parts.order])
    history, converged = np.empty((num_data, max_sweeps)), np.zeros(num_data, bool)

    def task(data: slice) -> None:
        linear = terms.linear[data] + parts.centre
        own, mean, active = logits[data].copy(), sigmoid(logits[data]), np.arange(len(linear))
        for sweep in range(max_sweeps):
            moved = np.zeros(len(active))
            for i in range(own.shape[1]):
                # einsum, not BLAS, so that the bits of a result do not depend on threads
                own[active, i] = linear[active, i] + np.einsum("nj,j->n", mean[active], parts.couplings[:, i])
                new = sigmoid(own[active, i])
                moved = np.maximum(moved, np.abs(new - mean[active, i]))
                mean[active, i] = new
            history[data.start + active, sweep:] = _elbo(parts, x[data][active], own[active])[:, None]
            converged[data.start + active[moved <= tolerance]] = True
            active = active[moved > tolerance]
            if not active.size:
                break
        logits[data] = own

    parallel_map(task, data_slices(num_data))
    ordered = np.empty_like(logits)
    ordered[:, parts.order] = logits
    last = history[:, -1] if num_data else np.empty(0)
    return MeanFieldFit(ordered, last, history, converged)


def _elbo(parts: PairParts, x: np.ndarray, logits: np.ndarray) -> np.ndarray:
    in_order = np.empty_like(logits)
    in_order[:, parts.order] = logits
    return expected_log_joint(parts, x, in_order).value + Bernoulli(in_order).entropy()
