"""Arrays in which a thread works on a piece."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from fastvi.engine.elimination.layout import Segment
from fastvi.engine.run.slices import slices
from fastvi.kernels.cpu.elimination.pieces import Piece, Scratch
from fastvi.kernels.cpu.elimination.rows import BLOCK
from fastvi.kernels.host import COLUMNS

MOST_SLICES = 16  # of the tasks of a piece: their moments are merged in order
_SLICE_ROWS = 1 << 14  # of a slice, at least: a tenth of a millisecond


class Work(NamedTuple):
    """A piece, and how its tasks are shared out."""

    segment: Segment
    piece: Piece
    rows: int

    def slices(self, *, moments: bool) -> list[slice]:
        """Tasks that a thread takes together: those that add to the same numbers are in one slice."""
        step = max(1, self.segment.num_tasks // MOST_SLICES, _SLICE_ROWS // self.rows)
        if moments and len(self.segment.outside):
            absent = (self.piece.outer_stride[: len(self.segment.outside)] == 0).any(axis=0)
            step = max(step, 1 << int(absent.sum()))
        return list(slices(self.segment.num_tasks, step))


class Desk:
    """Scratch for all pieces of ``works``, as many times as there are threads at work.

    It is kept: what is new from the system costs a page fault for each 4 KiB. For moments of a grid of 10 x
    10 units that was three quarters of the time (Zen 3, a virtual machine).
    """

    def __init__(self, works: list[Work], *, moments: bool) -> None:
        pieces = [work.piece for work in works]
        size = max(work.rows for work in works) * COLUMNS
        self._sizes = (
            size, size if moments else 0,
            1 << max(int(np.diff(piece.begin).max(initial=0)) for piece in pieces),
        )  # fmt: skip
        self._spare: list[Scratch] = []

    @contextmanager
    def scratch(self) -> Iterator[Scratch]:
        try:
            found = self._spare.pop()
        except IndexError:
            tables, masses, offsets = self._sizes
            found = Scratch(
                np.empty(tables), np.empty(masses), np.empty(2 * BLOCK * COLUMNS), np.empty(offsets, np.int64)
            )
        yield found
        self._spare.append(found)
