"""Shifts D and factors A, for which D + A A' - J is positive semidefinite, whatever rounding did.

What they cost in a bound (``quadratic_bounds.py``) is about sum_i v_i D_i / 2 - log det(1 - A' K A) / 2, with
v = q (1 - q), and K just above it. Two ways are tried:

- By the spectrum. With K^1/2 J K^1/2 = sum_k lambda_k u_k u_k', D = -s / K and A the part of J + s / K that
  is positive; s is where the cost is least. Where bits are weakly coupled the cost is of second order in J.
- By what is left, J - A A', alone: the least sum_i v_i D_i is a semidefinite program, whose dual is the
  maximum of <J - A A', X> over X >= 0 with X_ii = v_i. Vectors x_i of a few numbers, X_ij = <x_i, x_j>, climb
  it coordinate by coordinate, x_i <- sqrt(v_i) g_i / |g_i| with g_i = sum_j (J - A A')_ij x_j, and D_i =
  |g_i| / sqrt(v_i) at the optimum (Wang, Chang and Kolter 2017, "The mixing method"). Where couplings are
  strong that is better.

Either is made larger until the Cholesky factorisation says that it serves.
"""

from __future__ import annotations

import math

import numpy as np

from fastvi.kernels.cpu.subcubes.symmetric_spectrum import spectrum
from fastvi.kernels.jit import inline

RANK = 8  # numbers of a vector x_i
# v_i / K_i, as far as the vectors look at it: a shift moves a decided bit's own tangent point, too
_LEAST_WEIGHT = 0.3
_LARGEST_PART = 0.8  # eigenvalue of A' K A: the bits of a child may vary more than its parent's
_HALVINGS = 30
LARGEST_TRACE, LARGEST_SHIFT = 8.0, 4.0  # of A A' for each bit; of D beside what a row of J - A A' adds up to
_CLIMB_EXCESS, _SPECTRUM_EXCESS = 0.004, 1e-9  # what D is made larger by first
_ATTEMPTS = 8


def start_vectors(size):
    """Return unit vectors (size, RANK), spread out, from which the climb may start."""
    numbers = np.arange(1.0, size * RANK + 1.0).reshape(-1, RANK)
    found = (numbers * numbers * 0.6180339887498949) % 1.0 - 0.5
    return found / np.sqrt(np.square(found).sum(axis=1, keepdims=True))


@inline
def climb_vectors(pairs, size, weights, sweeps, vectors, lengths):
    """Move vectors (size, RANK) of squared lengths ``weights`` towards the largest <J, X>.

    ``lengths`` becomes |g_i|. ``pairs`` is J.
    """
    for _ in range(sweeps):
        for i in range(size):
            row, own = pairs[i], vectors[i]
            g0, g1, g2, g3, g4, g5, g6, g7 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for j in range(size):
                value, other = row[j], vectors[j]
                g0 += value * other[0]
                g1 += value * other[1]
                g2 += value * other[2]
                g3 += value * other[3]
                g4 += value * other[4]
                g5 += value * other[5]
                g6 += value * other[6]
                g7 += value * other[7]
            square = ((g0 * g0 + g1 * g1) + (g2 * g2 + g3 * g3)) + ((g4 * g4 + g5 * g5) + (g6 * g6 + g7 * g7))
            length = math.sqrt(square)
            lengths[i] = length
            if length > 0.0 and length < math.inf:
                scale = math.sqrt(weights[i]) / length
                own[0], own[1], own[2], own[3] = g0 * scale, g1 * scale, g2 * scale, g3 * scale
                own[4], own[5], own[6], own[7] = g4 * scale, g5 * scale, g6 * scale, g7 * scale


@inline
def _is_positive(pairs, shifts, size, factor):
    """Tell whether the Cholesky factorisation of diag(shifts) - J runs to its end."""
    for i in range(size):
        left = factor[i]
        for k in range(i + 1):
            right = factor[k]
            total = shifts[i] if i == k else -pairs[i, k]
            for m in range(k):
                total -= left[m] * right[m]
            if i == k:
                if not (total > 0.0 and total < math.inf):
                    return False
                left[i] = math.sqrt(total)
            else:
                left[k] = total / right[k]
    return True


