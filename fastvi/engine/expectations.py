"""Sums over all states weighted by a factorised q: E_q[log p(x, z)], the log ratio, KL(q || p(z | x)).

E_q[A(z)] of a factorised q is u^T A v tile by tile, the same matrix product as the likelihood. The log
ratio and the divergence need q and p of every state and cost an exponential or two each.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastvi.engine.data_terms import Terms
from fastvi.engine.form import Form, chunks
from fastvi.engine.threads import data_slices, parallel_map
from fastvi.engine.tile_batch import PackedBatch
from fastvi.kernels.cpu.state_sums import merge_expectations, state_sums
from fastvi.kernels.cpu.tile_sums import pack_tables

Array = NDArray[Any]


class Bits(NamedTuple):
    """A factorised q in a form's order of latents, (N, d) each."""

    zero: Array  # q(z_i = 0)
    one: Array  # q(z_i = 1)
    log_zero: Array
    log_one: Array


def ordered_bits(form: Any, logits: Array, num_data: int) -> Bits:
    """Probabilities of the bits under ``logits`` (d,) or (N, d); neither 0 nor 1 is rounded to more than it
    is.
    """
    ordered = np.ascontiguousarray(np.broadcast_to(logits, (num_data, form.order.size))[:, form.order])
    small = np.exp(-np.abs(ordered))
    likely, unlikely = 1.0 / (1.0 + small), small / (1.0 + small)
    log_likely = -np.log1p(small)
    log_unlikely = -np.abs(ordered) + log_likely
    on = ordered >= 0
    return Bits(
        np.where(on, unlikely, likely),
        np.where(on, likely, unlikely),
        np.where(on, log_unlikely, log_likely),
        np.where(on, log_likely, log_unlikely),
    )


def _chunk_expectation(form: Form, terms: Terms, bits: Bits) -> Array:
    outer, row_bits = form.tiling.outer_bits, form.tiling.row_bits
    batch = PackedBatch.of(form, len(terms.constant))
    inner_zero, inner_one = (np.ascontiguousarray(part[:, outer:]) for part in (bits.zero, bits.one))

    def fill(data: slice, rows: Array, columns: Array) -> None:
        pack_tables(inner_zero[data], inner_one[data], row_bits, form.column_panels, rows, columns)

    batch.pack(fill)
    values = terms.constant + (bits.one * terms.linear).sum(axis=1)
    for first in form.filled_starts():
        log_tiles, _ = form.fill_wave(first, in_log_space=True)
        merge_expectations(batch.sums(log_tiles), first, bits.zero[:, :outer], bits.one[:, :outer], values)
    return values


def expected_log_likelihood(form: Form, x: Array, logits: Array) -> Array:
    """E_q[c + <t, z> - A(z)] for each datum: with the prior if the form has it folded in, else without.

    Without the prior this is the reconstruction term E_q[log p(x | z)], with it E_q[log p(x, z)].
    """
    result = np.empty(len(x))
    for data in chunks(len(x)):
        terms = form.data.terms(x[data])
        result[data] = _chunk_expectation(form, terms, _chunk_bits(form, logits, data))
    return result


def _chunk_bits(form: Form, logits: Array, data: slice) -> Bits:
    return ordered_bits(form, logits if logits.ndim == 1 else logits[data], data.stop - data.start)


def _add_wave(
    form: Form, terms: Terms, bits: Bits, constant: Array, divergence: bool, first: int, values: Array
) -> None:
    log_tiles, _ = form.fill_wave(first, in_log_space=True)
    outer, row_bits, padded_rows = form.tiling.outer_bits, form.tiling.row_bits, form.padded_rows

    def task(part: slice) -> None:
        state_sums(
            log_tiles, first, outer, row_bits, padded_rows, terms.linear[part], constant[part],
            bits.log_zero[part], bits.log_one[part], divergence, values[part],
        )  # fmt: skip

    parallel_map(task, data_slices(len(values)), 40.0 * len(values) * log_tiles.size)


def _sum_states(form: Form, x: Array, logits: Array, less: Array, *, divergence: bool) -> Array:
    result = np.zeros(len(x))
    for data in chunks(len(x)):
        terms, bits = form.data.terms(x[data]), _chunk_bits(form, logits, data)
        for first in form.filled_starts():
            _add_wave(form, terms, bits, terms.constant - less[data], divergence, first, result[data])
    return result


def log_ratio(form: Form, x: Array, logits: Array) -> Array:
    """E_q[log p(x, z) - log q(z)], state by state."""
    return _sum_states(form, x, logits, np.zeros(len(x)), divergence=False)


def divergence_to_posterior(form: Form, x: Array, logits: Array, log_marginal: Array) -> Array:
    """KL(q || p(z | x)) as a sum of non-negative terms, state by state."""
    return _sum_states(form, x, logits, log_marginal, divergence=True)
