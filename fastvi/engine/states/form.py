"""What every model is to the engine: log p(x, z) = c(x) + <t(x), z> - A(z), A in tiles of 2^row x 2^column
states.

A form knows its tiles (``fill``) and what data become (``data``). How a batch is summed over the tiles is
its ``batch``: tile after tile, or, where all tiles are one tile times a function linear in the inner bits,
over that one tile.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastvi.engine.run.threads import data_slices, num_threads, parallel_map
from fastvi.engine.states.data_terms import Data, Terms
from fastvi.engine.states.tiling import Tiling
from fastvi.kernels.cpu.simd.host import COLUMNS
from fastvi.kernels.cpu.states.log_sums import log_space_sums, merge_log_sums, merge_moments
from fastvi.kernels.cpu.states.posterior_sums import LogTiles, row_peaks
from fastvi.kernels.cpu.states.softplus_product import FLUSH_EXPONENT

if TYPE_CHECKING:
    from fastvi.engine.states.batch import Batch

Array = NDArray[Any]


# data that are worked on together: 43 MB of tables at 2^6 rows and 2^8 columns; the tiles, made anew for
# each chunk, are then 5 % of the work
CHUNK_DATA = 16384


def num_chunks(num_data: int) -> int:
    """How many slices ``chunks`` gives."""
    return -(-num_data // CHUNK_DATA)


def slices(num: int, step: int) -> Iterator[slice]:
    """``num`` things, ``step`` at a time."""
    for first in range(0, num, step):
        yield slice(first, min(first + step, num))


def chunks(num_data: int) -> Iterator[slice]:
    """Data that are worked on together."""
    return slices(num_data, CHUNK_DATA)


def small_slices(num_data: int, states: int) -> list[slice]:
    """Slices for tasks of an exponential a state and datum, each of at most 2^24 of these, 0.15 s, where one
    datum has no more: Ctrl-C waits for it.
    """
    step = max(1, min(64, (1 << 24) // states))
    return [
        slice(first, min(first + step, part.stop))
        for part in data_slices(num_data)
        for first in range(part.start, part.stop, step)
    ]


class Sums(NamedTuple):
    """Per datum: the sum is total * exp(largest); no tile had a scale above exp(bound)."""

    largest: Array
    total: Array
    bound: Array

    @classmethod
    def zero(cls, num_data: int) -> Sums:
        return cls(np.full(num_data, -np.inf), np.zeros(num_data), np.full(num_data, -np.inf))

    def merge(self, part: Sums) -> None:
        merge_log_sums(self.largest, self.total, part.largest, part.total)
        np.maximum(self.bound, part.bound, out=self.bound)

    def log(self) -> Array:
        with np.errstate(divide="ignore"):
            return self.largest + np.log(self.total)


def shifted(terms: Terms, shift: Array) -> Array:
    """c(x) + shift (N,); -inf, not nan, for data of probability 0, whose evidence was taken away."""
    with np.errstate(invalid="ignore"):
        offset = terms.constant + shift
    offset[np.isnan(offset)] = -np.inf
    return offset


class Moments(NamedTuple):
    """Sums, and per latent the part of the sum whose states have its bit: ones * exp(bound)."""

    largest: Array  # (N,)
    total: Array  # (N,)
    bound: Array  # (N,)
    ones: Array  # (N, d) in the form's order

    @classmethod
    def zero(cls, num_data: int, num_latents: int) -> Moments:
        return cls(*Sums.zero(num_data), np.zeros((num_data, num_latents)))

    def merge(self, part: Moments) -> None:
        merge_moments(*self, *part)


@dataclass(frozen=True, eq=False)
class Form(ABC):
    """Tiles of exp(<centre, z> - A(z)), and what takes data to t(x) and c(x)."""

    tiling: Tiling
    order: Array  # (d,) latents from the outermost bit to the last column bit
    centre: Array  # (d,) in that order: what is linear in z in the tiles
    data: Data

    wave_tiles = 64  # tiles of a wave of a batch: 8 MiB of weights at 2^14 states a tile
    filled_tiles = 64  # the same where all tiles are filled, whatever the batch does
    # whether its batch has ``log_masses``: samples then visit only the tiles that they fall in
    tells_masses = False

    @property
    def num_latents(self) -> int:
        return self.order.size

    @property
    def padded_rows(self) -> int:
        return 1 << self.tiling.row_bits

    @property
    def column_panels(self) -> int:
        return -(-(1 << self.tiling.column_bits) // COLUMNS)

    @property
    def tile_size(self) -> int:
        """Numbers in one packed tile."""
        return self.padded_rows * self.column_panels * COLUMNS

    @property
    @abstractmethod
    def operations(self) -> int:
        """Operations a state that filling a tile takes."""

    @abstractmethod
    def fill(self, first: int, tiles: Array, scales: Array, *, in_log_space: bool = False) -> None:
        """Tiles ``first``, ... of exp(<centre, z> - A(z)) into the rows of ``tiles``, each relative to
        exp(scales[t]).

        With ``in_log_space`` the rows are <centre, z> - A(z) itself and the scales 0. A row is packed as
        (column panels, padded rows, COLUMNS); what pads it is 0.
        """

    @abstractmethod
    def log_joint(self, x: Array, z: Array) -> Array:
        """log p(x_n, z) (N, ...) of states z (N, ..., d) in the form's order, by the definition."""

    def terms(self, x: Any) -> Terms:
        """Terms of the data ``x``."""
        return self.data.terms(x)

    def check_posterior(self, evidence: Array) -> None:
        """ValueError where p(z | x) of data of this log p(x) (N,) would be lost to rounding."""
        return

    # powers of two below which a factor is dropped, and the rounding that a certain sum may have
    flush_exponent = FLUSH_EXPONENT
    rounding_bits = 53

    def too_large(self, terms: Terms) -> Array:
        """Which data have terms whose rounding products do not bear (N,), whatever their range."""
        return np.zeros(len(terms.constant), bool)

    def wider(self) -> Form | None:
        """The same sum in floats of a wider range, for data that this form cannot certify; None where there
        are none.
        """
        return None

    def more_exact(self) -> Form | None:
        """The same sum for data that are ``too_large``; None where this form's own log space serves."""
        return None

    def log_space_wave(self, terms: Terms, negligible: Array, first: int) -> Sums:
        """One wave of filled tiles summed in log space; a tile all of whose states are below
        exp(negligible[n]) is passed over.
        """
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

    def batch(self, terms: Terms) -> Batch:
        """What sums these data over the states."""
        from fastvi.engine.states.tile_batch import TileBatch

        return TileBatch(self, terms)

    def wave_starts(self) -> range:
        """First tile of each wave of a batch."""
        return range(0, self.tiling.num_tiles, self.wave_tiles)

    def wave_states(self, first: int) -> int:
        """States of the wave that begins with tile ``first``."""
        return min(self.wave_tiles, self.tiling.num_tiles - first) * self.tiling.tile_states

    def filled_starts(self) -> range:
        """First tile of each wave of filled tiles."""
        return range(0, self.tiling.num_tiles, self.filled_tiles)

    def filled_states(self, first: int) -> int:
        """States of the wave of filled tiles that begins with tile ``first``."""
        return min(self.filled_tiles, self.tiling.num_tiles - first) * self.tiling.tile_states

    def fill_wave(
        self, first: int, *, most: int | None = None, in_log_space: bool = False
    ) -> tuple[Array, Array]:
        """Tiles ``first`` .., ``most`` or ``filled_tiles`` of them, packed, and the logarithms of their
        scales.
        """
        count = min(most or self.filled_tiles, self.tiling.num_tiles - first)
        tiles, scales = np.empty((count, self.tile_size)), np.empty(count)
        group = max(1, count // (8 * num_threads()))

        def fill(start: int) -> None:
            part = slice(start, start + group)
            self.fill(first + start, tiles[part], scales[part], in_log_space=in_log_space)

        parallel_map(fill, range(0, count, group), count * self.tiling.tile_states * self.operations)
        return tiles, scales

    def visit_states(
        self,
        kernel: Any,
        terms: Terms,
        shift: Array,
        first: int,
        sums: tuple[Array, ...],
        *,
        most: int | None = None,
    ) -> None:
        """Run ``posterior_sums`` or ``sample_states`` over ``most`` tiles, or one wave of filled ones; log
        p(z | x_n) = shift[n] + log p(x_n, z), and ``sums`` are the kernel's own arrays.
        """
        offset = shifted(terms, shift)
        log_tiles, _ = self.fill_wave(first, most=most, in_log_space=True)
        outer, row_bits, column_bits, _ = self.tiling
        peaks = np.empty((len(log_tiles), 1 << row_bits))
        row_peaks(log_tiles, 1 << row_bits, self.padded_rows, 1 << column_bits, peaks)

        def task(part: slice) -> None:
            tiles = LogTiles(
                log_tiles, peaks, first, outer, row_bits, self.padded_rows, terms.linear[part], offset[part],
                self.negligible,
            )  # fmt: skip
            kernel(tiles, *(array[part] for array in sums))

        parallel_map(task, small_slices(len(offset), log_tiles.size), 8.0 * len(offset) * log_tiles.size)

    @property
    def negligible(self) -> float:
        """Log probability below which a state is passed over: the mass of all of them is below 2^-60."""
        return -(60 + self.num_latents) * math.log(2.0)
