"""Memory of machines that are summed by elimination: engine/elimination."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from fastvi.engine.elimination.form import PAIR_DATA
from fastvi.engine.elimination.order import EliminationPlan
from fastvi.engine.elimination.pieces import Layout
from fastvi.engine.memory.form import NUMBER, FormMemory
from fastvi.engine.run.threads import num_threads
from fastvi.engine.states.tiling import Tiling
from fastvi.kernels.cpu.elimination.rows import BLOCK
from fastvi.kernels.host import COLUMNS

_TASK_SLICES = 16  # whose moments are there before they are merged


@dataclass(frozen=True)
class EliminationMemory(FormMemory):
    """An order of elimination of units with so many coupled pairs; data see ``num_seen`` others."""

    plan: EliminationPlan
    num_pairs: int
    num_seen: int
    tiling = Tiling(0, 0, 0, 0)
    pixel_bytes = 1

    @property
    def num_latents(self) -> int:
        return self.plan.num_units

    @property
    def num_states(self) -> int:
        return self.plan.num_terms

    @property
    def operations(self) -> int:
        return 2

    @cached_property
    def _layout(self) -> Layout:
        return Layout(self.plan)

    @property
    def _couplings(self) -> int:
        """Couplings and what is made of them, those of the data among them."""
        d = self.num_latents
        return NUMBER * (4 * d * d + self.num_seen * (self.num_seen + d))

    @cached_property
    def _pieces(self) -> int:
        """Arrays of the pieces: some blocks of rows for each table, numbers for each unit of a scope."""
        held = [k for segment in self._layout.segments for k in self._layout.tables(segment)]
        scopes = sum(len(self.plan.scopes[k]) for k in held)
        outer = sum(
            len(segment.outer) * len(self._layout.tables(segment)) for segment in self._layout.segments
        )
        return NUMBER * (len(held) * (3 * BLOCK + 6 * COLUMNS + 32) + 16 * scopes + 8 * outer + 2048)

    def _scratch(self, *, moments: bool) -> int:
        """Tables of a task, kept for each thread that was at work."""
        rows = max(self._layout.rows(segment, keep=moments)[1] for segment in self._layout.segments)
        numbers = rows * COLUMNS * (2 if moments else 1) + 2 * BLOCK * COLUMNS + (2 << self.plan.width // 2)
        return num_threads() * NUMBER * numbers

    def _in_logs(self, num_data: int, tables: int) -> int:
        """Tables of data that products do not hold, a datum for each thread."""
        return min(num_data, num_threads()) * NUMBER * tables * self.plan.numbers

    @property
    def tables(self) -> int:
        return self._couplings + self._pieces + self._scratch(moments=False)

    @property
    def weight(self) -> int:
        # a grid of 10 x 10 units: 13 ms with making all of it, 0.6 ms without (Zen 3)
        return self.tables // 16

    @property
    def making(self) -> int:
        return self.tables + NUMBER * (4 * self.num_latents**2 + 2 * self.num_seen * self.num_latents)

    def sums(self, num_data: int) -> int:
        products = NUMBER * self._layout.store(keep=False)[1]
        tasks = num_threads() * NUMBER * COLUMNS * 8 * self.num_latents
        own = max(products + tasks, self._in_logs(num_data, 1))
        return 2 * self.terms(num_data) + self.merged(num_data, 5, 1) + own

    def _moments(self, num_data: int) -> int:
        d, pairs = self.num_latents, self.num_pairs
        # findings; what an entropy is made of
        each = NUMBER * num_data * (5 * d + 8 * pairs + 8)
        products = 2 * NUMBER * self._layout.store(keep=True)[1]
        tasks = (2 * num_threads() + _TASK_SLICES) * NUMBER * COLUMNS * (pairs + 4 * d)
        own = self._pieces + self._scratch(moments=True) + products + tasks
        return each + max(own, self._in_logs(num_data, 2))

    def moments(self, num_data: int) -> int:
        numbers = 3 + self.num_latents
        return self.terms(num_data) + self.merged(num_data, numbers, 1) + self._moments(num_data)

    def _all_pairs(self, num_data: int) -> int:
        # of each unit in turn the moments where it is on; two arrays of pairs
        return (
            3 * NUMBER * num_data * self.num_latents**2 + self._moments(num_data) + self.tables + self._pieces
            + self._scratch(moments=True)
        )  # fmt: skip

    def details(self, num_data: int, top_k: int, *, pairwise: bool) -> int:
        d = self.num_latents
        found = self.merged(num_data, 2 * d + 4 + (d * d if pairwise else 0), 1)
        own = self._all_pairs(num_data) if pairwise else self._moments(num_data)
        # the form has scratch of its moments by then; modes are found in log space
        kept = self._pieces + self._scratch(moments=True)
        return self.terms(num_data) + found + kept + max(own, self._in_logs(num_data, 1))

    def state_moments(self, num_data: int) -> int:
        return 2 * self.terms(num_data) + 4 * NUMBER * num_data + self._all_pairs(min(num_data, PAIR_DATA))
