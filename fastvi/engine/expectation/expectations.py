"""Sums over all states of p and a factorised q: E_q[log p(x, z)], the log ratio, divergences.

E_q[A(z)] of a factorised q is u^T A v tile by tile, the same matrix product as the likelihood. The log
ratio and the divergences need q and p of every state and cost an exponential or two each.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.core.functions import bit_probabilities, log_probabilities
from fastvi.engine.run.slices import chunks
from fastvi.engine.states.data_terms import Terms
from fastvi.engine.states.form import Form
from fastvi.engine.states.tile_batch import PackedBatch
from fastvi.engine.states.tile_form import TileForm
from fastvi.kernels.cpu.states.state_sums import (
    FROM_POSTERIOR,
    LOG_RATIO,
    TO_POSTERIOR,
    merge_expectations,
    square_sums,
    state_sums,
)


class FactorisedBits(NamedTuple):
    """A factorised q in a form's order of latents, (N, d) each."""

    zero: Array  # q(z_i = 0)
    one: Array  # q(z_i = 1)
    log_zero: Array
    log_one: Array


def ordered_bits(form: Any, logits: Array, num_data: int) -> FactorisedBits:
    """Probabilities of bits under ``logits`` (d,) or (N, d), to their own relative accuracy."""
    ordered = _ordered(form, logits, num_data)
    return FactorisedBits(*bit_probabilities(ordered), *log_probabilities(ordered))


def _ordered(form: Any, logits: Array, num_data: int) -> Array:
    """``logits`` (N, d) in the form's order of latents."""
    ordered = np.empty((num_data, form.order.size))
    ordered[...] = logits[..., form.order]
    return ordered


def _chunk_expectation(form: TileForm, terms: Terms, zero: Array, one: Array) -> Array:
    outer, row_bits = form.tiling.outer_bits, form.tiling.row_bits
    batch = PackedBatch.of(form, len(terms.constant))
    batch.pack_bits(zero[:, outer:], one[:, outer:], row_bits, form.column_panels)
    values = terms.constant + (one * terms.linear).sum(axis=1)
    for first in form.filled_starts():
        log_tiles, _ = form.fill_wave(first, in_log_space=True)
        merge_expectations(batch.sums(log_tiles), first, zero[:, :outer], one[:, :outer], values)
    return values


def expected_log_likelihood(form: TileForm, x: Array, logits: Array) -> Array:
    """E_q[c + <t, z> - A(z)] for each datum: with the prior if the form has it folded in, else without.

    Of a form with tiles: decoders, and log joints of a caller, go state by state (``expected_joint.py``).
    Without the prior this is the reconstruction term E_q[log p(x | z)], with it E_q[log p(x, z)].
    """
    result = np.empty(len(x))
    for data in chunks(len(x)):
        terms = form.data.terms(x[data])
        own = _ordered(form, _of_chunk(logits, data), data.stop - data.start)
        result[data] = _chunk_expectation(form, terms, *bit_probabilities(own))
    return result


def _of_chunk(logits: Array, data: slice) -> Array:
    return logits if logits.ndim == 1 else logits[data]


def _visit(kernel: Any, form: Form, x: Array, logits: Array, shift: Array, *sums: Array) -> None:
    """Run a kernel of ``state_sums`` over all states of any form.

    Log p of a state is its log joint density plus ``shift`` (N,).
    """
    for data in chunks(len(x)):
        terms = form.data.terms(x[data])
        bits = ordered_bits(form, _of_chunk(logits, data), data.stop - data.start)
        own = bits.log_zero, bits.log_one, *(array[data] for array in sums)
        for first in form.filled_starts():
            form.visit_states(kernel, terms, shift[data], first, own)


def log_ratio(form: Form, x: Array, logits: Array) -> Array:
    """E_q[log p(x, z) - log q(z)], state by state."""
    result = np.zeros(len(x))
    _visit(partial(state_sums, LOG_RATIO), form, x, logits, np.zeros(len(x)), result)
    return result


def posterior_divergence(
    form: Form, x: Array, logits: Array, log_marginal: Array, *, from_posterior: bool
) -> Array:
    """KL(q || p(z | x)), or KL(p(z | x) || q), as a sum of non-negative terms; nan where p(x) is 0."""
    form.check_posterior(log_marginal)
    result, possible = np.zeros(len(x)), log_marginal > -np.inf
    kind = FROM_POSTERIOR if from_posterior else TO_POSTERIOR
    shift = np.where(possible, -log_marginal, 0.0)
    _visit(partial(state_sums, kind), form, x, logits, shift, result)
    return np.where(possible, result, np.nan)


def half_log_square_sum(form: Form, x: Array, logits: Array) -> Array:
    """log(sum_z p(x, z)^2 / q(z)) / 2, state by state in log space."""
    largest, total = np.full(len(x), -np.inf), np.zeros(len(x))
    _visit(square_sums, form, x, logits, np.zeros(len(x)), largest, total)
    with np.errstate(divide="ignore"):
        return largest + 0.5 * np.log(total)
