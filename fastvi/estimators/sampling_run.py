"""Sampling until enough: rounds of jobs for those data that have not reached their target."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from fastvi.core import validation
from fastvi.engine.importance.jobs import Job, Sampler, jobs
from fastvi.engine.importance.jobs import Part as JobPart
from fastvi.engine.importance.weight_sums import WeightSums
from fastvi.engine.run.runs import Run
from fastvi.engine.run.slices import slices
from fastvi.engine.sampling.run_jobs import run_job
from fastvi.kernels.cpu.weights.pareto import tail_length
from fastvi.weights.estimate import Estimate
from fastvi.weights.summary import estimate_of_sums

FIRST_LOOK = 1000  # samples before a target is looked at; fewer say little about their own error
_GROWTH = 1.5  # from one look to the next
# an inlined function cannot be called from Python, its source can
_tail_length = getattr(tail_length, "py_func", tail_length)
_TAIL_ENTRIES = 1 << 22  # of data that are summed together: 48 MiB


class Stop(NamedTuple):
    """When a datum has enough samples."""

    std_error: float
    ess: float

    @classmethod
    def checked(cls, target_std_error: Any, target_ess: Any) -> Self | None:
        """None where there is no target."""
        if target_std_error is None and target_ess is None:
            return None
        error, ess = np.inf, 0.0
        if target_std_error is not None:
            error = validation.positive_float(target_std_error, "target_std_error")
        if target_ess is not None:
            ess = validation.positive_float(target_ess, "target_ess")
        return cls(error, ess)

    def reached(self, estimate: Estimate) -> np.ndarray:
        return (estimate.std_error <= self.std_error) & (estimate.ess >= self.ess)


class Part(NamedTuple):
    """Estimates of some data."""

    members: np.ndarray
    estimate: Estimate


def certain(members: np.ndarray, values: np.ndarray, num_samples: int) -> Part:
    """What needs no sampling: every weight would be the same."""
    whole = np.full(len(values), float(num_samples))
    share, zero, equal = 1.0 / whole, np.zeros(len(values)), np.full(len(values), -np.inf)
    return Part(members, Estimate(values, zero, whole, equal, share, num_samples))


def _looks(num_samples: int, stop: Stop | None) -> Iterator[int]:
    """After how many samples there is a look at the estimates, at last after all."""
    look = num_samples if stop is None else min(FIRST_LOOK, num_samples)
    yield look
    while look < num_samples:
        look = min(num_samples, int(_GROWTH * look))
        yield look


def _size(job: Job) -> int:
    return job.num * len(job.sampler.x)


def run_samplers(
    samplers: Iterable[Sampler], num_samples: int, stop: Stop | None, run: Run
) -> Iterator[Part]:
    """Estimates of all data of all samplers, in parts."""
    tail_size = max(5, int(_tail_length(num_samples)))
    step = max(1, _TAIL_ENTRIES // (tail_size + 1))
    for sampler in samplers:
        for some in slices(len(sampler.x), step):
            yield from _sampled(sampler.take(some), num_samples, stop, tail_size, run)


def _sampled(
    sampler: Sampler, num_samples: int, stop: Stop | None, tail_size: int, run: Run
) -> Iterator[Part]:
    total, done = JobPart(0, WeightSums(len(sampler.x), tail_size)), 0
    for look in _looks(num_samples, stop):
        run.reduce(total, jobs(sampler, done, look, tail_size), run_job, _size)
        done = look
        estimate = estimate_of_sums(total.sums, done)
        if stop is None or done == num_samples:
            yield Part(sampler.numbers, estimate)
            return
        enough = stop.reached(estimate)
        if enough.any():
            yield Part(sampler.numbers[enough], estimate[enough])
            run.skip(int(enough.sum()) * (num_samples - done))
            left = np.flatnonzero(~enough)
            total, sampler = JobPart(0, total.sums.take(left)), sampler.take(left)
        if not len(sampler.x):
            return


def gathered(parts: Sequence[Part], num_data: int, num_samples: int | None, log_z: float) -> Estimate:
    """All data's estimates in order; ``num_samples`` None where each datum has its own number."""
    names = ("log_marginal", "std_error", "ess", "pareto_k", "max_weight_share")
    arrays, counts = [np.empty(num_data) for _ in names], np.empty(num_data, np.int64)
    for members, estimate in parts:
        counts[members] = estimate.num_samples
        for name, array in zip(names, arrays, strict=True):
            array[members] = getattr(estimate, name)
    log_marginal, std_error, ess, pareto_k, share = arrays
    spent = counts if num_samples is None else num_samples
    return Estimate(log_marginal - log_z, std_error, ess, pareto_k, share, spent)
