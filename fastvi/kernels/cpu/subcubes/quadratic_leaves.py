"""Exact sums over the free bits of subcubes of models log p(x, z) = c + <t, z> + z' J z / 2.

With the free bits in three groups, z = (a, b, c), every pair touches at most two of them (Williams 2005):

    sum over z = sum_{a, b} M1[a, b] sum_c M2[b, c] M3[a, c],

a matrix product: one multiply-add a state, and exponentials of the square root or so of the number of states.
Rows of M2 and M3 are measured in their largest entry, and the whole in the largest term. What the products
may have lost below the range is bounded; where that is not nothing beside the sum, it is made again in log
space.
"""

from __future__ import annotations

import math

import numpy as np

from fastvi.kernels.cpu.subcubes.quadratic_nodes import FREE, fold_fixed
from fastvi.kernels.jit import inline, reducing_kernel
from fastvi.kernels.scalar import exp_of_negative

_LOST = 4e-308  # what an exponential below the range, or a product of two, loses at most
_NEGLIGIBLE = 1e-17


@inline
def _linear_table(fields, bits, size, out):
    """Set out[s] to the sum of the fields of the bits of s; no bit adds where it is 0."""
    out[0] = 0.0
    for k in range(size):
        field, half = fields[bits[k]], 1 << k
        for s in range(half):
            out[half + s] = out[s] + field


@inline
def _cross_fields(couplings, state, rows, num_rows, columns, num_columns, start, out):
    """Set out = start + couplings of the row bits of ``state`` to the column bits."""
    for c in range(num_columns):
        total = start[columns[c]]
        for r in range(num_rows):
            if (state >> r) & 1:
                total += couplings[rows[r], columns[c]]
        out[columns[c]] = total


@inline
def _inner_table(couplings, fields, bits, size, out):
    """Set out[s] to the sum of the fields of the bits of s and of the couplings between them."""
    out[0] = 0.0
    for k in range(size):
        half = 1 << k
        out[half] = fields[bits[k]]
        # out[half + s] = out[s] + field + sum of couplings from bit k to the bits of s
        for m in range(k):
            quarter, pair = 1 << m, couplings[bits[k], bits[m]]
            for s in range(quarter):
                out[half + quarter + s] = out[half + s] + pair
        for s in range(1, half):
            out[half + s] += out[s]


@inline
def _to_weights(row, size):
    """Replace logarithms by weights in units of the largest; return that, in nats."""
    largest = row[0]
    for s in range(1, size):
        largest = max(largest, row[s])
    if largest == -math.inf:
        for s in range(size):
            row[s] = 0.0
        return largest
    for s in range(size):
        row[s] = exp_of_negative(row[s] - largest)
    return largest


@inline
def _products(left, right, num_left, num_right, size, out):
    """Set out[a, b] = sum_c left[a, c] right[c, b]."""
    for a in range(num_left):
        row = out[a]
        for b in range(num_right):
            row[b] = 0.0
        if size >= 4:
            for c in range(0, size, 4):
                w0, w1, w2, w3 = left[a, c], left[a, c + 1], left[a, c + 2], left[a, c + 3]
                r0, r1, r2, r3 = right[c], right[c + 1], right[c + 2], right[c + 3]
                for b in range(num_right):
                    row[b] += (w0 * r0[b] + w1 * r1[b]) + (w2 * r2[b] + w3 * r3[b])
        else:
            for c in range(size):
                w0, r0 = left[a, c], right[c]
                for b in range(num_right):
                    row[b] += w0 * r0[b]


@inline
def _log_space_sum(first, second, third, num_a, num_b, num_c):
    """Return log sum exp(first[a, b] + second[b, c] + third[a, c])."""
    largest = -math.inf
    for a in range(num_a):
        for b in range(num_b):
            if first[a, b] > -math.inf:
                for c in range(num_c):
                    largest = max(largest, first[a, b] + (second[b, c] + third[a, c]))
    if largest == -math.inf:
        return largest
    total = 0.0
    for a in range(num_a):
        for b in range(num_b):
            if first[a, b] > -math.inf:
                part = 0.0
                for c in range(num_c):
                    part += exp_of_negative(first[a, b] + (second[b, c] + third[a, c]) - largest)
                total += part
    return largest + math.log(total)


