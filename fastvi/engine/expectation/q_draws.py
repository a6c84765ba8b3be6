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
    num_data, num, _ = z.shape
    zero, one = log_probabilities(logits)
    out = np.zeros(num_data * num)
    add_inner(np.ascontiguousarray(z).reshape(-1), one - zero, num, out)
    found = out.reshape(num_data, num) + zero.sum(axis=1)[:, None]
    large = np.abs(logits).sum(axis=1) > largest_reach(0)
    if large.any():  # bit by bit, so that nothing cancels
        exact = np.where(z != 0, one[:, None], zero[:, None]).sum(axis=-1)
        found = np.where(large[:, None], exact, found)
    return found


def weighted_sums_of(z: Array, share: Array, mean: Array) -> Array:
    """sum_k share_nk (z_nk - mean_n) (N, d) of bits ``z`` (N, K, d); 0 where bits are certain."""
    num_data, num, num_latents = z.shape
    out = np.empty((num_data, num_latents))
    flat = np.ascontiguousarray(z).reshape(-1)
    weighted_bits(flat, np.ascontiguousarray(mean), np.ascontiguousarray(share).reshape(-1), num, out)
    return out


def normal_draws(num_latents: int, numbers: Array, num: int, seed: int) -> Array:
    """(N, K, d) standard normal numbers: those that ``Normal.sample`` scales."""
    out = np.empty((len(numbers), num, num_latents))

    def task(data: slice) -> None:
        for n in range(data.start, data.stop):
            out[n] = standard_normals(num, 1, num_latents, seed, int(numbers[n]))[:, 0]

    parallel_map(task, data_slices(len(numbers)), 50.0 * out.size)
    return out
