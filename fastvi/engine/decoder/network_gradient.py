"""Gradients of sum_n w_n log p(x_n) under a decoder.

The posteriors' sums over states and data, backpropagated.

By Fisher's identity the gradient is that of sum_ns r_ns log p(x_n, z_s), r_ns = w_n p(z_s | x_n) held fixed.
With log p(x, z) = c(x) + <t(x), h(z)> - A(z) and q_s = sum_n r_ns, what enters the network at a state is

    sum_n r_ns t(x_n) - q_s dA/dh(z_s),

so that what is D-dimensional is done once a state, not once a state and datum. With real pixels it is twice
R^T sum_n r_ns (y(x_n) - u(z_s)), and the last layer's gradient is one of coordinates, turned back at the end.
A first pass gives the evidence. States that hold less than 2^-60 of the weights, all of them together, are
passed over.
"""

from __future__ import annotations

import math
from functools import partial, singledispatch
from typing import Any, NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.core.bits import bits_of
from fastvi.engine.decoder.block_form import BlockForm
from fastvi.engine.decoder.direct_form import DirectForm
from fastvi.engine.decoder.direct_gradient import direct_gradient
from fastvi.engine.decoder.layers import PackedLayers, Pieces
from fastvi.engine.linalg.products import Packed, packed_rows
from fastvi.engine.run.progress import report_nothing
from fastvi.engine.run.runs import Run
from fastvi.engine.run.slices import chunks, num_chunks
from fastvi.engine.run.threads import parallel_map
from fastvi.engine.states.sums import Sums
from fastvi.kernels.cpu.dense.products import (
    responsibilities,
    sigmoid_rows,
    softplus_rows,
    subtract_distances,
)
from fastvi.kernels.cpu.states.block_sums import bit_sums

TASK_STATES = 512
TASKS_AT_ONCE = 8  # so that few of their sums wait to be added
CHUNK_DATA = 1024  # whose responsibilities a task keeps: 4 MiB


class Flat(NamedTuple):
    """All sums of a wave, one after the other."""

    values: Array

    def merge(self, part: Flat) -> None:
        self.values[...] += part.values


def _pieces(form: BlockForm, num_data: int) -> Pieces:
    num_pixels, depth = form.layers[-1][0].shape
    shapes: dict[str, tuple[int, ...]] = {"data": (num_data, depth), "prior": (form.num_latents,)}
    inside = form.network.depth
    if form.noise_std is None:
        shapes |= {"weight": (num_pixels, depth), "bias": (num_pixels,)}
    else:
        shapes |= {"miss": (inside,), "by_unit": (inside, depth), "square": ()}
    return Pieces(shapes, form.layers[:-1])


class _Data(NamedTuple):
    """Data of a chunk.

    t(x), the largest log joint without c(x), weights over the sum of all relative to it, and what a
    passed-over state may hold.
    """

    linear: Array
    largest: Array
    weights: Array
    negligible: float


class _Network:
    """A form's layers packed for products in both directions."""

    def __init__(self, form: BlockForm, data: _Data) -> None:
        net = form.network
        self.layers = PackedLayers(form.layers, net.activation, (*net.hidden, net.last))
        last = len(net.hidden)
        self.top = self.layers.transposed(last) if form.noise_std is None else Packed(net.last_matrix)
        self.from_data, self.to_data = Packed(data.linear), Packed(data.linear.T)


def _wave(form: BlockForm, data: _Data, first: int) -> Flat:
    net, pieces = _Network(form, data), _pieces(form, len(data.weights))
    begin = first * form.tiling.tile_states
    num_states = min(form.wave_tiles, form.tiling.num_tiles - first) * form.tiling.tile_states
    constant = float(np.logaddexp(0.0, form.prior_logits).sum())

    def task(start: int) -> Array:
        return _sum_states(
            form, data, net, pieces, constant, begin + start, min(TASK_STATES, num_states - start)
        )

    found = Flat(np.zeros(pieces.size))
    cost = 1.0 * num_states * (3 * form.operations + 3 * data.linear.size)
    starts = range(0, num_states, TASK_STATES)
    for some in range(0, len(starts), TASKS_AT_ONCE):
        for part in parallel_map(task, starts[some : some + TASKS_AT_ONCE], cost):
            found.values[...] += part
    return found


