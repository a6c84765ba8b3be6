"""Pixels given rows of latents by a network, and both gradients: rows are pairs of a datum and a state.

A decoder is such a network; a layer of a sigmoid belief network, sparse coding and a linear Gaussian model
are networks of one layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastvi.engine.decoder.large_logits import ACTIVATIONS, LargeLogits, are_large
from fastvi.engine.linalg.products import Packed
from fastvi.kernels.cpu.annealing.rows import bernoulli_rows, normal_rows
from fastvi.kernels.cpu.dense.products import activate, multiply_slopes

Array = NDArray[Any]

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
        self, layers: Sequence[tuple[Array, Array]], activation: str, noise_std: float | None, x: Array, *,
        bits: bool = False,
    ) -> None:  # fmt: skip
        self._forward = [Packed(weight.T, bias) for weight, bias in layers]
        self._back = [Packed(weight) for weight, _ in layers]
        self._activation, self._noise_std = ACTIVATIONS[activation], noise_std
        self._large: LargeLogits | None = None
        if bits and noise_std is None and are_large(layers, activation, np.zeros(0)):
            self._large = LargeLogits(layers, activation)
        self._x = x.view()
        self._x.flags.writeable = False  # one compiled kernel for writeable arrays and for others
        width = max(layers[0][0].shape[1], *(len(bias) for _, bias in layers))
        self.block_rows = max(8, _BLOCK_NUMBERS // width)
        self.operations = sum(2.0 * weight.size + 20.0 * len(bias) for weight, bias in layers)  # of a row

    def evaluate(self, owners: Array, z: Array) -> Evaluated:
        """Rows of data n = owners[r] and latents z (rows, d) float64."""
        value = np.empty(len(z))
        if self._large is not None:
            *inputs, eta = self._large.inputs(z)
        else:
            inputs = [z]
            for layer in self._forward[:-1]:
                values = layer.product(inputs[-1])
                activate(values.reshape(-1), self._activation)
                inputs.append(values)
            eta = self._forward[-1].product(inputs[-1])
        if self._noise_std is None:
            bernoulli_rows(self._x, owners, eta, value)
        else:
            normal_rows(self._x, owners, self._noise_std, eta, value)
        return Evaluated(value, eta, inputs)

    def of_latents(self, rows: Evaluated) -> Array:
        """Gradient of each row's value in its z, (rows, d)."""
        pull = rows.pull
        for i in reversed(range(len(self._back))):
            pull = self._back[i].product(pull)
            if i:
                multiply_slopes(rows.inputs[i], self._activation, pull)
        return pull

    def of_parameters(self, rows: Evaluated, share: Array) -> list[tuple[Array, Array]]:
        """Gradient of sum_r share_r value_r in each layer's weight and bias."""
        pull, found = share[:, None] * rows.pull, []
        for i in reversed(range(len(self._back))):
            found.append((Packed(rows.inputs[i]).product(pull.T), pull.sum(axis=0)))
            if i:
                pull = self._back[i].product(pull)
                multiply_slopes(rows.inputs[i], self._activation, pull)
        return found[::-1]

    def of_noise_std(self, rows: Evaluated, share: Array) -> float:
        """The same in ``noise_std``: (|x - eta|^2 / s^2 - D) / s, and the pull is (x - eta) / s^2."""
        assert self._noise_std is not None
        squares = np.square(rows.pull * self._noise_std).sum(axis=1) - rows.pull.shape[1]
        return float((share * squares).sum()) / self._noise_std
