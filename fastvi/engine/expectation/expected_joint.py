"""E_q[log p(x, z)] exactly, for every form and a factorised Bernoulli q.

Tiles: a matrix product. Pairwise: a formula. Decoders and log joints that the caller wrote: state by state.
"""

from __future__ import annotations

from functools import singledispatch

import numpy as np

from fastvi.core.arrays import Array
from fastvi.core.functions import bernoulli_entropy
from fastvi.engine.expectation.elbo_gradient import expected_log_joint
from fastvi.engine.expectation.expectations import expected_log_likelihood, log_ratio
from fastvi.engine.states.form import Form
from fastvi.engine.states.pair_form import PairForm
from fastvi.engine.states.tile_form import TileForm


@singledispatch
def expected_joint(form: Form, x: Array, logits: Array) -> Array:
    """(N,) for q with ``logits`` (d,) or (N, d)."""
    with np.errstate(invalid="ignore"):
        ratio = log_ratio(form, x, logits)
    return ratio - bernoulli_entropy(np.broadcast_to(logits, (len(x), form.num_latents)))


@expected_joint.register
def _(form: TileForm, x: Array, logits: Array) -> Array:
    return expected_log_likelihood(form, x, logits)


@expected_joint.register
def _(form: PairForm, x: Array, logits: Array) -> Array:
    return expected_log_joint(form, x, logits).value
