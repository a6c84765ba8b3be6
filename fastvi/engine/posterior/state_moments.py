"""Sums over data and states that gradients are made of: sum_n w_n E[f(z) | x_n], for f that no datum enters.

Of a softplus form f is sigmoid(eta_j(z)) z_i, of a pair form z_i z_j. The evidence and the means come from a
first pass; the second one knows the scale of every datum, so that its partial sums are added as they are.
"""

from __future__ import annotations

from functools import partial, singledispatch
from typing import Any, NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.core.bits import bits_of
from fastvi.engine.posterior.log_sum import log_sums_and_means_of
from fastvi.engine.run.runs import Run
from fastvi.engine.run.slices import chunks
from fastvi.engine.run.threads import parallel_map
from fastvi.engine.states.batch import Batch
from fastvi.engine.states.form import Form
from fastvi.engine.states.pair_batch import PairBatch
from fastvi.engine.states.pair_form import PairForm
from fastvi.engine.states.softplus_form import SoftplusForm
from fastvi.engine.states.tile_batch import TileBatch
from fastvi.kernels.cpu.states.tile_masses import posterior_shares
from fastvi.kernels.cpu.states.tile_posteriors import (
    add_log_posteriors,
    add_slopes,
    add_tile_moments,
    tile_posteriors,
)

NUM_TASKS = 8  # of a wave; of 64 tiles each keeps the posteriors of 8 at a time, 1 MiB


class Total(NamedTuple):
    """A sum of arrays."""

    values: Array
    states: Array  # (2^d,) posteriors of all states, where a prior that is a model asks for them; else (0,)

    def merge(self, part: Total) -> None:
        self.values[...] += part.values
        self.states[...] += part.states


class FirstPass(NamedTuple):
    """Findings of a first pass over the states for each datum, latents in the model's order."""

    evidence: Array  # (N,)
    mean: Array  # (N, d)
    in_logs: Array  # (N,) bool: data that products cannot hold apart

    def packed(self, num_latents: int) -> Array:
        """All of it as numbers (N, num_latents + 2); columns beyond d are 0."""
        out = np.zeros((len(self.evidence), num_latents + 2))
        out[:, 0], out[:, 1], out[:, 2 : 2 + self.mean.shape[1]] = self.evidence, self.in_logs, self.mean
        return out

    @classmethod
    def unpacked(cls, numbers: Array, num_latents: int) -> FirstPass:
        """Return what :meth:`packed` took, of d = ``num_latents``."""
        mean = np.ascontiguousarray(numbers[:, 2 : 2 + num_latents])
        return cls(numbers[:, 0].copy(), mean, numbers[:, 1] != 0.0)

    def chunk(self, data: slice, order: Array) -> tuple[Array, Array, Array]:
        """Return what ``log_sums_and_means_of`` gave for some data, latents in the form's ``order``."""
        return self.evidence[data], self.mean[data][:, order], np.flatnonzero(self.in_logs[data])


class StateMoments(NamedTuple):
    """Latents in the model's order; ``values`` as the form has them."""

    evidence: Array  # (N,)
    mean: Array  # (N, d)
    values: Array  # softplus: (D, d + 1), the last column without z_i; pairs: (d, d)
    states: Array  # (2^d,) at the numbers of the form's order, or (0,)
    order: Array


class Weights(NamedTuple):
    """Weight and evidence of each datum; data that products cannot hold apart."""

    evidence: Array
    in_products: Array  # w_n, 0 for those
    uncertain: Array  # their indices
    in_logs: Array  # their w_n


@singledispatch
def second_wave(batch: Batch, weights: Weights, first: int) -> Total:
    """One wave of the second pass, by the kind of batch."""
    raise TypeError(f"no gradient comes from sums over the states of {type(batch).__name__}")


