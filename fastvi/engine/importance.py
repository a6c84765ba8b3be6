"""Importance sampling of a sigmoid belief network: which way the weights are computed, some data a task.

Three ways give log p(x, z) of a sampled state. A table of all 2^d states, made by the exact engine, where
there are more samples than a quarter of the states; products of table rows else; sums of softplus for those
pixels whose exponentials could leave the range of a double.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastvi.engine.mean_field import state_table
from fastvi.engine.softplus_form import SoftplusForm, softplus_form
from fastvi.engine.threads import data_slices, num_threads, parallel_map
from fastvi.kernels.cpu.data_terms import linear_terms
from fastvi.kernels.cpu.draws import draw_states, split_seed, thresholds
from fastvi.kernels.cpu.importance_sampling import (
    Groups,
    add_looked_up,
    exponential_rows,
    logit_rows,
    pick_rows,
    subset_rows,
    subtract_products,
    subtract_softplus,
    sum_rows,
)
from fastvi.kernels.cpu.row_products import LANES, PIXELS_PER_LANE, WIDTH

Array = NDArray[Any]

_TABLE_LATENTS = 20  # 8 MiB
# samples that pass over a tile together; 100 data, 1,000 samples, 784 pixels, 2 cores: 512, 2048 and 4096
# take 76, 69 and 58 ms at d = 20, 679, 372 and 374 ms at d = 100
_CHUNK = 4096
_LARGEST_LOG = 700.0  # of a running product
# of |b_j| + sum_i |W_ji|: right after a split, the factors of a tile fit
_LARGEST_REACH = _LARGEST_LOG / PIXELS_PER_LANE - 1.0


def bit_groups(num_latents: int) -> tuple[Groups, int]:
    """Groups of up to 8 bits, as equal as each 32-bit word allows, and the number of rows of all."""
    first_bit, num_bits = [], []
    for start in range(0, num_latents, 32):
        size = min(32, num_latents - start)
        count = -(-size // 8)
        for g in range(count):
            first_bit.append(start + g * size // count)
            num_bits.append(start + (g + 1) * size // count - first_bit[-1])
    ends = np.cumsum([1 << bits for bits in num_bits])
    first_row = ends - [1 << bits for bits in num_bits]
    groups = Groups(*(np.array(part, dtype=np.int64) for part in (first_bit, num_bits, first_row)))
    return groups, int(ends[-1])


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
        return cls(table, _splits(growth), direct)

    def subtract(self, rows: Array, log_w: Array) -> None:
        """log_w[k] -= sum_j softplus(eta_j) of the state that the rows of sample k stand for."""
        num_tiles, num_rows, _ = self.table.shape
        products = np.empty(LANES * log_w.size)
        powers = np.empty(products.size, np.int64)
        subtract_products(
            self.table.reshape(-1), num_tiles, num_rows * WIDTH, self.splits, rows,
            products, products.view(np.int64), powers, log_w,
        )  # fmt: skip
        if self.direct.size:
            subtract_softplus(self.direct, rows, log_w)


def _splits(growth: Array) -> Array:
    """Before which tiles a running product has to be split, where each adds up to ``growth`` to its log."""
    splits, held = np.zeros(growth.size, bool), 0.0
    for t, more in enumerate(growth):
        splits[t] = held + more > _LARGEST_LOG
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


def _log_probabilities(logits: Array) -> tuple[Array, Array]:
    """log q(z_i = 0) and log q(z_i = 1), to full relative accuracy."""
    tail = np.log1p(np.exp(-np.abs(logits)))
    return np.minimum(-logits, 0.0) - tail, np.minimum(logits, 0.0) - tail


def _linear_terms(weights: Array, bias: Array, x: Array) -> tuple[Array, Array]:
    """W^T x and b . x of each datum."""
    linear, constant = np.empty((len(x), weights.shape[1])), np.empty(len(x))
    offset = np.zeros(weights.shape[1])

    def task(part: slice) -> None:
        linear_terms(x[part], weights, bias, 0.0, offset, linear[part], constant[part])

    parallel_map(task, data_slices(len(x)), float(x.size * weights.shape[1]))
    return linear, constant


def log_weight_rows(
    weights: Array,
    bias: Array,
    prior_logits: Array,
    x: Array,
    logits: Array,
    num_samples: int,
    seed: int,
    consume: Callable[[int, Array], None],
) -> None:
    """Call ``consume(n, log_w)`` for each datum with its ``num_samples`` log weights log p(x_n, z) - log
    q_n(z).

    The draw of (seed, datum, sample) is the same however the work is cut; a thread holds one row, or several
    short ones.
    """
    num_data, num_latents = len(x), weights.shape[1]
    in_table = num_latents <= _TABLE_LATENTS and 4 * num_data * num_samples >= 1 << num_latents
    groups, num_rows = bit_groups(num_latents)
    log_zero, log_one = _log_probabilities(np.broadcast_to(logits, (num_data, num_latents)))
    if in_table:  # the table has the prior and a linear function in it
        form = softplus_form(weights, bias, prior_logits)
        table, positions = state_table(form).reshape(-1), _state_positions(form, groups, num_rows)
        terms = form.data.terms(x)
        linear, constant = terms.linear[:, np.argsort(form.order)], terms.constant
        if_zero, if_one = -log_zero, linear - log_one
    else:
        products = _Products.build(weights, bias, groups, num_rows)
        linear, constant = _linear_terms(weights, bias, x)
        prior_zero, prior_one = _log_probabilities(prior_logits)
        # in this order they cancel where q is the prior
        if_zero, if_one = prior_zero - log_zero, linear + (prior_one - log_one)
    high, low = thresholds(np.ascontiguousarray(np.broadcast_to(logits, (num_data, num_latents))))
    key = split_seed(seed)
    num_words, num_groups = -(-num_latents // 32), groups.first_bit.size

    def add_terms(n: int, first: int, rows: Array, log_w: Array) -> None:
        """Draw samples ``first``, ... of datum n: their rows, and all of their weights but the softplus."""
        words = np.empty((num_words, log_w.size), np.int64)
        draw_states(high[n], low[n], *key, n, first, words)
        pick_rows(words, groups, rows)
        sums = np.empty(num_rows)
        subset_rows(if_zero[n], if_one[n], groups, sums)
        sum_rows(rows, sums, constant[n], log_w)
        if in_table:
            add_looked_up(rows, positions, table, log_w)

    def fill(begin: int, held: Array, first: int) -> None:
        """Samples ``first``, ... of data ``begin``, ... into ``held``; all at once if it has several data."""
        num = min(_CHUNK, num_samples - first)
        part = held.reshape(-1)[first : first + num * len(held)]
        rows = np.empty((len(held), num * num_groups), np.int32)
        for n, log_w in enumerate(part.reshape(len(held), num)):
            add_terms(begin + n, first, rows[n], log_w)
        if not in_table:
            products.subtract(rows.reshape(-1), part)

    def task(begin: int) -> None:
        held = np.empty((min(step, num_data - begin), num_samples))
        in_chunks(partial(fill, begin, held), range(0, num_samples, _CHUNK))
        for n, log_w in enumerate(held):
            consume(begin + n, log_w)

    # a few data with many samples each: threads share the samples of a datum, not the data
    few = num_data < 2 * num_threads()
    in_data, in_chunks = (_one_by_one, parallel_map) if few else (parallel_map, _one_by_one)
    step = max(1, min(_CHUNK // num_samples, -(-num_data // 8)))
    in_data(task, range(0, num_data, step))


def _one_by_one(function: Callable[[int], None], items: range) -> None:
    for item in items:
        function(item)
