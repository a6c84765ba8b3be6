"""Layers of a feed-forward network over rows: forward, and gradients back through them.

Of two kinds, whose last bits differ: ``Layers`` has NumPy's activations and takes all rows on all threads,
``PackedLayers`` has those of the kernels and takes a block of rows in the calling thread.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fastvi.core.arrays import Array
from fastvi.core.functions import ACTIVATIONS, SLOPES, SLOPES_OF_ARGUMENTS
from fastvi.engine.linalg.products import Packed, matmul
from fastvi.kernels.cpu.dense.exact_logits import exact_logits
from fastvi.kernels.cpu.dense.products import (
    ELU,
    GELU,
    IDENTITY,
    LEAKY_RELU,
    RELU,
    SIGMOID,
    SILU,
    SOFTPLUS,
    TANH,
    activate,
    multiply_slopes,
)

Pairs = Sequence[tuple[Array, Array]]  # weight (out, in) and bias (out,) of each layer

CODES = {
    "relu": RELU,
    "tanh": TANH,
    "sigmoid": SIGMOID,
    "softplus": SOFTPLUS,
    "leaky_relu": LEAKY_RELU,
    "elu": ELU,
    "gelu": GELU,
    "silu": SILU,
    "identity": IDENTITY,
}


def of_pixels(pairs: Pairs, pixels: Array) -> Pairs:
    """Layers whose outputs are those of some ``pixels``."""
    weight, bias = pairs[-1]
    return *pairs[:-1], (weight[pixels], bias[pixels])


def of_latents(pairs: Pairs, order: Array) -> Pairs:
    """Layers whose inputs are in another ``order``."""
    weight, bias = pairs[0]
    return (np.ascontiguousarray(weight[:, order]), bias), *pairs[1:]


class Pieces:
    """Arrays by name that lie one after the other in a flat one: ``shapes``, then those of each layer."""

    def __init__(self, shapes: dict[str, tuple[int, ...]], pairs: Pairs) -> None:
        self._shapes = dict(shapes)
        for i, (weight, bias) in enumerate(pairs):
            self._shapes |= {f"weight_{i}": weight.shape, f"bias_{i}": bias.shape}
        self.size = sum(math.prod(shape) for shape in self._shapes.values())

    def of(self, flat: Array) -> dict[str, Array]:
        """Views of the pieces."""
        views, at = {}, 0
        for name, shape in self._shapes.items():
            size = math.prod(shape)
            views[name] = flat[at : at + size].reshape(shape)
            at += size
        return views


class Layers:
    """Weights and biases, and the activation after every layer but the last.

    The slope of an activation follows from its value. Of "gelu" and "silu" it does not: the layer below is
    then computed once more, with the bits that it had.
    """

    def __init__(self, pairs: Pairs, activation: str) -> None:
        self.pairs, self.activation = pairs, activation

    def product(self, i: int, rows: Array) -> Array:
        """Outputs of layer i before its activation."""
        weight, bias = self.pairs[i]
        return matmul(rows, np.ascontiguousarray(weight.T), bias)

    def activated(self, values: Array) -> Array:
        """Activations of ``values``, which may be overwritten."""
        return ACTIVATIONS[self.activation](values)

    def inputs(self, rows: Array) -> list[Array]:
        """Return what enters each layer, and the outputs last."""
        found = [np.ascontiguousarray(rows, dtype=np.float64)]
        for i in range(len(self.pairs)):
            if i:
                found[-1] = self.activated(found[-1])
            found.append(self.product(i, found[-1]))
        return found

    def times_slopes(self, i: int, inputs: list[Array], pull: Array) -> Array:
        """``pull``, which may be overwritten, through the activation before layer i, i > 0."""
        if self.activation in SLOPES_OF_ARGUMENTS:
            return self._multiplied(self.product(i - 1, inputs[i - 1]), pull)
        return self._multiplied(inputs[i], pull)

    def _multiplied(self, known: Array, pull: Array) -> Array:
        slopes = SLOPES | SLOPES_OF_ARGUMENTS
        return pull * slopes[self.activation](known)

    def turned(self, i: int, pull: Array) -> Array:
        """Derivatives in what enters layer i, from ``pull``: those in its outputs."""
        return matmul(pull, self.pairs[i][0])

    def back(self, i: int, inputs: list[Array], pull: Array) -> Array:
        """Derivatives in the outputs before layer i, or in the rows, from ``pull``: those in its outputs."""
        pull = self.turned(i, pull)
        return self.times_slopes(i, inputs, pull) if i else pull

    def weight_gradient(self, rows: Array, pull: Array) -> Array:
        """sum_r pull_r row_r^T."""
        return matmul(np.ascontiguousarray(pull.T), rows)

    def of_rows(self, inputs: list[Array], pull: Array) -> Array:
        """Gradient of each row's f in the row, from ``pull``, the derivatives of f in its outputs."""
        for i in reversed(range(len(inputs))):
            pull = self.back(i, inputs, pull)
        return pull

    def of_parameters(self, inputs: list[Array], pull: Array) -> list[tuple[Array, Array]]:
        """Gradient of the sum of f over rows in each weight and bias of the layers that have ``inputs``."""
        found = []
        for i in reversed(range(len(inputs))):
            found.append((self.weight_gradient(inputs[i], pull), pull.sum(axis=0)))
            if i:
                pull = self.back(i, inputs, pull)
        return found[::-1]


class PackedLayers(Layers):
    """Layers packed for our products; ``forward`` may take the place of those made of ``pairs``."""

    def __init__(self, pairs: Pairs, activation: str, forward: Sequence[Packed] | None = None) -> None:
        super().__init__(pairs, activation)
        self.forward = forward or [Packed(weight.T, bias) for weight, bias in pairs]
        self._transposed: dict[int, Packed] = {}

    def transposed(self, i: int) -> Packed:
        """Weight of layer i, packed when it is first needed."""
        if i not in self._transposed:
            self._transposed[i] = Packed(self.pairs[i][0])
        return self._transposed[i]

    def product(self, i: int, rows: Array) -> Array:
        return self.forward[i].product(rows)

    def activated(self, values: Array) -> Array:
        activate(values.reshape(-1), CODES[self.activation])
        return values

    def _multiplied(self, known: Array, pull: Array) -> Array:
        multiply_slopes(known, CODES[self.activation], pull)
        return pull

    def turned(self, i: int, pull: Array) -> Array:
        return self.transposed(i).product(pull)

    def weight_gradient(self, rows: Array, pull: Array) -> Array:
        return Packed(rows).product(pull.T)


class ExactFirstLayer(PackedLayers):
    """Packed layers whose first one has rows of bits, and sums them exactly."""

    def __init__(self, pairs: Pairs, activation: str) -> None:
        super().__init__(pairs, activation)
        self._first = tuple(np.ascontiguousarray(part) for part in pairs[0])

    def product(self, i: int, rows: Array) -> Array:
        if i:
            return super().product(i, rows)
        value = np.empty((len(rows), len(self._first[1])))
        exact_logits(np.ascontiguousarray(rows), *self._first, value)
        return value
