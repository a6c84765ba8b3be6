"""Bounds of the sum over some bits of exp(<t, z> + z' J z / 2), J with a diagonal of 0.

On bits z_i^2 = z_i. So for shifts D and a factor A such that D + A A' - J is positive semidefinite, and every
tangent point q in [0, 1]^n, with S = D - J and h = t + D / 2,

    <t, z> + z' J z / 2 = <h, z> - z' S z / 2 <= <h - S q, z> + q' S q / 2 + |A' (z - q)|^2 / 2.

Bits are then independent, of logits f = h - S q and probabilities p = sigmoid(f), but for exp(|A' (z - q)|^2
/ 2), the mean over normal noise g of exp(<A g, z - q>). And log(1 + exp(f + e)) <= log(1 + exp f) + p e +
K(f) e^2 / 2, K(f) = tanh(f / 2) / (2 f), for every e (Jaakkola and Jordan 2000, "Bayesian parameter
estimation via variational methods"). So the sum is at most exp of

    U(q) = q' S q / 2 + sum_i log(1 + exp f_i) - log det(B) / 2 + y' B^-1 y / 2,

with B = 1 - A' K A and y = A' (p - q).
Where p = q the slope of the other terms is 0. In the logits l of q, Newton's step there solves (I + S V) dl =
f - l, V = diag(q (1 - q)).
"""

from __future__ import annotations

import math

from fastvi.kernels.cpu.subcubes.coins import sigmoid_of, softplus_of
from fastvi.kernels.jit import inline
from fastvi.kernels.scalar import exp_of_negative

_FARTHEST = 40.0  # largest |logit| of a tangent point
_HALVINGS = 5  # of a step that leads nowhere
_LONGEST = 8.0  # of a step, in the logit that moves most


@inline
def variation_of(logit):
    """Return K = tanh(|l| / 2) / (2 |l|), 1/4 at 0, and at least q (1 - q) whatever rounding did."""
    size = abs(logit)
    if size < 1e-2:
        return 0.25  # less 1/48 of the logit's square
    small = exp_of_negative(-size)
    return (1.0 - small) / ((1.0 + small) * 2.0 * size) * (1.0 + 1e-13)


@inline
def _products(pairs, shifts, size, q, out):
    """Set out = S q; return q' S q."""
    square = 0.0
    for i in range(size):
        row, total = pairs[i], 0.0
        for j in range(size):
            total += row[j] * q[j]
        out[i] = shifts[i] * q[i] - total
        square += q[i] * out[i]
    return square


@inline
def _values(linear, shifts, size, logits, q, product, square, field):
    """Set f = h - S q; return U(q) less its last terms, and what it is where p = q and above elsewhere."""
    upper, value = 0.0, 0.0
    for i in range(size):
        h = linear[i] + 0.5 * shifts[i]
        field[i] = h - product[i]
        upper += softplus_of(field[i])
        value += h * q[i] + (softplus_of(logits[i]) - q[i] * logits[i])
    return upper + 0.5 * square, value - 0.5 * square


@inline
def _newton_step(pairs, shifts, size, q, residual, root, factor, step):
    """Set step = (I + S V)^-1 residual = V^-1/2 (I + V^1/2 S V^1/2)^-1 V^1/2 residual."""
    for i in range(size):
        root[i] = math.sqrt(max(q[i] * (1.0 - q[i]), 1e-18))
    for i in range(size):
        left = factor[i]
        for k in range(i + 1):
            right = factor[k]
            total = 1.0 + shifts[i] * root[i] * root[i] if i == k else -pairs[i, k] * root[i] * root[k]
            for m in range(k):
                total -= left[m] * right[m]
            left[k] = math.sqrt(max(total, 0.05)) if i == k else total / right[k]
    for i in range(size):
        total = residual[i] * root[i]
        for m in range(i):
            total -= factor[i, m] * step[m]
        step[i] = total / factor[i, i]
    for i in range(size - 1, -1, -1):
        value = step[i] / factor[i, i]
        step[i] = value / root[i]
        for m in range(i):
            step[m] -= factor[i, m] * value


