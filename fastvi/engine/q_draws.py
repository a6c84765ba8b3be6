"""Draws from each datum's own q, keyed by (seed, number of the datum, sample)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvi.engine.importance.proposals import unpacked
from fastvi.engine.threads import data_slices, parallel_map
from fastvi.kernels.cpu.draws import draw_states, split_seed, thresholds
from fastvi.kernels.cpu.normal_draws import standard_normals

Array = NDArray[Any]


def binary_draws(logits: Array, numbers: Array, num: int, seed: int) -> Array:
    """(N, K, d) uint8 from Bernoulli distributions of ``logits`` (N, d): those of ``Bernoulli.sample``."""
    num_data, num_latents = logits.shape
    high, low = thresholds(logits)
    out = np.empty((num_data, num, num_latents), np.uint8)

    def task(data: slice) -> None:
        words = np.empty((-(-num_latents // 32), num), np.int64)
        for n in range(data.start, data.stop):
            draw_states(high[n], low[n], *split_seed(seed), int(numbers[n]), 0, words)
            out[n] = unpacked(words, num_latents)

    parallel_map(task, data_slices(num_data), 10.0 * out.size)
    return out


def normal_draws(num_latents: int, numbers: Array, num: int, seed: int) -> Array:
    """(N, K, d) standard normal numbers: those that ``Normal.sample`` scales."""
    out = np.empty((len(numbers), num, num_latents))

    def task(data: slice) -> None:
        for n in range(data.start, data.stop):
            out[n] = standard_normals(num, 1, num_latents, seed, int(numbers[n]))[:, 0]

    parallel_map(task, data_slices(len(numbers)), 50.0 * out.size)
    return out
