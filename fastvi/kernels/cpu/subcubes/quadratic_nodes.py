"""Subcubes of models log p(x, z) = c + <t, z> + z' J z / 2: the bit to split, and both halves' bounds.

A subcube fixes some bits; these fold into c and t, and what is left is a sum over the free bits. Couplings of
-inf exclude that both bits are 1: a bit that is 1 switches those that it excludes off, and between free bits
they are left out, which makes the bound larger. The same is done where a coupling is so negative beside what
its bits gain that nearly all that it does is to exclude.
"""

from __future__ import annotations

import math

import numpy as np

from fastvi.kernels.cpu.subcubes.quadratic_bounds import tangent_bound, variation_of
from fastvi.kernels.cpu.subcubes.quadratic_shifts import RANK, choose_shifts, climb_vectors
from fastvi.kernels.jit import inline, kernel, reducing_kernel
from fastvi.kernels.scalar import exp_of_negative, log_fast

FREE = -1
_LOW = -40.0  # logit of a bit that cannot be 1
_SWEEPS = 6  # of the vectors
_STEPS, _CLOSE = 6, 0.02  # of Newton, and nats from the best tangent
_ROOT_ROUNDS, _ROOT_SWEEPS, _ROOT_STEPS, _ROOT_CLOSE = 5, 20, 40, 1e-7
_EXCLUDES = -8.0  # a coupling that may be left out
_MEAN_FIELD_SWEEPS, _MEAN_FIELD_CLOSE = 200, 1e-9


@inline
def fold_fixed(couplings, linear, constant, state, fields):
    """Set fields = t + sum of the couplings to bits that are 1; return what the fixed bits add up to, with c.

    -inf where two of them exclude each other.
    """
    size = state.size
    for i in range(size):
        fields[i] = linear[i]
    total = constant
    for j in range(size):
        if state[j] == 1:
            total += fields[j]  # its own term, and its couplings to those before it
            row = couplings[j]
            for i in range(size):
                fields[i] += row[i]
    return total


@inline
def _gather(couplings, fields, free, size, pairs, linear, gains, reach):
    """Set J and t of some bits, less the couplings that are left out, and sums of |J_ij|.

    ``gains`` becomes the most that a bit may add.
    """
    for i in range(size):
        linear[i] = fields[free[i]]
        row, total = couplings[free[i]], linear[i]
        for j in range(size):
            total += max(row[free[j]], 0.0)
        gains[i] = total
    for i in range(size):
        row, out, total = couplings[free[i]], pairs[i], 0.0
        for j in range(size):
            value = row[free[j]]
            if value < _EXCLUDES and (
                value == -math.inf or max(0.0, min(gains[i], gains[j])) < -0.125 * value
            ):
                value = 0.0
            out[j] = value
            total += abs(value)
        reach[i] = total


@inline
def _spread(logits, size, spread, variation):
    """Set v = q (1 - q) and K."""
    for i in range(size):
        small = exp_of_negative(-abs(logits[i]))
        spread[i] = small / ((1.0 + small) * (1.0 + small))
        variation[i] = variation_of(logits[i])


@inline
def _bound(pairs, shifts, parts, rank, linear, size, most_steps, close, logits, rows, factor):
    """Return ``tangent_bound``'s, and where that is infinite one with shifts in the place of A."""
    columns = rank
    while True:
        found = tangent_bound(
            pairs, shifts, parts, columns, linear, size, most_steps, close, logits, rows, factor
        )
        if found < math.inf or columns == 0:
            return found
        total, lengths = 0.0, rows[0]
        for i in range(size):
            square = 0.0
            for k in range(rank):
                square += parts[k, i] * parts[k, i]
            lengths[i] = math.sqrt(square)
            total += lengths[i]
        for i in range(size):  # sum over j of |(A A')_ij| <= |a_i| sum_j |a_j|
            shifts[i] += lengths[i] * total * (1.0 + 1e-12)
        columns = 0


