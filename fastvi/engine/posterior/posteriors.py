"""Exact posteriors for a batch: what takes the probability of single states, in log space, wave by wave."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.core.bits import bits_of
from fastvi.engine.run.progress import report_nothing
from fastvi.engine.run.runs import Run
from fastvi.engine.run.slices import CHUNK_DATA, slices
from fastvi.engine.states.data_terms import Terms
from fastvi.engine.states.form import Form
from fastvi.kernels.cpu.random.draws import fill_uniforms, split_seed
from fastvi.kernels.cpu.states.posterior_sums import merge_largest, posterior_sums, sample_states


class Details(NamedTuple):
    """Sums over states of p(z | x_n), and the states that have most of it; bits in the form's order."""

    mean: Array  # (N, d)
    pairs: Array  # (N, d, d) or (0, d, d)
    entropy: Array  # (N,)
    log_probs: Array  # (N, k) descending
    states: Array  # (N, k) int64, or (N, k, d) uint8 where no integers hold them

    @classmethod
    def zero(cls, num_data: int, num_latents: int, top_k: int, *, pairwise: bool) -> Details:
        return cls(
            np.zeros((num_data, num_latents)),
            np.zeros((num_data if pairwise else 0, num_latents, num_latents)),
            np.zeros(num_data),
            np.full((num_data, top_k), -np.inf),
            np.zeros((num_data, top_k), np.int64),
        )

    def merge(self, part: Details) -> None:
        for mine, other in zip(self[:3], part[:3], strict=True):
            mine += other
        merge_largest(self.log_probs, self.states, part.log_probs, part.states)


def unpack_states(form: Form, states: Array) -> Array:
    """Integers, bit i the form's i-th latent, to (..., d) uint8 in the model's order; bits in it stay."""
    if states.dtype == np.uint8:
        return states
    return bits_of(states, form.order)


def _details_wave(form: Form, terms: Terms, shift: Array, top_k: int, pairwise: bool, first: int) -> Details:
    found = Details.zero(len(shift), form.num_latents, top_k, pairwise=pairwise)
    # a slice of an empty array is empty: no pairs asked for
    form.visit_states(posterior_sums, terms, shift, first, tuple(found))
    return found


def details_of(
    form: Form, terms: Terms, evidence: Array, top_k: int, run: Run, *, pairwise: bool = False,
    report: bool = True,
) -> Details:  # fmt: skip
    """Moments, entropy and the ``top_k`` most probable states of the data of one chunk, state by state.

    The pairs are those of the upper triangle or of the lower one.
    """
    zero = Details.zero(len(evidence), form.num_latents, top_k, pairwise=pairwise)
    work = partial(_details_wave, form, terms, -evidence, top_k, pairwise)
    return run.reduce(zero, form.filled_starts(), work, form.filled_states if report else report_nothing)


def second_moments(pairs: Array) -> Array:
    """Both triangles: inner bits are paired with outer ones once, and their mirror images are filled in."""
    return np.maximum(pairs, pairs.transpose(0, 2, 1))


def sample(form: Form, x: Array, evidence: Array, members: Array, num: int, seed: int) -> Array:
    """Exact draws (N, num, d); draw k of datum members[n] is keyed by (seed, members[n], k)."""
    own = form.samples(x, members, num, seed)
    if own is not None:
        return own
    num_data = len(x)
    uniforms, key = np.empty((num_data, num)), split_seed(seed)
    for n in range(num_data):
        fill_uniforms(*key, int(members[n]), 0, uniforms[n])
    order = np.argsort(uniforms, axis=1, kind="stable")
    ascending = np.take_along_axis(uniforms, order, axis=1)
    states = np.empty((num_data, num), np.int64)
    visit = _sample_by_tile if form.tells_masses else _sample_all
    for data in _sample_slices(form, num_data):
        terms = form.data.terms(x[data])
        visit(form, terms, evidence[data], ascending[data], states[data])
    unsorted = np.empty_like(states)
    np.put_along_axis(unsorted, order, states, axis=1)
    return unpack_states(form, unsorted)


