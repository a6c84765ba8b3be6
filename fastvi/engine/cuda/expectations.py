"""E_q[log p(x, z)] of a factorised q on a GPU: the product for log p(x), with tiles of -A."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvi.core.arrays import Array
from fastvi.core.functions import log_sigmoid, sigmoid
from fastvi.engine.cuda.device import device
from fastvi.engine.cuda.place import UnsupportedError, refuse_large
from fastvi.engine.cuda.softplus_form import CudaSoftplusForm, cuda_softplus_form
from fastvi.engine.run.slices import chunks, slices
from fastvi.engine.states.form import Form
from fastvi.engine.states.softplus_form import SoftplusForm
from fastvi.kernels.cuda.tile_means import add_tile_means


def expected_joint(form: Form, x: Any, logits: Array, memory_limit: int | None) -> Array:
    """(N,) for q with ``logits`` (d,) or (N, d)."""
    refuse_large(form)
    if not isinstance(form, SoftplusForm) or form.log_prior is not None:
        raise UnsupportedError(
            "device='cuda' gives the exact ELBO of networks of one layer of latents only; use device='cpu'"
        )
    placed, result = cuda_softplus_form(form, "float64", memory_limit), np.empty(len(x))
    for data in chunks(len(x)):
        terms = placed.terms(x[data])
        ordered = np.broadcast_to(logits, (len(x), form.num_latents))[data][:, form.order]
        result[data] = (
            terms.constant + (sigmoid(ordered) * terms.linear).sum(axis=1) + _tile_means(placed, ordered)
        )
    return result


def _tile_means(form: CudaSoftplusForm, logits: Array) -> Array:
    """E_q[<centre, z> - A(z)] for each row of ``logits`` in the form's order."""
    on, outer, found = device(), form.tiling.outer_bits, []
    normaliser = log_sigmoid(-logits).sum(axis=1)
    for part in slices(len(logits), form.batch_size(on, len(logits))):
        linear, num_data = np.ascontiguousarray(logits[part]), part.stop - part.start
        tables, base = form.bit_tables(on, linear, normaliser[part])
        outer_part, means = on.put(linear[:, :outer]), on.full(num_data, 0.0)
        into, count, padded = form.empty_tiles(on), form.launch_tiles, tables.shape[1]
        sums, add = on.empty((count, padded), np.float64), form.tile_sums(on, *into.tiles.shape)
        for start in range(0, form.tiling.num_tiles, count):
            form.fill_launch(on, start, into, in_log_space=True)
            add(tables, into.tiles, sums)
            on.launch(add_tile_means, num_data, sums, base, start, count, outer_part, means)
        found.append(on.get(means))
    return np.concatenate(found) if found else np.empty(0)
