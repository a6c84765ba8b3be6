"""Subcubes of models that are quadratic in z: log p(x, z) = c(x) + <t(x), z> + z' J z / 2."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.run.slices import slices
from fastvi.engine.run.threads import parallel_map
from fastvi.engine.states.data_terms import BinaryData, Data, Terms
from fastvi.engine.states.pair_form import PairParts
from fastvi.engine.subcubes.form import FREE, Children, Roots, Tangents
from fastvi.kernels.cpu.subcubes.quadratic_leaves import leaf_sums
from fastvi.kernels.cpu.subcubes.quadratic_nodes import bound_pairs, factorised_bounds, start_directions
from fastvi.kernels.cpu.subcubes.quadratic_shifts import start_vectors

_NODES = 4  # that a thread takes at a time
_START_SWEEPS = 50
_HALF = 1, 6, 6, 0.02  # rounds, sweeps of the shifts, steps of Newton, and nats from the best tangent
_ROOT = 8, 20, 40, 1e-7
# 2^18 states take 110 microseconds on a Zen 3 core, a split of 30 free bits 80
_LEAF_BITS = 18


@dataclass(frozen=True, eq=False)
class QuadraticSubcubes:
    """Bounds for a machine's or for sparse coding's data.

    couplings : (f, f), J: symmetric, its diagonal 0; -inf where two bits exclude each other
    centre, data_order, data : as of ``PairParts``, of which it is made; bits are in the model's order
    reach : sizes of all that terms and couplings are added from
    """

    couplings: Array
    centre: Array
    data_order: Array
    data: Data
    reach: float
    leaf_bits: int = _LEAF_BITS

    @staticmethod
    def of(parts: PairParts, leaf_bits: int = _LEAF_BITS) -> QuadraticSubcubes:
        """Return the subcubes of a pair form's parts, in the model's order of latents."""
        back = np.argsort(parts.order)
        couplings = np.ascontiguousarray(parts.couplings[np.ix_(back, back)])
        sizes: list[Array] = [couplings, parts.centre, parts.data.offset]
        if isinstance(parts.data, BinaryData):  # whose sums may be smaller than what they are made of
            inside = parts.data.couplings
            sizes += [parts.data.weights, parts.data.bias, *([] if inside is None else [inside])]
        reach = sum(float(np.abs(size[np.isfinite(size)]).sum()) for size in sizes)
        return QuadraticSubcubes(couplings, parts.centre, parts.order, parts.data, reach, leaf_bits)

    @property
    def num_latents(self) -> int:
        return self.data_order.size

    @property
    def order(self) -> Array:
        return np.arange(self.num_latents)

    @cached_property
    def _directions(self) -> Array:
        """Unit vectors (f, rank) from which each subcube's shifts are sought."""
        found = start_vectors(self.num_latents)
        start_directions(self.couplings, _START_SWEEPS, found)
        return found

    def terms(self, x: Array) -> Terms:
        found = self.data.terms(x)
        linear = np.empty_like(found.linear)
        linear[:, self.data_order] = found.linear + self.centre
        return Terms(linear, found.constant)

    def upper(self, terms: Terms) -> Array:
        return self._upper(terms)[0]

    def roots(self, terms: Terms) -> Roots:
        upper, logits = self._upper(terms)
        lower = np.empty(len(upper))

        def task(part: slice) -> None:
            factorised_bounds(
                self.couplings, terms.linear[part], terms.constant[part], logits[part], lower[part]
            )

        parallel_map(task, slices(lower.size, _NODES), 1e2 * logits.size * self.num_latents)
        return Roots(lower, upper, logits)

    def tangents(self, terms: Terms, members: Array, states: Array) -> Tangents:
        upper, logits = self._bounds(terms, members, states)
        fixed = np.where(states == 1, np.inf, -np.inf)
        return Tangents(upper, np.where(states == FREE, logits, fixed))

    def _upper(self, terms: Terms) -> tuple[Array, Array]:
        """Return the whole cubes' bounds (N,), and logits (N, f) of their tangent points."""
        count, size = terms.linear.shape
        return self._bounds(terms, np.arange(count), np.full((count, size), FREE, np.int8))

    def _bounds(self, terms: Terms, members: Array, states: Array) -> tuple[Array, Array]:
        """Return bounds (n,) of subcubes, and logits (n, f) of their tangent points."""
        count, size = states.shape
        upper, logits = np.empty((count, 1)), np.empty((count, 1, size))
        bits, start = np.empty(count, np.int64), np.zeros((count, size))

        def task(part: slice) -> None:
            bound_pairs(
                self.couplings, self._directions, terms.linear, terms.constant, members[part], states[part],
                start[part], *_ROOT, bits[part], upper[part], logits[part],
            )  # fmt: skip

        parallel_map(task, slices(count, _NODES), 1e3 * count * size * (size + 1))
        return upper[:, 0].copy(), logits[:, 0].copy()

    def expand(self, terms: Terms, members: Array, states: Array, logits: Array) -> Children:
        count, size = states.shape
        found = Children(np.empty(count, np.int64), np.empty((count, 2)), np.empty((count, 2, size)))

        def task(part: slice) -> None:
            bound_pairs(
                self.couplings, self._directions, terms.linear, terms.constant, members[part], states[part],
                logits[part], *_HALF, *(array[part] for array in found),
            )  # fmt: skip

        parallel_map(task, slices(count, _NODES), 200.0 * count * size * (size + 1))
        return found

    def leaves(self, terms: Terms, members: Array, states: Array) -> Array:
        out = np.empty(len(states))

        def task(part: slice) -> None:
            leaf_sums(
                self.couplings, terms.linear, terms.constant, members[part], states[part], out[part]
            )  # fmt: skip

        parallel_map(task, slices(len(states), _NODES), 1e4 * len(states))
        return out

    def error(self, terms: Terms) -> Array:
        # Every number is a sum of c, t, J, A A', D and what is made of them by tangent points in [0, 1], and
        # a log 2 for each bit. The entries of A A' add up to at most 8 f^2, D to at most 4 times those of
        # J - A A' (``quadratic_shifts.py``), and each enters less than 6 times. With S the size of c, t and
        # all that these and J are added from, that is below 6 (5 S + 48 f^2). No chain of additions is longer
        # than 4 f + D + 64.
        size = np.abs(np.where(np.isfinite(terms.linear), terms.linear, 0.0)).sum(axis=1)
        size += np.abs(np.where(np.isfinite(terms.constant), terms.constant, 0.0)) + self.reach
        size = 5.0 * size + 48.0 * self.num_latents**2
        length = 4 * self.num_latents + len(self.data.bias) + 64
        states = 2.0 ** (2 * -(-self.leaf_bits // 3))  # terms that a leaf's sum adds, relative to each other
        return 2.0**-53 * (6.0 * length * size + 2.0 * states)
