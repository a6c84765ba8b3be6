"""E_q[log p(x, z)] of a factorised q, and how it changes with q's logits, for all data at once.

With F(z) = log p(x, z) and means m, the derivative of E_q[F] in logit i is Cov_q(F, z_i). Of
F = c + <t, z> + L(z) the part of t is t_i m_i (1 - m_i); that of L is E[L z_i] - m_i E[L], where E[L z_i] are
the masses of latents' bits in the product that gives E[L], as posterior means are. Pairwise models need no
sum over states: E[z^T J z / 2] = m^T J m / 2; of sparse coding E|x - W z - b|^2 is that of the mean and a sum
of variances.
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any, NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.expectation.expectations import FactorisedBits, ordered_bits
from fastvi.engine.linalg.products import matmul
from fastvi.engine.run.slices import chunks
from fastvi.engine.states.data_terms import WordData
from fastvi.engine.states.pair_form import PairForm, PairParts
from fastvi.engine.states.remote_data import RemoteData
from fastvi.engine.states.tile_batch import PackedBatch, flipped_tiles
from fastvi.engine.states.tile_form import TileForm
from fastvi.kernels.cpu.states.state_sums import merge_expectations
from fastvi.kernels.cpu.states.tile_masses import add_bit_masses, add_outer_masses
from fastvi.kernels.host import COLUMNS


class Expected(NamedTuple):
    """E_q[log p(x, z)] (N,), and its derivatives in q's logits (N, d) in the model's order."""

    value: Array
    slope: Array


def expected_log_joint(form: TileForm | PairParts, x: Array, logits: Array) -> Expected:
    """For q with ``logits`` (d,) or (N, d) and a form with tiles, or what a pairwise one is made of.

    In chunks of data, wave by wave.
    """
    value, slope = np.empty(len(x)), np.empty((len(x), form.order.size))
    for data in chunks(len(x)):
        own = logits if logits.ndim == 1 else logits[data]
        bits = ordered_bits(form, own, data.stop - data.start)
        found = _expected(form, x[data], bits)
        value[data] = found.value
        slope[data, form.order] = found.slope
    return Expected(value, slope)


def _coded(data: WordData, x: Array, bits: FactorisedBits) -> Expected:
    """Sparse coding's, from the residual r = (x - b - W m) / s, which no large terms leave.

    E_q|x - W z - b|^2 / s^2 = |r|^2 + sum_i |W_i|^2 v_i / s^2, v the variances of the latents.
    """
    weights, variance = data.weights / data.noise_std, bits.one * bits.zero
    squares, prior = np.square(weights).sum(axis=0), data.prior_logits
    with np.errstate(over="ignore", invalid="ignore"):  # data so far away that the value is -inf
        residual = data.scaled(x) - matmul(bits.one, np.ascontiguousarray(weights.T))
        square = np.square(residual).sum(axis=1) + (variance * squares).sum(axis=1)
        value = data.full_constant + (bits.one * prior).sum(axis=1) - 0.5 * square
        slope = variance * (prior + matmul(residual, weights) + squares * (bits.one - 0.5))
    return Expected(value, slope)


def _outer_shares(bits: FactorisedBits, outer: int, first: int, num_tiles: int, padded_data: int) -> Array:
    """(T, padded N): q of the outer bits of each tile."""
    num_data, numbers = len(bits.one), np.arange(first, first + num_tiles)
    shares = np.zeros((num_tiles, padded_data))
    shares[:, :num_data] = 1.0
    for i in range(outer):
        on = ((numbers >> i) & 1)[:, None] == 1
        shares[:, :num_data] *= np.where(on, bits.one[:, i], bits.zero[:, i])
    return shares


@singledispatch
def _expected(form: Any, x: Any, bits: FactorisedBits) -> Expected:
    """Expectation and slopes of the data of one chunk: by the products that give E_q[A]."""
    terms, (outer, row_bits, column_bits, _) = form.data.terms(x), form.tiling
    num_data, column = len(terms.constant), form.tiling.outer_bits + row_bits
    batch, flipped = PackedBatch.of(form, num_data), PackedBatch.flipped(form, num_data)
    zero, one = (
        np.concatenate([part[:, column:], part[:, outer:column]], axis=1) for part in (bits.zero, bits.one)
    )
    batch.pack_bits(bits.zero[:, outer:], bits.one[:, outer:], row_bits, form.column_panels)
    flipped.pack_bits(zero, one, column_bits, -(-(1 << row_bits) // COLUMNS))
    expected, ones = np.zeros(num_data), np.zeros((num_data, form.num_latents))
    for first in form.filled_starts():
        log_tiles, _ = form.fill_wave(first, in_log_space=True)
        shares = _outer_shares(bits, outer, first, len(log_tiles), batch.padded_data)
        sums, column_masses = batch.masses(log_tiles, shares)
        _, row_masses = flipped.masses(flipped_tiles(form, log_tiles), shares)
        merge_expectations(sums, first, bits.zero[:, :outer], bits.one[:, :outer], expected)
        add_outer_masses(sums, shares, first, outer, ones)
        add_bit_masses(row_masses, row_bits, outer, ones)
        add_bit_masses(column_masses, column_bits, column, ones)
    value = terms.constant + (bits.one * terms.linear).sum(axis=1) + expected
    slope = terms.linear * bits.one * bits.zero + (ones - bits.one * expected[:, None])
    return Expected(value, slope)


@_expected.register(PairForm)
@_expected.register(PairParts)
def _(form: PairForm | PairParts, x: Any, bits: FactorisedBits) -> Expected:
    """Expectation and slopes by a formula; -inf couplings count where both latents can be on."""
    # of data on a GPU the terms are here, but not the pixels
    if isinstance(form.data, WordData) and not isinstance(x, RemoteData):
        return _coded(form.data, x, bits)
    terms = form.data.terms(x)
    never = np.isneginf(form.couplings)
    finite = np.where(never, 0.0, form.couplings)
    linear = terms.linear + form.centre
    fields = np.einsum("ni,ij->nj", bits.one, finite)
    value = terms.constant + (bits.one * (linear + 0.5 * fields)).sum(axis=1)
    slope = bits.one * bits.zero * (linear + fields)
    if never.any():
        clash = np.einsum("ni,ij,nj->n", bits.one, never.astype(np.float64), bits.one) > 0.0
        value = np.where(clash, -np.inf, value)
    return Expected(value, slope)