def _sum_states(
    form: BlockForm, data: _Data, net: _Network, pieces: Pieces, constant: float, first: int, count: int
) -> Array:
    """The sums over ``count`` states from number ``first``."""
    numbers, gaussian = np.arange(first, first + count), form.noise_std is not None
    *hidden, eta = net.layers.inputs(bits_of(numbers, form.latents, np.float64))
    minus, mass = np.empty(count), np.empty(count)
    bit_sums(first, form.latents, form.prior_logits, constant, minus)
    if gaussian:
        shares = np.zeros((count, len(data.weights)))
        subtract_distances(packed_rows(eta), net.to_data.columns, eta.shape[1], shares)
        distances = -shares
        shares -= minus[:, None]
    else:
        softplus = np.empty(count)
        softplus_rows(eta, softplus)
        shares = net.to_data.product(hidden[-1]) - (softplus + minus)[:, None]
    responsibilities(shares, data.largest, data.weights, mass)
    flat = np.zeros(pieces.size)
    kept = np.flatnonzero(~(mass <= data.negligible))  # NaN is kept
    if not kept.size:
        return flat
    out = pieces.of(flat)
    shares, eta, hidden = shares[kept], eta[kept], [values[kept] for values in hidden]
    total = shares.sum(axis=1)
    out["data"][...] = Packed(hidden[-1]).product(shares.T)
    out["prior"][...] = (total[:, None] * hidden[0]).sum(axis=0)
    pull = net.from_data.product(shares)
    if gaussian:
        miss = pull - total[:, None] * eta
        out["miss"][...] = miss.sum(axis=0)
        out["by_unit"][...] = Packed(hidden[-1]).product(miss.T)
        # a state that cannot be has no share and may be infinitely far
        out["square"][...] = np.where(shares == 0.0, 0.0, shares * np.minimum(distances[kept], 1e300)).sum()
        pull = net.top.product(2.0 * miss)
    else:
        sigmoid_rows(eta, total, eta)
        out["weight"][...] = Packed(hidden[-1]).product(eta.T)
        out["bias"][...] = eta.sum(axis=0)
        pull -= net.top.product(eta)
    if len(hidden) > 1:
        pull = net.layers.times_slopes(len(hidden) - 1, hidden, pull)
        for i, pair in enumerate(net.layers.of_parameters(hidden[:-1], pull)):
            out[f"weight_{i}"][...], out[f"bias_{i}"][...] = pair
    return flat


def _sums(form: BlockForm, x: Array, run: Run) -> tuple[Sums, Array]:
    """Sums of joint densities without c(x), and c(x).

    Not their logarithms: the rounding of 1e18, which data far from every state have, is more than all
    differences between states.
    """
    parts, constants = [], [np.empty(0)]
    for data in chunks(len(x)):
        terms = form.data.terms(x[data])
        batch = form.batch(terms._replace(constant=np.zeros_like(terms.constant)))
        zero = Sums.zero(len(terms.constant))
        parts.append(run.reduce(zero, form.wave_starts(), batch.sums, form.wave_states))
        constants.append(terms.constant)
    sums = Sums(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True))) if parts else Sums.zero(0)
    return sums, np.concatenate(constants)


def first_sums(form: BlockForm, x: Array, run: Run) -> tuple[Array, Array]:
    """log p(x_n) (N,), and what ``network_gradient`` need not sum again: (N, 2), largest and total."""
    sums, constants = _sums(form, x, run)
    evidence = sums._replace(largest=sums.largest + constants).log()
    return evidence, np.stack([sums.largest, sums.total], axis=1)


