"""Gradients of sum_n w_n log p(x_n) under a network of large logits: what ``network_gradient`` gives.

With r_ns = w_n p(z_s | x_n), what enters the network at a state is
sum_n r_ns x_nj - sigmoid(eta_j) sum_n r_ns for each pixel: probabilities, whatever the size of the logits.
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.core.bits import bits_of
from fastvi.core.functions import sigmoid
from fastvi.engine.decoder.direct_form import DirectForm
from fastvi.engine.decoder.large_logits import log_sigmoids
from fastvi.engine.decoder.layers import Pieces
from fastvi.engine.linalg.products import Packed
from fastvi.engine.posterior.log_sum import log_sums
from fastvi.engine.posterior.state_moments import Total
from fastvi.engine.run.progress import report_nothing
from fastvi.engine.run.runs import Run
from fastvi.engine.run.slices import num_chunks
from fastvi.engine.run.threads import parallel_map
from fastvi.kernels.cpu.dense.products import responsibilities

_TASK_STATES = 256
_CHUNK_DATA = 1024  # whose responsibilities a task keeps: 2 MiB


class _Data(NamedTuple):
    """Data of a chunk."""

    pixels: Array  # (N, D) float64
    linear: Array  # (N, 2 D)
    evidence: Array  # no state has more
    weights: Array
    negligible: float


def _pieces(form: DirectForm) -> Pieces:
    return Pieces({"prior": (form.num_latents,)}, form.layers)


def _zero(form: DirectForm) -> Total:
    states = 0 if form.log_prior is None else 1 << form.num_latents
    return Total(np.zeros(_pieces(form).size), np.zeros(states))


def _wave(form: DirectForm, data: _Data, first: int) -> Total:
    begin = first * form.tiling.tile_states
    num_states = min(form.wave_tiles, form.tiling.num_tiles - first) * form.tiling.tile_states
    to_data, from_data = Packed(data.linear.T), Packed(data.pixels)
    layers = form.network.logits.layers
    found = _zero(form)

    def task(start: int) -> Array:
        count = min(_TASK_STATES, num_states - start)
        numbers = np.arange(begin + start, begin + start + count)
        minus, mass = np.empty(count), np.empty(count)
        *inputs, eta = form.network.logits.inputs(bits_of(numbers, form.latents, np.float64))
        form.minus_log_prior(begin + start, minus)
        shares = to_data.product(log_sigmoids(eta)) - minus[:, None]
        responsibilities(shares, data.evidence, data.weights, mass)
        total = shares.sum(axis=1)
        if found.states.size:  # each state has its place: no two tasks write to the same
            found.states[numbers] = total
        flat = np.zeros_like(found.values)
        kept = np.flatnonzero(~(mass <= data.negligible))  # NaN is kept
        if not kept.size:
            return flat
        out, inputs = _pieces(form).of(flat), [values[kept] for values in inputs]
        out["prior"][...] = (total[kept, None] * inputs[0]).sum(axis=0)
        pull = from_data.product(shares[kept]) - total[kept, None] * sigmoid(eta[kept])
        for i, pair in enumerate(layers.of_parameters(inputs, pull)):
            out[f"weight_{i}"][...], out[f"bias_{i}"][...] = pair
        return flat

    cost = 1.0 * num_states * (3 * form.operations + 3 * data.linear.size)
    # a few tasks at a time, so that few of their sums wait to be added
    starts = range(0, num_states, _TASK_STATES)
    for some in range(0, len(starts), 8):
        for part in parallel_map(task, starts[some : some + 8], cost):
            found.values[...] += part
    return found


def direct_gradient(form: DirectForm, x: Array, data_weights: Array, run: Run) -> dict[str, Array]:
    """As ``network_gradient`` names them.

    With a prior that is a model also "states", the summed posteriors of all states at their numbers.
    """
    evidence = log_sums(form, x, run)
    counts = data_weights != 0.0  # a datum that counts for nothing may be as improbable as it likes
    form.check_posterior(evidence[counts])
    evidence = np.where(counts, evidence, 0.0)
    negligible = math.ldexp(float(np.abs(data_weights).sum()), -60 - form.num_latents)
    total = _zero(form)
    for start in range(0, len(x), _CHUNK_DATA):
        part = slice(start, start + _CHUNK_DATA)
        linear = form.data.terms(x[part]).linear
        data = _Data(
            x[part].astype(np.float64), linear, evidence[part], data_weights[part], negligible
        )  # fmt: skip
        # one pass is told of for each chunk of the first pass
        told = num_chunks(start + 1) > num_chunks(start)
        total.merge(
            run.reduce(
                _zero(form), form.wave_starts(), partial(_wave, form, data),
                form.wave_states if told else report_nothing,
            )
        )  # fmt: skip
    found, in_order = _pieces(form).of(total.values), np.argsort(form.order)
    found["prior"], found["weight_0"] = found["prior"][in_order], found["weight_0"][:, in_order]
    return found if form.log_prior is None else {**found, "states": total.states}
