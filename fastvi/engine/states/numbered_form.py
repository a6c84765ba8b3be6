"""Forms whose states stand in the order of their numbers, and whose log joints no tile holds for all data."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.states.batch import Batch
from fastvi.engine.states.data_terms import Terms
from fastvi.engine.states.form import Form
from fastvi.engine.states.sums import Moments, Sums
from fastvi.engine.states.tiling import Tiling
from fastvi.kernels.cpu.states.posterior_sums import LogTiles, row_peaks
from fastvi.kernels.host import COLUMNS

_TILE_BITS = 10  # states of a tile, as single states are visited


def block_tiling(num_latents: int) -> Tiling:
    """Tiles for forms whose work is not in tiles: rows and columns alike."""
    inner = min(num_latents, _TILE_BITS)
    return Tiling(num_latents - inner, inner // 2, inner - inner // 2, 0)


def packed_places(tiling: Tiling, padded_rows: int) -> Array:
    """Where state s = (row bits, column bits) of a tile stands in the packed tile."""
    states = np.arange(tiling.tile_states)
    row, column = states & ((1 << tiling.row_bits) - 1), states >> tiling.row_bits
    return ((column // COLUMNS) * padded_rows + row) * COLUMNS + column % COLUMNS


@dataclass(frozen=True, eq=False)
class NumberedForm(Form):
    """States in the order of their numbers, whose log joints no tile holds for all data."""

    @property
    def latents(self) -> Array:
        """Which latent bit i of (row bits, column bits, outer bits) is."""
        outer = self.tiling.outer_bits
        return np.concatenate([np.arange(outer, self.num_latents), np.arange(outer)])

    def log_space_wave(self, terms: Terms, negligible: Array, first: int) -> Sums:
        return self.batch(terms).sums(first)  # which drops nothing


class NumberedBatch(Batch):
    """Data of one chunk under such a form: in log space, so that nothing is dropped."""

    @abstractmethod
    def add(self, first: int, with_ones: bool) -> Moments:
        """One wave's sums, and with ``with_ones`` the parts of latents' bits."""

    def sums(self, first: int) -> Sums:
        return Sums(*self.add(first, False)[:3])

    def moments(self, first: int) -> Moments:
        return self.add(first, True)


def visit_datum_tiles(
    form: Form, kernel: Any, tiles: Array, first: int, linear: Array, offset: Array, who: range,
    sums: tuple[Array, ...],
) -> None:  # fmt: skip
    """Run a kernel of ``visit_states`` for data with log tiles of their own: tiles[k] those of who[k]."""
    outer, row_bits, column_bits, _ = form.tiling
    peaks = np.empty((tiles.shape[1], 1 << row_bits))
    for k, n in enumerate(who):
        row_peaks(tiles[k], 1 << row_bits, form.padded_rows, 1 << column_bits, peaks)
        own = LogTiles(
            tiles[k], peaks, first, outer, row_bits, form.padded_rows, linear, offset[n : n + 1],
            form.negligible,
        )  # fmt: skip
        kernel(own, *(array[n : n + 1] for array in sums))


def merged(found: list[Moments], *, with_ones: bool) -> Moments:
    """Sums of a wave's parts, in their order: in log space nothing is dropped, so the largest term bounds."""
    for part in found:
        part.bound[...] = part.largest
    total = found[0]
    for part in found[1:]:
        if with_ones:
            total.merge(part)
        else:
            Sums(*total[:3]).merge(Sums(*part[:3]))
    return total
