"""Sums of sampled weights, in jobs of a fixed number of samples that any executor may run.

Draws are keyed by (seed, datum, sample) and sums are merged chunk by chunk of 4,096 samples and job by job in
order of samples. Hence the same bits for any number of threads, with an executor of any number of workers or
without, and for a datum in any batch.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import lru_cache
from threading import Lock
from typing import Any, NamedTuple

from fastvi.core.arrays import Array
from fastvi.engine.importance.targets import WEIGHT, Target
from fastvi.engine.importance.weight_sums import WeightSums

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
        if isinstance(which, slice) and which.start == 0 and which.stop >= len(self.x):  # all of them
            return self
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
