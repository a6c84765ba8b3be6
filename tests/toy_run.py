"""A run whose result depends on the order of its tasks, for tests of whoever computes and interrupts it."""

from __future__ import annotations

import itertools
import os
import sys
from concurrent.futures import Executor, Future
from typing import NamedTuple

import numpy as np

from fastvi.engine.run import checkpoints
from fastvi.engine.run.checkpoints import Checkpoint
from fastvi.engine.run.runs import Run


class Toy(NamedTuple):
    """Its values depend on the order in which parts are merged."""

    total: np.ndarray
    count: np.ndarray
    nothing: np.ndarray

    @classmethod
    def zero(cls):
        return cls(np.zeros((2, 3), order="F"), np.array(0), np.empty((0, 4), np.float32))

    def merge(self, part):
        self.total[...] = 0.7 * self.total + part.total
        self.count[...] = 31 * self.count % 1000003 + part.count


def toy(task):
    """The result of a task."""
    return Toy(np.sin(task + np.arange(6.0).reshape(2, 3)), np.array(task + 1), np.empty((0, 4), np.float32))


def states(task):
    """How many states a task sums."""
    return 10 + task


TASKS = range(20)
PARTS = [range(4), range(0), [7, 1, 3], range(5)]  # several reductions of one run, one of them empty


def bits(*results):
    """Bytes of all arrays."""
    return b"".join(array.tobytes() for toy in results for array in toy)


def truth(tasks=TASKS):
    """What a run must give, merged in order."""
    result = Toy.zero()
    for task in tasks:
        result.merge(toy(task))
    return bits(result)


def reduce(path=None, *, work=toy, tasks=TASKS, identity="me", **options):
    """Bytes of a run's result, with a checkpoint where there is a path."""
    checkpoint = None if path is None else Checkpoint.open(path, identity)
    return bits(Run(checkpoint=checkpoint, **options).reduce(Toy.zero(), tasks, work, states))


class Stopping:
    """Computes ``toy`` until ``count`` tasks were asked for, then raises."""

    def __init__(self, count, error=ZeroDivisionError):
        self.count = count
        self.error = error
        self.seen = []

    def __call__(self, task):
        if len(self.seen) == self.count:
            raise self.error("stop")
        self.seen.append(task)
        return toy(task)

    def __reduce__(self):
        raise TypeError("a copy would not tell what it has seen")


class Fake(Executor):
    """Runs a task when its result is asked for; counts what is submitted and not yet asked for."""

    def __init__(self, workers=None, broken=None):
        if workers is not None:
            self._max_workers = workers
        self.broken = broken
        self.futures = []
        self.live = self.most = 0

    def submit(self, function, /, *args):
        outer = self

        class Asked(Future):
            def result(self, timeout=None):
                if self.cancelled():
                    return super().result()
                if outer.broken is not None and args[0] == outer.broken[0]:
                    raise outer.broken[1]
                outer.live -= 1
                self.set_running_or_notify_cancel()
                return function(*args)

        self.live += 1
        self.most = max(self.most, self.live)
        self.futures.append(Asked())
        return self.futures[-1]


def never(task):
    """For a run in which nothing is left to do."""
    raise AssertionError("nothing is left to do")


def several(checkpoint, work, report=None):
    """The reductions of ``PARTS`` in one run."""
    run = Run(checkpoint=checkpoint, report=report)
    results = []
    for part in PARTS:
        result = run.reduce(Toy.zero(), part, work, states)
        results.append(bits(result))
        result.total[...] = np.nan  # what a caller does with a result does not reach the checkpoint
    return results


def stand_still(call, function):
    """``function``, but at its ``call``-th call the parent process is told, and nothing is done any more."""
    calls = itertools.count(1)

    def standing(*arguments):
        if next(calls) == call:
            print("here", flush=True)
            sys.stdin.read()  # for ever, or until the parent ends
        return function(*arguments)

    return standing


def run_that_stands_still(path, where, call):
    """What a process does that its parent kills."""
    checkpoints.SAVE_SECONDS = 0.0
    if where == "before a file is renamed":
        os.replace = stand_still(call, os.replace)
    elif where == "within a file":
        os.fsync = stand_still(2 * call - 1, os.fsync)  # of each file, and then of its folder
    reduce(path, work=stand_still(call, toy) if where == "within a task" else toy, tasks=range(200))
