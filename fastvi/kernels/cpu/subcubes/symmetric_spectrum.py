"""Eigenvalues and eigenvectors of small symmetric matrices, in loops whose sums no thread reorders."""

from __future__ import annotations

import math

from fastvi.kernels.jit import inline

_MOST_ROTATIONS = 40  # sweeps for one eigenvalue; some two are needed


@inline
def _reduce(matrix, size, values, off, turned):
    """Bring a symmetric matrix to three diagonals by reflections; ``turned`` becomes their product."""
    for k in range(size - 2):
        square = 0.0
        for i in range(k + 2, size):
            square += matrix[k, i] * matrix[k, i]
        first = matrix[k, k + 1]
        # the reflection 1 - v v' / half leaves row k nothing beyond its neighbour; v stays in that row
        values[k] = 0.0
        off[k] = first
        if not square > 0.0:
            continue
        length = math.sqrt(first * first + square)
        edge = -length if first >= 0.0 else length
        vector = matrix[k]
        vector[k + 1] = first - edge
        half = length * (length + abs(first))
        off[k], values[k] = edge, half
        inner = 0.0
        for i in range(k + 1, size):
            total = 0.0
            for j in range(k + 1, size):
                total += matrix[i, j] * vector[j]
            turned[0, i] = total / half
            inner += turned[0, i] * vector[i]
        inner /= 2.0 * half
        for i in range(k + 1, size):
            turned[0, i] -= inner * vector[i]
        for i in range(k + 1, size):
            a, b, row = vector[i], turned[0, i], matrix[i]
            for j in range(k + 1, size):
                row[j] -= a * turned[0, j] + b * vector[j]
    for i in range(size):
        for j in range(size):
            turned[i, j] = 1.0 if i == j else 0.0
    for k in range(size - 3, -1, -1):
        half, vector = values[k], matrix[k]
        if half > 0.0:
            for i in range(k + 1, size):
                row, total = turned[i], 0.0
                for j in range(k + 1, size):
                    total += row[j] * vector[j]
                total /= half
                for j in range(k + 1, size):
                    row[j] -= total * vector[j]
    for k in range(size):
        values[k] = matrix[k, k]
    if size > 1:
        off[size - 2] = matrix[size - 2, size - 1]
    if size > 0:
        off[size - 1] = 0.0


@inline
def spectrum(matrix, size, values, off, turned):
    """Set eigenvalues, and eigenvectors as rows of ``turned``; ``matrix`` is used up, ``off`` is scratch.

    By Householder's reflections and QL steps with implicit shifts (Martin and Wilkinson 1968).
    """
    _reduce(matrix, size, values, off, turned)
    for first in range(size):
        for _ in range(_MOST_ROTATIONS):
            last = first
            while last < size - 1:
                if abs(off[last]) <= 2.0**-52 * (abs(values[last]) + abs(values[last + 1])):
                    break
                last += 1
            if last == first:
                break
            g = (values[first + 1] - values[first]) / (2.0 * off[first])
            r = math.sqrt(g * g + 1.0)
            g = values[last] - values[first] + off[first] / (g + (r if g >= 0.0 else -r))
            s, c, p, whole = 1.0, 1.0, 0.0, True
            for i in range(last - 1, first - 1, -1):
                f, b = s * off[i], c * off[i]
                r = math.sqrt(f * f + g * g)
                off[i + 1] = r
                if r == 0.0:
                    values[i + 1] -= p
                    off[last] = 0.0
                    whole = False
                    break
                s, c = f / r, g / r
                g = values[i + 1] - p
                r = (values[i] - g) * s + 2.0 * c * b
                p = s * r
                values[i + 1] = g + p
                g = c * r - b
                low, high = turned[i], turned[i + 1]
                for k in range(size):
                    t = high[k]
                    high[k] = s * low[k] + c * t
                    low[k] = c * low[k] - s * t
            if whole:
                values[first] -= p
                off[first], off[last] = g, 0.0
