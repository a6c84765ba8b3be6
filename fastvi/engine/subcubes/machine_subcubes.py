"""Subcubes of restricted Boltzmann machines: log w(h) = c + <t, h> + sum_j log(1 + exp(W h + b)_j)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fastvi.core.arrays import Array
from fastvi.core.functions import sigmoid
from fastvi.engine.run.slices import slices
from fastvi.engine.run.threads import parallel_map
from fastvi.engine.states.data_terms import BinaryData, Terms
from fastvi.engine.subcubes.form import FREE, Children, Roots
from fastvi.kernels.cpu.subcubes.machine_nodes import (
    factorised_machine_bounds,
    sum_machine_leaves,
    tangent_quadratic,
)
from fastvi.kernels.cpu.subcubes.quadratic_nodes import bound_pairs
from fastvi.kernels.cpu.subcubes.quadratic_shifts import start_vectors

_NODES = 2  # that a thread takes at a time
_ROUNDS = 1, 6, 6, 0.02  # of the quadratic's bound
_ROOT_TANGENTS, _TANGENTS = 12, 2


@dataclass(frozen=True, eq=False)
class MachineSubcubes:
    """Bounds for a restricted machine.

    weights : (D, f), of the units that are summed in closed form
    bias : (D,), theirs
    data : terms of the f units
    """

    weights: Array
    bias: Array
    data: BinaryData
    leaf_bits: int = 8

    @property
    def num_latents(self) -> int:
        return self.data.offset.size

    @property
    def order(self) -> Array:
        return np.arange(self.num_latents)

    @cached_property
    def _rows(self) -> Array:
        return np.ascontiguousarray(self.weights.T)

    @cached_property
    def _directions(self) -> Array:
        return start_vectors(self.num_latents)

    def terms(self, x: Array) -> Terms:
        return self.data.terms(x)

    def _bound(
        self, linear: Array, constant: float, state: Array, logits: Array, tangents: int
    ) -> tuple[float, Array]:
        """Return the least bound of a subcube that a few tangents give, and its logits."""
        size, best, best_logits = self.num_latents, np.inf, logits
        pairs, terms = np.empty((size, size)), np.empty((1, size))
        member, bit, upper = np.zeros(1, np.int64), np.empty(1, np.int64), np.empty((1, 1))
        for _ in range(tangents):
            total = tangent_quadratic(self._rows, self.bias, linear, constant, state, logits, pairs, terms[0])
            found = np.empty((1, 1, size))
            bound_pairs(
                pairs, self._directions, terms, np.array([total]), member, state[None], logits[None],
                *_ROUNDS, bit, upper, found,
            )  # fmt: skip
            logits = found[0, 0]
            if not upper[0, 0] < best - 1e-3:
                break
            best, best_logits = float(upper[0, 0]), logits
        return min(best, float(upper[0, 0])), best_logits

    def upper(self, terms: Terms) -> Array:
        return self._upper(terms)[0]

    def roots(self, terms: Terms) -> Roots:
        upper, logits = self._upper(terms)
        lower = np.empty(len(upper))

        def task(n: int) -> None:
            own = slice(n, n + 1)
            factorised_machine_bounds(
                self._rows, self.bias, terms.linear[own], terms.constant[own], logits[own], lower[own]
            )

        parallel_map(task, range(lower.size))
        return Roots(lower, upper, logits)

    def _upper(self, terms: Terms) -> tuple[Array, Array]:
        """Return the whole cubes' bounds (N,), and logits (N, f) of their tangent points."""
        count, size = terms.linear.shape
        upper, logits = np.empty(count), np.empty((count, size))
        free, start = np.full(size, FREE, np.int8), np.zeros(size)

        def task(n: int) -> None:
            upper[n], logits[n] = self._bound(
                terms.linear[n], float(terms.constant[n]), free, start, _ROOT_TANGENTS
            )

        parallel_map(task, range(count))
        return upper, logits

    def expand(self, terms: Terms, members: Array, states: Array, logits: Array) -> Children:
        count, size = states.shape
        found = Children(np.empty(count, np.int64), np.empty((count, 2)), np.empty((count, 2, size)))

        def task(part: slice) -> None:
            pairs, scratch = np.empty((size, size)), np.empty(size)
            for n in range(part.start, part.stop):
                linear, constant = terms.linear[members[n]], float(terms.constant[members[n]])
                tangent_quadratic(
                    self._rows, self.bias, linear, constant, states[n], logits[n], pairs, scratch
                )
                mean = sigmoid(logits[n])
                spread = np.where(states[n] == FREE, mean * (1.0 - mean), 0.0)
                score = spread * (np.einsum("ij,j->i", pairs * pairs, spread) + 1e-3)
                bit = int(np.argmax(np.where(states[n] == FREE, score, -1.0)))
                found.bit[n] = bit
                for value in (0, 1):
                    state = states[n].copy()
                    state[bit] = value
                    response = np.clip(pairs[bit] * (value - mean[bit]), -4.0, 4.0)
                    start = np.where(state == FREE, logits[n] + response, 0.0)
                    found.upper[n, value], found.logits[n, value] = self._bound(
                        linear, constant, state, start, _TANGENTS
                    )

        parallel_map(task, slices(count, _NODES), 10.0 * count * size * size * (self.bias.size + size))
        return found

    def leaves(self, terms: Terms, members: Array, states: Array) -> Array:
        out = np.empty(len(states))

        def task(part: slice) -> None:
            sum_machine_leaves(
                self._rows, self.bias, terms.linear, terms.constant, members[part], states[part], out[part]
            )

        parallel_map(task, slices(len(states), _NODES), 1e3 * len(states) * (1 + self.bias.size))
        return out

    def error(self, terms: Terms) -> Array:
        # As of ``QuadraticSubcubes``, with J made of products K W W, each at most a quarter of |W W|; slopes,
        # curvatures and leaves are made of |b| + |W|, leaves by up to 32 changes of one bit
        rows = np.abs(self.weights).sum(axis=1)
        size = 0.25 * np.square(rows).sum() + 40.0 * (rows.sum() + np.abs(self.bias).sum() + self.bias.size)
        size += (
            np.abs(self.data.weights).sum() + np.abs(self.data.offset).sum() + np.abs(self.data.bias).sum()
        )
        each = np.abs(terms.linear).sum(axis=1) + np.abs(terms.constant)
        size = 5.0 * (size + each) + 48.0 * self.num_latents**2
        length = 4 * self.num_latents + len(self.bias) + len(self.data.bias) + 64
        return np.asarray(2.0**-53 * (6.0 * length * size + 2.0**self.leaf_bits))
