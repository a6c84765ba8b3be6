"""Memory of forms that have one tile: engine/states/pair_form.py and engine/states/pair_batch.py."""

from __future__ import annotations

from dataclasses import dataclass

from fastvi.engine.memory.form import NUMBER, FormMemory, padded
from fastvi.engine.run.threads import num_threads
from fastvi.engine.states.pair_batch import MOST_ROWS, TASK_ROWS
from fastvi.engine.states.pair_form import filled_tiles, wave_tiles
from fastvi.engine.states.tiling import Tiling, choose_pair_tiling
from fastvi.kernels.host import COLUMNS


@dataclass(frozen=True)
class PairMemory(FormMemory):
    """A pair form whose data see ``num_seen`` pixels."""

    tiling: Tiling
    num_seen: int
    pixel_bytes: int

    @classmethod
    def of(cls, num_latents: int, num_seen: int, pixel_bytes: int) -> PairMemory:
        return cls(choose_pair_tiling(num_latents), num_seen, pixel_bytes)

    @property
    def _columns(self) -> int:
        return padded(1 << self.tiling.column_bits, COLUMNS)

    @property
    def _rows(self) -> int:
        return 1 << self.tiling.row_bits

    @property
    def _tile(self) -> int:
        """Bytes of a packed tile."""
        return NUMBER * padded(self._rows, 8) * self._columns

    @property
    def _flipped(self) -> int:
        return NUMBER * padded(self._rows, COLUMNS) << self.tiling.column_bits

    @property
    def _inner(self) -> int:
        return self.tiling.row_bits + self.tiling.column_bits

    @property
    def _wave(self) -> int:
        return min(wave_tiles(self.tiling), self.tiling.num_tiles)

    @property
    def _waves(self) -> int:
        return -(-self.tiling.num_tiles // wave_tiles(self.tiling))

    @property
    def _filled(self) -> int:
        return min(filled_tiles(self.tiling), self.tiling.num_tiles)

    @property
    def operations(self) -> int:
        return 16

    @property
    def tables(self) -> int:
        # the tile and its logarithm in two words; couplings, and those of the data
        d = self.num_latents
        return 3 * self._tile + NUMBER * (2 * d * d + self.num_seen * (self.num_seen + d))

    @property
    def making(self) -> int:
        d = self.num_latents
        # the kernel adds states up in four numbers each, while the tile itself is not yet there
        return self.tables + 3 * self._tile + NUMBER * (6 * d * d + 2 * self.num_seen * d)

    def terms(self, num_data: int) -> int:
        """t(x) and c(x) in two words each."""
        return 2 * super().terms(num_data)

    def _part(self, num_data: int) -> tuple[int, int]:
        """Data whose rows are kept at a time, and their rows."""
        data = min(num_data, max(1, MOST_ROWS // self._wave))
        return data, data * self._wave

    def _task(self) -> int:
        """Tables and masses of some rows, those of flipped tiles not yet gone, and their terms."""
        numbers = 3 * (self._rows + self._columns + COLUMNS) + 8 * self.num_latents + 16
        return num_threads() * NUMBER * TASK_ROWS * numbers

    def _outer(self, data: int) -> int:
        """Terms that outer states add, and the data's own coefficients."""
        return NUMBER * 2 * (self._wave * (self._inner + 1) + data * (self.num_latents + 1))

    def _whole(self, num_data: int, numbers: int) -> int:
        """Terms; running sums of a chunk; those of its parts as they came, and together."""
        each = NUMBER * num_data * numbers
        return self.terms(num_data) + self.merged(num_data, numbers, self._waves) + each

    def sums(self, num_data: int) -> int:
        data, rows = self._part(num_data)
        return self._whole(num_data, 3) + self._outer(data) + 5 * NUMBER * rows + self._task() // 4

    def _masses(self, data: int, rows: int) -> int:
        """Arrays that ``_row_masses`` returns, shares of the rows."""
        return self._flipped + self._outer(data) + NUMBER * rows * (6 + self._inner)

    def moments(self, num_data: int) -> int:
        data, rows = self._part(num_data)
        numbers = 3 + self.num_latents
        return self._whole(num_data, numbers) + self._masses(data, rows) + self._task()

    def details(self, num_data: int, top_k: int, *, pairwise: bool) -> int:
        waves = -(-self.tiling.num_tiles // filled_tiles(self.tiling))
        peaks = NUMBER * self._filled * self._rows
        threads = num_threads() * 2 * self._tile
        return (
            self.detailed(num_data, top_k, waves, pairwise=pairwise)
            + self._filled * (self._tile + NUMBER) + peaks + threads
        )  # fmt: skip

    def state_moments(self, num_data: int) -> int:
        data, rows = self._part(num_data)
        posterior = num_threads() * 3 * self._tile
        return (
            2 * self.terms(num_data) + 4 * NUMBER * num_data + self._masses(data, rows) + NUMBER * rows
            + self._task() + posterior + 24 * NUMBER * self.num_latents**2
        )  # fmt: skip