@singledispatch
def network_gradient(
    form: BlockForm, x: Array, data_weights: Array, run: Run, first: Array | None = None, *,
    with_units: bool = False,
) -> dict[str, Array]:  # fmt: skip
    """Gradients by piece.

    "weight_i", "bias_i" of each layer (of the last one, those of the seen pixels; of the first one, latents
    in the model's order), "prior" = sum_n w_n E[z | x_n] in the model's order, "noise_std" where pixels are
    real. With ``with_units`` also "units" (N, units) = w_n E[h(z) | x_n] of what the last layer reads.
    ``first`` is what ``first_sums`` kept.
    """
    if first is None:
        sums = _sums(form, x, run)[0]
        largest, sum_of_states = sums.largest, sums.total
    else:
        largest, sum_of_states = first[:, 0].copy(), first[:, 1].copy()
    weight_total = float(np.abs(data_weights).sum())
    negligible = math.ldexp(weight_total, -60 - form.num_latents)
    total: dict[str, Array] = {}
    units = np.empty((len(x) if with_units else 0, form.layers[-1][0].shape[1]))
    for start in range(0, len(x), CHUNK_DATA):
        part = slice(start, start + CHUNK_DATA)
        terms, pieces = form.data.terms(x[part]), _pieces(form, len(x[part]))
        with np.errstate(divide="ignore", invalid="ignore"):
            # a datum that counts for nothing may be impossible
            shares = np.where(data_weights[part] == 0.0, 0.0, data_weights[part] / sum_of_states[part])
        data = _Data(terms.linear, largest[part], shares, negligible)
        # one pass is told of for each chunk of the first pass
        told = num_chunks(start + 1) > num_chunks(start)
        found = run.reduce(
            Flat(np.zeros(pieces.size)), form.wave_starts(), partial(_wave, form, data),
            form.wave_states if told else report_nothing,
        )  # fmt: skip
        sums_of = pieces.of(found.values)
        if with_units:
            units[part] = sums_of["data"]
        for name, value in _of_parameters(form, x[part], data_weights[part], sums_of).items():
            total[name] = total[name] + value if name in total else value
    in_order = np.argsort(form.order)
    total["prior"] = total["prior"][in_order]
    total["weight_0"] = total["weight_0"][:, in_order]
    if with_units:
        total["units"] = units[:, in_order] if len(form.layers) == 1 else units
    return total


@network_gradient.register
def _(
    form: DirectForm, x: Array, data_weights: Array, run: Run, first: Array | None = None
) -> dict[str, Array]:
    return direct_gradient(form, x, data_weights, run)


def _of_parameters(form: BlockForm, x: Array, weights: Array, sums: dict[str, Array]) -> dict[str, Array]:
    """Gradients that a chunk adds, from its sums."""
    last = len(form.layers) - 1
    out = {name: sums[name] for name in sums if name == "prior" or name.startswith(("weight_", "bias_"))}
    matrix, bias = form.layers[-1]
    if form.noise_std is None:
        pixels = x.astype(np.float64)
        out[f"weight_{last}"] = Packed(sums["data"]).product(pixels.T) - sums["weight"]
        out[f"bias_{last}"] = (weights[:, None] * pixels).sum(axis=0) - sums["bias"]
        return out
    data: Any = form.data  # RotatedData
    scale = math.sqrt(2.0) / form.noise_std
    _, outside = data.split(data.rotated(x))
    weighted, inside = weights[:, None] * outside, min(form.network.depth, len(bias))
    by_unit, miss = np.zeros((matrix.shape[1], len(bias))), np.zeros((1, len(bias)))
    by_unit[:, :inside], miss[:, :inside] = sums["by_unit"][:inside].T, sums["miss"][:inside]
    if outside.shape[1]:
        # sum_n outside_n E[h], which "data" holds with the weights
        by_unit[:, inside:] = Packed(outside).product(np.ascontiguousarray(sums["data"].T))
        miss[:, inside:] = weighted.sum(axis=0)
    out[f"weight_{last}"] = scale * data.unrotated(by_unit).T
    out[f"bias_{last}"] = scale * data.unrotated(miss)[0]
    # E|x - W h - b|^2 / s^2
    square = 2.0 * (sums["square"] + (weighted * outside).sum())
    out["noise_std"] = np.asarray((square - weights.sum() * len(bias)) / form.noise_std)
    return out
