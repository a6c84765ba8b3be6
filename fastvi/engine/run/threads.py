"""Threads: how many, and a map over tasks in order.

Kernels let go of the interpreter lock, so a thread pool runs them side by side. Tasks are of a fixed shape
and their results are merged in index order, hence the same bits for any number of threads.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def num_threads() -> int:
    """Threads to use: FASTVI_NUM_THREADS where it is set, else the processors this process may run on."""
    asked = os.environ.get("FASTVI_NUM_THREADS")
    if asked is not None:
        if not asked.isdecimal() or int(asked) < 1:
            raise ValueError(f"FASTVI_NUM_THREADS must be a whole number >= 1, got {asked!r}")
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# operations, a quarter of a millisecond; handing out tasks to a pool that waits takes 0.1 ms
_WORTH_A_THREAD = 1e6


class _Place(threading.local):
    """Whether the running thread belongs to the pool: it must not wait for its own pool."""

    inside = False


_PLACE = _Place()


def _enter() -> None:
    _PLACE.inside = True


class _Pool:
    """The threads of this process, kept: starting two of them takes 1-3 ms while others compute.

    There is one pool, of ``num_threads()`` threads at most, each started when it is first needed. Where that
    number has changed the pool is replaced, and the threads of the old one end with what they still do.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._size, self._threads = 0, ThreadPoolExecutor(1)  # which starts none before its first task

    def submit(self, work: Callable[[], None], count: int, futures: list[Future[None]]) -> None:
        """Add ``count`` calls of ``work`` to ``futures``, at most as many as there are threads."""
        with self._lock:  # nobody replaces a pool that another thread is about to use
            size = num_threads()
            if size != self._size:
                self._threads.shutdown(wait=False)
                self._size, self._threads = size, ThreadPoolExecutor(size, "fastvi", initializer=_enter)
            for _ in range(min(count, size)):
                futures.append(self._threads.submit(work))


_POOL = _Pool()


def _after_fork() -> None:
    """A forked child has none of its parent's threads, and whoever held the lock is not there to let go."""
    global _POOL
    _POOL = _Pool()
    _PLACE.inside = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def parallel_map(
    function: Callable[[Item], Result], items: Iterable[Item], operations: float = math.inf
) -> list[Result]:
    """Results of ``function`` over ``items`` in order, on as many threads as ``operations`` in all are worth.

    An exception (also Ctrl-C) cancels what has not begun, and waits for what has. Of several exceptions that
    of the first item is raised.
    """
    tasks = list(items)
    # the number of threads is asked for last: that takes 1 to 3 microseconds, a small call has ten of these
    few = len(tasks) <= 1 or operations < _WORTH_A_THREAD or _PLACE.inside
    count = 1 if few else int(min(num_threads(), len(tasks), 1 + operations / _WORTH_A_THREAD))
    if count <= 1:
        return [function(task) for task in tasks]
    left = deque(range(len(tasks)))
    results: dict[int, Result] = {}
    errors: dict[int, BaseException] = {}

    def work() -> None:
        """One task after another: no more are in flight than there are threads."""
        while True:
            try:
                number = left.popleft()
            except IndexError:
                return
            try:
                results[number] = function(tasks[number])
            except BaseException as error:
                left.clear()
                errors[number] = error

    futures: list[Future[None]] = []
    try:
        _POOL.submit(work, count, futures)
        wait(futures, return_when=FIRST_COMPLETED)  # one ends where no task is left
    finally:
        left.clear()
        # those that were cancelled are not waited for: they stand behind what other callers have in hand
        wait([future for future in futures if not future.cancel()])
    if errors:
        raise errors.pop(min(errors))  # popped, so that it does not hold itself by its own traceback
    return [results[number] for number in range(len(tasks))]


_SLICE = 0.1  # seconds that a thread works on one before it may be told to stop; no result depends on it


def finished(works: Sequence[Generator[None, None, Result]]) -> list[Result]:
    """Run generators that yield between short steps of their work; their results in order."""
    results: dict[int, Result] = {}

    def task(k: int) -> None:
        end = time.monotonic() + _SLICE
        try:
            while True:
                next(works[k])
                if time.monotonic() >= end:
                    return
        except StopIteration as done:
            results[k] = done.value

    left = list(range(len(works)))
    while left:
        parallel_map(task, left)
        left = [k for k in left if k not in results]
    return [results[k] for k in range(len(works))]
