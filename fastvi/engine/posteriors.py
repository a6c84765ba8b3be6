"""Exact posteriors for a batch: one pass for the evidence, one for what the posterior is asked."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastvi.engine.log_sum import Report, Terms, data_terms, log_sums, tell
from fastvi.engine.softplus_form import SoftplusForm
from fastvi.engine.threads import data_slices, parallel_map
from fastvi.engine.waves import chunk_slices, fill_wave, wave_starts
from fastvi.kernels.cpu.draws import fill_uniforms, split_seed
from fastvi.kernels.cpu.posterior_sums import posterior_sums, row_peaks, sample_states

Array = NDArray[Any]

_DROPPED = 60 * math.log(2.0)  # the mass of all rows that are passed over is below 2^-60


class Posterior(NamedTuple):
    """Per datum, in the model's order of latents."""

    log_marginal: Array  # (N,)
    mean: Array  # (N, d)
    second_moment: Array | None  # (N, d, d)
    entropy: Array  # (N,)
    top_states: Array  # (N, k, d) uint8
    top_log_probs: Array  # (N, k)


def _negligible(form: SoftplusForm) -> float:
    return -_DROPPED - form.order.size * math.log(2.0)


def _log_wave(form: SoftplusForm, first: int) -> tuple[Array, Array]:
    """One wave of log tiles and the largest entry of each of their rows."""
    log_tiles, _ = fill_wave(form, first, in_log_space=True)
    num_rows = 1 << form.tiling.row_bits
    peaks = np.empty((len(log_tiles), num_rows))
    row_peaks(log_tiles, num_rows, form.padded_rows, 1 << form.tiling.column_bits, peaks)
    return log_tiles, peaks


def unpack_states(form: SoftplusForm, states: Array) -> Array:
    """Integers, bit i the form's i-th latent, to (..., d) uint8 in the model's order."""
    bits = np.empty((*states.shape, form.order.size), np.uint8)
    for i, latent in enumerate(form.order):
        bits[..., latent] = (states >> i) & 1
    return bits


def posterior(
    form: SoftplusForm, x: Array, top_k: int, *, pairwise: bool, report: Report | None = None
) -> Posterior:
    """Evidence, moments, entropy and the ``top_k`` most probable states of each row of ``x``."""
    num_data, num_latents = len(x), form.order.size
    evidence = log_sums(form, x, report=report)
    mean, entropy = np.zeros((num_data, num_latents)), np.zeros(num_data)
    pairs = np.zeros((num_data if pairwise else 0, num_latents, num_latents))
    log_probs, states = np.full((num_data, top_k), -np.inf), np.zeros((num_data, top_k), np.int64)
    for data in chunk_slices(num_data):
        terms = data_terms(form, x[data])
        offset = terms.constant - evidence[data]
        sums = (mean[data], pairs[data], entropy[data], log_probs[data], states[data])
        for first in wave_starts(form):
            _run_wave(posterior_sums, form, terms, offset, first, sums)
            tell(report, form)
    inverse = np.argsort(form.order)
    second = None
    if pairwise:
        # inner bits are paired with outer ones once: their mirror images are filled in here
        upper = np.maximum(pairs, pairs.transpose(0, 2, 1))
        second = upper[:, inverse][:, :, inverse]
    return Posterior(evidence, mean[:, inverse], second, entropy, unpack_states(form, states), log_probs)


def _run_wave(
    kernel: Any, form: SoftplusForm, terms: Terms, offset: Array, first: int, sums: tuple[Array, ...]
) -> None:
    """Run ``posterior_sums`` or ``sample_states`` over one wave; ``sums`` are the kernel's own arrays."""
    log_tiles, peaks = _log_wave(form, first)
    outer, row_bits, padded_rows = form.tiling.outer_bits, form.tiling.row_bits, form.padded_rows
    negligible = _negligible(form)

    def task(part: slice) -> None:
        kernel(
            log_tiles, peaks, first, outer, row_bits, padded_rows, terms.linear[part], offset[part],
            negligible, *(array[part] for array in sums),
        )  # fmt: skip

    parallel_map(task, data_slices(len(offset)), 8.0 * len(offset) * log_tiles.size)


def sample(form: SoftplusForm, x: Array, evidence: Array, members: Array, num: int, seed: int) -> Array:
    """Exact draws (N, num, d); the uniform number of draw k of datum members[n] is keyed by (seed,
    members[n], k).
    """
    num_data = len(x)
    uniforms, key = np.empty((num_data, num)), split_seed(seed)
    for n in range(num_data):
        fill_uniforms(*key, int(members[n]), 0, uniforms[n])
    order = np.argsort(uniforms, axis=1, kind="stable")
    ascending = np.take_along_axis(uniforms, order, axis=1)
    taken, cumulative = np.zeros(num_data, np.int64), np.zeros(num_data)
    # rounding may leave the total just below a number close to 1: that draw is then the last state visited
    states = np.full((num_data, num), -1, np.int64)
    for data in chunk_slices(num_data):
        terms = data_terms(form, x[data])
        offset = terms.constant - evidence[data]
        for first in wave_starts(form):
            sums = (ascending[data], taken[data], cumulative[data], states[data])
            _run_wave(sample_states, form, terms, offset, first, sums)
    for short in np.flatnonzero(taken < num):
        states[short, taken[short] :] = states[short, taken[short] - 1]
    unsorted = np.empty_like(states)
    np.put_along_axis(unsorted, order, states, axis=1)
    return unpack_states(form, unsorted)


def log_joint(form: SoftplusForm, x: Array, z: Array) -> Array:
    """log p(x_n, z) of given states z (N, ..., d) in the model's order, (N, ...); by the definition."""
    out = np.empty(z.shape[:-1])
    for n in range(len(x)):
        bits = z[n][..., form.order]
        # einsum, not BLAS, so that the bits of a result do not depend on threads
        eta = np.einsum("...i,ji->...j", bits, form.weights) + form.bias
        signed = np.where(x[n] == 1, -eta, eta)
        prior = form.offset + form.centre
        out[n] = (bits * prior).sum(axis=-1) + form.log_constant - np.logaddexp(0.0, signed).sum(axis=-1)
    return out
