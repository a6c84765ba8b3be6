"""Data that are read a part at a time: arrays of zarr, h5py and dask, and the rows of sparse ones.

A part is a whole number of the store's own chunks, about 16,384 data: what a question takes at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from fastvi.core import foreign

_ROWS = 1 << 14  # of a store that are read together
_NUMBERS = 1 << 20  # of a sparse array that are dense at a time: 8 MiB of float64


class Store(NamedTuple):
    """An array that is read by rows: ``source[a:b]`` is a part of it."""

    source: Any
    shape: tuple[int, ...]
    rows: int  # of a part

    def parts(self) -> Iterator[tuple[slice, Any]]:
        """Rows, and what they hold; one part without rows where there are none at all."""
        for first in range(0, max(1, self.shape[0]), self.rows):
            rows = slice(first, min(first + self.rows, self.shape[0]))
            part = self.source[rows]
            yield rows, part.toarray() if foreign.is_sparse(part) else part


def store_of(value: Any) -> Store | None:
    """``value`` as a store where it has two axes and is one: it says its ``chunks``, or it is sparse."""
    if isinstance(value, foreign.PLAIN):
        return None
    shape = getattr(value, "shape", None)
    if not isinstance(shape, tuple) or len(shape) != 2:
        return None
    if foreign.is_sparse(value):
        source = foreign.sparse_rows(value)
        return Store(source, tuple(map(int, shape)), max(1, _NUMBERS // max(1, int(shape[1]))))
    if not all(hasattr(type(value), name) for name in ("chunks", "dtype", "__getitem__")):
        return None
    if not all(size == size for size in shape):  # dask says NaN of what it does not know
        return None
    own = _chunk_rows(value.chunks)
    return Store(value, tuple(map(int, shape)), max(1, _ROWS // own) * own)


def _chunk_rows(chunks: Any) -> int:
    """Rows of a chunk: dask names every chunk, others one size for all, or None where there are none."""
    first = chunks[0] if chunks else 1
    return max(1, int(max(first, default=1) if isinstance(first, tuple) else first))
