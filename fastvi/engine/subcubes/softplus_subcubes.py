"""Subcubes of sigmoid belief networks: A(z) = sum_j softplus(W z + b)_j."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.run.slices import slices
from fastvi.engine.run.threads import parallel_map
from fastvi.engine.states.data_terms import BinaryData, Terms
from fastvi.engine.subcubes.form import FREE, Children, Roots
from fastvi.engine.subcubes.softplus_roots import softplus_lower, softplus_roots
from fastvi.kernels.cpu.simd.product_tiles import product_tile
from fastvi.kernels.cpu.states.softplus_product import BITS_64
from fastvi.kernels.cpu.subcubes.softplus_leaves import sum_leaves
from fastvi.kernels.cpu.subcubes.softplus_nodes import expand_nodes

_NODES = 4  # that a thread takes at a time
_LIMIT, _BLOCK_LIMIT = 340.0, 700.0  # as of the tiles of ``softplus_form``
_LONGEST_BLOCK = 448


@dataclass(frozen=True, eq=False)
class SoftplusSubcubes:
    """Bounds for a network's data; weights (D, f), bias (D,) of the pixels that were seen."""

    weights: Array
    bias: Array
    prior_logits: Array

    leaf_bits = 10

    @property
    def num_latents(self) -> int:
        return self.prior_logits.size

    @cached_property
    def _rows(self) -> Array:
        return np.ascontiguousarray(self.weights.T)

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
                self._rows, self.bias, terms.linear, terms.constant, members[part], states[part], logits[part],
                *(array[part] for array in found),
            )  # fmt: skip

        parallel_map(task, slices(count, _NODES), 40.0 * count * size * self.bias.size)
        return found

    def leaves(self, terms: Terms, members: Array, states: Array) -> Array:
        num_free = (states == FREE).sum(axis=1)
        out = np.empty(len(states))
        for size in np.unique(num_free):
            which = np.flatnonzero(num_free == size)
            out[which] = self._leaves(terms, members[which], states[which])
        return out

    def _leaves(self, terms: Terms, members: Array, states: Array) -> Array:
        """Of subcubes with as many free bits each."""
        out = np.empty(len(states))

        def task(part: slice) -> None:
            sum_leaves(
                self.weights, self.bias, terms.linear, terms.constant, members[part], states[part], _LIMIT,
                _BLOCK_LIMIT, _LONGEST_BLOCK, product_tile(8).rows, BITS_64, out[part],
            )  # fmt: skip

        parallel_map(task, slices(len(states), _NODES), 1e3 * out.size * self.bias.size)
        return out

    def error(self, terms: Terms) -> Array:
        # sums of D or f terms, whose |values| have a sum below S; 4 S counts sums of logits, of slopes times
        # logits, of fields and of the products of leaves. Entropies and softplus add log 2 a pixel and a bit
        size = np.abs(self.weights).sum() + np.abs(self.bias).sum() + np.abs(self.prior_logits).sum()
        error = 4.0 * (sum(self.weights.shape) + 40) * 2.0**-52 * (size + sum(self.weights.shape))
        return np.full(len(terms.constant), error)
