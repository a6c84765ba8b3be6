"""Jobs of a sampler, done on the device that it names: drawn, weighed and summed."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.importance.jobs import Job, Part, Sampler
from fastvi.engine.importance.weight_sums import WeightSums
from fastvi.engine.run.slices import slices
from fastvi.engine.run.threads import parallel_map
from fastvi.kernels.cpu.weights.log_weights import weight_sums

_LOG = logging.getLogger("fastvi")

# samples that pass over a tile together; 100 data, 1,000 samples, 784 pixels, 2 cores: 512, 2048 and 4096
# take 76, 69 and 58 ms at d = 20, 679, 372 and 374 ms at d = 100
CHUNK = 4096


def bound(sampler: Sampler) -> Any:
    """Return the ``Filler`` of the sampler's target, its data and their draws."""
    _, x, numbers, proposal, seed, part, device = sampler
    target = sampler.source.target()
    if device == "cpu":
        return target.bind(x, numbers, proposal, seed, part)
    # imported here, so that no question to the CPU imports numba.cuda
    from fastvi.engine.cuda.sampling import CudaFiller

    return CudaFiller(target, x, numbers, proposal, seed, part)


def sampler_where_it_can(sampler: Sampler) -> Sampler:
    """The sampler, on the CPU where a GPU cannot sample it; says so."""
    if sampler.device == "cpu":
        return sampler
    from fastvi.engine.cuda.sampling import refusal

    if reason := refusal(sampler.source.target(), sampler.proposal):
        _LOG.info("device='auto' picks 'cpu': a GPU %s", reason)
        return sampler._replace(device="cpu")
    return sampler


def _run_on_gpu(job: Job) -> Part:
    from fastvi.engine.cuda.device import device
    from fastvi.engine.cuda.sampling import MOST_DATA, row_sums

    sampler, on, filler = job.sampler, device(), bound(job.sampler)
    sums = WeightSums(len(sampler.x), job.tail_size)
    sums.make_room(job.num)
    for some in slices(len(sampler.x), MOST_DATA):
        num_data = some.stop - some.start
        log_w = filler.log_weights(on, some.start, job.first, num_data, job.num)
        found = row_sums(on, log_w)
        _check(found.total[None], sampler.numbers[some])
        # the largest are looked for here: 8 bytes a sample, against thousands of operations there
        sums.collect(on.get(log_w), np.full(num_data, job.num), found.largest, some)
        sums.add(found.largest, found.total, found.squares, some)
        np.minimum(sums.smallest[some], found.smallest, out=sums.smallest[some])
    return Part(job.begin, sums)


def run_job(job: Job) -> Part:
    """Draw, weigh and sum."""
    if job.sampler.device == "cuda":
        return _run_on_gpu(job)
    sampler, num_data = job.sampler, len(job.sampler.x)
    filler = bound(sampler)
    log_w = np.empty((num_data, job.num))
    num_chunks = -(-job.num // CHUNK)
    largest, total, squares, smallest = (np.empty((num_chunks, num_data)) for _ in range(4))
    # several data that have few samples
    step = max(1, min(CHUNK // job.num, -(-num_data // 8)))

    def task(which: tuple[int, int]) -> None:
        begin, c = which
        data = slice(begin, begin + step)
        held = log_w[data, c * CHUNK : (c + 1) * CHUNK]
        filler.fill(begin, job.first + c * CHUNK, held)
        weight_sums(held, largest[c, data], total[c, data], squares[c, data])
        smallest[c, data] = held.min(axis=1)

    parallel_map(task, [(n, c) for n in range(0, num_data, step) for c in range(num_chunks)])
    _check(total, sampler.numbers)
    sums = WeightSums(num_data, job.tail_size)
    sums.make_room(job.num)
    lengths, highest = np.full(num_data, job.num), largest.max(axis=0)

    def collect(begin: int) -> None:
        data = slice(begin, begin + step)
        sums.collect(log_w[data], lengths[data], highest[data], data)

    parallel_map(collect, range(0, num_data, step), 2.0 * log_w.size)
    for c in range(num_chunks):
        sums.add(largest[c], total[c], squares[c])
    np.minimum(sums.smallest, smallest.min(axis=0), out=sums.smallest)
    return Part(job.begin, sums)


def _check(total: Array, numbers: Array) -> None:
    bad = np.isnan(total).any(axis=0)
    if bad.any():
        which = int(numbers[np.flatnonzero(bad)[0]])
        raise ValueError(
            f"x must have log weights that are finite or -inf, got NaN or +inf for datum {which}"
        )
