"""Memory of forms whose tiles are filled.

Softplus_form.py and tile_batch.py of engine/states, details.py and state_moments.py of engine/posterior.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastvi.engine.memory.form import NUMBER, FormMemory, padded
from fastvi.engine.posterior.state_moments import NUM_TASKS
from fastvi.engine.run.threads import num_threads
from fastvi.engine.states import form as forms
from fastvi.engine.states.tiling import Tiling, choose_tiling
from fastvi.kernels.cpu.simd.product_tiles import product_tile
from fastvi.kernels.cpu.states.tile_sums import DATA_ROWS
from fastvi.kernels.host import COLUMNS


@dataclass(frozen=True)
class TileMemory(FormMemory):
    """A softplus form, ``num_pixels`` in its sum, ``num_seen`` in its data; ``deep``: a table as prior."""

    tiling: Tiling
    num_pixels: int
    num_seen: int
    item: int  # bytes of a number of the products
    deep: bool = False
    pixel_bytes = 1

    @classmethod
    def of(
        cls, num_latents: int, num_pixels: int, num_seen: int, dtype: str = "float64", *, deep: bool = False
    ) -> TileMemory:
        item = 4 if dtype == "float32" else 8
        return cls(choose_tiling(num_latents, COLUMNS), num_pixels, num_seen, item, deep)

    @property
    def _rows(self) -> int:
        return 1 << self.tiling.row_bits

    @property
    def _columns(self) -> int:
        return 1 << self.tiling.column_bits

    @property
    def _panel_rows(self) -> int:
        return padded(self._rows, product_tile(self.item).rows)

    @property
    def _tile(self) -> int:
        """Numbers of a packed tile."""
        return self._panel_rows * padded(self._columns, COLUMNS)

    @property
    def _wave(self) -> int:
        """Tiles of a wave."""
        return min(forms.WAVE_TILES, self.tiling.num_tiles)

    @property
    def _waves(self) -> int:
        return -(-self.tiling.num_tiles // forms.WAVE_TILES)

    @property
    def operations(self) -> int:
        return self.num_pixels + 16

    @property
    def tables(self) -> int:
        # weights in the form's order, again by groups of bits, and those of the data where they are others
        weights = (2 * self.num_pixels + (self.num_seen if self.num_seen != self.num_pixels else 0)) * (
            self.num_latents + 1
        )
        left, right = self._panel_rows * NUMBER, padded(self._columns, COLUMNS) * self.item
        table = NUMBER << self.num_latents if self.deep else 0
        return NUMBER * weights + (left + right) * self.num_pixels + 6 * NUMBER * self.num_pixels + table

    @property
    def making(self) -> int:
        return self.tables + NUMBER * self.num_pixels * self.num_latents

    def _filling(self) -> int:
        """Arrays kept while threads fill tiles: a product, its exponents, a left panel, a few rows."""
        own = self._tile * (2 * self.item + 4) + self._panel_rows * self.num_pixels * self.item
        return num_threads() * (own + 32 * self.num_pixels)

    def _packed(self, num_data: int) -> int:
        """Tables of a chunk, and what it takes to make them."""
        numbers = self._rows + padded(self._columns, COLUMNS) + 2 + self.tiling.outer_bits
        return NUMBER * padded(num_data, DATA_ROWS) * numbers + num_threads() * 2048 * self.num_latents

    def _tiles(self) -> int:
        return NUMBER * self._wave * (self._tile + 1)

    def sums(self, num_data: int) -> int:
        # sums of tiles that count and of all, and which count
        out = (2 * NUMBER + 1) * padded(num_data, DATA_ROWS) * self._wave
        return (
            self.terms(num_data) + self._packed(num_data) + self._tiles() + max(out, self._filling())
            + self.merged(num_data, 3, self._waves)
        )  # fmt: skip

    def moments(self, num_data: int) -> int:
        rows, data = padded(self._rows, COLUMNS), padded(num_data, DATA_ROWS)
        flipped = NUMBER * data * (self._columns + rows + 1)
        flipped_tiles = NUMBER * self._wave * rows * self._columns
        # shares and two arrays of sums, masses of columns and of rows
        found = NUMBER * data * (3 * self._wave + padded(self._columns, COLUMNS) + rows)
        return (
            self.terms(num_data) + self._packed(num_data) + self._tiles()
            + max(flipped + flipped_tiles + found, self._filling())
            + self.merged(num_data, 3 + self.num_latents, self._waves)
        )  # fmt: skip

    def details(self, num_data: int, top_k: int, *, pairwise: bool) -> int:
        peaks = NUMBER * self._wave * self._rows
        threads = 2 * NUMBER * self._tile * num_threads()  # joint probabilities of a tile
        # products: tiles and their logs, two arrays of sums; where they do not do, or for pairs, by states
        sums = 2 * NUMBER * padded(num_data, DATA_ROWS) * self._wave
        products = self.merged(num_data, 3 + 2 * top_k, self._waves)
        by_states = self.detailed(num_data, top_k, self._waves, pairwise=pairwise) - self.terms(num_data)
        return (
            self.terms(num_data) + self._packed(num_data) + self._tiles() + peaks
            + max(products + self._filling(), products + self._tiles() + sums,
                  by_states + max(self._filling(), threads))
        )  # fmt: skip

    def state_moments(self, num_data: int) -> int:
        data, slopes = padded(num_data, DATA_ROWS), NUMBER * self.num_pixels * (self.num_latents + 1)
        group = max(1, self._wave // NUM_TASKS)
        tasks = -(-self._wave // group)
        # each thread: posteriors of a group of tiles, the kernel's sums of them, their rows that count
        own = min(num_threads(), tasks) * NUMBER * (3 * group + 2) * self._tile
        shares = NUMBER * self._wave * data
        flipped = NUMBER * data * (self._columns + padded(self._rows, COLUMNS) + 1)  # of the first pass
        states = (4 * NUMBER << self.num_latents) if self.deep else 0
        return (
            # evidence and means of the first pass are there, and weights
            2 * self.terms(num_data) + 4 * NUMBER * num_data + self._packed(num_data) + self._tiles()
            + flipped + shares + max(own, self._filling()) + (tasks + 4) * slopes + states
        )  # fmt: skip


@dataclass(frozen=True)
class IndependentSetMemory(TileMemory):
    """A softplus form with pairs: engine/states/independent_set_form.py."""

    @property
    def operations(self) -> int:
        return super().operations + 2

    @property
    def tables(self) -> int:
        # a tile of pairs and its logarithms; couplings of all states' units and of the data
        pairs = 2 * self._tile + 2 * self.num_latents**2 + self.num_seen**2
        return super().tables + NUMBER * pairs

    @property
    def making(self) -> int:
        return self.tables + NUMBER * (self._tile + 4 * (self.num_pixels + self.num_latents) ** 2)
