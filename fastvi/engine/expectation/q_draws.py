"""Draws from each datum's own q, keyed by (seed, number of the datum, sample)."""

from __future__ import annotations

import numpy as np

from fastvi.core.arrays import Array
from fastvi.core.functions import log_probabilities
from fastvi.engine.decoder.large_logits import largest_reach
from fastvi.engine.run.slices import data_slices
from fastvi.engine.run.threads import parallel_map
from fastvi.kernels.cpu.dense.binary_layer import add_inner, weighted_bits
from fastvi.kernels.cpu.random.draws import draw_states, split_seed, thresholds, unpack
from fastvi.kernels.cpu.random.normal_draws import standard_normals

_BLOCK = 512  # rows that are summed by themselves, on any number of threads


def binary_draws(logits: Array, numbers: Array, num: int, seed: int) -> Array:
    """(N, K, d) uint8 from Bernoulli distributions of ``logits`` (N, d): those of ``Bernoulli.sample``."""
    num_data, num_latents = logits.shape
    high, low = thresholds(logits)
    out = np.empty((num_data, num, num_latents), np.uint8)

    def task(data: slice) -> None:
        words = np.empty((-(-num_latents // 32), num), np.int64)
        for n in range(data.start, data.stop):
            draw_states(high[n], low[n], *split_seed(seed), int(numbers[n]), 0, words)
            unpack(words, num_latents, out[n])

    parallel_map(task, data_slices(num_data), 10.0 * out.size)
    return out


def log_probabilities_of(logits: Array, z: Array) -> Array:
    """Log q(z_nk) (N, K) of bits ``z`` (N, K, d) uint8 under finite ``logits`` (N, d) or (1, d)."""
    num_data, num, num_latents = z.shape
    flat, found = np.ascontiguousarray(z).reshape(-1), np.empty(num_data * num)
    one_datum = len(logits) == 1
    step = 1 if one_datum else num  # rows that go together

    def task(part: slice) -> None:
        """Log q(z) = <logits, z> - sum of softplus."""
        rows = slice(part.start * step, part.stop * step)
        own = logits if one_datum else logits[part]
        found[rows] = np.repeat(
            -np.logaddexp(0.0, own).sum(axis=1), rows.stop - rows.start if one_datum else num
        )
        add_inner(flat[rows.start * num_latents : rows.stop * num_latents], own, step, found[rows])

    if found.size:
        parallel_map(task, data_slices(found.size // step), 3.0 * z.size)
    found = found.reshape(num_data, num)
    large = np.abs(logits).sum(axis=1) > largest_reach(0)
    if large.any():  # bit by bit, so that nothing cancels
        zero, one = log_probabilities(logits)
        exact = np.where(z != 0, one[:, None], zero[:, None]).sum(axis=-1)
        found = np.where(large[:, None], exact, found)
    return found


def weighted_sums_of(z: Array, share: Array, mean: Array) -> Array:
    """sum_k share_nk (z_nk - mean_n) (N, d) of bits ``z`` (N, K, d); 0 where bits are certain."""
    num_data, num, num_latents = z.shape
    out = np.empty((num_data, num_latents))
    z, mean, share = (np.ascontiguousarray(array) for array in (z, mean, share))

    def task(data: slice) -> None:
        weighted_bits(z[data].reshape(-1), mean[data], share[data].reshape(-1), num, out[data])

    parallel_map(task, data_slices(num_data), 1.0 * z.size)
    return out


def weighted_sum_of(z: Array, share: Array, mean: Array) -> Array:
    """sum_r share_r (z_r - mean) (d,) of rows ``z`` (R, d), by blocks of rows."""
    count, num_latents = len(z) // _BLOCK, z.shape[1]
    out = np.zeros(num_latents)
    for num, length, begin in ((count, _BLOCK, 0), (1, len(z) - count * _BLOCK, count * _BLOCK)):
        rows = slice(begin, begin + num * length)
        own, weights = z[rows].reshape(num, length, num_latents), share[rows].reshape(num, length)
        out += weighted_sums_of(own, weights, np.broadcast_to(mean, (num, num_latents))).sum(axis=0)
    return out


def normal_draws(num_latents: int, numbers: Array, num: int, seed: int) -> Array:
    """(N, K, d) standard normal numbers: those that ``Normal.sample`` scales."""
    out = np.empty((len(numbers), num, num_latents))

    def task(data: slice) -> None:
        for n in range(data.start, data.stop):
            out[n] = standard_normals(num, 1, num_latents, seed, int(numbers[n]))[:, 0]

    parallel_map(task, data_slices(len(numbers)), 50.0 * out.size)
    return out
