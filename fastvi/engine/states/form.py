"""Forms, what every model is to the engine: log p(x, z) = c(x) + <t(x), z> - A(z).

A form knows what data become (``data``) and how a batch of them is summed (``batch``), over waves of tiles of
2^row x 2^column states.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.states.batch import Batch
from fastvi.engine.states.data_terms import Data, Terms
from fastvi.engine.states.sums import Sums
from fastvi.engine.states.tiling import Tiling
from fastvi.kernels.cpu.states.softplus_product import FLUSH_EXPONENT
from fastvi.kernels.host import COLUMNS

WAVE_TILES = 64  # tiles of a wave: 8 MiB of weights at 2^14 states a tile


def shifted(terms: Terms, shift: Array) -> Array:
    """c(x) + shift (N,); -inf, not nan, for data of probability 0, whose evidence was taken away."""
    with np.errstate(invalid="ignore"):
        offset = terms.constant + shift
    offset[np.isnan(offset)] = -np.inf
    return offset


@dataclass(frozen=True, eq=False)
class SummedForm(ABC):
    """A form whose states are summed, wave by wave, and not looked at one by one."""

    tiling: Tiling
    order: Array  # (d,) latents from the outermost bit to the last column bit
    centre: Array  # (d,) in that order: what is linear in z in the tiles
    data: Data

    # whether its batch has ``log_masses``: samples then visit only the tiles that they fall in
    tells_masses = False

    @property
    def wave_tiles(self) -> int:
        """Tiles of a wave of a batch."""
        return WAVE_TILES

    @property
    def filled_tiles(self) -> int:
        """Tiles of a wave that is filled, or visited state by state, whatever the batch does."""
        return self.wave_tiles

    @property
    def num_latents(self) -> int:
        return self.order.size

    @property
    def num_states(self) -> int:
        """States that a datum's sum goes through."""
        return 1 << self.num_latents

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
        """Operations a state that making a tile takes."""

    @abstractmethod
    def batch(self, terms: Terms) -> Batch:
        """Return what sums these data over the states."""

    @abstractmethod
    def log_space_wave(self, terms: Terms, negligible: Array, first: int) -> Sums:
        """One wave summed in log space; states far below exp(negligible[n]) may be passed over."""

    def terms(self, x: Any) -> Terms:
        """Terms of the data ``x``."""
        return self.data.terms(x)

    @property
    def flush_exponent(self) -> int:
        """Power of two below which a factor is dropped."""
        return FLUSH_EXPONENT

    @property
    def rounding_bits(self) -> int:
        """Bits to which a certain sum is right."""
        return 53

    def too_large(self, terms: Terms) -> Array:
        """Which data have terms whose rounding products do not bear (N,), whatever their range."""
        return np.zeros(len(terms.constant), bool)

    def wider(self) -> SummedForm | None:
        """Sum in floats of a wider range, for data that this form cannot certify; None without such."""
        return None

    def more_exact(self) -> SummedForm | None:
        """Sum for data that are ``too_large``; None where this form's own log space serves."""
        return None

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


@dataclass(frozen=True, eq=False)
class Form(SummedForm):
    """A form whose single states can be visited: for posteriors, samples and divergences."""

    @abstractmethod
    def log_joint(self, x: Array, z: Array) -> Array:
        """Log p(x_n, z) (N, ...) of states z (N, ..., d) in the form's order, by the definition."""

    @abstractmethod
    def visit_states(
        self, kernel: Any, terms: Terms, shift: Array, first: int, sums: tuple[Array, ...], *,
        most: int | None = None,
    ) -> None:  # fmt: skip
        """Run ``posterior_sums`` or ``sample_states`` over ``most`` tiles, or one wave of filled ones.

        Log p(z | x_n) = shift[n] + log p(x_n, z), and ``sums`` are the kernel's own arrays.
        """

    def details(self, x: Array, evidence: Array, top_k: int, run: Any, *, pairwise: bool) -> Any:
        """Return ``Details`` of the data; None of a form whose states are visited."""
        return None

    def samples(self, x: Array, numbers: Array, num: int, seed: int) -> Array | None:
        """Return draws (N, num, d) keyed by the data's ``numbers``; None where states are visited."""
        return None

    def check_posterior(self, evidence: Array) -> None:
        """ValueError where p(z | x) of data of this log p(x) (N,) would be lost to rounding."""
        return

    @property
    def negligible(self) -> float:
        """Log probability below which a state is passed over: the mass of all of them is below 2^-60."""
        return -(60 + self.num_latents) * math.log(2.0)
