"""Means of what a sampler fills its rows with, and their standard errors: sampled bounds.

A chunk's mean and sum of squared deviations are merged in order of samples, hence the same bits for any
number of threads. Memory: a chunk of 4,096 numbers a thread.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.importance.jobs import Sampler
from fastvi.engine.run.threads import num_threads, parallel_map
from fastvi.engine.sampling.run_jobs import CHUNK, bound


def sampled_means(sampler: Sampler, num_samples: int) -> tuple[Array, Array]:
    """Mean over ``num_samples`` draws for each datum, and its standard error: inf for one draw."""
    num_data, filler = len(sampler.x), bound(sampler)
    mean, deviation, done = np.zeros(num_data), np.zeros(num_data), 0
    step = max(1, min(CHUNK // num_samples, -(-num_data // 8)))
    wave = max(1, -(-4 * num_threads() * step // max(1, num_data))) * CHUNK
    for first in range(0, num_samples, wave):
        starts = range(first, min(first + wave, num_samples), CHUNK)
        means, deviations = np.empty((len(starts), num_data)), np.empty((len(starts), num_data))

        def task(which: tuple[int, int], starts: range = starts, found: Any = (means, deviations)) -> None:
            begin, c = which
            data = slice(begin, min(begin + step, num_data))
            held = np.empty((data.stop - begin, min(CHUNK, num_samples - starts[c])))
            filler.fill(begin, starts[c], held)
            found[0][c, data] = held.mean(axis=1)
            # -inf where a state is impossible; an error beyond 1e154 is inf
            with np.errstate(invalid="ignore", over="ignore"):
                held -= found[0][c, data][:, None]
                found[1][c, data] = np.square(held).sum(axis=1)

        parallel_map(task, [(n, c) for n in range(0, num_data, step) for c in range(len(starts))])
        for c, start in enumerate(starts):
            more = min(CHUNK, num_samples - start)
            with np.errstate(invalid="ignore", over="ignore"):
                change = means[c] - mean
                mean = mean + change * (more / (done + more)) if done else means[c]
                deviation += deviations[c] + (
                    np.square(change) * (done * more / (done + more)) if done else 0
                )
            done += more
    if num_samples == 1:
        return mean, np.full(num_data, np.inf)
    return mean, np.sqrt(deviation / (num_samples - 1.0) / num_samples)