@inline
def _start_vectors(directions, free, size, spread, vectors):
    for i in range(size):
        root = math.sqrt(max(spread[i], 1e-4))
        for r in range(RANK):
            vectors[i, r] = root * directions[free[i], r]


@inline
def _bit_to_split(couplings, pairs, free, size, spread, logits):
    """Choose the bit that moves the others most, or whose exclusions are left out."""
    best, most = 0, -1.0
    for i in range(size):
        row, total = pairs[i], 1e-3
        for j in range(size):
            total += row[j] * row[j] * spread[j]
        row = couplings[free[i]]
        for j in range(size):
            if row[free[j]] == -math.inf:
                total += 8.0 * (spread[j] if logits[j] < 0.0 else 1.0)
        score = spread[i] * total
        if score > most:
            best, most = i, score
    return best


@reducing_kernel
def bound_pairs(
    couplings, directions, linear, constant, members, states, logits, rounds, sweeps, most_steps, close, bits,
    upper, found_logits,
):  # fmt: skip
    """Bound the halves of subcubes (n, d) of ``states``, or these themselves where ``upper`` has one column.

    Writes ``bits`` (n,), which bit is split, ``upper`` (n, 2) and ``found_logits`` (n, 2, d). Where subcubes
    are bounded themselves, the best of ``rounds`` tangent points counts.
    """
    num_latents = couplings.shape[0]
    fields, indices = np.empty(num_latents), np.empty((3, num_latents), np.int64)
    free, own_free, source = indices[0], indices[1], indices[2]
    matrices, vectors = np.empty((5, num_latents, num_latents)), np.empty((num_latents, RANK))
    pairs, parts, factor = matrices[0], matrices[1], matrices[2]
    rows, scratch = np.empty((8, num_latents)), np.empty((6, num_latents))
    spread, variation, reach, shifts = rows[0], rows[1], rows[2], rows[3]
    own_linear, some, target, kept = rows[4], rows[5], rows[6], rows[7]
    num_values = upper.shape[1]
    for n in range(states.shape[0]):
        m, state = members[n], states[n]
        total = fold_fixed(couplings, linear[m], constant[m], state, fields)
        size, bit = 0, -1
        for i in range(num_latents):
            if state[i] == FREE:
                if bit < 0:
                    bit = i
                if fields[i] > -math.inf:
                    free[size] = i
                    some[size] = logits[n, i]
                    size += 1
        if num_values == 2 and size > 0:
            _spread(some, size, spread, variation)
            _gather(couplings, fields, free, size, pairs, own_linear, target, reach)
            k = _bit_to_split(couplings, pairs, free, size, spread, some)
            bit = free[k]
            size -= 1
            for i in range(k, size):  # without it
                free[i], some[i] = free[i + 1], some[i + 1]
        bits[n] = bit
        for value in range(num_values):
            upper[n, value] = math.inf
            for i in range(num_latents):
                found_logits[n, value, i] = 0.0
        for step in range(rounds):
            # the mean of all rounds: shifts that answer the last one alone swing
            _spread(some, size, own_linear, target)
            for i in range(size):
                new = 1.0 / (step + 1.0)
                spread[i] = own_linear[i] if step == 0 else spread[i] + new * (own_linear[i] - spread[i])
                variation[i] = target[i] if step == 0 else variation[i] + new * (target[i] - variation[i])
            _gather(couplings, fields, free, size, pairs, own_linear, target, reach)
            if step == 0:
                _start_vectors(directions, free, size, spread, vectors)
            rank = choose_shifts(
                pairs, size, spread, variation, sweeps, vectors, reach, kept, parts, scratch, matrices[3],
                matrices[4], factor,
            )  # fmt: skip
            for value in range(num_values):
                base, own_size = total, 0
                if value == 1:
                    base += fields[bit]
                for k in range(size):
                    i = free[k]
                    field = fields[i] + couplings[bit, i] if value == 1 else fields[i]
                    if field > -math.inf:
                        source[own_size] = k
                        own_free[own_size] = i
                        own_linear[own_size] = field
                        target[own_size] = some[k]
                        shifts[own_size] = kept[k]
                        own_size += 1
                if own_size < size:  # of the last value only: in place, couplings as they were certified
                    for k in range(own_size):
                        row, own_row = pairs[source[k]], pairs[k]
                        for j in range(own_size):
                            own_row[j] = row[source[j]]
                    for r in range(rank):
                        for k in range(own_size):
                            parts[r, k] = parts[r, source[k]]
                found = base
                if base > -math.inf and own_size > 0:
                    found += _bound(
                        pairs, shifts, parts, rank, own_linear, own_size, most_steps, close, target, scratch,
                        factor,
                    )  # fmt: skip
                if found < upper[n, value]:  # which nan is not
                    upper[n, value] = found
                    out = found_logits[n, value]
                    for i in range(num_latents):
                        out[i] = 0.0 if (num_values == 2 and i == bit) or state[i] != FREE else _LOW
                    for k in range(own_size):
                        out[own_free[k]] = target[k]
                if num_values == 1:
                    for k in range(own_size):
                        some[k] = target[k]


