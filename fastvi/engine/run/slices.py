"""Slices of data: of fixed length where results depend on it, else a few for each thread."""

from __future__ import annotations

from collections.abc import Iterator

from fastvi.engine.run.threads import num_threads

# data that are worked on together: 43 MB of tables at 2^6 rows and 2^8 columns; the tiles, made anew for
# each chunk, are then 5 % of the work
CHUNK_DATA = 16384


def num_chunks(num_data: int) -> int:
    """Number of slices that ``chunks`` gives."""
    return -(-num_data // CHUNK_DATA)


def slices(num: int, step: int) -> Iterator[slice]:
    """``num`` things, ``step`` at a time."""
    for first in range(0, num, step):
        yield slice(first, min(first + step, num))


def chunks(num_data: int) -> Iterator[slice]:
    """Data that are worked on together."""
    return slices(num_data, CHUNK_DATA)


def data_slices(num_data: int) -> list[slice]:
    """``num_data`` cut into about four tasks a thread; no result may depend on where the cuts are."""
    if num_data <= 1:
        return [slice(0, 1)] if num_data else []
    return list(slices(num_data, max(1, -(-num_data // (4 * num_threads())))))


def small_slices(num_data: int, states: int) -> list[slice]:
    """Slices for tasks of an exponential a state and datum: 2^24, 0.15 s, that Ctrl-C waits for."""
    step = max(1, min(64, (1 << 24) // states))
    return [
        slice(first, min(first + step, part.stop))
        for part in data_slices(num_data)
        for first in range(part.start, part.stop, step)
    ]
