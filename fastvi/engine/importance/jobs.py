"""Sums of sampled weights, in jobs of a fixed number of samples that any executor may run.

Draws are keyed by (seed, datum, sample) and sums are merged chunk by chunk of 4,096 samples and job by job in
order of samples. Hence the same bits for any number of threads, with an executor of any number of workers or
without, and for a datum in any batch.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.importance.targets import WEIGHT, Filler, Target
from fastvi.engine.importance.weight_sums import WeightSums
from fastvi.engine.run.slices import slices
from fastvi.engine.run.threads import parallel_map
from fastvi.kernels.cpu.weights.log_weights import weight_sums

if TYPE_CHECKING:
    from fastvi.engine.cuda.sampling import CudaFiller

_LOG = logging.getLogger("fastvi")

# samples that pass over a tile together; 100 data, 1,000 samples, 784 pixels, 2 cores: 512, 2048 and 4096
# take 76, 69 and 58 ms at d = 20, 679, 372 and 374 ms at d = 100
CHUNK = 4096
_JOB = 1 << 20  # samples of one datum in a job, and of all of its data: their weights are 8 MiB


_KEPT = 4  # targets that a worker process keeps, of as many calls that take turns on it


class Source:
    """A target that is built at its first use and kept by whoever keeps this: the samplers of one call.

    What is pickled is how it is built. A worker process that gets it job after job builds once, too: it keeps
    those that it saw last.
    """

    def __init__(self, build: Callable[[], Target], token: str | None = None) -> None:
        self._build, self._token = build, uuid.uuid4().hex if token is None else token
        self._turn = Lock()  # threads of an executor share what the first of them builds
        self._target: Target | None = None

    def target(self) -> Target:
        with self._turn:
            if self._target is None:
                self._target = self._build()
            return self._target

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (self._build, self._token)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Source) and other._token == self._token

    def __hash__(self) -> int:
        return hash(self._token)


@lru_cache(_KEPT)
def _kept(source: Source) -> Source:
    """The equal that came first, of the last few."""
    return source


def _received(build: Callable[[], Target], token: str) -> Source:
    return _kept(Source(build, token))


class Sampler(NamedTuple):
    """Data that see the same pixels, and how they are sampled; sent to workers as it is."""

    source: Source  # for executors of processes of a bound method or functools.partial
    x: Array  # (N, ...)
    numbers: Array  # (N,) of the data among all: the generator's
    proposal: Any
    seed: int
    part: str = WEIGHT
    device: str = "cpu"

    def take(self, which: slice | Array) -> Sampler:
        """Some of the data."""
        parts = self.proposal if isinstance(self.proposal, str) else self.proposal.part(which)
        return self._replace(x=self.x[which], numbers=self.numbers[which], proposal=parts)


class Job(NamedTuple):
    """Samples first ... first + num - 1 of a sampler's data."""

    sampler: Sampler
    begin: int  # of its data among those that are summed together
    first: int
    num: int
    tail_size: int


class Part(NamedTuple):
    """Sums of streams ``begin``, ... among those that are summed together."""

    begin: int
    sums: WeightSums

    def merge(self, part: Part) -> None:
        """Add those of some or all of the same streams."""
        self.sums.merge(part.sums, part.begin - self.begin)


def jobs(sampler: Sampler, first: int, last: int, tail_size: int) -> list[Job]:
    """Samples first ... last - 1 of all of a sampler's data, in order of samples for each datum."""
    num_data, out = len(sampler.x), []
    step = min(last - first, _JOB)
    at_once = max(1, _JOB // step)
    for begin in range(0, num_data, at_once):
        some = sampler.take(slice(begin, begin + at_once))
        for start in range(first, last, step):
            out.append(Job(some, begin, start, min(step, last - start), tail_size))
    return out


def bound(sampler: Sampler) -> Filler:
    """The sampler's target with its data and their draws."""
    if sampler.device == "cuda":
        return cuda_filler(sampler)
    return sampler.source.target().bind(
        sampler.x, sampler.numbers, sampler.proposal, sampler.seed, sampler.part
    )


def cuda_filler(sampler: Sampler) -> CudaFiller:
    """Return the sampler's target, data and draws on a GPU."""
    from fastvi.engine.cuda.sampling import CudaFiller

    return CudaFiller(
        sampler.source.target(), sampler.x, sampler.numbers, sampler.proposal, sampler.seed, sampler.part
    )


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

    sampler, on, filler = job.sampler, device(), cuda_filler(job.sampler)
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
