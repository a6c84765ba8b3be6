"""The second pass over posteriors: entropy, most probable states, second moments.

Of a form whose batch is tiles, the entropy is a product as log p(x) is. A state has the weight

    w(z) = s_t u_a E_t[a, b] v_b,    p(z | x) = w(z) / sum w,    H = log sum w - (sum w log w) / sum w,

s_t the scale of tile t. log w is the sum of log s_t, of log E, and of log u_a + log v_b, which are linear in
the bits: their expectation follows from the means. What is left is one more product, with E log E in place of
E. All factors are relative to their largest, so that the numbers whose rounding is left in the difference are
of the size of log sum w, some tens or hundreds, and not of log p(x). The guard of log p(x) serves: what
products drop is below 2^-53 of sum w, and its logarithms are below 2,000.

The most probable states take comparisons alone. A datum that the guard does not pass, or of which a state
that a tile has lost may be among the most probable, is visited state by state, as all data of other forms
are, and where second moments are asked for.
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.posterior.log_sum import is_certain
from fastvi.engine.posterior.posteriors import Details, details_of
from fastvi.engine.run.runs import Run
from fastvi.engine.run.slices import chunks, num_chunks
from fastvi.engine.states.data_terms import Terms
from fastvi.engine.states.form import Form
from fastvi.engine.states.tile_batch import TileBatch
from fastvi.kernels.cpu.states.posterior_sums import merge_largest
from fastvi.kernels.cpu.states.tile_masses import merge_expected_logs


def details(
    form: Form, x: Array, evidence: Array, mean: Array, top_k: int, run: Run, *, pairwise: bool
) -> Details:
    """Entropy, the ``top_k`` most probable states and second moments of each row of ``x``, and its ``mean``.

    Latents are in the form's order. The pairs are those of the upper triangle or of the lower one.
    """
    own: Details | None = form.details(x, evidence, top_k, run, pairwise=pairwise)
    if own is not None:
        return own
    if num_chunks(len(x)) == 1:
        return _of_chunk(form, form.data.terms(x), evidence, mean, top_k, run, pairwise=pairwise)
    result = Details.zero(len(x), form.num_latents, top_k, pairwise=pairwise)

    def fill(data: slice) -> None:  # what a chunk takes is gone before the next one
        found = _of_chunk(
            form, form.data.terms(x[data]), evidence[data], mean[data], top_k, run, pairwise=pairwise
        )
        for into, part in zip(result, found, strict=True):
            into[data] = part  # a slice of an empty array is empty: no pairs asked for

    for data in chunks(len(x)):
        fill(data)
    return result


class _Found(NamedTuple):
    """Sums over waves, as of ``expected_logs`` and ``largest_states``."""

    bound: Array  # (N,) log of the largest scale of a tile
    total: Array  # (N,)
    expected: Array  # (N,)
    log_probs: Array  # (N, k) descending
    states: Array  # (N, k) int64

    @classmethod
    def zero(cls, num_data: int, top_k: int) -> _Found:
        return cls(
            np.full(num_data, -np.inf), np.zeros(num_data), np.zeros(num_data),
            np.full((num_data, top_k), -np.inf), np.zeros((num_data, top_k), np.int64),
        )  # fmt: skip

    def merge(self, part: _Found) -> None:
        merge_expected_logs(*self[:3], *part[:3])
        merge_largest(self.log_probs, self.states, part.log_probs, part.states)


def _wave(batch: TileBatch, evidence: Array, top_k: int, first: int) -> _Found:
    found = _Found.zero(batch.num_data, top_k)
    batch.add_details(first, evidence, found[:3], found[3:])
    return found


def _of_chunk(
    form: Form, terms: Terms, evidence: Array, mean: Array, top_k: int, run: Run, *, pairwise: bool
) -> Details:
    batch = form.batch(terms)
    if pairwise or not isinstance(batch, TileBatch):  # pairs take all that the rest does
        return details_of(form, terms, evidence, top_k, run, pairwise=pairwise)
    # of what has no probability every state is passed over: any finite evidence will do
    possible = np.where(np.isneginf(evidence), 0.0, evidence)
    work = partial(_wave, batch, possible, top_k)
    found = run.reduce(_Found.zero(len(evidence), top_k), form.wave_starts(), work, form.wave_states)
    with np.errstate(invalid="ignore", divide="ignore"):  # of data that are visited again
        unlikely = np.where(terms.linear >= 0.0, mean - 1.0, mean)  # where tables are below their largest
        linear = (terms.linear * unlikely)[:, form.tiling.outer_bits :].sum(axis=1)
        entropy = np.log(found.total) - found.expected / found.total - linear
        lost = found.bound + form.flush_exponent * math.log(2.0) - evidence
        held = is_certain(form, found.bound, evidence) & np.isfinite(entropy)
        again = ~(held & (lost < found.log_probs[:, -1]))
    result = Details(mean, np.zeros((0, *[form.num_latents] * 2)), entropy, found.log_probs, found.states)
    who = np.flatnonzero(again | form.too_large(terms))
    if who.size:
        part = details_of(form, terms.part(who), evidence[who], top_k, run, report=False)
        for into, of in zip(result[2:], part[2:], strict=True):
            into[who] = of
    return result
