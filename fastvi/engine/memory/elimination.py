"""Memory of machines that are summed by elimination: engine/elimination."""

from __future__ import annotations

from dataclasses import dataclass

from fastvi.engine.elimination.form import PAIR_DATA
from fastvi.engine.elimination.order import EliminationPlan
from fastvi.engine.memory.form import NUMBER, FormMemory
from fastvi.engine.run.threads import num_threads
from fastvi.engine.states.tiling import Tiling


@dataclass(frozen=True)
class EliminationMemory(FormMemory):
    """An order of elimination of the free units, with data that see ``num_seen`` pixels."""

    plan: EliminationPlan
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
    def tables(self) -> int:
        d = self.num_latents
        # couplings, and what each bucket takes from them, in some arrays of a few numbers a unit of a scope
        scopes = sum(len(scope) for scope in self.plan.scopes)
        return NUMBER * (d * d + self.num_seen * (self.num_seen + d) + 8 * (scopes + 4 * d) + 256)

    @property
    def making(self) -> int:
        return self.tables + NUMBER * (6 * self.num_latents**2 + 2 * self.num_seen * self.num_latents)

    def _at_a_time(self, num_data: int) -> int:
        return min(num_data, num_threads())

    def sums(self, num_data: int) -> int:
        # all tables of a datum: those that are done are not given back
        each = NUMBER * self.plan.numbers
        return self.terms(num_data) + self.merged(num_data, 4, 1) + self._at_a_time(num_data) * each

    def _moments(self, num_data: int) -> int:
        numbers = self.num_latents + 3 + sum(len(scope) for scope in self.plan.scopes)
        return NUMBER * num_data * numbers + self._at_a_time(num_data) * self.plan.moment_bytes

    def moments(self, num_data: int) -> int:
        numbers = 3 + self.num_latents
        return self.terms(num_data) + self.merged(num_data, numbers, 1) + self._moments(num_data)

    def _pairs(self, num_data: int) -> int:
        # of each unit in turn the moments where it is on; two arrays of pairs
        return (
            2 * NUMBER * num_data * self.num_latents**2
            + 2 * self._moments(num_data) + self.tables
        )  # fmt: skip

    def details(self, num_data: int, top_k: int, *, pairwise: bool) -> int:
        numbers = self.num_latents + 2 + -(-self.num_latents // NUMBER)
        found = self.merged(num_data, numbers + (self.num_latents**2 if pairwise else 0), 1)
        own = self._pairs(num_data) if pairwise else self._moments(num_data)
        return self.terms(num_data) + found + own

    def state_moments(self, num_data: int) -> int:
        return 2 * self.terms(num_data) + 4 * NUMBER * num_data + self._pairs(min(num_data, PAIR_DATA))
