"""Sampled states of models with softplus sums: sigmoid belief networks, restricted Boltzmann machines.

sum_j softplus(eta_j) of a sampled state is the logarithm of a product of table rows, and a sum of softplus
for those pixels whose exponentials could leave the range of a double. Where more states are sampled than
there are, that is done once for each state and looked up: the same numbers, so that no bit shows which way
was taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.importance.proposals import unpacked
from fastvi.engine.importance.targets import BinaryTarget, Sampled
from fastvi.engine.run.threads import parallel_map
from fastvi.engine.states.data_terms import BinaryData, Terms
from fastvi.kernels.cpu.dense.row_products import LINE, SAMPLES, tile_lanes, tile_pixels
from fastvi.kernels.cpu.importance.importance_sampling import (
    Groups,
    add_looked_up,
    add_products,
    add_softplus,
    exponential_rows,
    logit_rows,
    pick_rows,
    row_starts,
    subset_rows,
)
from fastvi.kernels.cpu.states.softplus_product import BITS_32, BITS_64

_TABLE_LATENTS = 20  # 8 MiB
_STATES = 4096  # of a task, as many as the samples of a chunk
LARGEST_LOG = 700.0  # of a running product
_LARGEST_LOG_32 = 87.0  # of one in float32


def _empty_lines(shape: tuple[int, ...], dtype: Any) -> Array:
    """An array of this shape that begins at a cache line."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    held = np.empty(size + LINE, np.uint8)
    begin = -held.ctypes.data % LINE
    return held[begin : begin + size].view(dtype).reshape(shape)


class _Products(NamedTuple):
    """Tables from which sum_j softplus(eta_j) of a sampled state is made."""

    table: Array  # (tiles, rows, pixels of a tile)
    splits: Array  # (tiles,)
    direct: Array  # (rows, pixels summed in log space)
    rest: _Products | None  # in float64, of the pixels that do not fit in float32

    @classmethod
    def build(
        cls, weights: Array, bias: Array, groups: Groups, num_rows: int, dtype: str = "float64"
    ) -> _Products:
        element_bytes = np.dtype(dtype).itemsize
        width, lanes = tile_pixels(element_bytes), tile_lanes(element_bytes)
        largest_log = LARGEST_LOG if element_bytes == 8 else _LARGEST_LOG_32
        above, below = np.maximum(weights, 0.0).sum(axis=1), np.minimum(weights, 0.0).sum(axis=1)
        # no product of some of a pixel's rows leaves the range and, right after a split, the factors of a
        # tile fit
        fits = above + np.maximum(bias, 0.0) <= largest_log / (width // lanes) - 1.0
        fits &= below + np.minimum(bias, 0.0) >= 1.0 - largest_log
        pixels, others = np.flatnonzero(fits), np.flatnonzero(~fits)
        num_tiles = -(-pixels.size // width)
        factors = np.zeros(num_tiles * width)
        factors[: pixels.size] = np.logaddexp(0.0, (above + bias)[pixels])
        growth = factors.reshape(num_tiles, width // lanes, lanes).sum(axis=1).max(axis=1)
        table = _empty_lines((num_tiles, num_rows, width), dtype)

        def fill(first: int) -> None:
            exponential_rows(weights, bias, pixels, groups, first, table[first : first + 8])

        parallel_map(fill, range(0, num_tiles, 8), 4.0 * table.size)
        splits = splits_before(growth, largest_log)
        if others.size and element_bytes < 8:
            rest = cls.build(weights[others], bias[others], groups, num_rows)
            return cls(table, splits, np.empty((num_rows, 0)), rest)
        direct = np.empty((num_rows, others.size))
        if others.size:
            logit_rows(weights, bias, others, groups, direct)
        return cls(table, splits, direct, None)

    def add(self, rows: Array, sign: float, log_w: Array) -> None:
        """log_w[k] += sign * sum_j softplus(eta_j) of the state that the rows of sample k stand for."""
        num_tiles, num_rows, width = self.table.shape
        wide, num_groups = self.table.itemsize == 8, rows.size // max(log_w.size, 1)
        padded = -(-log_w.size // SAMPLES) * SAMPLES
        starts = np.empty(padded * num_groups, np.uint32)
        row_starts(rows, num_groups, width, starts)
        products = _empty_lines((padded * tile_lanes(self.table.itemsize),), self.table.dtype)
        bits = products.view(np.int64 if wide else np.int32)
        add_products(
            self.table.reshape(-1), num_tiles, num_rows * width, self.splits, starts, num_groups, sign,
            products, bits, np.empty_like(bits), BITS_64 if wide else BITS_32, log_w,
        )  # fmt: skip
        if self.direct.size:
            add_softplus(self.direct, rows, sign, log_w)
        if self.rest is not None:
            self.rest.add(rows, sign, log_w)


def splits_before(growth: Array, largest_log: float = LARGEST_LOG) -> Array:
    """Before which tiles a running product has to be split, where each adds up to ``growth`` to its log."""
    splits, held = np.zeros(growth.size, bool), 0.0
    for t, more in enumerate(growth):
        splits[t] = held + more > largest_log
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
            words = np.arange(first, first + part.size)[None, None]
            rows = np.empty((1, part.size * groups.first_bit.size), np.int32)
            pick_rows(words, groups, rows)
            rest.fill(Sampled(0, words, rows[0]), part)

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
    dtype
        Of the products over pixels.
    """

    def __init__(
        self, weights: Array, bias: Array, sign: float, data: BinaryData, prior_logits: Array | None,
        log_prior: Callable[[Array], Array] | None = None, num_states: int = 0, dtype: str = "float64",
    ) -> None:  # fmt: skip
        super().__init__(weights.shape[1], prior_logits)
        self.weights, self.bias, self.sign, self.log_prior = weights, bias, sign, log_prior
        self.dtype = dtype
        self._data, self._num_states = data, num_states
        self._turn = Lock()
        self._made: _Rest | _Table | None = None

    def _make(self) -> _Rest | _Table:
        products = _Products.build(self.weights, self.bias, self.groups, self.num_rows, self.dtype)
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
