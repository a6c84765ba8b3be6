"""Weighted sums over data of x and of x times means: a product over data, some data at a time."""

from __future__ import annotations

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.linalg.products import packed_columns, packed_rows, padded_bias
from fastvi.engine.run.slices import slices
from fastvi.engine.run.threads import num_threads, parallel_map
from fastvi.kernels.cpu.dense.products import product

_DATA, _PIXELS = 2048, 64  # of a block: 1 MiB


def weighted_sums(x: Array, weights: Array, mean: Array) -> tuple[Array, Array]:
    """Sums over n of weights_n x_nj mean_ni, (D, d), and of weights_n x_nj, (D,).

    Data are summed in their order, so that a pixel has the same bits whichever others are there.
    """
    num_pixels, num_latents = x.shape[1], mean.shape[1]
    total = np.zeros((num_latents + 1, num_pixels))
    for data in slices(len(x), _DATA):
        weight = weights[data, None]
        left = packed_rows(np.concatenate([weight * mean[data], weight], axis=1).T)
        _add_products(left, x[data], total)
    return np.ascontiguousarray(total[:-1].T), total[-1].copy()


def _add_products(left: Array, x: Array, total: Array) -> None:
    def task(pixels: slice) -> None:
        own = packed_columns(x[:, pixels].astype(np.float64))
        out = np.empty_like(total[:, pixels], order="C")
        product(left, own, padded_bias(None, out.shape[-1]), len(x), out)
        total[:, pixels] += out

    parallel_map(task, slices(x.shape[1], _PIXELS), 1.0 * x.size * len(total))


def weighted_sums_bytes(num_data: int, num_pixels: int, num_latents: int) -> int:
    """Peak of ``weighted_sums``, its sums included."""
    rows = min(num_data, _DATA)
    blocks = 2 * num_threads() * rows * min(num_pixels, _PIXELS)
    return 8 * ((num_latents + 4) * (3 * rows + 3 * num_pixels) + blocks)
