"""Elimination by products of weights.

For data that the guard passes no number can be lost. Of others the numbers are checked as they are made, and
NaN is the logarithm of the sum where one of them has left its range.

Small forests take COLUMNS data at a time. In large ones a datum's pieces come one after the other, the tasks
of each on all threads. The first task of a piece is done before the others: it says by which powers of two
the tables are scaled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.elimination.layout import Layout
from fastvi.engine.elimination.order import EliminationPlan
from fastvi.engine.elimination.pieces import make_piece
from fastvi.engine.elimination.work import MOST_SLICES, Desk, Work
from fastvi.engine.run.slices import slices
from fastvi.engine.run.threads import parallel_map
from fastvi.kernels.cpu.elimination.pieces import Scratch, fill_field_weights, run_tasks
from fastvi.kernels.host import COLUMNS

_NOTHING = np.empty(0)
_NO_MOMENTS = _NOTHING, np.empty((0, COLUMNS)), _NOTHING


class EliminationMoments(NamedTuple):
    """Findings for each datum."""

    log_sums: Array  # (N,)
    mean: Array  # (N, f)
    pairs: Array  # (N, E) E[z_i z_j] of the pairs (i, j) of ``edges``
    entropy: Array  # (N,)


@dataclass(frozen=True, eq=False)
class Products:
    """A machine's couplings as factors of pieces."""

    plan: EliminationPlan
    couplings: Array
    edges: Array  # (E, 2) coupled pairs

    @property
    def layout(self) -> Layout:
        return self.plan.layout

    @cached_property
    def _finite(self) -> Array:
        return np.where(np.isneginf(self.couplings), 0.0, self.couplings)

    @cached_property
    def _half_sums(self) -> Array:
        return 0.5 * self._finite.sum(axis=1)

    @cached_property
    def _constant(self) -> float:
        """Return the nats that the factors of all pairs leave out of the logarithm."""
        pairs = self._finite[self.edges[:, 0], self.edges[:, 1]]
        return float((0.25 * (np.abs(pairs) - pairs)).sum())

    @cached_property
    def _unit(self) -> Array:
        return np.array(self.plan.order, np.int64)

    @cached_property
    def _parents(self) -> Array:
        return np.array(self.plan.parents, np.int64)

    def _works(self, *, keep: bool) -> list[Work]:
        pairs = np.full(self.couplings.shape, -1)
        pairs[self.edges[:, 0], self.edges[:, 1]] = np.arange(len(self.edges))
        pairs = np.maximum(pairs, pairs.T)
        layout = self.layout
        return [
            Work(
                segment, make_piece(layout, segment, self.couplings, pairs, keep=keep),
                layout.rows(segment, keep=keep)[1],
            )
            for segment in layout.segments
        ]  # fmt: skip

    @cached_property
    def _lanes(self) -> tuple[Array, Array, Array, Array]:
        """Lanes that count of each bucket and of each pair; pairs of a bucket's unit with one of the lanes.

        Of those there are the number and the bucket, and in the lanes of the first two where that unit is on.
        """
        number = np.full(self.couplings.shape, -1)
        number[self.edges[:, 0], self.edges[:, 1]] = np.arange(len(self.edges))
        number = np.maximum(number, number.T)
        lanes = np.arange(COLUMNS)
        of_bucket, of_pair = np.zeros((len(self._unit), COLUMNS)), np.zeros((len(self.edges), COLUMNS))
        pairs, buckets = [], []
        for segment in self.layout.segments:
            count = 1 << len(segment.lanes)
            for k in segment.buckets:
                of_bucket[k] = lanes < count
                own = number[self.plan.order[k], list(self.plan.scopes[k])]
                of_pair[own[own >= 0]] = lanes < count
                for b, other in enumerate(segment.lanes):
                    pair = number[self.plan.order[k], other]
                    if pair >= 0:
                        of_pair[pair] = (lanes < count) & (lanes >> b & 1 > 0)
                        pairs.append(pair)
                        buckets.append(k)
        return of_bucket, of_pair, np.array(pairs, np.int64), np.array(buckets, np.int64)

    @cached_property
    def _store_sizes(self) -> tuple[int, int]:
        """Numbers of the store for sums, and for moments."""
        return self.layout.store(keep=False)[1], self.layout.store(keep=True)[1]

    @cached_property
    def _for_sums(self) -> tuple[list[Work], Desk]:
        works = self._works(keep=False)
        return works, Desk(works, moments=False)

    @cached_property
    def _for_moments(self) -> tuple[list[Work], Desk]:
        works = self._works(keep=True)
        return works, Desk(works, moments=True)

    def _weights(self, fields: Array) -> tuple[Array, Array, Array]:
        """Weights of the fields of up to COLUMNS data, exponents not yet set, and logarithms left out."""
        count = len(self._unit)
        weights, logs = np.empty((count, 2, COLUMNS)), np.empty(len(fields))
        fill_field_weights(fields, self._unit, self._half_sums, weights, logs)
        return weights, np.zeros((count, COLUMNS), np.int64), logs

    def _log_sums(self, logs: Array, exponents: Array, roots: Array, lost: Array) -> tuple[Array, Array]:
        """Logarithms (lanes,) of the sums, and of the sums relative to the largest factors."""
        powers = exponents[self._parents >= 0].sum(axis=0)[: len(logs)]
        total = np.zeros(len(logs))
        for n in range(len(logs)):
            if lost.size and lost[n]:
                total[n] = math.nan
                continue
            for row in roots:
                total[n] += math.log(row[n])
        core = powers * math.log(2.0) + total
        return logs + self._constant + core, core

    def log_sums(self, fields: Array, *, checked: bool) -> Array:
        """Logarithms of the sums (N,)."""
        out = np.empty(len(fields))
        if not len(fields):
            return out
        works, desk = self._for_sums
        if self.layout.side_by_side:
            (work,) = works

            def task(part: slice) -> None:
                with desk.scratch() as scratch:
                    out[part] = self._sum_data(work, fields[part], scratch, checked)[0]

            parallel_map(task, slices(len(fields), COLUMNS), 8.0 * len(fields) * self.plan.operations)
            return out
        store = np.empty(self._store_sizes[0])
        for n in range(len(fields)):
            out[n] = self._sum_pieces(works, fields[n : n + 1], store, desk, checked)[0]
        return out

    def _sum_data(self, work: Work, fields: Array, scratch: Scratch, checked: bool) -> tuple[Array, ...]:
        """Both logarithms of up to COLUMNS data, their weights and exponents."""
        weights, exponents, logs = self._weights(fields)
        lost = np.zeros(COLUMNS if checked else 0)
        run_tasks(work.piece, weights, exponents, True, lost, 0, 1, _NOTHING, scratch, *_NO_MOMENTS)
        tables = scratch.tables.reshape(-1, COLUMNS)
        roots = tables[work.piece.row[self._parents < 0]]
        found, core = self._log_sums(logs, exponents, roots, lost)
        return found, core, weights, exponents

    def _sum_pieces(
        self, works: list[Work], fields: Array, store: Array, desk: Desk, checked: bool
    ) -> tuple[float, float, Array, Array]:
        """As ``_sum_data`` of one datum, piece after piece."""
        weights, exponents, logs = self._weights(fields)
        roots: list[Array] = []
        lost = np.zeros((MOST_SLICES + 1, COLUMNS if checked else 0))
        for work in works:
            piece = work.piece
            with desk.scratch() as scratch:
                run_tasks(piece, weights, exponents, True, lost[-1], 0, 1, store, scratch, *_NO_MOMENTS)

            parts = work.slices(moments=False)

            def task(k: int, work: Work = work, parts: list[slice] = parts) -> None:
                with desk.scratch() as scratch:
                    run_tasks(
                        work.piece, weights, exponents, False, lost[k], max(1, parts[k].start), parts[k].stop,
                        store, scratch, *_NO_MOMENTS,
                    )  # fmt: skip

            if work.segment.num_tasks > 1:
                parallel_map(task, range(len(parts)), float(work.segment.num_tasks * work.rows * COLUMNS))
            if self.plan.parents[work.segment.buckets[-1]] < 0:
                roots.append(store[piece.source[-1] : piece.source[-1] + 1].copy())
        any_lost = np.repeat(lost.max(), COLUMNS) if checked else lost[0]  # lanes are states of one datum
        found, core = self._log_sums(logs, exponents, np.array(roots), any_lost)
        return float(found[0]), float(core[0]), weights, exponents

    def moments(self, fields: Array, *, checked: bool) -> EliminationMoments:
        """Moments; meaningless where the logarithm of the sum is NaN."""
        num = len(fields)
        found = EliminationMoments(
            np.empty(num), np.zeros(fields.shape), np.zeros((num, len(self.edges))), np.empty(num)
        )
        core = np.empty(num)
        if self.layout.side_by_side and num:
            parallel_map(
                lambda part: self._moments_of_data(fields, part, core, found, checked), slices(num, COLUMNS),
                32.0 * num * self.plan.operations,
            )  # fmt: skip
        elif num:
            size = self._store_sizes[1]
            store, shares = np.empty(size), np.empty(size)
            for n in range(num):
                self._moments_of_datum(fields, n, store, shares, core, found, checked)
        with np.errstate(invalid="ignore", over="ignore"):  # of data that the check refuses
            found.entropy[:] = self._entropy(fields, core, found)
        return found

    def _moments_of_data(
        self, fields: Array, part: slice, core: Array, found: EliminationMoments, checked: bool
    ) -> None:
        (work,), desk = self._for_moments
        own = fields[part]
        means, pairs = self._zeros()
        with desk.scratch() as scratch:
            found.log_sums[part], core[part], weights, exponents = self._sum_data(work, own, scratch, checked)
            run_tasks(
                work.piece, weights, exponents, False, _NOTHING, 0, 1, _NOTHING, scratch, _NOTHING, means,
                pairs,
            )  # fmt: skip
        found.mean[part, self._unit] = means[:, : len(own)].T
        found.pairs[part] = pairs.reshape(-1, COLUMNS)[:, : len(own)].T

    def _zeros(self) -> tuple[Array, Array]:
        return np.zeros((len(self._unit), COLUMNS)), np.zeros(len(self.edges) * COLUMNS)

    def _moments_of_datum(
        self, fields: Array, n: int, store: Array, shares: Array,
        core: Array, found: EliminationMoments,
        checked: bool,
    ) -> None:  # fmt: skip
        works, desk = self._for_moments
        found.log_sums[n], core[n], weights, exponents = self._sum_pieces(
            works, fields[n : n + 1], store, desk, checked
        )
        if math.isnan(core[n]):
            return
        shares[...] = 0.0
        all_means, all_pairs = self._zeros()
        for work in reversed(works):
            piece, segment = work.piece, work.segment
            if self.plan.parents[segment.buckets[-1]] < 0:
                shares[piece.source[-1]] = 1.0
            parts = work.slices(moments=True)
            alone = (all_means, all_pairs) if len(parts) == 1 else None

            def task(part: slice, work: Work = work, into: Any = alone) -> tuple[Array, Array]:
                sums = into or self._zeros()
                with desk.scratch() as scratch:
                    run_tasks(
                        work.piece, weights, exponents, False, _NOTHING, part.start, part.stop, store,
                        scratch, shares, *sums,
                    )  # fmt: skip
                return sums

            found_sums = parallel_map(task, parts, 4.0 * segment.num_tasks * work.rows * COLUMNS)
            if not alone:
                for means, pairs in found_sums:
                    all_means += means
                    all_pairs += pairs
        of_bucket, of_pair, lane_pairs, lane_buckets = self._lanes
        found.mean[n, self._unit] = (all_means * of_bucket).sum(axis=1)
        by_lane = all_pairs.reshape(-1, COLUMNS)
        by_lane[lane_pairs] = all_means[lane_buckets]
        found.pairs[n] = (by_lane * of_pair).sum(axis=1)

    def _entropy(self, fields: Array, core: Array, found: EliminationMoments) -> Array:
        """The logarithm of the sum plus what a state loses against the largest factors, expected."""
        shifted = np.where(np.isneginf(fields), 0.0, fields + self._half_sums)
        lost = np.abs(shifted) * np.where(shifted > 0.0, 1.0 - found.mean, found.mean)
        i, j = self.edges.T
        pairs = self._finite[i, j]
        unlike = found.mean[:, i] + found.mean[:, j] - 2.0 * found.pairs
        lost_pairs = 0.5 * np.abs(pairs) * np.where(pairs > 0.0, unlike, 1.0 - unlike)
        return np.asarray(np.maximum(core + lost.sum(axis=1) + lost_pairs.sum(axis=1), 0.0))
