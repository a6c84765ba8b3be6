"""A decoder as the kernels read it: features h(z) and A(z) of blocks of states.

log p(x, z) = c(x) + <t(x), h(z)> - A(z), h the last hidden layer. A state's D pixels enter A alone, once for
all data; a datum costs as many multiply-adds a state as h has units. With real pixels A is |W h|^2 / (2 s^2),
for which W is replaced by the triangle of its QR factorisation where that has fewer rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastvi.engine.data_terms import BinaryData, Data, PixelData, RealData
from fastvi.engine.direct_network import DirectNetwork
from fastvi.engine.large_logits import ACTIVATIONS, LargeLogits, are_large
from fastvi.engine.matmul import Packed, row_block
from fastvi.kernels.cpu.dense import (
    ROWS,
    compress,
    hidden_layer,
    softplus_sums,
    square_sums,
)

Array = NDArray[Any]

_OFF = -1e300  # bias of columns that pad the last layer: their softplus is 0


class Block(NamedTuple):
    """What a block of states is to every datum."""

    features: Array  # h packed as rows, compressed
    units: Array  # (panels * depth,) units that are left
    counts: Array  # (panels,)
    minus: Array  # (padded rows,) A, inf where a row is padding


class Network(NamedTuple):
    """Packed layers."""

    num_latents: int
    hidden: tuple[Packed, ...]
    last: Packed
    activation: int
    gaussian: bool
    last_matrix: Array  # of real pixels: A = |last_matrix h|^2; else (0, 0)

    @property
    def depth(self) -> int:
        """Units of the last hidden layer, or latents where there is none."""
        return self.hidden[-1].num_columns if self.hidden else self.num_latents

    @property
    def operations(self) -> int:
        """Multiply-adds and so on that a state takes."""
        layers = [*self.hidden, self.last]
        return sum(layer.depth * layer.num_columns + 8 * layer.num_columns for layer in layers) + 16

    @property
    def block_rows(self) -> int:
        """States whose layers are worked on together: a power of two, for the second-level cache."""
        widest = max(layer.depth for layer in (*self.hidden, self.last))
        return max(32, 1 << (row_block(widest).bit_length() - 1))

    def forward(self, rows: Array, num_rows: int, out: Block) -> None:
        """From packed latents to the features and A, without the prior's part, of ``num_rows`` states."""
        panels, last, minus = -(-num_rows // ROWS), self.last, out.minus[:num_rows]
        left = _compressed(rows, panels, self.num_latents)
        for layer in self.hidden:
            values = np.empty(panels * ROWS * layer.num_columns)
            hidden_layer(
                *left, layer.columns, layer.bias, layer.depth, num_rows, layer.num_columns, self.activation,
                values,
            )  # fmt: skip
            left = _compressed(values, panels, layer.num_columns)
        for mine, found in zip(out[:3], left, strict=True):
            mine[...] = found
        if self.gaussian:
            square_sums(*left, last.columns, last.depth, num_rows, last.num_columns, minus)
        else:
            softplus_sums(*left, last.columns, last.bias, last.depth, num_rows, last.num_columns, minus)


def empty_block(num_rows: int, depth: int) -> Block:
    """Room for states in whole panels; all of it is padding."""
    panels = -(-num_rows // ROWS)
    return Block(
        np.zeros(panels * depth * ROWS),
        np.empty(panels * depth, np.int32),
        np.zeros(panels, np.int64),
        np.full(panels * ROWS, np.inf),
    )


def block_part(block: Block, first: int, num_rows: int, depth: int) -> Block:
    """Views of the panels that hold ``num_rows`` states from ``first``, the first of a panel."""
    begin, end = first // ROWS, -(-(first + num_rows) // ROWS)
    return Block(
        block.features[begin * depth * ROWS : end * depth * ROWS],
        block.units[begin * depth : end * depth],
        block.counts[begin:end],
        block.minus[begin * ROWS : end * ROWS],
    )


def _compressed(panels: Array, num_panels: int, depth: int) -> tuple[Array, Array, Array]:
    index, counts = np.empty(num_panels * depth, np.int32), np.empty(num_panels, np.int64)
    compress(panels, depth, index, counts)
    return panels, index, counts


def _triangle(a: Array) -> Array:
    """R (K, K) with R^T R = A^T A for A (M, K), M > K, by Householder reflections. Not by LAPACK, whose last
    bits depend on the number of threads.
    """
    rows = a.copy()
    for k in range(a.shape[1]):
        column = rows[k:, k].copy()
        largest = np.abs(column).max()
        if largest == 0.0:
            continue
        size = largest * math.sqrt(np.square(column / largest).sum())
        column[0] += math.copysign(size, column[0])
        rows[k, k], rows[k + 1 :, k] = -math.copysign(size, column[0]), 0.0
        rest = rows[k:, k + 1 :]
        rest -= column[:, None] * (np.einsum("ij,i->j", rest, column / size) / abs(column[0]))
    return rows[: a.shape[1]]


def network(
    layers: Sequence[tuple[Array, Array]], activation: str, noise_std: float | None, pixels: Array, *,
    bits: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """Packed layers, a ``Network`` or where logits are large a ``DirectNetwork``, and what takes data (their
    seen pixels) to t(x) and c(x). ``bits`` says that latents are 0 or 1.
    """
    weights, bias = layers[-1]
    weights, bias = np.ascontiguousarray(weights[pixels]), np.ascontiguousarray(bias[pixels])
    seen = (*layers[:-1], (weights, bias))
    if noise_std is None and are_large(seen, activation, np.zeros(0)):
        logits = LargeLogits(seen, activation, bits=bits)
        return DirectNetwork(layers[0][0].shape[1], logits), PixelData()
    num_latents, depth = layers[0][0].shape[1], weights.shape[1]
    hidden = tuple(Packed(weight.T, offset) for weight, offset in layers[:-1])
    data: Data
    matrix = np.empty((0, 0))
    if noise_std is None:
        last = Packed(weights.T, bias, padding=_OFF)
        data = BinaryData(weights, bias, np.zeros(depth), 0.0)
    else:
        matrix = weights / (noise_std * math.sqrt(2.0))
        matrix = _triangle(matrix) if len(matrix) > depth else matrix
        last = Packed(matrix.T)
        data = RealData(weights, bias, noise_std, np.zeros(depth), 0.0)
    return Network(num_latents, hidden, last, ACTIVATIONS[activation], noise_std is not None, matrix), data
