"""A decoder as the kernels read it: features h(z) and A(z) of blocks of states.

log p(x, z) = c(x) + <t(x), h(z)> - A(z), h the last hidden layer. A state's D pixels enter A alone, once for
all data; a datum costs as many multiply-adds a state as h has units.

With real pixels log p(x | z) = c - |y(x) - u(z)|^2: x - b and W h over s sqrt(2), turned so that all that W
reaches is in the first coordinates. Where W has more rows than columns these are as many as W has columns,
u = R h with the triangle of its QR factorisation, and the rest of x - b is in c. Distances, not |y|^2 - 2
<y, u> + |u|^2: where noise is much smaller than W h nothing would be left of that.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.decoder.direct_network import DirectNetwork
from fastvi.engine.decoder.large_logits import LargeLogits, are_large
from fastvi.engine.decoder.layers import CODES, Pairs, of_pixels
from fastvi.engine.decoder.network_block import Block, empty_block
from fastvi.engine.linalg.products import Packed, row_block
from fastvi.engine.linalg.reflections import reflections
from fastvi.engine.states.data_terms import BinaryData, PixelData, RotatedData, power_below, rotated_factor
from fastvi.kernels.cpu.dense.products import IDENTITY, ROWS, compress, hidden_layer, keep_all, softplus_sums

_OFF = -1e30  # bias of columns that pad the last layer: their softplus is 0


def block_rows(widest: int, dtype: str) -> int:
    """States whose layers are worked on together: a power of two, for the second-level cache.

    Where inputs take more than half of it two threads slow each other down: at 200 inputs 128 states took
    1.00 ms on a Zen 3 core, 256 took 2.12.
    """
    return max(32, 1 << (row_block(widest).bit_length() - 1)) * (1 if dtype == "float64" else 2)


class Network(NamedTuple):
    """Packed layers. The last one, and the features that it reads, may be in float32."""

    num_latents: int
    hidden: tuple[Packed, ...]
    last: Packed
    activation: str
    gaussian: bool
    last_matrix: Array  # of real pixels: u = last_matrix h; else (0, 0)

    @property
    def dtype(self) -> str:
        """Type of the features and of what they are multiplied by."""
        return "float64" if self.last.columns.itemsize == 8 else "float32"

    @property
    def depth(self) -> int:
        """Numbers that a state is to data: units of the last hidden layer, latents, or of real pixels u."""
        return self.last.num_columns if self.gaussian else self.features

    @property
    def widest(self) -> int:
        """Inputs of the layer that has most."""
        return max(layer.depth for layer in (*self.hidden, self.last))

    @property
    def features(self) -> int:
        """Units of the last hidden layer, or latents where there is none."""
        return self.hidden[-1].num_columns if self.hidden else self.num_latents

    @property
    def operations(self) -> int:
        """Multiply-adds and so on that a state takes."""
        layers = [*self.hidden, self.last]
        return sum(layer.depth * layer.num_columns + 8 * layer.num_columns for layer in layers) + 16

    @property
    def block_rows(self) -> int:
        """States whose layers are worked on together."""
        return block_rows(self.widest, self.dtype)

    def forward(self, rows: Array, num_rows: int, out: Block) -> None:
        """From packed latents to the features and A, without the prior's part, of ``num_rows`` states."""
        panels, last, minus = -(-num_rows // ROWS), self.last, out.minus[:num_rows]
        left = _compressed(rows, panels, self.num_latents)
        for i, layer in enumerate(self.hidden):
            is_top = i + 1 == len(self.hidden) and not self.gaussian
            width = layer.num_columns
            values = out.features if is_top else np.empty(panels * ROWS * width)
            hidden_layer(
                *left, layer.columns, layer.bias, layer.depth, num_rows, width, CODES[self.activation], values
            )
            left = values, *(out[1:3] if is_top else _empty_names(panels, width))
            if self.activation == "relu":
                compress(values, width, *left[1:])
            else:  # of others no unit is ever off
                keep_all(width, *left[1:])
        if self.gaussian:
            hidden_layer(
                *left, last.columns, last.bias, last.depth, num_rows, last.num_columns, IDENTITY, out.features
            )
            minus[...] = 0.0
            return
        if not self.hidden:
            for mine, found in zip(out[:3], left, strict=True):
                mine[...] = found
        softplus_sums(*out[:3], last.columns, last.bias, last.depth, num_rows, last.num_columns, minus)

    def empty_block(self, num_rows: int) -> Block:
        """Room for states in whole panels; all of it is padding."""
        return empty_block(num_rows, self.depth, distances=self.gaussian, dtype=self.dtype)


def _empty_names(num_panels: int, depth: int) -> tuple[Array, Array]:
    """Room for the units that are left of panels, and how many."""
    return np.empty(num_panels * depth, np.int32), np.empty(num_panels, np.int64)


def _compressed(panels: Array, num_panels: int, depth: int) -> tuple[Array, Array, Array]:
    names = _empty_names(num_panels, depth)
    compress(panels, depth, *names)
    return panels, *names


def network(
    layers: Pairs, activation: str, noise_std: float | None, pixels: Array, *,
    bits: bool = False, dtype: str = "float64",
) -> tuple[Any, Any]:  # fmt: skip
    """Packed layers, and what takes data (their seen pixels) to t(x) and c(x).

    A ``Network``, or where logits are large a ``DirectNetwork``. ``bits`` says that latents are 0 or 1.
    ``dtype`` is that of the last layer under binary pixels. Layers below it, large logits, and distances of
    real pixels are in float64.
    """
    seen = of_pixels(layers, pixels)
    weights, bias = seen[-1]
    if noise_std is None and are_large(seen, activation, np.zeros(0)):
        logits = LargeLogits(seen, activation, bits=bits)
        return DirectNetwork(layers[0][0].shape[1], logits), PixelData()
    num_latents, depth = layers[0][0].shape[1], weights.shape[1]
    hidden = tuple(Packed(weight.T, offset) for weight, offset in layers[:-1])
    data: BinaryData | RotatedData
    matrix = np.empty((0, 0))
    if noise_std is None:
        last = Packed(weights.T, bias, padding=_OFF, dtype=dtype)
        data = BinaryData(weights, bias, np.zeros(depth), 0.0)
    else:
        unit, vectors = power_below(noise_std), np.zeros((0, len(weights)))
        matrix, factor = weights * unit, rotated_factor(noise_std)
        if len(matrix) > depth:
            matrix, vectors = reflections(matrix, factor)
        else:
            matrix = matrix * factor
        # without pixels u is a number 0, so that no panel is empty
        matrix = matrix if len(matrix) else np.zeros((1, depth))
        last = Packed(matrix.T)
        data = RotatedData(bias, noise_std, vectors, len(matrix))
    return Network(num_latents, hidden, last, activation, noise_std is not None, matrix), data
