"""How an enumeration runs: data in chunks, tiles in waves, each wave a fill (parallel over tiles) and a sum
(parallel over data).

A wave's partial sums are merged in order of waves, whoever computed them: the same bits for any number of
threads or workers. Between two waves there is room for progress and Ctrl-C. Memory: one wave of tiles, and
per datum of a chunk its two packed tables; nothing grows with 2^d.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvi.engine.softplus_form import SoftplusForm
from fastvi.engine.threads import num_threads, parallel_map
from fastvi.kernels.cpu.host import COLUMNS
from fastvi.kernels.cpu.tile_sums import DATA_ROWS, tile_sums

Array = NDArray[Any]

WAVE_TILES = 64  # 8 MiB of weights at 2^14 states a tile
# 43 MB of tables at 2^6 rows and 2^8 columns; the tiles, made anew for each chunk, are then 5 % of the work
CHUNK_DATA = 16384


def wave_starts(form: SoftplusForm) -> range:
    """First tile of each wave."""
    return range(0, form.tiling.num_tiles, WAVE_TILES)


def num_chunks(num_data: int) -> int:
    """How many chunks ``chunk_slices`` gives."""
    return -(-num_data // CHUNK_DATA)


def chunk_slices(num_data: int) -> Iterator[slice]:
    """Data that are worked on together."""
    for first in range(0, num_data, CHUNK_DATA):
        yield slice(first, min(first + CHUNK_DATA, num_data))


def fill_wave(form: SoftplusForm, first: int, *, in_log_space: bool = False) -> tuple[Array, Array]:
    """Tiles ``first`` .. of one wave, packed, and the logarithms of their scales."""
    count = min(WAVE_TILES, form.tiling.num_tiles - first)
    tiles, scales = np.empty((count, form.tile_size)), np.empty(count)
    group = max(1, count // (8 * num_threads()))

    def fill(start: int) -> None:
        part = slice(start, start + group)
        form.fill(first + start, tiles[part], scales[part], in_log_space=in_log_space)

    parallel_map(fill, range(0, count, group), count * form.tiling.tile_states * (form.bias.size + 16))
    return tiles, scales


class PackedBatch:
    """Per-datum tables over row bits and column bits, laid out as ``tile_sums`` reads them."""

    def __init__(self, form: SoftplusForm, num_data: int) -> None:
        self.form = form
        self.num_data = num_data
        self.num_panels = -(-num_data // DATA_ROWS)
        rows = 1 << form.tiling.row_bits
        self.rows = np.zeros(self.num_panels * rows * DATA_ROWS)
        self.columns = np.zeros(self.num_panels * form.column_panels * COLUMNS * DATA_ROWS)

    def panels(self) -> list[tuple[int, int]]:
        """Ranges of panels, one a task: about four tasks a thread, none of more than 64 data."""
        size = min(64 // DATA_ROWS, max(1, self.num_panels // (4 * num_threads())))
        return [(p, min(p + size, self.num_panels)) for p in range(0, self.num_panels, size)]

    def pack(self, fill: Callable[[slice, Array, Array], None]) -> None:
        """Call ``fill(data, rows, columns)`` for each task's data and its part of the tables."""
        row_step = self.rows.size // max(1, self.num_panels)
        column_step = self.columns.size // max(1, self.num_panels)

        def task(part: tuple[int, int]) -> None:
            first, last = part
            data = slice(first * DATA_ROWS, min(last * DATA_ROWS, self.num_data))
            fill(
                data,
                self.rows[first * row_step : last * row_step],
                self.columns[first * column_step : last * column_step],
            )

        parallel_map(task, self.panels(), 2.0 * (self.rows.size + self.columns.size))

    def sums(self, tiles: Array) -> Array:
        """(N, T): u_n^T tile v_n for each datum and tile of a wave."""
        out = np.empty((self.num_panels * DATA_ROWS, len(tiles)))
        num_rows, padded_rows = 1 << self.form.tiling.row_bits, self.form.padded_rows

        def task(part: tuple[int, int]) -> None:
            tile_sums(tiles, self.rows, self.columns, num_rows, padded_rows, part[0], part[1], out)

        parallel_map(task, self.panels(), 1.0 * self.num_data * len(tiles) * self.form.tiling.tile_states)
        return out[: self.num_data]
