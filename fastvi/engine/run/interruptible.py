"""Long works side by side, in slices short enough for Ctrl-C to be heard."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from typing import TypeVar

from fastvi.engine.run.threads import parallel_map

Result = TypeVar("Result")

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
