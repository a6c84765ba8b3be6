"""Importance sampling of a sigmoid belief network: which way the weights are computed, one datum a task.

Three ways give log p(x, z) of a sampled state. A table of all 2^d states, made by the exact engine, where
there are more samples than a quarter of the states; products of byte tables else; sums of their logarithms
where a product of exponentials could leave the range of a double.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvi.engine.expectations import ordered_bits
from fastvi.engine.hardware import caches
from fastvi.engine.log_sum import data_terms
from fastvi.engine.mean_field import state_table
from fastvi.engine.softplus_form import SoftplusForm, softplus_form
from fastvi.engine.threads import parallel_map
from fastvi.kernels.cpu.draws import draw_states, split_seed, thresholds
from fastvi.kernels.cpu.importance_sampling import (
    LANES,
    add_linear,
    add_looked_up,
    byte_tables,
    linear_tables,
    subtract_softplus,
    subtract_softplus_in_log_space,
)

Array = NDArray[Any]
Weights = Callable[[Array, Array], None]  # (words, log_w): adds log p(x, z)'s part that no datum enters

_TABLE_LATENTS = 20  # 8 MiB
_CHUNK = 1024  # samples whose states and products are in cache together
_LARGEST_LOGIT = 300.0  # a factor 1 + exp(300) twice in a product is still a double


def _byte_weights(weights: Array, bias: Array) -> Weights:
    num_pixels, num_latents = weights.shape
    num_bytes = -(-num_latents // 8)
    room = caches().level2 // 2 // (num_bytes * 256 * 8)
    width = min(max(room // LANES, 2), -(-num_pixels // LANES) or 1) * LANES
    tables = np.empty((-(-num_pixels // width), num_bytes, 256, width))
    above = np.maximum(weights, 0.0).sum(axis=1) + bias
    ranges = np.abs(weights).sum(axis=1) + np.abs(bias)
    in_log_space = bool(ranges.max(initial=0.0) > _LARGEST_LOGIT)
    byte_tables(weights, bias, width, in_log_space, tables)
    if in_log_space:
        return lambda words, log_w: subtract_softplus_in_log_space(tables, words, log_w)
    largest = np.logaddexp(0.0, above).max(initial=1.0)
    steps = max(1, int(700.0 / largest))
    return lambda words, log_w: subtract_softplus(tables, words, steps, log_w)


def _table_weights(form: SoftplusForm) -> Weights:
    table = state_table(form)
    num_row_bits = form.tiling.outer_bits + form.tiling.row_bits
    order = form.order.astype(np.int64)
    return lambda words, log_w: add_looked_up(words, table, order, num_row_bits, log_w)


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

    The draw of (seed, datum, sample) is the same however the work is cut; one row a thread is held.
    """
    num_data, num_latents = len(x), weights.shape[1]
    in_table = num_latents <= _TABLE_LATENTS and 4 * num_data * num_samples >= 1 << num_latents
    form = softplus_form(weights, bias, prior_logits, fold_prior=in_table)
    terms = data_terms(form, x)
    add = _table_weights(form) if in_table else _byte_weights(weights, bias)
    natural = np.argsort(form.order)
    linear, constant = terms.linear[:, natural], terms.constant
    if not in_table:
        linear = linear + prior_logits
        constant = constant - np.logaddexp(0.0, prior_logits).sum()
    bits = ordered_bits(form, logits, num_data)
    log_zero, log_one = bits.log_zero[:, natural], bits.log_one[:, natural]
    high, low = thresholds(np.ascontiguousarray(np.broadcast_to(logits, (num_data, num_latents))))
    key = split_seed(seed)

    def task(n: int) -> None:
        log_w = np.empty(num_samples)
        tables = np.empty((-(-num_latents // 8), 256))
        linear_tables(-log_zero[n], linear[n] - log_one[n], tables)
        for first in range(0, num_samples, _CHUNK):
            part = log_w[first : first + _CHUNK]
            words = np.empty((-(-num_latents // 32), part.size), np.int64)
            draw_states(high[n], low[n], *key, n, first, words)
            add_linear(words, tables, constant[n], part)
            add(words, part)
        consume(n, log_w)

    parallel_map(task, range(num_data))
