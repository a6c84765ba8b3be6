"""Bernoulli pixels given bits by one layer, for rows of (datum, sample): value and gradient, line by line.

Measured on two Zen 3 cores for 5,000 rows, 200 bits and 784 pixels, where the multiplications of each of the
two matrix products alone take 16 ms: 13 ms and, for the gradient, 11 ms; in float32 8.5 and 7 ms. Of one
core's 23 ms for the logits 12 are sums of tables' lines, 6 the softplus and its derivative, 2 writing where a
line begins. Data in chunks of a half or a quarter, whose derivatives stay nearer, are no faster: tables are
then made as often. Tables of exponentials, multiplied in place of added, would save the exponential of each
logit, but need a guard against overflow: not built.
"""

from __future__ import annotations

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.run.threads import parallel_map
from fastvi.kernels.cpu.dense.binary_layer import (
    gradient_of_line,
    lines_of_pixels,
    values_of_latents,
    values_of_rows,
)
from fastvi.kernels.cpu.dense.line_tables import BITS, LINE

_OFF = -1e30  # logit of what pads the last line: its pixel is surely 0, and is seen to be
_LINES = 2  # of a task: a product of 1 + e^-|eta| over their pixels is no larger than 2^32
_INDEX_ROWS = 512  # whose groups are a task
_CACHE_LINE = 64


class BinaryLayer:
    """log p(x_n | z_nk) under logits W z + b, for data ``x`` (N, D) and bits ``z`` (N, K, d) uint8.

    Memory: N K D numbers of ``dtype``, the derivatives in the logits, and 2 N K d / 5 bytes.

    Parameters
    ----------
    dtype
        Of the logits and what is made of them; sums over lines of pixels and over rows are float64.

    Attributes
    ----------
    value : (N * K,)
    """

    def __init__(self, weights: Array, bias: Array, x: Array, z: Array, dtype: str = "float64") -> None:
        num_data, num, num_latents = z.shape
        num_pixels, self._num_rows = len(bias), num_data * num
        self._shape, self._bits, self._dtype = weights.shape, np.ascontiguousarray(z).reshape(-1), dtype
        self._lines = -(-num_pixels // LINE)
        padded = np.zeros((num_data, self._lines * LINE), dtype)
        padded[:, :num_pixels] = x
        offsets = np.full(self._lines * LINE, _OFF, dtype)
        offsets[:num_pixels] = bias
        num_groups = -(-num_latents // BITS)
        values = self._values_of_rows(num_groups)
        self._pull = _aligned((self._lines, self._num_rows * LINE), dtype)
        parts = np.zeros((-(-self._lines // _LINES), self._num_rows))
        # an addition a group, and about 12 operations of the softplus
        self._cost = 1.0 * self._pull.size * (num_groups + 12)

        def task(t: int) -> None:
            pull = self._pull[t * _LINES : (t + 1) * _LINES].reshape(-1)
            lines_of_pixels(weights, offsets, padded.reshape(-1), values, num, t * _LINES, pull, parts[t])

        if self._num_rows:
            parallel_map(task, range(len(parts)), self._cost)
        self.value = parts.sum(axis=0)

    def _values_of_rows(self, num_groups: int) -> Array:
        """(G * R,) uint8: the value of each group of latents of each row."""
        values = np.empty(num_groups * self._num_rows, np.uint8)

        def task(first: int) -> None:
            count = min(_INDEX_ROWS, self._num_rows - first)
            values_of_rows(self._bits, self._shape[1], first, count, values)

        parallel_map(task, range(0, self._num_rows, _INDEX_ROWS), 4.0 * values.size)
        return values

    def _values_of_latents(self) -> Array:
        """(G * (d + 1),) uint8: the value of each group of rows of each latent, and of one that is on."""
        num_latents, num_groups = self._shape[1], -(-self._num_rows // BITS)
        values = np.empty(num_groups * (num_latents + 1), np.uint8)

        def task(first: int) -> None:
            count = min(_INDEX_ROWS, num_groups - first)
            values_of_latents(self._bits, num_latents, first, count, values)

        parallel_map(task, range(0, num_groups, _INDEX_ROWS), 1.0 * values.size)
        return values

    def of_parameters(self, share: Array) -> tuple[Array, Array]:
        """Gradient of sum_r share_r value_r in W (D, d) and b (D,), for ``share`` (N * K,)."""
        values = self._values_of_latents()
        weights, bias = np.empty(self._shape), np.empty(self._shape[0])

        def task(line: int) -> None:
            pixels = slice(line * LINE, (line + 1) * LINE)
            gradient_of_line(share, self._pull[line], values, weights[pixels], bias[pixels])

        parallel_map(task, range(self._lines), self._cost)
        return weights, bias


def _aligned(shape: tuple[int, int], dtype: str) -> Array:
    """An array, not filled, that begins with a cache line: no vector of a line of pixels lies across two."""
    size = shape[0] * shape[1] * np.dtype(dtype).itemsize
    memory = np.empty(size + _CACHE_LINE, np.uint8)
    begin = -memory.ctypes.data % _CACHE_LINE
    return memory[begin : begin + size].view(dtype).reshape(shape)