@reducing_kernel
def leaf_sums(couplings, linear, constant, members, states, out):
    """Set out (n,) to the log sums over the free bits of subcubes (n, d) of ``states``."""
    num_latents, most_free = couplings.shape[0], 0
    for n in range(states.shape[0]):
        number = 0
        for i in range(num_latents):
            number += int(states[n, i] == FREE)
        most_free = max(most_free, number)
    width = 1 << -(-most_free // 3)
    fields, cross, zeros = np.empty(num_latents), np.empty(num_latents), np.zeros(num_latents)
    groups, sizes = np.empty((3, num_latents), np.int64), np.empty(3, np.int64)
    first, second, third = np.empty((width, width)), np.empty((width, width)), np.empty((width, width))
    turned, weights, product = (
        np.empty((width, width)),
        np.empty((width, width)),
        np.empty((width, width)),
    )
    own_a, own_b, own_c = np.empty(width), np.empty(width), np.empty(width)
    row_scale, column_scale = np.empty(width), np.empty(width)
    for n in range(states.shape[0]):
        m, state = members[n], states[n]
        total = fold_fixed(couplings, linear[m], constant[m], state, fields)
        sizes[:] = 0
        number = 0
        for i in range(num_latents):
            if state[i] == FREE and fields[i] > -math.inf:
                group = number % 3
                groups[group, sizes[group]] = i
                sizes[group] += 1
                number += 1
        if total == -math.inf or number == 0:
            out[n] = total
            continue
        a_bits, b_bits, c_bits = groups[0], groups[1], groups[2]
        num_a, num_b, num_c = 1 << sizes[0], 1 << sizes[1], 1 << sizes[2]
        _inner_table(couplings, fields, a_bits, sizes[0], own_a)
        _inner_table(couplings, fields, b_bits, sizes[1], own_b)
        _inner_table(couplings, fields, c_bits, sizes[2], own_c)
        for a in range(num_a):
            _cross_fields(couplings, a, a_bits, sizes[0], b_bits, sizes[1], zeros, cross)
            _linear_table(cross, b_bits, sizes[1], first[a])
            for b in range(num_b):
                first[a, b] += own_a[a]
            _cross_fields(couplings, a, a_bits, sizes[0], c_bits, sizes[2], zeros, cross)
            _linear_table(cross, c_bits, sizes[2], third[a])
            for c in range(num_c):
                third[a, c] += own_c[c]
                weights[a, c] = third[a, c]
            row_scale[a] = _to_weights(weights[a], num_c)
        for b in range(num_b):
            _cross_fields(couplings, b, b_bits, sizes[1], c_bits, sizes[2], zeros, cross)
            _linear_table(cross, c_bits, sizes[2], second[b])
            row = product[0]  # free until the products
            for c in range(num_c):
                row[c] = second[b, c]
            column_scale[b] = _to_weights(row, num_c)
            for c in range(num_c):
                turned[c, b] = row[c]
            for c in range(num_c):
                second[b, c] += own_b[b]
            column_scale[b] += own_b[b]
        _products(weights, turned, num_a, num_b, num_c, product)
        largest = -math.inf
        for a in range(num_a):
            for b in range(num_b):
                largest = max(largest, first[a, b] + (row_scale[a] + column_scale[b]))
        if largest == -math.inf:
            out[n] = largest
            continue
        found, lost = 0.0, 0.0
        for a in range(num_a):
            for b in range(num_b):
                # in units of the largest, so that no more than 4e-308 is lost here for each product <= num_c
                weight = exp_of_negative(first[a, b] + (row_scale[a] + column_scale[b]) - largest)
                found += weight * product[a, b]
                lost += weight
        lost = (lost + num_a * num_b) * num_c * _LOST
        if lost <= _NEGLIGIBLE * found:
            out[n] = total + (largest + math.log(found))
        else:
            out[n] = total + _log_space_sum(first, second, third, num_a, num_b, num_c)
