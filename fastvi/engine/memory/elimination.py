"""Memory of machines that are summed by elimination: engine/elimination."""

from __future__ import annotations

from dataclasses import dataclass

from fastvi.engine.elimination.form import PAIR_DATA
from fastvi.engine.elimination.order import EliminationPlan
from fastvi.engine.memory.form import NUMBER, FormMemory
from fastvi.engine.run.threads import num_threads
from fastvi.engine.states.tiling import Tiling
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

    @property
    def _couplings(self) -> int:
        """Couplings and what is made of them, those of the data among them."""
        d = self.num_latents
        return NUMBER * (4 * d * d + self.num_seen * (self.num_seen + d))

    def _kept(self, *, moments: bool) -> int:
        """Pieces, and what threads work on: it stays with the form."""
        layout = self.plan.layout
        store = NUMBER * layout.store(keep=moments)[1] * (2 if moments else 1)
        scopes = sum(len(scope) for scope in self.plan.scopes)
        return layout.bytes(moments=moments) - store + NUMBER * (64 * self.num_latents + 16 * scopes)

    def _in_logs(self, num_data: int, num_bytes: int) -> int:
        """Tables of data that products do not hold, a datum for each thread."""
        return min(num_data, num_threads()) * num_bytes

    @property
    def tables(self) -> int:
        return self._couplings + self._kept(moments=False)

    @property
    def weight(self) -> int:
        # a grid of 10 x 10 units: 13 ms with making all of it, 0.6 ms without (Zen 3)
        return self.tables // 16

    @property
    def making(self) -> int:
        return self.tables + NUMBER * (4 * self.num_latents**2 + 2 * self.num_seen * self.num_latents)

    def sums(self, num_data: int) -> int:
        tasks = num_threads() * NUMBER * COLUMNS * 4 * self.num_latents
        products = NUMBER * self.plan.layout.store(keep=False)[1]
        own = max(products, self._in_logs(num_data, NUMBER * self.plan.log_places[1]))
        return 2 * self.terms(num_data) + self.merged(num_data, 5, 1) + tasks + own

    def _moments(self, num_data: int) -> int:
        d, pairs = self.num_latents, self.num_pairs
        # findings; what an entropy is made of
        each = NUMBER * num_data * (4 * d + 7 * pairs + 8)
        tasks = (num_threads() + _TASK_SLICES) * NUMBER * COLUMNS * (pairs + 4 * d)
        own = max(self.plan.moment_bytes, self._in_logs(num_data, self.plan.log_moment_bytes))
        return each + tasks + own

    def moments(self, num_data: int) -> int:
        numbers = 3 + self.num_latents
        return self.terms(num_data) + self.merged(num_data, numbers, 1) + self._moments(num_data)

    def _all_pairs(self, num_data: int) -> int:
        # for each datum in turn as many problems as there are units; two arrays of pairs
        d = self.num_latents
        return NUMBER * (2 * num_data * d * d + d * d) + self._kept(moments=True) + self._moments(d)

    def details(self, num_data: int, top_k: int, *, pairwise: bool) -> int:
        d = self.num_latents
        found = self.merged(num_data, 2 * d + 4 + (d * d if pairwise else 0), 1)
        own = self._all_pairs(num_data) if pairwise else self._moments(num_data)
        # the form has what its moments work on by then; modes are found in log space
        modes = self._kept(moments=True) + self._in_logs(num_data, self.plan.log_moment_bytes // 2)
        return self.terms(num_data) + found + max(own, modes)

    def state_moments(self, num_data: int) -> int:
        return 2 * self.terms(num_data) + 4 * NUMBER * num_data + self._all_pairs(min(num_data, PAIR_DATA))
