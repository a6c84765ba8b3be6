"""Forms whose tiles of exp(<centre, z> - A(z)) are filled once for all data."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.run.slices import data_slices, small_slices
from fastvi.engine.run.threads import num_threads, parallel_map
from fastvi.engine.states.batch import Batch
from fastvi.engine.states.data_terms import Terms
from fastvi.engine.states.form import Form, shifted
from fastvi.engine.states.sums import Sums
from fastvi.engine.states.tile_batch import TileBatch, log_totals
from fastvi.kernels.cpu.states.log_sums import log_space_sums
from fastvi.kernels.cpu.states.posterior_sums import LogTiles, row_peaks

_KEPT_NUMBERS = 1 << 15  # of all tiles together: 256 KiB
_TOTALS = "log totals"


@dataclass(frozen=True, eq=False)
class TileForm(Form):
    """Tiles of exp(<centre, z> - A(z)), summed tile after tile."""

    @abstractmethod
    def fill(self, first: int, tiles: Array, scales: Array, *, in_log_space: bool = False) -> None:
        """Tiles ``first``, ...

        Of exp(<centre, z> - A(z)) into the rows of ``tiles``, each relative to exp(scales[t]).

        With ``in_log_space`` the rows are <centre, z> - A(z) itself and the scales 0. A row is packed as
        (column panels, padded rows, COLUMNS); what pads it is 0.
        """

    def batch(self, terms: Terms) -> Batch:
        return TileBatch(self, terms)

    def sum_wave(self, first: int, packed: Any) -> tuple[Array, Array, Array] | None:
        """Sums (N, T) of packed data over a wave's tiles, each summed where it is made, in the cache.

        Then the logs of the tiles' scales, and their totals. None where tiles are made first and then summed.
        """
        return None

    def fill_wave(
        self, first: int, *, most: int | None = None, in_log_space: bool = False
    ) -> tuple[Array, Array]:
        """Tiles ``first`` .., ``most`` or ``filled_tiles`` of them, packed, and the logs of their scales.

        Nobody writes to them: few that are all there are stay with the form.
        """
        count = min(most or self.filled_tiles, self.tiling.num_tiles - first)
        if count < self.tiling.num_tiles or not self.keeps_tiles:
            return self._filled(first, count, in_log_space=in_log_space)
        kept: dict[Any, Any] = self.__dict__.setdefault("_kept", {})
        if in_log_space not in kept:
            kept[in_log_space] = self._filled(first, count, in_log_space=in_log_space)
        return cast("tuple[Array, Array]", kept[in_log_space])

    @property
    def keeps_tiles(self) -> bool:
        """Whether all tiles are so few that they are filled once and stay with the form."""
        return self.tiling.num_tiles * self.tile_size <= _KEPT_NUMBERS

    def log_totals(self, tiles: Array) -> Array:
        """Logs of the sums of the numbers of a wave's tiles; those of tiles that are kept stay, too."""
        if not self.keeps_tiles:
            return log_totals(tiles)
        kept: dict[Any, Any] = self.__dict__.setdefault("_kept", {})
        if _TOTALS not in kept:
            kept[_TOTALS] = log_totals(tiles)
        return cast(Array, kept[_TOTALS])

    def __getstate__(self) -> dict[str, Any]:
        """All but the tiles: a worker fills its own."""
        return {name: value for name, value in vars(self).items() if name != "_kept"}

    def _filled(self, first: int, count: int, *, in_log_space: bool) -> tuple[Array, Array]:
        tiles, scales = np.empty((count, self.tile_size)), np.empty(count)
        group = max(1, count // (8 * num_threads()))

        def fill(start: int) -> None:
            part = slice(start, start + group)
            self.fill(first + start, tiles[part], scales[part], in_log_space=in_log_space)

        parallel_map(fill, range(0, count, group), count * self.tiling.tile_states * self.operations)
        return tiles, scales

    def log_space_wave(self, terms: Terms, negligible: Array, first: int) -> Sums:
        """One wave in log space; tiles all of whose states are below exp(negligible[n]) are left out."""
        log_tiles, _ = self.fill_wave(first, in_log_space=True)
        outer, row_bits = self.tiling.outer_bits, self.tiling.row_bits
        sums = Sums.zero(len(negligible))

        def task(part: slice) -> None:
            log_space_sums(
                log_tiles, first, terms.linear[part], outer, row_bits, self.padded_rows,
                terms.constant[part], negligible[part], sums.largest[part], sums.total[part],
            )  # fmt: skip

        parallel_map(task, data_slices(len(negligible)), 20.0 * len(negligible) * log_tiles.size)
        return sums

    def visit_states(
        self, kernel: Any, terms: Terms, shift: Array, first: int, sums: tuple[Array, ...], *,
        most: int | None = None,
    ) -> None:  # fmt: skip
        log_tiles, _ = self.fill_wave(first, most=most, in_log_space=True)
        self.visit_tiles(kernel, terms, shift, first, log_tiles, sums, operations=8.0)

    def visit_tiles(
        self, kernel: Any, terms: Terms, shift: Array, first: int, log_tiles: Array, sums: tuple[Array, ...],
        *, operations: float,
    ) -> None:  # fmt: skip
        """``visit_states`` over tiles that are filled; a state of a datum takes ``operations``."""
        offset = shifted(terms, shift)
        outer, row_bits, column_bits, _ = self.tiling
        peaks = np.empty((len(log_tiles), 1 << row_bits))
        row_peaks(log_tiles, 1 << row_bits, self.padded_rows, 1 << column_bits, peaks)

        def task(part: slice) -> None:
            tiles = LogTiles(
                log_tiles, peaks, first, outer, row_bits, self.padded_rows, terms.linear[part], offset[part],
                self.negligible,
            )  # fmt: skip
            kernel(tiles, *(array[part] for array in sums))

        parallel_map(
            task, small_slices(len(offset), log_tiles.size), operations * len(offset) * log_tiles.size
        )
