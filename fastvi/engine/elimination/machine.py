"""Sums over all states of a sparse machine by elimination, for one or many vectors of fields.

The logarithm of a state's weight is z^T J z / 2 + <fields, z>. Data differ in their fields alone, so that
they share the order, and a datum's results do not depend on what stands beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.elimination.guard import Guard
from fastvi.engine.elimination.order import EliminationPlan
from fastvi.engine.elimination.products import EliminationMoments, Products
from fastvi.engine.run.slices import slices
from fastvi.engine.run.threads import parallel_map
from fastvi.kernels.cpu.elimination.log_tables import (
    Forest,
    add_log_moments,
    fill_log_tables,
    log_table_draws,
    log_table_mode,
)
from fastvi.kernels.cpu.random.draws import split_seed

_SMALL = 1 << 14  # entries of a table that one thread fills
_DRAWS = 1 << 10  # that one thread draws


@dataclass(frozen=True, eq=False)
class EliminationForm:
    """Couplings of a machine, and the order in which its units are summed out."""

    couplings: Array  # (f, f) symmetric, diagonal 0, finite or -inf
    plan: EliminationPlan

    def __reduce__(self) -> tuple[Any, ...]:  # without the tables that it keeps
        return EliminationForm, (self.couplings, self.plan)

    @cached_property
    def edges(self) -> Array:
        """(E, 2) coupled pairs i < j, in ascending order."""
        return np.argwhere(np.triu(self.couplings, 1) != 0.0)

    @cached_property
    def _products(self) -> Products:
        return Products(self.plan, self.couplings, self.edges)

    @cached_property
    def _guard(self) -> Guard:
        return Guard(self.plan, self.couplings)

    @cached_property
    def _forest(self) -> Forest:
        plan = self.plan
        begin = np.cumsum([0, *(len(scope) for scope in plan.scopes)])
        scope = np.array([unit for scope in plan.scopes for unit in scope], np.int64)
        unit = np.array(plan.order, np.int64)
        owner = np.repeat(unit, np.diff(begin))
        places, children = [], [[] for _ in plan.order]  # type: ignore[var-annotated]
        for k, parent in enumerate(plan.parents):
            if parent >= 0:
                children[parent].append(k)
                bits = {u: b for b, u in enumerate((*plan.scopes[parent], plan.order[parent]))}
                places += [bits[u] for u in plan.scopes[k]]
        return Forest(
            unit, begin, scope, np.array(places, np.int64), self.couplings[owner, scope],
            np.cumsum([0, *(len(some) for some in children)]),
            np.array([k for some in children for k in some], np.int64),
            np.cumsum([0, *(1 << len(scope) for scope in plan.scopes)])[:-1],
        )  # fmt: skip

    @cached_property
    def _edge_places(self) -> Array:
        """Where each pair of ``edges`` stands among the scopes' units."""
        forest = self._forest
        owner = np.repeat(forest.unit, np.diff(forest.begin))
        where = np.full(self.couplings.shape, -1)
        where[owner, forest.scope] = where[forest.scope, owner] = np.arange(len(owner))
        return where[self.edges[:, 0], self.edges[:, 1]]

    @cached_property
    def _brief(self) -> Forest:
        """The forest with places that tables leave to others when their parents have them."""
        return self._forest._replace(start=np.array(self.plan.log_places[0], np.int64))

    def _tables(self, fields: Array, *, largest: bool = False, brief: bool = False) -> Array:
        """All tables of a datum, in log space."""
        forest = self._brief if brief else self._forest
        tables = np.empty(self.plan.log_places[1] if brief else self.plan.numbers)
        sizes = [1 << len(scope) for scope in self.plan.scopes]
        first, count = 0, len(sizes)
        while first < count:
            last = first + 1
            if sizes[first] > _SMALL:

                def task(part: slice, first: int = first) -> None:
                    fill_log_tables(
                        forest, fields, first, first + 1, part.start, part.stop, largest, tables
                    )  # fmt: skip

                parallel_map(task, slices(sizes[first], _SMALL), 64.0 * sizes[first])
            else:
                while last < count and sizes[last] <= _SMALL:
                    last += 1
                fill_log_tables(forest, fields, first, last, 0, _SMALL, largest, tables)
            first = last
        return tables

    @cached_property
    def _roots(self) -> Array:
        """Buckets whose tables are one number, the logarithm of their component's sum."""
        return np.flatnonzero(np.diff(self._forest.begin) == 0)

    def _whole(self, tables: Array, *, brief: bool = False) -> float:
        forest, total = self._brief if brief else self._forest, 0.0
        for root in self._roots:
            total += tables[forest.start[root]]
        return total

    def log_sums(self, fields: Array) -> Array:
        """Logarithm of the sum over all states, (N,), for fields (N, f), finite or -inf."""
        held = self._guard.passes(fields)
        out = np.empty(len(fields))
        for which, checked in ((held, False), (~held, True)):
            if which.any():
                out[which] = self._products.log_sums(fields[which], checked=checked)
        rest = np.flatnonzero(np.isnan(out)).tolist()

        def task(n: int) -> None:
            out[n] = self._whole(self._tables(fields[n], brief=True), brief=True)

        parallel_map(task, rest, 64.0 * len(rest) * self.plan.operations)
        return out

    def moments(self, fields: Array) -> EliminationMoments:
        """First moments, second moments of coupled pairs, and entropies."""
        held = self._guard.passes(fields)
        found = self._products.moments(fields, checked=False) if held.all() else self._mixed(fields, held)
        for moments in (found.mean, found.pairs):  # sums of rounded probabilities
            np.minimum(moments, 1.0, out=moments)
        return found

    def _mixed(self, fields: Array, held: Array) -> EliminationMoments:
        """Moments of data of which some are to be checked."""
        num, forest = len(fields), self._forest
        found = EliminationMoments(
            np.empty(num), np.empty(fields.shape), np.empty((num, len(self.edges))), np.empty(num)
        )
        for which, checked in ((held, False), (~held, True)):
            for into, of in zip(found, self._products.moments(fields[which], checked=checked), strict=True):
                into[which] = of
        rest = np.flatnonzero(np.isnan(found.log_sums)).tolist()

        def task(n: int) -> None:
            tables, pairs = self._tables(fields[n]), np.empty(len(forest.scope))
            found.log_sums[n] = self._whole(tables)
            found.entropy[n] = add_log_moments(
                forest, fields[n], tables, np.empty(tables.size), found.mean[n], pairs
            )
            found.pairs[n] = pairs[self._edge_places]

        parallel_map(task, rest, 128.0 * len(rest) * self.plan.operations)
        return found

    def modes(self, fields: Array) -> tuple[Array, Array]:
        """Most probable states (N, f) uint8, and the logarithms of their weights (N,).

        Of several it is the one with the unit that comes last in the order off, then the one before it.
        """
        states, values = np.zeros(fields.shape, np.uint8), np.empty(len(fields))

        def task(n: int) -> None:
            tables = self._tables(fields[n], largest=True)
            log_table_mode(self._forest, fields[n], tables, states[n])
            values[n] = self._whole(tables)

        parallel_map(task, range(len(fields)), 64.0 * len(fields) * self.plan.operations)
        return states, values

    def samples(self, fields: Array, num: int, seed: int, first_datum: int = 0) -> Array:
        """Exact draws (num, N, f) uint8, a function of the seed, the datum's number and the sample's."""
        out = np.empty((len(fields), num, fields.shape[1]), np.uint8)
        key_low, key_high = split_seed(seed)

        def datum(n: int) -> None:
            tables = self._tables(fields[n])

            def task(part: slice) -> None:
                log_table_draws(
                    self._forest, fields[n], tables, key_low, key_high, first_datum + n, part.start,
                    out[n, part],
                )  # fmt: skip

            parallel_map(task, slices(num, _DRAWS), 1000.0 * num * fields.shape[1])

        parallel_map(datum, range(len(fields)))
        return out.swapaxes(0, 1)

    def all_pairs(self, fields: Array) -> Array:
        """E[z_i z_j] of all pairs, (N, f, f), with E[z_i] on the diagonal.

        What others are where a unit is on they are where it is off and its couplings belong to their fields:
        f more problems a datum, with the same couplings.
        """
        num, size = fields.shape
        mean, out = self.moments(fields).mean, np.empty((num, size, size))
        for n in range(num):
            own = fields[n] + self.couplings
            np.fill_diagonal(own, -np.inf)
            out[n] = mean[n, :, None] * self.moments(own).mean
            np.fill_diagonal(out[n], mean[n])
        return 0.5 * (out + out.swapaxes(1, 2))
