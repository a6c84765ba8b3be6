"""What a datum adds to log p(x, z): c(x) + <t(x), z>, for binary and for real pixels."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastvi.engine.cuda.arrays import DeviceData, device_terms, refuse_pixels
from fastvi.engine.threads import data_slices, parallel_map
from fastvi.kernels.cpu.data_terms import linear_terms, pair_terms, real_terms

Array = NDArray[Any]


class Terms(NamedTuple):
    """t(x) less the centre, in the form's order of latents, and c(x)."""

    linear: Array  # (N, d)
    constant: Array  # (N,)


class BinaryData(NamedTuple):
    """t(x) = offset + W^T x, c(x) = constant + b . x + x^T J x / 2 for x in {0, 1}^D.

    ``weights`` and ``couplings`` may hold -inf: only the entries of ones are added.
    """

    weights: Array  # (D, d) columns in the form's order
    bias: Array  # (D,)
    offset: Array  # (d,)
    constant: float
    couplings: Array | None = None  # (D, D) symmetric

    def terms(self, x: Any) -> Terms:
        """Terms of the data ``x`` (N, D) uint8, or of a GPU's."""
        if isinstance(x, DeviceData):
            return device_terms(self, x)
        linear, constant = np.empty((len(x), self.offset.size)), np.empty(len(x))

        def task(part: slice) -> None:
            linear_terms(
                x[part], self.weights, self.bias, self.constant, self.offset, linear[part], constant[part]
            )
            if self.couplings is not None:
                pair_terms(x[part], self.couplings, constant[part])

        parallel_map(task, data_slices(len(x)), 1.0 * x.size * (self.offset.size + 4))
        return Terms(linear, constant)


class RealData(NamedTuple):
    """x ~ N(W z + b, s^2 I): t(x) = offset + W^T (x - b) / s^2, c(x) = constant - |x - b|^2 / (2 s^2)."""

    weights: Array  # (D, d) columns in the form's order
    bias: Array  # (D,)
    noise_std: float
    offset: Array  # (d,)
    constant: float  # log p(z = 0), without the normal density's own constant

    @property
    def full_constant(self) -> float:
        """With the normal density's."""
        density = self.bias.size * (math.log(self.noise_std) + 0.5 * math.log(2.0 * math.pi))
        return self.constant - density

    def terms(self, x: Any) -> Terms:
        """Terms of the data ``x`` (N, D) float64, or of a GPU's."""
        if isinstance(x, DeviceData):
            return device_terms(self, x)
        linear, constant = np.empty((len(x), self.offset.size)), np.empty(len(x))

        def task(part: slice) -> None:
            real_terms(
                x[part], self.weights, self.bias, self.noise_std, self.full_constant, self.offset,
                linear[part], constant[part],
            )  # fmt: skip

        parallel_map(task, data_slices(len(x)), 1.0 * x.size * (self.offset.size + 4))
        return Terms(linear, constant)


class PixelData(NamedTuple):
    """t(x) = (x, 1 - x), c(x) = 0: against features that are log probabilities of pixels."""

    def terms(self, x: Any) -> Terms:
        """Terms of the data ``x`` (N, D) uint8."""
        refuse_pixels(x, "where weights are so large that every pixel is looked at by itself")
        pixels = x.astype(np.float64)
        return Terms(np.concatenate([pixels, 1.0 - pixels], axis=1), np.zeros(len(x)))


Data = BinaryData | RealData
