"""Terms t(x) = W^T x and c(x) of data on the device, and a check of their values."""

from __future__ import annotations

import math
from typing import Any

from fastvi.kernels.cuda.target import FLOAT64, INT64, Kernel, array, cuda, strided

THREADS = 128
_KERNELS: dict[tuple[str, Any], Kernel] = {}


def _linear_terms(x, rows, pixels, weights, bias, constant, offset, couplings, linear, values, bad):
    """Sum ``weights`` and ``bias`` over the pixels x[rows[n], pixels] that are 1.

    linear[n] = offset + rows of ``weights``; values[n] = constant + ``bias``, and ``couplings`` (unless it is
    empty) between two such pixels.

    bad[n] is the first pixel of ``pixels`` that is neither 0 nor 1, as its number among all, else -1.
    """
    n = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
    if n >= values.size:
        return
    value, row = constant, rows[n]
    bad[n] = -1
    for i in range(offset.size):
        linear[n, i] = offset[i]
    for j in range(pixels.size):
        pixel = float(x[row, pixels[j]])
        if pixel == 1.0:
            value += bias[j]
            for i in range(offset.size):
                linear[n, i] += weights[j, i]
            for k in range(min(j, couplings.shape[0])):
                if float(x[row, pixels[k]]) == 1.0:
                    value += couplings[j, k]
        elif pixel != 0.0 and bad[n] < 0:
            bad[n] = pixels[j]
    values[n] = value


def _real_terms(x, rows, pixels, weights, bias, noise_std, constant, offset, linear, values, bad):
    """Set linear[n] to offset + W^T (x - b) / s^2 of row rows[n], values[n] to its log density.

    values[n] = constant - |x - b|^2 / (2 s^2). bad[n] is the first pixel that is not finite, or -1.
    """
    n = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
    if n >= values.size:
        return
    square, row = 0.0, rows[n]
    bad[n] = -1
    for i in range(offset.size):
        linear[n, i] = 0.0
    for j in range(pixels.size):
        pixel = float(x[row, pixels[j]])
        if not abs(pixel) < math.inf and bad[n] < 0:
            bad[n] = pixels[j]
        scaled = (pixel - bias[j]) / noise_std
        square += scaled * scaled
        for i in range(offset.size):
            linear[n, i] += scaled * weights[j, i]
    for i in range(offset.size):
        linear[n, i] = offset[i] + linear[n, i] / noise_std
    values[n] = constant - 0.5 * square


def terms_kernel(dtype: Any, *, real: bool) -> Kernel:
    """Return the kernel for data of a dtype, in any strides."""
    key = ("real_terms" if real else "linear_terms", dtype)
    if key not in _KERNELS:
        matrix, vector = array(FLOAT64, 2), array(FLOAT64, 1)
        middle = (FLOAT64, FLOAT64, vector) if real else (FLOAT64, vector, matrix)
        numbers = array(INT64, 1)
        types = (strided(dtype, 2), numbers, numbers, matrix, vector, *middle, matrix, vector, numbers)
        _KERNELS[key] = Kernel(_real_terms if real else _linear_terms, types, THREADS, 0, key[0])
    return _KERNELS[key]
