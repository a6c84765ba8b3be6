"""Sampled states of models with softplus sums: sigmoid belief networks, restricted Boltzmann machines.

Three ways give sum_j softplus(eta_j) of a sampled state. A table of all 2^d states, made by the exact engine,
where there are more samples than a quarter of the states; products of table rows else; sums of softplus for
those pixels whose exponentials could leave the range of a double.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastvi.engine.data_terms import BinaryData, Terms
from fastvi.engine.importance.proposals import unpacked
from fastvi.engine.importance.targets import BinaryTarget, Sampled
from fastvi.engine.mean_field import state_table
from fastvi.engine.softplus_form import SoftplusForm
from fastvi.engine.threads import parallel_map
from fastvi.kernels.cpu.importance_sampling import (
    Groups,
    add_looked_up,
    add_products,
    add_softplus,
    exponential_rows,
    logit_rows,
    subset_rows,
)
from fastvi.kernels.cpu.row_products import LANES, PIXELS_PER_LANE, WIDTH

Array = NDArray[Any]

_TABLE_LATENTS = 20  # 8 MiB
LARGEST_LOG = 700.0  # of a running product
# of |b_j| + sum_i |W_ji|: right after a split, the factors of a tile fit
_LARGEST_REACH = LARGEST_LOG / PIXELS_PER_LANE - 1.0


def pays(num_latents: int, num_states: int) -> bool:
    """Whether a table of all states is made for so many sampled ones."""
    return num_latents <= _TABLE_LATENTS and 4 * num_states >= 1 << num_latents


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


def _state_positions(form: SoftplusForm, groups: Groups, num_rows: int) -> Array:
    """Table of rows whose sum is the position of a state in ``state_table``, flat."""
    num_row_bits = form.tiling.outer_bits + form.tiling.row_bits
    num_column_bits = form.order.size - num_row_bits
    place = np.empty(form.order.size, np.int64)  # row bits are the high ones
    place[form.order[:num_row_bits]] = 1 << (num_column_bits + np.arange(num_row_bits))
    place[form.order[num_row_bits:]] = 1 << np.arange(num_column_bits)
    positions = np.empty(num_rows, np.int64)
    subset_rows(np.zeros_like(place), place, groups, positions)
    return positions


class TableTarget(BinaryTarget):
    """All states of a form, with the prior and a linear function in them."""

    def __init__(self, form: SoftplusForm) -> None:
        super().__init__(form.num_latents, None)
        self._form, self._table = form, state_table(form).reshape(-1)
        self._positions = _state_positions(form, self.groups, self.num_rows)

    def terms(self, x: Array) -> Terms:
        terms = self._form.data.terms(x)
        return Terms(terms.linear[:, np.argsort(self._form.order)], terms.constant)

    def add(self, x: Any, sampled: Sampled, log_w: Array) -> None:
        add_looked_up(sampled.rows, self._positions, self._table, log_w)


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
    """

    def __init__(
        self, weights: Array, bias: Array, sign: float, data: BinaryData, prior_logits: Array | None,
        log_prior: Callable[[Array], Array] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(weights.shape[1], prior_logits)
        self.weights, self.bias, self.sign, self.log_prior = weights, bias, sign, log_prior
        self._data = data

    @cached_property
    def _products(self) -> _Products:
        return _Products.build(self.weights, self.bias, self.groups, self.num_rows)

    def terms(self, x: Array) -> Terms:
        return self._data.terms(x)

    def prepare(self, x: Array) -> Any:
        return self._products  # made before threads ask for it

    def add(self, x: Any, sampled: Sampled, log_w: Array) -> None:
        self._products.add(sampled.rows, self.sign, log_w)
        if self.log_prior is not None:
            for words, row in zip(sampled.words, log_w.reshape(len(sampled.words), -1), strict=True):
                row += self.log_prior(unpacked(words, self.num_latents))
