"""Subcubes of log w(h) = <t, h> + sum_j log(1 + exp(b_j + W_j h)): a restricted machine's hidden units.

For every r, log(1 + exp(e + r)) <= log(1 + exp e) + s r + K(e) r^2 / 2, with s = sigmoid(e) and K(e) = tanh(e
/ 2) / (2 e) (Jaakkola and Jordan 2000). With e = b + W q and r = W (h - q) the exponent is at most quadratic
in h, J = W' K W, and ``quadratic_nodes.py`` bounds that.
"""

from __future__ import annotations

import math

import numpy as np

from fastvi.kernels.cpu.subcubes.quadratic_bounds import variation_of
from fastvi.kernels.cpu.subcubes.quadratic_nodes import FREE
from fastvi.kernels.jit import reducing_kernel
from fastvi.kernels.scalar import exp_of_negative, log_add_exp

_FACTORS = 512  # factors of at most 2 of a running product before its logarithm is taken


@reducing_kernel
def tangent_quadratic(rows, bias, linear, constant, state, logits, pairs, terms):
    """Set J (f, f) and t (f,) of the quadratic that touches where the free bits have ``logits``; return c.

    ``rows`` is W transposed, (f, D).
    """
    size, num_pixels = rows.shape
    q, e, bent = np.empty(size), np.empty(num_pixels), np.empty(num_pixels)
    for j in range(num_pixels):
        e[j] = bias[j]
    for i in range(size):
        small = exp_of_negative(-abs(logits[i]))
        q[i] = (1.0 if logits[i] >= 0.0 else small) / (1.0 + small)
        if state[i] != FREE:
            q[i] = float(state[i])
        if q[i] > 0.0:
            row = rows[i]
            for j in range(num_pixels):
                e[j] += q[i] * row[j]
    total = constant
    for j in range(num_pixels):
        bent[j] = variation_of(e[j])
    for first in range(0, num_pixels, _FACTORS):
        product = 1.0
        for j in range(first, min(first + _FACTORS, num_pixels)):
            small = exp_of_negative(-abs(e[j]))
            product *= 1.0 + small
            slope = (1.0 if e[j] >= 0.0 else small) / (1.0 + small)
            total += max(e[j], 0.0) - slope * (e[j] - bias[j])
            e[j] = slope
        total += math.log(product)
    for i in range(size):
        row, sloped = rows[i], 0.0
        for j in range(num_pixels):
            sloped += row[j] * e[j]
        terms[i] = linear[i] + sloped
    for i in range(size):
        row = rows[i]
        for j in range(num_pixels):
            e[j] = row[j] * bent[j]
        for k in range(i + 1):
            other, value = rows[k], 0.0
            for j in range(num_pixels):
                value += e[j] * other[j]
            pairs[i, k], pairs[k, i] = value, value
    for i in range(size):
        row, value = pairs[i], 0.0
        for k in range(size):
            value += row[k] * q[k]
        total += 0.5 * q[i] * value
        terms[i] += 0.5 * row[i] - value
    for i in range(size):
        pairs[i, i] = 0.0
    return total


@reducing_kernel
def sum_machine_leaves(rows, bias, linear, constant, members, states, out):
    """Set out (n,) to the log sums over the free bits of subcubes (n, f) of ``states``."""
    size, num_pixels = rows.shape
    e, free, values = np.empty(num_pixels), np.empty(size, np.int64), np.empty(size, np.int8)
    for n in range(states.shape[0]):
        m, state, num_free = members[n], states[n], 0
        for i in range(size):
            values[i] = max(state[i], 0)
            if state[i] == FREE:
                free[num_free] = i
                num_free += 1
        found = -math.inf
        for step in range(1 << num_free):
            if step > 0:  # the next state by the change of one bit
                k = 0
                while (step >> k) & 1 == 0:
                    k += 1
                values[free[k]] = 1 - values[free[k]]
            if step % 32 == 0:  # anew, so that rounding does not add up
                for j in range(num_pixels):
                    e[j] = bias[j]
                for i in range(size):
                    if values[i] == 1:
                        row = rows[i]
                        for j in range(num_pixels):
                            e[j] += row[j]
            else:
                row, sign = rows[free[k]], 1.0 if values[free[k]] == 1 else -1.0
                for j in range(num_pixels):
                    e[j] += sign * row[j]
            total = constant[m]
            for i in range(size):
                if values[i] == 1:
                    total += linear[m, i]
            for first in range(0, num_pixels, _FACTORS):
                product, above = 1.0, 0.0
                for j in range(first, min(first + _FACTORS, num_pixels)):
                    product *= 1.0 + exp_of_negative(-abs(e[j]))
                    above += max(e[j], 0.0)
                total += above + math.log(product)
            found = log_add_exp(found, total)
        out[n] = found


@reducing_kernel
def factorised_machine_bounds(rows, bias, linear, constant, logits, lower):
    """Set lower bounds (N,) of the log sums over all bits, by factorised q of means q.

    log(1 + exp) is convex: its mean is at least its value at the mean, so that the ELBO is at least <t, q> +
    sum_j log(1 + exp(b + W q)_j) + H(q). Coordinate by coordinate q moves to where the slope of that is 0.
    """
    size, num_pixels = rows.shape
    q, e = np.empty(size), np.empty(num_pixels)
    for n in range(linear.shape[0]):
        for j in range(num_pixels):
            e[j] = bias[j]
        for i in range(size):
            small = exp_of_negative(-abs(logits[n, i]))
            q[i] = (1.0 if logits[n, i] >= 0.0 else small) / (1.0 + small)
            for j in range(num_pixels):
                e[j] += q[i] * rows[i, j]
        best = -math.inf
        for _ in range(30):
            total = constant[n]
            for j in range(num_pixels):
                total += max(e[j], 0.0) + math.log1p(exp_of_negative(-abs(e[j])))
            for i in range(size):
                total += q[i] * linear[n, i]
                if 0.0 < q[i] < 1.0:
                    total -= q[i] * math.log(q[i]) + (1.0 - q[i]) * math.log1p(-q[i])
            if not total > best + 1e-9:
                best = max(best, total)
                break
            best = total
            for i in range(size):
                slope = linear[n, i]
                for j in range(num_pixels):
                    small = exp_of_negative(-abs(e[j]))
                    slope += rows[i, j] * (1.0 if e[j] >= 0.0 else small) / (1.0 + small)
                small = exp_of_negative(-abs(slope))
                change = (1.0 if slope >= 0.0 else small) / (1.0 + small) - q[i]
                q[i] += change
                for j in range(num_pixels):
                    e[j] += change * rows[i, j]
        lower[n] = best
