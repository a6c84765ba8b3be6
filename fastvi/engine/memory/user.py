"""Memory of log joints that the caller wrote.

Engine/states/user_form.py. What the function itself takes is unknown: of one of arrays, what it returns is
counted, and as much again for what it makes on its way.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastvi.engine.memory.form import NUMBER, FormMemory
from fastvi.engine.run.threads import num_threads
from fastvi.engine.states.numbered_form import block_tiling
from fastvi.engine.states.tiling import Tiling
from fastvi.engine.states.user_form import CALL_NUMBERS, CALL_STATES, OPERATIONS, PART_TILES, wave_tiles


@dataclass(frozen=True)
class UserMemory(FormMemory):
    """A LogJoint of ``num_latents``."""

    tiling: Tiling
    vectorized: bool
    pixel_bytes = 8

    @classmethod
    def of(cls, num_latents: int, vectorized: bool) -> UserMemory:
        return cls(block_tiling(num_latents), vectorized)

    @property
    def operations(self) -> int:
        return OPERATIONS

    tables = 0
    making = 0

    @property
    def _states(self) -> int:
        return min(wave_tiles(self.tiling) * self.tiling.tile_states, 1 << self.num_latents)

    @property
    def _waves(self) -> int:
        return -(-(1 << self.num_latents) // self._states)

    def terms(self, num_data: int) -> int:
        return NUMBER * num_data

    def _table(self, num_data: int, states: int) -> int:
        data = min(num_data, max(1, CALL_NUMBERS // states))
        return NUMBER * states * data * (2 if self.vectorized else 1)

    def _summed(self, num_data: int, numbers: int) -> int:
        if self.vectorized:
            states = min(CALL_STATES, self._states)
            parts, table = 1, self._table(num_data, states) + NUMBER * states * self.num_latents
        else:
            parts = -(-self._states // (PART_TILES * self.tiling.tile_states))
            table = num_threads() * 2 * NUMBER * self.tiling.tile_states
        each = NUMBER * num_data * numbers
        return self.terms(num_data) + table + each * parts + self.merged(num_data, numbers, self._waves)

    def sums(self, num_data: int) -> int:
        return self._summed(num_data, 3)

    def moments(self, num_data: int) -> int:
        return self._summed(num_data, 3 + self.num_latents)

    def details(self, num_data: int, top_k: int, *, pairwise: bool) -> int:
        table = self._table(num_data, self._states)
        tiles = num_threads() * 4 * NUMBER * self._states
        if self.vectorized and self._states > CALL_STATES:  # parts as they came, and together
            table *= 2
        return self.detailed(num_data, top_k, self._waves, pairwise=pairwise) + table + tiles

    def state_moments(self, num_data: int) -> int:
        return 0  # a function has no parameters to be differentiated in