@second_wave.register
def slopes_wave(batch: TileBatch, weights: Weights, first: int) -> Total:
    """One wave of a softplus form."""
    form: Any = batch.form
    outer, row_bits, column_bits, _ = form.tiling
    num_rows, num_columns = 1 << row_bits, 1 << column_bits
    tiles, scales = batch.filled(first)
    packed, base = batch.packed
    shares = np.zeros((len(tiles), packed.padded_data))
    posterior_shares(scales[None], first, batch.outer, base - weights.evidence, weights.in_products, shares)
    logs = None
    if weights.uncertain.size:
        logs, _ = form.fill_wave(first, most=form.wave_tiles, in_log_space=True)
    found = zero_total(form)
    tables = form.tables
    group = max(1, len(tiles) // NUM_TASKS)  # whatever the number of threads: sums of tasks are rounded
    # all rows that are passed over hold less than 2^-60 of the sum of weights
    total_weight = np.abs(weights.in_products).sum() + np.abs(weights.in_logs).sum()
    negligible = 2.0**-60 * total_weight / (num_rows << outer)

    def task(start: int) -> Total:
        part = slice(start, min(start + group, len(tiles)))
        posterior = np.zeros((part.stop - start, num_rows, num_columns))
        tile_posteriors(
            tiles[part], packed.rows, packed.columns, shares[part], num_rows, form.padded_rows, num_columns,
            packed.num_data, posterior,
        )  # fmt: skip
        if logs is not None:
            who = weights.uncertain
            add_log_posteriors(
                logs[part], first + start, np.ascontiguousarray(batch.terms.linear[who]),
                batch.terms.constant[who] - weights.evidence[who], weights.in_logs, outer, row_bits,
                form.padded_rows, posterior,
            )  # fmt: skip
        own = Total(np.zeros_like(found.values), found.states)
        add_slopes(
            posterior, first + start, tables.outer_weights, tables.row_weights, tables.column_weights,
            form.bias, negligible, own.values,
        )  # fmt: skip
        if found.states.size:  # each state has its place: no two tasks write to the same
            numbers = (
                np.arange(num_columns)[None] << (outer + row_bits) | np.arange(num_rows)[:, None] << outer
            )
            for t in range(len(posterior)):
                found.states[numbers | (first + start + t)] = posterior[t]
        return own

    operations = 1.0 * tiles.size * (packed.num_data + 4 * form.bias.size)
    for own in parallel_map(task, range(0, len(tiles), group), operations):
        found.values[...] += own.values
    return found


@second_wave.register
def pairs_wave(batch: PairBatch, weights: Weights, first: int) -> Total:
    """One wave of a pair form."""
    found = zero_total(batch.form)
    batch.add_pairs(first, weights.evidence, weights.in_products, found.values)
    if weights.uncertain.size:
        _add_log_pairs(batch, weights, first, found.values)
    return found


def _add_log_pairs(batch: PairBatch, weights: Weights, first: int, values: Array) -> None:
    form, who = batch.form, weights.uncertain
    outer, row_bits, column_bits, _ = form.tiling
    linear = np.ascontiguousarray(batch.terms.linear[who])
    last = min(first + form.wave_tiles, form.tiling.num_tiles)
    for start in range(first, last, form.filled_tiles):
        logs, _ = form.fill_wave(start, most=min(form.filled_tiles, last - start), in_log_space=True)
        posterior = np.zeros((len(logs), 1 << row_bits, 1 << column_bits))
        add_log_posteriors(
            logs, start, linear, batch.terms.constant[who] - weights.evidence[who], weights.in_logs, outer,
            row_bits, form.padded_rows, posterior,
        )  # fmt: skip
        add_tile_moments(posterior, start, outer, row_bits, values)


@singledispatch
def zero_total(form: Form) -> Total:
    """Nothing yet, in the shapes of the form."""
    return Total(np.zeros((form.num_latents, form.num_latents)), np.zeros(0))


@zero_total.register
def _(form: SoftplusForm) -> Total:
    states = 0 if form.log_prior is None else 1 << form.num_latents
    return Total(np.zeros((form.bias.size, form.num_latents + 1)), np.zeros(states))


@singledispatch
def _in_order(form: SoftplusForm | PairForm, values: Array) -> Array:
    """Summed ``values`` with latents in the model's order."""
    back = np.argsort(form.order)
    return values[back][:, back]


@_in_order.register
def _(form: SoftplusForm, values: Array) -> Array:
    return np.concatenate([values[:, np.argsort(form.order)], values[:, -1:]], axis=1)


def first_pass(form: SoftplusForm | PairForm, x: Array, run: Run) -> FirstPass:
    """Evidence and means of each datum: the first of the passes of :func:`state_moments`."""
    evidence, mean, in_logs = np.empty(len(x)), np.empty((len(x), form.num_latents)), np.zeros(len(x), bool)
    for data in chunks(len(x)):
        evidence[data], mean[data], again = log_sums_and_means_of(form, form.terms(x[data]), run)
        in_logs[data.start + again] = True
    return FirstPass(evidence, mean[:, np.argsort(form.order)], in_logs)


def state_moments(
    form: SoftplusForm | PairForm, x: Array, data_weights: Array, run: Run, first: FirstPass | None = None
) -> StateMoments:
    """Evidence and means of each datum, and the weighted sums over data that the form's gradient needs."""
    evidence, mean = np.empty(len(x)), np.empty((len(x), form.num_latents))
    total = zero_total(form)
    for data in chunks(len(x)):
        batch = form.batch(form.data.terms(x[data]))  # of both passes: its tables are made once
        if first is None:
            found, means, again = log_sums_and_means_of(form, batch.terms, run, batch)
        else:
            found, means, again = first.chunk(data, form.order)
        # a datum that counts for nothing may be impossible
        evidence[data], mean[data] = found, np.where(data_weights[data][:, None] == 0.0, 0.0, means)
        weights = _weights(found, data_weights[data], again)
        work = partial(second_wave, batch, weights)
        total.merge(run.reduce(zero_total(form), form.wave_starts(), work, form.wave_states))
    values = _in_order(form, total.values)
    return StateMoments(evidence, mean[:, np.argsort(form.order)], values, total.states, form.order)


def _weights(evidence: Array, data_weights: Array, again: Array) -> Weights:
    """Weights of the data of one chunk, ``again`` those that products cannot hold apart."""
    in_products = data_weights.copy()
    in_products[again] = 0.0
    # of an impossible one every state is: any finite evidence leaves each with nothing
    possible = np.where(np.isneginf(evidence), 0.0, evidence)
    return Weights(possible, in_products, again, data_weights[again])


def states_of(moments: StateMoments) -> tuple[Array, Array]:
    """All states (2^d, d) in the model's order of latents, and their summed posteriors."""
    return bits_of(np.arange(moments.states.size), moments.order), moments.states


def in_products(evidence: Array, data_weights: Array) -> Weights:
    """Weights of data all of which products hold."""
    return Weights(evidence, data_weights, np.empty(0, np.int64), np.empty(0))