@inline
def _noise_term(parts, rank, size, q, field, factor, moved, weights):
    """Return -log det(B) / 2 + y' B^-1 y / 2, or inf where B is not well positive.

    ``factor``, ``moved`` and ``weights`` are scratch.
    """
    # B is made smaller by more than rounding may have made it larger: trace(1 + A' K A) < 2 rank, sums of
    # size terms, and the factorisation's own (rank + 1) 2^-53 of the trace
    less = 8.0 * (rank + size + 8.0) * rank * 2.0**-52
    for i in range(size):
        weights[i] = sigmoid_of(field[i]) - q[i]
    trace = 0.0
    for k in range(rank):
        row, total = parts[k], 0.0
        for i in range(size):
            total += row[i] * weights[i]
            trace += row[i] * row[i]
        moved[k] = total
    for i in range(size):
        weights[i] = variation_of(field[i])
    logarithm = 0.0
    for k in range(rank):
        left = factor[k]
        for m in range(k + 1):
            one, other, total = parts[k], parts[m], 0.0
            for i in range(size):
                total += one[i] * other[i] * weights[i]
            total = 1.0 - total - less if k == m else -total
            right = factor[m]
            for j in range(m):
                total -= left[j] * right[j]
            if k == m:
                if not total > 1e-3:
                    return math.inf
                left[k] = math.sqrt(total)
                logarithm += math.log(total)
            else:
                left[m] = total / right[m]
    square = 0.0
    for k in range(rank):
        total = moved[k]
        for m in range(k):
            total -= factor[k, m] * moved[m]
        moved[k] = total / factor[k, k]
        square += moved[k] * moved[k]
    # y is off by d, |d|^2 below (n + 4)^2 n 2^-106 trace(A A'); (y + d)' B^-1 (y + d) <= (1 + w) y' B^-1 y +
    # (1 + 1 / w) d' B^-1 d for every w; and no eigenvalue of B exceeds 1, so that the least is at least the
    # determinant
    off = (size + 4.0) * (size + 4.0) * size * 2.0**-104 * trace * math.exp(-logarithm)
    return 0.5 * (square * (1.0 + 1e-9) + 1.1e9 * off - logarithm)


@inline
def tangent_bound(pairs, shifts, parts, rank, linear, size, most_steps, close, logits, rows, factor):
    """Return U at the tangent point that Newton's steps from ``logits`` find, and leave its logits there.

    They end where p is as near to q as costs ``close`` nats. ``rows`` (6, size) is scratch.
    """
    q, product, field, step, root, new = rows[0], rows[1], rows[2], rows[3], rows[4], rows[5]
    for i in range(size):
        step[i] = 0.0
    upper, value, gap, scale = 0.0, -math.inf, math.inf, 0.0
    steps, halvings, last = 0, 0, False
    while True:  # one place that values are found at: compiled once
        for i in range(size):
            new[i] = min(max(logits[i] + scale * step[i], -_FARTHEST), _FARTHEST)
            q[i] = sigmoid_of(new[i])
        square = _products(pairs, shifts, size, q, product)
        upper, trial = _values(linear, shifts, size, new, q, product, square, field)
        if last:
            break
        if steps == 0 or trial > value or upper - trial < gap:
            value, gap, halvings = trial, upper - trial, 0
            for i in range(size):
                logits[i] = new[i]
            if not gap > close or steps >= most_steps:
                break
            steps += 1
            for i in range(size):
                field[i] -= logits[i]
            _newton_step(pairs, shifts, size, q, field, root, factor, step)
            longest = 0.0
            for i in range(size):
                longest = max(longest, abs(step[i]))
            scale = min(1.0, _LONGEST / max(longest, 1e-300))
            last = not longest < math.inf
        else:
            scale *= 0.5
            halvings += 1
            last = halvings > _HALVINGS
        if last:  # back to the best point
            scale = 0.0
            for i in range(size):
                step[i] = 0.0
    if rank > 0:
        upper += _noise_term(parts, rank, size, q, field, factor, new, step)
    return upper
