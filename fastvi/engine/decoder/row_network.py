"""Pixels given rows of latents by a network, and both gradients: rows are pairs of a datum and a state.

A decoder is such a network; a layer of a sigmoid belief network, sparse coding and a linear Gaussian model
are networks of one layer.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.decoder.large_logits import LargeLogits, are_large
from fastvi.engine.decoder.layers import PackedLayers, Pairs
from fastvi.kernels.cpu.annealing.rows import bernoulli_rows, normal_rows

_BLOCK_NUMBERS = 1 << 16  # of a block's widest layer: 512 KiB, the second-level cache


class Evaluated(NamedTuple):
    """A block of rows."""

    value: Array  # (rows,) log p(x | z)
    pull: Array  # (rows, D) its derivative in the network's output
    inputs: list[Array]  # of each layer, the latents first


class RowNetwork:
    """log p(x_n | z_r) of data ``x`` (N, D) under layers (weight (out, in), bias (out,)).

    ``noise_std`` None stands for Bernoulli pixels, whose logits are the network's output. Where ``bits`` says
    that latents are 0 or 1, large logits are summed as ``LargeLogits`` does.
    """

    def __init__(
        self, layers: Pairs, activation: str, noise_std: float | None, x: Array, *,
        bits: bool = False,
    ) -> None:  # fmt: skip
        self._noise_std = noise_std
        self._large: LargeLogits | None = None
        if bits and noise_std is None and are_large(layers, activation, np.zeros(0)):
            self._large = LargeLogits(layers, activation)
        self._layers = PackedLayers(layers, activation) if self._large is None else self._large.layers
        self._x = x.view()
        self._x.flags.writeable = False  # one compiled kernel for writeable arrays and for others
        width = max(layers[0][0].shape[1], *(len(bias) for _, bias in layers))
        self.block_rows = max(8, _BLOCK_NUMBERS // width)
        self.operations = sum(2.0 * weight.size + 20.0 * len(bias) for weight, bias in layers)  # of a row

    def evaluate(self, owners: Array, z: Array) -> Evaluated:
        """Rows of data n = owners[r] and latents z (rows, d) float64."""
        value = np.empty(len(z))
        *inputs, eta = (self._layers if self._large is None else self._large).inputs(z)
        if self._noise_std is None:
            bernoulli_rows(self._x, owners, eta, value)
        else:
            normal_rows(self._x, owners, self._noise_std, eta, value)
        return Evaluated(value, eta, inputs)

    def of_latents(self, rows: Evaluated) -> Array:
        """Gradient of each row's value in its z, (rows, d)."""
        return self._layers.of_rows(rows.inputs, rows.pull)

    def of_parameters(self, rows: Evaluated, share: Array) -> list[tuple[Array, Array]]:
        """Gradient of sum_r share_r value_r in each layer's weight and bias."""
        return self._layers.of_parameters(rows.inputs, share[:, None] * rows.pull)

    def of_noise_std(self, rows: Evaluated, share: Array) -> float:
        """Gradient of sum_r share_r value_r in s, ``noise_std``: a value's is (|x - eta|^2 / s^2 - D) / s."""
        assert self._noise_std is not None
        squares = np.square(rows.pull * self._noise_std).sum(axis=1) - rows.pull.shape[1]
        return float((share * squares).sum()) / self._noise_std