def _sample_slices(form: Form, num_data: int) -> Iterator[slice]:
    """Data whose tiles' masses are kept at a time: 2^22 numbers, 32 MiB."""
    step = max(1, min(CHUNK_DATA, (1 << 22) // form.tiling.num_tiles))
    return slices(num_data, step)


def _sample_all(form: Form, terms: Terms, evidence: Array, ascending: Array, states: Array) -> None:
    """Inverse of the cumulative distribution over all states, in the order of tiles, rows, columns."""
    taken, cumulative = np.zeros(len(evidence), np.int64), np.zeros(len(evidence))
    states[...] = -1
    for first in form.filled_starts():
        form.visit_states(sample_states, terms, -evidence, first, (ascending, taken, cumulative, states))
    _fill_short(taken, states)


def _fill_short(taken: Array, states: Array) -> None:
    """Where rounding leaves the total just below a number close to 1, it draws the last state visited."""
    for short in np.flatnonzero((taken < states.shape[1]) & (taken > 0)):
        states[short, taken[short] :] = states[short, taken[short] - 1]


def _sample_by_tile(form: Form, terms: Terms, evidence: Array, ascending: Array, states: Array) -> None:
    """Draw as ``_sample_all``, but visit only tiles in which a draw falls, state by state.

    The masses of tiles come from a matrix product.
    """
    batch: Any = form.batch(terms)
    masses = np.concatenate([batch.log_masses(first) for first in form.wave_starts()], axis=1)
    masses = np.exp(masses - evidence[:, None])
    # what underflowed in a product may be all there is
    lost = np.flatnonzero(~(np.abs(masses.sum(axis=1) - 1.0) < 1e-9))
    if lost.size:
        again = np.empty_like(states[lost])
        _sample_all(form, terms.part(lost), evidence[lost], ascending[lost], again)
        states[lost] = again
    ends = np.cumsum(masses, axis=1)
    begins = ends - masses
    last = np.where(masses > 0, np.arange(masses.shape[1]), -1).max(axis=1)
    found = np.full(states.shape, -1, np.int64)
    for n in np.setdiff1d(np.arange(len(evidence)), lost):
        found[n] = np.minimum(np.searchsorted(ends[n], ascending[n], side="right"), last[n])
    for tile in np.unique(found[found >= 0]):
        who = np.flatnonzero((found == tile).any(axis=1))
        hits = found[who] == tile
        # numbers of other tiles are moved out of reach; those of this one are a run of the ascending row
        first, count = hits.argmax(axis=1), hits.sum(axis=1)
        width = int(count.max())
        place = first[:, None] + np.arange(width)
        inside = np.arange(width) < count[:, None]
        numbers = np.take_along_axis(ascending[who], np.minimum(place, states.shape[1] - 1), axis=1)
        # counted from the tile's beginning, so that a tile of little mass keeps its digits, and kept inside
        # it where products and single states round apart
        within = np.maximum(numbers - begins[who, tile][:, None], 0.0) * (1.0 - 1e-9)
        wanted = np.where(inside, within, 2.0)
        taken, cumulative = np.zeros(who.size, np.int64), np.zeros(who.size)
        picked = np.full(wanted.shape, -1, np.int64)
        form.visit_states(
            sample_states, terms.part(who), -evidence[who], int(tile), (wanted, taken, cumulative, picked),
            most=1,
        )  # fmt: skip
        for k, n in enumerate(who):
            if taken[k] < count[k]:  # a tile of less than 2^-60 of the mass, whose rows are passed over
                picked[k, taken[k] : count[k]] = picked[k, taken[k] - 1] if taken[k] else tile
            states[n, first[k] : first[k] + count[k]] = picked[k, : count[k]]
