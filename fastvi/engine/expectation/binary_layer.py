"""Bernoulli pixels given bits by one layer, for rows of (datum, sample): value and gradient, tile by tile.

Measured on two Zen 1 cores for 5,000 rows, 200 bits and 784 pixels, where each of the two matrix products
alone takes 54 ms (``engine/matmul``): 45 ms and, for the gradient, 30 ms. Tables for groups of 4 to 7 bits
are no faster. Gradients that keep a row's derivatives in registers and go over all groups take 36-40 ms.
Tables of exponentials save exp, a fifth of the logits' time, but need a guard against overflow: not built.
"""

from __future__ import annotations

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.importance.targets import bit_groups
from fastvi.engine.linalg.products import matmul
from fastvi.engine.run.threads import parallel_map
from fastvi.kernels.cpu.dense.binary_layer import (
    add_inner,
    tile_gradient,
    tile_softplus,
    values_of_bits,
    weight_rows,
)
from fastvi.kernels.cpu.dense.picked_rows import OCTET, WIDTH

_OFF = -1e300  # logit of what pads the last tile: its pixel is surely 0, and is seen to be


class BinaryLayer:
    """log p(x_n | z_nk) under logits W z + b, for data ``x`` (N, D) and bits ``z`` (N, K, d) uint8.

    Memory: N K D numbers, the derivatives in the logits.

    Attributes
    ----------
    value : (N * K,)
    """

    def __init__(self, weights: Array, bias: Array, x: Array, z: Array) -> None:
        num_data, num, num_latents = z.shape
        num_pixels, num_rows = len(bias), num_data * num
        self._groups, num_table_rows = bit_groups(num_latents)
        num_groups = self._groups.first_bit.size
        self._values = np.empty(num_groups * num_rows, np.int32)
        rows, bits = np.empty(num_groups * num_rows, np.int32), np.ascontiguousarray(z).reshape(-1)
        values_of_bits(bits, self._groups, self._values, rows)
        num_tiles = -(-num_pixels // WIDTH)
        self._shape = weights.shape
        padded = np.zeros((num_data, num_tiles * WIDTH))
        padded[:, :num_pixels] = x
        offsets = np.full(num_tiles * WIDTH, _OFF)
        offsets[:num_pixels] = bias
        self._pull = np.empty((num_tiles, WIDTH // OCTET, num_rows * OCTET))
        values = np.empty((num_tiles, num_rows))
        # an addition a group, and about 12 operations of the softplus
        self._cost = 1.0 * self._pull.size * (num_groups + 12)

        def task(t: int) -> None:
            table = np.empty(num_table_rows * WIDTH)
            weight_rows(weights, t * WIDTH, self._groups, table)
            pixels = slice(t * WIDTH, (t + 1) * WIDTH)
            tile_softplus(
                np.ascontiguousarray(padded[:, pixels]).reshape(-1), offsets[pixels], table, rows, num_groups,
                num, values[t], self._pull[t].reshape(-1),
            )  # fmt: skip

        parallel_map(task, range(num_tiles), self._cost)
        # <x, eta> = <b, x> + <W^T x, z>
        real = x.astype(np.float64)
        self.value = values.sum(axis=0) + np.repeat((real * bias).sum(axis=1), num)
        linear = matmul(real, weights)
        add_inner(bits, linear, num, self.value)

    def of_parameters(self, share: Array) -> tuple[Array, Array]:
        """Gradient of sum_r share_r value_r in W (D, d) and b (D,), for ``share`` (N * K,)."""
        num_pixels, num_latents = self._shape
        pull = self._pull.reshape(len(self._pull) * WIDTH // OCTET, share.size * OCTET)
        weights, bias = np.empty((len(pull), num_latents, OCTET)), np.empty((len(pull), OCTET))
        size = OCTET << int(self._groups.num_bits.max())

        def task(t: int) -> None:
            tile_gradient(
                share, pull[t], self._values, self._groups, np.empty(share.size * OCTET), np.empty(size),
                weights[t].reshape(-1), bias[t],
            )  # fmt: skip

        parallel_map(task, range(len(pull)), self._cost)
        of_weights = weights.transpose(0, 2, 1).reshape(-1, num_latents)[:num_pixels]
        return np.ascontiguousarray(of_weights), bias.reshape(-1)[:num_pixels]
