"""Threads: how many, and a map over tasks in order.

Kernels let go of the interpreter lock, so a thread pool runs them side by side. Tasks are of a fixed shape
and their results are merged in index order, hence the same bits for any number of threads.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
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


_WORTH_A_THREAD = (
    1e6  # operations, a quarter of a millisecond; handing out tasks to a pool that waits takes 0.1 ms
)


class _Pool(threading.local):
    """Whether the running thread belongs to a pool: it must not wait for its own pool."""

    inside = False


_POOL = _Pool()


def _enter() -> None:
    _POOL.inside = True


@cache
def _pool(count: int, process: int) -> ThreadPoolExecutor:
    """The pool of this process, kept: starting two threads takes 1-3 ms while others compute. A forked child
    has a number of its own and no threads, so it gets a new one.
    """
    return ThreadPoolExecutor(count, thread_name_prefix="fastvi", initializer=_enter)


def parallel_map(
    function: Callable[[Item], Result], items: Iterable[Item], operations: float = math.inf
) -> list[Result]:
    """Results of ``function`` over ``items`` in order, on as many threads as ``operations`` in all are worth.

    An exception (also Ctrl-C) cancels what has not begun, and waits for what has.
    """
    tasks = list(items)
    count = int(min(num_threads(), len(tasks), 1 + operations / _WORTH_A_THREAD))
    if count <= 1 or _POOL.inside:
        return [function(task) for task in tasks]
    pool, futures = _pool(count, os.getpid()), []
    try:
        for task in tasks:
            futures.append(pool.submit(function, task))
        return [future.result() for future in futures]
    finally:
        for future in futures:
            future.cancel()
        wait(futures)


def data_slices(num_data: int) -> list[slice]:
    """``num_data`` cut into about four tasks a thread; no result may depend on where the cuts are."""
    step = max(1, -(-num_data // (4 * num_threads())))
    return [slice(first, min(first + step, num_data)) for first in range(0, num_data, step)]
