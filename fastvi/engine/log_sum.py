"""log p(x_n) = log sum_z exp(c_n + <t_n, z> - A(z)) for a batch, certified.

The fast path sums products of three scaled factors; a factor below 2^-1020 of its tile's largest is
dropped, and a product below 2^-1022. What that can lose is bounded: at most 16 * 2^-1020 per state,
relative to the largest scale of any tile. A datum for which the bound exceeds 2^-53 of its sum is summed
again in log space, where a tile is passed over only if all its states together are below 2^-53 of the sum
already certain.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastvi.engine.softplus_form import SoftplusForm
from fastvi.engine.threads import data_slices, parallel_map
from fastvi.engine.waves import PackedBatch, chunk_slices, fill_wave, wave_starts
from fastvi.kernels.cpu.data_terms import linear_terms
from fastvi.kernels.cpu.log_sums import log_space_sums, merge_log_sums, merge_tile_sums
from fastvi.kernels.cpu.softplus_product import FLUSH_EXPONENT
from fastvi.kernels.cpu.tile_sums import pack_exponentials

Array = NDArray[Any]
Report = Callable[[int], None]  # called with the number of states of a finished wave

_LOG = logging.getLogger("fastvi")
_ROUNDING = 53 * math.log(2.0)


class Sums(NamedTuple):
    """Per datum: the sum is total * exp(largest); no tile had a scale above exp(bound)."""

    largest: Array
    total: Array
    bound: Array

    @classmethod
    def zero(cls, num_data: int) -> Sums:
        return cls(np.full(num_data, -np.inf), np.zeros(num_data), np.full(num_data, -np.inf))

    def merge(self, part: Sums) -> None:
        merge_log_sums(self.largest, self.total, part.largest, part.total)
        np.maximum(self.bound, part.bound, out=self.bound)

    def log(self) -> Array:
        with np.errstate(divide="ignore"):
            return self.largest + np.log(self.total)


class Terms(NamedTuple):
    """t(x) less the centre, in the form's order of latents, and c(x)."""

    linear: Array  # (N, d)
    constant: Array  # (N,)


def data_terms(form: SoftplusForm, x: Array) -> Terms:
    """Terms of the data ``x`` (N, D) in {0, 1}."""
    linear, constant = np.empty((len(x), form.order.size)), np.empty(len(x))

    def task(part: slice) -> None:
        linear_terms(
            x[part], form.weights, form.bias, form.log_constant, form.offset, linear[part], constant[part]
        )

    parallel_map(task, data_slices(len(x)), 1.0 * x.size * (form.order.size + 4))
    return Terms(linear, constant)


def _pack(form: SoftplusForm, terms: Terms) -> tuple[PackedBatch, Array]:
    """Packed tables, and per datum the log of what they and c(x) were divided by."""
    outer, row_bits = form.tiling.outer_bits, form.tiling.row_bits
    batch = PackedBatch(form, len(terms.constant))
    scales = np.empty(batch.num_data)

    def fill(data: slice, rows: Array, columns: Array) -> None:
        linear = terms.linear[data, outer:]
        pack_exponentials(linear, row_bits, form.column_panels, rows, columns, scales[data])

    batch.pack(fill)
    return batch, terms.constant + scales


def wave_sums(form: SoftplusForm, terms: Terms, batch: PackedBatch, base: Array, first: int) -> Sums:
    """One wave's part of each datum's sum."""
    tiles, scales = fill_wave(form, first)
    sums = Sums.zero(batch.num_data)
    outer = np.ascontiguousarray(terms.linear[:, : form.tiling.outer_bits])
    merge_tile_sums(batch.sums(tiles), scales, first, outer, base, *sums)
    return sums


def _remote_wave(form: SoftplusForm, terms: Terms, first: int) -> Sums:
    """One wave on a worker of an executor, which packs the batch for itself."""
    batch, base = _pack(form, terms)
    return wave_sums(form, terms, batch, base, first)


def _log_space(form: SoftplusForm, terms: Terms, certain: Array) -> Array:
    """The sums in log space; ``certain`` is a lower bound of each datum's logarithm."""
    negligible = certain - _ROUNDING - form.order.size * math.log(2.0)
    sums = Sums.zero(len(certain))
    for first in wave_starts(form):
        _add_log_space_wave(form, terms, negligible, first, sums)
    return sums.log()


def _add_log_space_wave(form: SoftplusForm, terms: Terms, negligible: Array, first: int, sums: Sums) -> None:
    log_tiles, _ = fill_wave(form, first, in_log_space=True)
    outer, row_bits, padded_rows = form.tiling.outer_bits, form.tiling.row_bits, form.padded_rows

    def task(part: slice) -> None:
        log_space_sums(
            log_tiles, first, terms.linear[part], outer, row_bits, padded_rows,
            terms.constant[part], negligible[part], sums.largest[part], sums.total[part],
        )  # fmt: skip

    parallel_map(task, data_slices(len(negligible)), 20.0 * len(negligible) * log_tiles.size)


def _uncertain(form: SoftplusForm, sums: Sums, result: Array) -> Array:
    """Indices of the data whose bound on what was dropped exceeds 2^-53 of the sum."""
    dropped = sums.bound + (4 + form.order.size + FLUSH_EXPONENT) * math.log(2.0)
    return np.flatnonzero(~(dropped <= result - _ROUNDING))


def log_sums(
    form: SoftplusForm, x: Array, *, executor: Executor | None = None, report: Report | None = None
) -> Array:
    """log sum_z exp(c_n + <t_n, z> - A(z)) for each row of ``x``."""
    result = np.empty(len(x))
    for data in chunk_slices(len(x)):
        terms = data_terms(form, x[data])
        sums = Sums.zero(len(terms.constant))
        if executor is None:
            batch, base = _pack(form, terms)
            for first in wave_starts(form):
                sums.merge(wave_sums(form, terms, batch, base, first))
                tell(report, form)
        else:
            futures = [executor.submit(_remote_wave, form, terms, first) for first in wave_starts(form)]
            try:
                for future in futures:
                    sums.merge(future.result())
                    tell(report, form)
            finally:
                for future in futures:
                    future.cancel()
        result[data] = sums.log()
        again = _uncertain(form, sums, result[data])
        if again.size:
            _LOG.info("%d of %d data are summed again in log space", again.size, len(terms.constant))
            part = Terms(np.ascontiguousarray(terms.linear[again]), terms.constant[again])
            result[data.start + again] = _log_space(form, part, result[data.start + again])
    return result


def tell(report: Report | None, form: SoftplusForm) -> None:
    """Report a finished wave."""
    if report is not None:
        report(min(1 << form.order.size, form.tiling.tile_states * wave_starts(form).step))
