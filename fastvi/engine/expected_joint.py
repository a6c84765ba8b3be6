"""E_q[log p(x, z)] exactly, for every form and a factorised Bernoulli q.

Tiles: a matrix product. Pairwise: a formula. Decoders and log joints that the caller wrote: state by state.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvi.engine.block_form import NumberedForm
from fastvi.engine.elbo_gradient import expected_log_joint
from fastvi.engine.expectations import expected_log_likelihood, ordered_bits
from fastvi.engine.form import Form, chunks
from fastvi.engine.pair_form import PairForm
from fastvi.kernels.cpu.state_sums import state_sums

Array = NDArray[Any]


def expected_joint(form: Form, x: Array, logits: Array) -> Array:
    """(N,) for q with ``logits`` (d,) or (N, d)."""
    if isinstance(form, NumberedForm):
        with np.errstate(invalid="ignore"):
            ratio = log_ratio(form, x, logits)
        return ratio - _entropy(np.broadcast_to(logits, (len(x), form.num_latents)))
    if isinstance(form, PairForm):
        return expected_log_joint(form, x, logits).value
    return expected_log_likelihood(form, x, logits)


def _entropy(logits: Array) -> Array:
    size = np.abs(logits)
    small = np.exp(-size)
    return np.asarray((np.log1p(small) + np.minimum(size, 800.0) * small / (1.0 + small)).sum(axis=-1))


def log_ratio(form: Form, x: Array, logits: Array) -> Array:
    """E_q[log p(x, z) - log q(z)], state by state, for any form."""
    result = np.zeros(len(x))
    for data in chunks(len(x)):
        terms = form.data.terms(x[data])
        own = logits if logits.ndim == 1 else logits[data]
        bits = ordered_bits(form, own, data.stop - data.start)
        sums = bits.log_zero, bits.log_one, result[data]
        for first in form.filled_starts():
            form.visit_states(_add_log_ratio, terms, terms.constant, first, sums)
    return result


def _add_log_ratio(
    log_tiles: Array, peaks: Array, first: int, outer: int, row_bits: int, padded_rows: int, linear: Array,
    offset: Array, negligible: float, log_zero: Array, log_one: Array, values: Array,
) -> None:  # fmt: skip
    """``state_sums`` in the shape of a kernel that visits states."""
    wide = np.ascontiguousarray(np.broadcast_to(linear, log_zero.shape))
    state_sums(log_tiles, first, outer, row_bits, padded_rows, wide, offset, log_zero, log_one, False, values)
