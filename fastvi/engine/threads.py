"""Threads: how many, and a map over tasks in order.

Kernels let go of the interpreter lock, so a thread pool runs them side by side. Tasks are of a fixed shape
and their results are merged in index order, hence the same bits for any number of threads.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
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
    4e6  # operations, about a millisecond; starting a pool of two and handing out tasks takes 0.4 ms
)


def parallel_map(
    function: Callable[[Item], Result], items: Iterable[Item], operations: float = math.inf
) -> list[Result]:
    """Results of ``function`` over ``items`` in order, on as many threads as ``operations`` in all are worth.

    An exception (also Ctrl-C) cancels what has not begun.
    """
    tasks = list(items)
    count = int(min(num_threads(), len(tasks), 1 + operations / _WORTH_A_THREAD))
    if count <= 1:
        return [function(task) for task in tasks]
    pool = ThreadPoolExecutor(count, thread_name_prefix="fastvi")
    try:
        return list(pool.map(function, tasks))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def data_slices(num_data: int) -> list[slice]:
    """``num_data`` cut into about four tasks a thread; no result may depend on where the cuts are."""
    step = max(1, -(-num_data // (4 * num_threads())))
    return [slice(first, min(first + step, num_data)) for first in range(0, num_data, step)]
