"""Sums over all states weighted by a factorised q: E_q[log p(x, z)], the log ratio, KL(q || p(z | x)).

E_q[A(z)] of a factorised q is u^T A v tile by tile, the same matrix product as the likelihood. The log ratio and the
divergence need q and p of every state and cost an exponential or two each.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastvi.engine.log_sum import Terms, data_terms
from fastvi.engine.softplus_form import SoftplusForm
from fastvi.engine.threads import num_threads, parallel_map
from fastvi.engine.waves import PackedBatch, chunk_slices, fill_wave, wave_starts
from fastvi.kernels.cpu.state_sums import merge_expectations, state_sums
from fastvi.kernels.cpu.tile_sums import pack_probabilities

Array = NDArray[Any]


class Bits(NamedTuple):
    """A factorised q in a form's order of latents, (N, d) each."""

    zero: Array  # q(z_i = 0)
    one: Array  # q(z_i = 1)
    log_zero: Array
    log_one: Array


def ordered_bits(form: SoftplusForm, logits: Array, num_data: int) -> Bits:
    """Probabilities of the bits under ``logits`` (d,) or (N, d); neither 0 nor 1 is rounded to more than it is."""
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


def expected_log_likelihood(form: SoftplusForm, x: Array, logits: Array) -> Array:
    """E_q[c + <t, z> - A(z)] for each datum: with the prior if the form has it folded in, else without.

    Without the prior this is the reconstruction term E_q[log p(x | z)], with it E_q[log p(x, z)].
    """
    tiling = form.tiling
    result = np.empty(len(x))
    for data in chunk_slices(len(x)):
        terms = data_terms(form, x[data])
        bits = ordered_bits(form, logits if logits.ndim == 1 else logits[data], len(terms.constant))
        outer = tiling.outer_bits
        batch = PackedBatch(form, len(terms.constant))
        inner_zero, inner_one = (np.ascontiguousarray(part[:, outer:]) for part in (bits.zero, bits.one))

        def fill(part: slice, rows: Array, columns: Array, zero: Array = inner_zero, one: Array = inner_one) -> None:
            pack_probabilities(zero[part], one[part], tiling.row_bits, form.column_panels, rows, columns)

        batch.pack(fill)
        values = terms.constant + (bits.one * terms.linear).sum(axis=1)
        for first in wave_starts(form):
            log_tiles, _ = fill_wave(form, first, in_log_space=True)
            merge_expectations(batch.sums(log_tiles), first, bits.zero[:, :outer], bits.one[:, :outer], values)
        result[data] = values
    return result


def _sum_states(form: SoftplusForm, x: Array, logits: Array, less: Array, *, divergence: bool) -> Array:
    result = np.empty(len(x))
    tiling = form.tiling
    for data in chunk_slices(len(x)):
        terms: Terms = data_terms(form, x[data])
        bits = ordered_bits(form, logits if logits.ndim == 1 else logits[data], len(terms.constant))
        constant, values = terms.constant - less[data], np.zeros(len(terms.constant))
        step = max(1, -(-len(values) // (4 * num_threads())))
        for first in wave_starts(form):
            log_tiles, _ = fill_wave(form, first, in_log_space=True)

            def task(start: int, first: int = first, log_tiles: Array = log_tiles) -> None:
                part = slice(start, start + step)
                state_sums(
                    log_tiles, first, tiling.outer_bits, tiling.row_bits, form.padded_rows, terms.linear[part],
                    constant[part], bits.log_zero[part], bits.log_one[part], divergence, values[part],
                )  # fmt: skip

            parallel_map(task, range(0, len(values), step))
        result[data] = values
    return result


def log_ratio(form: SoftplusForm, x: Array, logits: Array) -> Array:
    """E_q[log p(x, z) - log q(z)], state by state."""
    return _sum_states(form, x, logits, np.zeros(len(x)), divergence=False)


def divergence_to_posterior(form: SoftplusForm, x: Array, logits: Array, log_marginal: Array) -> Array:
    """KL(q || p(z | x)) as a sum of non-negative terms, state by state."""
    return _sum_states(form, x, logits, log_marginal, divergence=True)


