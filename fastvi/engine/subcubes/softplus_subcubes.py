"""Subcubes of sigmoid belief networks: A(z) = sum_j softplus(W z + b)_j."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.run.slices import slices
from fastvi.engine.run.threads import parallel_map
from fastvi.engine.states.data_terms import BinaryData, Terms
from fastvi.engine.states.softplus_form import plain_tables
from fastvi.engine.subcubes.form import Children, Roots, Tangents
from fastvi.engine.subcubes.softplus_roots import softplus_lower, softplus_roots
from fastvi.kernels.cpu.states.softplus_product import BITS_64, SoftplusTables
from fastvi.kernels.cpu.subcubes.softplus_leaves import sum_leaves
from fastvi.kernels.cpu.subcubes.softplus_nodes import expand_nodes
from fastvi.kernels.cpu.subcubes.softplus_tangents import bound_nodes
from fastvi.kernels.host import COLUMNS

_LEAF_BITS = 12
_NODES, _LEAVES = 4, 1  # that a thread takes at a time


@dataclass(frozen=True, eq=False)
class SoftplusSubcubes:
    """Bounds for a network's data.

    Bits are in the order of their influence on A, the least last: those are never split, so that all leaves
    are tiles of the same tables.

    order : (f,), which latent each bit is
    weights : (D, f), in this order, of the pixels that were seen
    bias : (D,)
    prior_logits : (f,)
    """

    order: Array
    weights: Array
    bias: Array
    prior_logits: Array

    @property
    def num_latents(self) -> int:
        return self.order.size

    @property
    def leaf_bits(self) -> int:
        return min(_LEAF_BITS, self.num_latents)

    @cached_property
    def _rows(self) -> Array:
        return np.ascontiguousarray(self.weights.T)

    @cached_property
    def _tables(self) -> SoftplusTables:
        row_bits = self.leaf_bits // 2
        return plain_tables(self.weights, self.bias, self.num_latents - self.leaf_bits, row_bits)

    @cached_property
    def _data(self) -> BinaryData:
        constant = -float(np.logaddexp(0.0, self.prior_logits).sum())
        return BinaryData(self.weights, self.bias, self.prior_logits, constant)

    def terms(self, x: Array) -> Terms:
        return self._data.terms(x)

    def upper(self, terms: Terms) -> Array:
        return softplus_roots(self.weights, self.bias, terms.linear, terms.constant)[0]

    def roots(self, terms: Terms) -> Roots:
        upper, logits = softplus_roots(self.weights, self.bias, terms.linear, terms.constant)
        lower = softplus_lower(self.weights, self.bias, terms.linear, terms.constant, logits)
        return Roots(lower, upper, logits)

    def expand(self, terms: Terms, members: Array, states: Array, logits: Array) -> Children:
        count, size = states.shape
        found = Children(np.empty(count, np.int64), np.empty((count, 2)), np.empty((count, 2, size)))

        def task(part: slice) -> None:
            expand_nodes(
                self._rows, self.bias, size - self.leaf_bits, terms.linear, terms.constant, members[part],
                states[part], logits[part], *(array[part] for array in found),
            )  # fmt: skip

        parallel_map(task, slices(count, _NODES), 40.0 * count * size * self.bias.size)
        return found

    def leaves(self, terms: Terms, members: Array, states: Array) -> Array:
        tables, out = self._tables, np.empty(len(states))
        row_bits, column_bits = tables.row_weights.shape[1], tables.column_weights.shape[1]
        padded_rows = -(-(1 << row_bits) // tables.panel_rows) * tables.panel_rows
        padded_columns = -(-(1 << column_bits) // COLUMNS) * COLUMNS

        def task(part: slice) -> None:
            sum_leaves(
                tables, padded_rows, padded_columns, terms.linear, terms.constant, members[part],
                states[part], BITS_64, out[part],
            )  # fmt: skip

        parallel_map(task, slices(len(states), _LEAVES), float(out.size * self.bias.size << self.leaf_bits))
        return out

    def tangents(self, terms: Terms, members: Array, states: Array) -> Tangents:
        count, size = states.shape
        found = Tangents(np.empty(count), np.empty((count, size)))
        logits = softplus_roots(self.weights, self.bias, terms.linear, terms.constant)[1]

        def task(part: slice) -> None:
            bound_nodes(
                self._rows, self.bias, terms.linear, terms.constant, members[part], states[part], logits,
                *(array[part] for array in found),
            )  # fmt: skip

        parallel_map(task, slices(count, _NODES), 100.0 * count * size * self.bias.size)
        return found

    def error(self, terms: Terms) -> Array:
        # sums of D or f terms, whose |values| have a sum below S; 4 S counts sums of logits, of slopes times
        # logits, of fields and of the products of leaves. Entropies and softplus add log 2 a pixel and a bit
        size = np.abs(self.weights).sum() + np.abs(self.bias).sum() + np.abs(self.prior_logits).sum()
        error = 4.0 * (sum(self.weights.shape) + 40) * 2.0**-52 * (size + sum(self.weights.shape))
        return np.full(len(terms.constant), error)


def softplus_subcubes(weights: Array, bias: Array, prior_logits: Array) -> SoftplusSubcubes:
    """Return the form of a network with ``weights`` (D, d), ``bias`` (D,) and ``prior_logits`` (d,)."""
    order = np.argsort(-np.abs(weights).sum(axis=0), kind="stable")
    return SoftplusSubcubes(
        order, np.ascontiguousarray(weights[:, order]), np.ascontiguousarray(bias),
        np.ascontiguousarray(prior_logits[order]),
    )  # fmt: skip