@inline
def _split_spectrum(pairs, size, spread, variation, roots, work, values, off, turned, parts):
    """Set A (rows of ``parts``, its columns) from the positive part of J + s / K; return s and the rank."""
    for i in range(size):
        roots[i] = math.sqrt(variation[i])
    for i in range(size):
        for j in range(size):
            work[i, j] = pairs[i, j] * roots[i] * roots[j]
    spectrum(work, size, values, off, turned)
    largest, asked = -math.inf, 0.0
    for i in range(size):
        largest = max(largest, values[i])
        asked += spread[i] / variation[i]
    low, high = -largest, _LARGEST_PART - largest
    for _ in range(_HALVINGS):
        middle, total = 0.5 * (low + high), 0.0
        for k in range(size):
            part = values[k] + middle
            if part > 0.0:
                total += 1.0 / (1.0 - part)
        if total < asked:
            low = middle
        else:
            high = middle
    rank, trace = 0, 0.0
    for k in range(size):
        part = values[k] + low
        if part > 0.0:
            scale = math.sqrt(part)
            for i in range(size):
                parts[rank, i] = turned[k, i] * scale / roots[i]
                trace += parts[rank, i] * parts[rank, i]
            rank += 1
    if not trace <= LARGEST_TRACE * size:  # its roundings would count
        return -largest, 0
    return low, rank


@inline
def choose_shifts(
    pairs, size, spread, variation, sweeps, vectors, reach, shifts, parts, rows, work, turned, factor
):
    """Set D and A (rows of ``parts``, its columns); return their number, the rank.

    ``spread`` and ``variation`` are v and K, ``reach`` holds sums over j of |J_ij|, ``vectors`` the start of
    the climb. ``rows`` (5, size), ``work``, ``turned`` and ``factor`` (size, size) are scratch.
    """
    roots, values, lengths, own, limits = rows[0], rows[1], rows[2], rows[3], rows[4]
    shift, rank = _split_spectrum(
        pairs, size, spread, variation, roots, work, values, lengths, turned, parts
    )  # fmt: skip
    # what is left of J; its diagonal, -|a_i|^2, is kept apart
    most, trace = 0.0, 0.0
    for i in range(size):
        limits[i] = 0.01
    for i in range(size):
        most = max(most, reach[i])
        for j in range(i + 1):
            total = 0.0
            for k in range(rank):
                total += parts[k, i] * parts[k, j]
            if i == j:
                own[i] = total
                trace += total
                work[i, i] = 0.0
            else:
                left = pairs[i, j] - total
                work[i, j], work[j, i] = left, left
                limits[i] += LARGEST_SHIFT * abs(left)
                limits[j] += LARGEST_SHIFT * abs(left)
    for i in range(size):
        roots[i] = max(spread[i], _LEAST_WEIGHT * variation[i])
    climb_vectors(work, size, roots, sweeps, vectors, lengths)
    by_spectrum, by_climb = 0.0, 0.0
    for i in range(size):
        by_spectrum -= spread[i] * shift / variation[i]
        shifts[i] = lengths[i] / math.sqrt(roots[i])
        by_climb += spread[i] * (1.02 * shifts[i] - own[i])
    excess = _CLIMB_EXCESS
    if not by_climb < by_spectrum:
        excess = _SPECTRUM_EXCESS
        for i in range(size):
            shifts[i] = own[i] - shift / variation[i]
    for _attempt in range(_ATTEMPTS):
        total = 0.0
        for i in range(size):
            more = excess * (abs(shifts[i]) + 0.1 * reach[i] + 1e-3)
            values[i] = min(shifts[i] + more, limits[i])
            total += values[i]
        if _is_positive(work, values, size, factor):
            # A factorisation that ends is that of a matrix nearer than g / (1 - g) trace in the spectral
            # norm, g = (n + 1) 2^-53 / (1 - (n + 1) 2^-53) (Rump 2006, "Verification of positive
            # definiteness", by Higham 2002, theorem 10.3). The sums A A' are off by less than (rank + 1)
            # 2^-53 of their trace, and the differences by 2^-53 of the largest row sum: together less than
            # half of this
            margin = (size + rank + 4.0) * 2.0**-51 * (total + trace + most) + 1e-300
            for i in range(size):
                shifts[i] = (values[i] + margin) - own[i]
            return rank
        excess *= 2.0 if by_climb < by_spectrum else 16.0
    for i in range(size):  # diagonally dominant
        shifts[i] = reach[i] * (1.0 + (size + 2.0) * 2.0**-51) + 1e-300
    return 0