@kernel
def factorised_bounds(couplings, linear, constant, logits, lower):
    """Set ELBOs (N,) of factorised q that coordinate ascent finds from tangent points (N, d)."""
    rows = np.empty((1, couplings.shape[0]))
    for n in range(linear.shape[0]):
        lower[n] = constant[n] + _factorised_bound(couplings, linear[n], logits[n], rows)


@inline
def _unit_field(couplings, linear, q, i):
    """Return t_i + sum_j J_ij q_j, without the terms of bits that are 0."""
    total = linear[i]
    for j in range(q.size):
        if q[j] > 0.0:
            total += couplings[i, j] * q[j]
    return total


@inline
def _factorised_bound(couplings, linear, logits, rows):
    """Return the ELBO that coordinate ascent of a factorised q finds, from tangent points.

    Bits start at 0 where they exclude another one, so that q gives no state of probability 0 any mass.
    """
    size, q = linear.size, rows[0]
    for i in range(size):
        q[i] = 0.0
        excludes = linear[i] == -math.inf
        for j in range(size):
            excludes = excludes or couplings[i, j] == -math.inf
        if not excludes:
            small = exp_of_negative(-abs(logits[i]))
            q[i] = (1.0 if logits[i] >= 0.0 else small) / (1.0 + small)
    value = -math.inf
    for _ in range(_MEAN_FIELD_SWEEPS):
        before, value = value, 0.0
        for i in range(size):
            field = _unit_field(couplings, linear, q, i)
            small = exp_of_negative(-abs(field))
            q[i] = (1.0 if field >= 0.0 else small) / (1.0 + small)
            if small == 0.0 and field < 0.0:
                q[i] = 0.0
        for i in range(size):
            if q[i] > 0.0:
                field = _unit_field(couplings, linear, q, i)
                value += q[i] * 0.5 * (field + linear[i])
                value -= q[i] * log_fast(q[i])
                if q[i] < 1.0:
                    value -= (1.0 - q[i]) * math.log1p(-q[i])
        if value - before <= _MEAN_FIELD_CLOSE:
            break
    return value


@kernel
def start_directions(couplings, sweeps, directions):
    """Set unit vectors (d, RANK) near the largest <J, X>, X_ii = 1."""
    size = couplings.shape[0]
    pairs, lengths, ones = np.empty((size, size)), np.empty(size), np.ones(size)
    for i in range(size):
        for j in range(size):
            pairs[i, j] = couplings[i, j] if couplings[i, j] > -math.inf else 0.0
    climb_vectors(pairs, size, ones, sweeps, directions, lengths)
