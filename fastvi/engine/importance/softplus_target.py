"""Sampled states of models with softplus sums: sigmoid belief networks, restricted Boltzmann machines.

sum_j softplus(eta_j) of a sampled state is the logarithm of a product of table rows, and a sum of softplus
for those pixels whose exponentials could leave the range of a double. Where more states are sampled than
there are, that is done once for each state and looked up: the same numbers, so that no bit shows which way
was taken.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.importance.proposals import unpacked
from fastvi.engine.importance.targets import BinaryTarget, Sampled
from fastvi.engine.run.threads import parallel_map
from fastvi.engine.states.data_terms import BinaryData, Terms
from fastvi.kernels.cpu.dense.row_products import LANES, PIXELS_PER_LANE, WIDTH
from fastvi.kernels.cpu.importance.importance_sampling import (
    Groups,
    add_looked_up,
    add_products,
    add_softplus,
    exponential_rows,
    logit_rows,
    pick_rows,
    subset_rows,
)

_TABLE_LATENTS = 20  # 8 MiB
_STATES = 4096  # of a task, as many as the samples of a chunk
LARGEST_LOG = 700.0  # of a running product
# of |b_j| + sum_i |W_ji|: right after a split, the factors of a tile fit
_LARGEST_REACH = LARGEST_LOG / PIXELS_PER_LANE - 1.0


class _Products(NamedTuple):
    """Tables from which sum_j softplus(eta_j) of a sampled state is made."""

    table: Array  # (tiles, rows, WIDTH)
    splits: Array  # (tiles,)
    direct: Array  # (rows, pixels summed in log space)

    @classmethod
    def build(cls, weights: Array, bias: Array, groups: Groups, num_rows: int) -> _Products:
        reach = np.abs(weights).sum(axis=1) + np.abs(bias)
        fits = reach <= _LARGEST_REACH
        pixels, others = np.flatnonzero(fits), np.flatnonzero(~fits)
        num_tiles = -(-pixels.size // WIDTH)
        largest = np.maximum(weights, 0.0).sum(axis=1) + bias
        factors = np.zeros(num_tiles * WIDTH)
        factors[: pixels.size] = np.logaddexp(0.0, largest[pixels])
        growth = factors.reshape(num_tiles, PIXELS_PER_LANE, LANES).sum(axis=1).max(axis=1)
        table = np.empty((num_tiles, num_rows, WIDTH))

        def fill(first: int) -> None:
            exponential_rows(weights, bias, pixels, groups, first, table[first : first + 8])

        parallel_map(fill, range(0, num_tiles, 8), 4.0 * table.size)
        direct = np.empty((num_rows, others.size))
        if others.size:
            logit_rows(weights, bias, others, groups, direct)
        return cls(table, splits_before(growth), direct)

    def add(self, rows: Array, sign: float, log_w: Array) -> None:
        """log_w[k] += sign * sum_j softplus(eta_j) of the state that the rows of sample k stand for."""
        num_tiles, num_rows, _ = self.table.shape
        products = np.empty(LANES * log_w.size)
        powers = np.empty(products.size, np.int64)
        add_products(
            self.table.reshape(-1), num_tiles, num_rows * WIDTH, self.splits, rows, sign,
            products, products.view(np.int64), powers, log_w,
        )  # fmt: skip
        if self.direct.size:
            add_softplus(self.direct, rows, sign, log_w)


def splits_before(growth: Array) -> Array:
    """Before which tiles a running product has to be split, where each adds up to ``growth`` to its log."""
    splits, held = np.zeros(growth.size, bool), 0.0
    for t, more in enumerate(growth):
        splits[t] = held + more > LARGEST_LOG
        held = (1.0 if splits[t] else held) + more
    return splits


class _Rest(NamedTuple):
    """Terms not linear in z: sign * sum_j softplus(eta_j), and log p(z) of a prior that is a model."""

    products: _Products
    sign: float
    num_latents: int
    log_prior: Callable[[Array], Array] | None

    def fill(self, sampled: Sampled, out: Array) -> None:
        """Out (M * K,) of sampled states."""
        out[:] = 0.0
        self.products.add(sampled.rows, self.sign, out)
        if self.log_prior is not None:
            states = [unpacked(words, self.num_latents) for words in sampled.words]
            out += self.log_prior(np.concatenate(states))

    def add(self, sampled: Sampled, log_w: Array) -> None:
        # made apart and added as a whole, which is what a table does
        rest = np.empty_like(log_w)
        self.fill(sampled, rest)
        log_w += rest


class _Table(NamedTuple):
    """``_Rest`` of all 2^d states, made once."""

    values: Array  # (2^d,)
    positions: Array  # of rows: their sum over the groups is the number of a state

    @classmethod
    def build(cls, rest: _Rest, groups: Groups, num_rows: int) -> _Table:
        bits = 1 << np.arange(rest.num_latents)
        positions, values = np.empty(num_rows, np.int64), np.empty(1 << rest.num_latents)
        subset_rows(np.zeros_like(bits), bits, groups, positions)

        def fill(first: int) -> None:
            part = values[first : first + _STATES]
            words = np.arange(first, first + part.size)[None]
            rows = np.empty(part.size * groups.first_bit.size, np.int32)
            pick_rows(words, groups, rows)
            rest.fill(Sampled(0, words[None], rows), part)

        parallel_map(fill, range(0, values.size, _STATES))
        return cls(values, positions)

    def add(self, sampled: Sampled, log_w: Array) -> None:
        add_looked_up(sampled.rows, self.positions, self.values, log_w)


class ProductTarget(BinaryTarget):
    """c(x) + <t(x), z> + log p(z) + sign * sum_j softplus((W z + b)_j).

    Parameters
    ----------
    weights, bias
        W (D, d) and b (D,) of the softplus sum.
    data
        What takes data to t(x) and c(x).
    prior_logits
        Of the factorised prior, or None.
    log_prior
        Takes states (S, d) uint8 to the log p(z) of a prior that is a model.
    num_states
        How many states will be sampled in all: whether a table of all of them pays.
    """

    def __init__(
        self, weights: Array, bias: Array, sign: float, data: BinaryData, prior_logits: Array | None,
        log_prior: Callable[[Array], Array] | None = None, num_states: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(weights.shape[1], prior_logits)
        self.weights, self.bias, self.sign, self.log_prior = weights, bias, sign, log_prior
        self._data, self._num_states = data, num_states
        self._turn = Lock()
        self._made: _Rest | _Table | None = None

    def _make(self) -> _Rest | _Table:
        products = _Products.build(self.weights, self.bias, self.groups, self.num_rows)
        rest = _Rest(products, self.sign, self.num_latents, self.log_prior)
        if self.num_latents <= _TABLE_LATENTS and self._num_states >= 1 << self.num_latents:
            return _Table.build(rest, self.groups, self.num_rows)
        return rest

    def terms(self, x: Array) -> Terms:
        return self._data.terms(x)

    def prepare(self, x: Array) -> _Rest | _Table:
        with self._turn:  # made once, before threads ask for it, and never for a GPU
            if self._made is None:
                self._made = self._make()
            return self._made

    def add(self, x: _Rest | _Table, sampled: Sampled, log_w: Array) -> None:
        x.add(sampled, log_w)
