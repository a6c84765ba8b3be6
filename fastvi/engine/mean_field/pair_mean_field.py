"""Mean-field coordinate ascent of pairwise models, from their couplings: no table of states, any size.

Given the others the best logit is t_i + sum_j J_ij m_j. Where these numbers are so large that their rounding
would show, those of a datum of sparse coding come from its residual.
"""

from __future__ import annotations

import numpy as np

from fastvi.core.functions import bernoulli_entropy
from fastvi.engine.expectation.elbo_gradient import expected_log_joint
from fastvi.engine.mean_field.mean_field import MeanFieldFit
from fastvi.engine.run.slices import data_slices
from fastvi.engine.run.threads import parallel_map
from fastvi.engine.states.data_terms import WordData
from fastvi.engine.states.pair_form import PairParts
from fastvi.kernels.cpu.mean_field.coordinate_ascent import fit_coding, fit_pairs

# sum of the sizes of a datum's terms beyond which residuals are taken: rounding is then below 1e-9 of a logit
_LARGEST_SIZE = 2.0**23


def ascend(
    parts: PairParts, x: np.ndarray, start: np.ndarray, max_sweeps: int, tolerance: float
) -> MeanFieldFit:
    """From logits ``start`` (N, d) in the model's order; the couplings must be finite."""
    terms, data = parts.data.terms(x), parts.data
    num_data, linear = len(x), terms.linear + parts.centre
    couplings = np.ascontiguousarray(parts.couplings)
    logits = np.ascontiguousarray(start[:, parts.order])
    history = np.empty((num_data, max_sweeps))
    objective, converged = np.empty(num_data), np.empty(num_data, bool)
    residual = isinstance(data, WordData)
    size = np.abs(linear).sum(axis=1) + np.abs(couplings).sum()
    fine = np.flatnonzero(size <= _LARGEST_SIZE) if residual else np.arange(num_data)
    found = [array[fine] for array in (logits, history, objective, converged)]
    own_linear, own_constant = linear[fine], terms.constant[fine]

    def task(part: slice) -> None:
        fit_pairs(
            couplings, own_linear[part], own_constant[part], max_sweeps, tolerance,
            *(array[part] for array in found),
        )  # fmt: skip

    parallel_map(task, data_slices(fine.size))
    for array, own in zip((logits, history, objective, converged), found, strict=True):
        array[fine] = own
    ordered = np.empty_like(logits)
    if isinstance(data, WordData):
        coarse = np.flatnonzero(~(size <= _LARGEST_SIZE))
        rest = [array[coarse] for array in (logits, history, objective, converged)]
        columns, scaled = np.ascontiguousarray((data.weights / data.noise_std).T), data.scaled(x[coarse])

        def direct(part: slice) -> None:
            fit_coding(
                columns, scaled[part], data.prior_logits, data.full_constant, max_sweeps, tolerance,
                *(array[part] for array in rest),
            )  # fmt: skip

        parallel_map(direct, data_slices(coarse.size))
        for array, own in zip((logits, history, objective, converged), rest, strict=True):
            array[coarse] = own
    ordered[:, parts.order] = logits
    if residual:
        value = expected_log_joint(parts, x, ordered).value + bernoulli_entropy(ordered)
        history += (value - objective)[:, None]
        objective = value
    return MeanFieldFit(ordered, objective, history, converged)
