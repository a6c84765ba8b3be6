"""Moments of a factorised q, summed over data, for gradients of E_q[log p(x, z)] in a model's parameters.

Under a form whose tiles are all 1 and whose t(x) are q's logits, the posterior of a datum is its q. So the
sums over states of gradients of log p(x) serve here too, with the tiles, and nothing else, exchanged.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.posterior.state_moments import StateMoments, state_moments
from fastvi.engine.run.runs import Run
from fastvi.engine.states.data_terms import Terms
from fastvi.engine.states.softplus_form import SoftplusForm
from fastvi.kernels.host import COLUMNS


class _Logits(NamedTuple):
    """Data that are logits of a q in the model's order."""

    order: Array

    def terms(self, logits: Array) -> Terms:
        """Log q(z) = <logits, z> - sum of softplus."""
        return Terms(np.ascontiguousarray(logits[:, self.order]), -np.logaddexp(0.0, logits).sum(axis=1))


@dataclass(frozen=True, eq=False)
class _FlatForm(SoftplusForm):
    """States and pixels of a softplus form, all tiles 1."""

    def fill(self, first: int, tiles: Array, scales: Array, *, in_log_space: bool = False) -> None:
        num_rows, num_columns = 1 << self.tiling.row_bits, 1 << self.tiling.column_bits
        packed = tiles.reshape(len(tiles), self.column_panels, self.padded_rows, COLUMNS)
        packed[...] = 0.0
        scales[...] = 0.0
        if not in_log_space:
            for panel in range(self.column_panels):
                packed[:, panel, :num_rows, : num_columns - panel * COLUMNS] = 1.0


def q_moments(form: SoftplusForm, logits: Array, data_weights: Array) -> StateMoments:
    """Sums over data of w_n E_q[sigmoid(eta_j(z)) z_i], as ``state_moments`` has those of the posterior."""
    parts = {field.name: getattr(form, field.name) for field in fields(form)}
    flat = _FlatForm(**{**parts, "data": _Logits(form.order), "log_prior": None})
    # certain bits: a logit of 800 leaves nothing of the other value in a float
    return state_moments(flat, np.clip(logits, -800.0, 800.0), data_weights, Run())
