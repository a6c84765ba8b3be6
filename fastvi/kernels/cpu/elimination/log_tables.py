"""Elimination in log space, entry by entry: right for every field and coupling, -inf too.

The table of a bucket has a number for each state s of its scope, bit b of s for unit b of the scope:

    m[s] = log( exp(t0[s]) + exp(t1[s]) ),    t1 = field + <couplings, s> + tables of children, unit on,

t0 the tables of its children where the unit is off. A child's scope is part of that of its parent with the
parent's unit, which is its last bit. All tables are finite: the state of all units off has the logarithm 0.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fastvi.kernels.cpu.elimination.entries import child_entry
from fastvi.kernels.cpu.simd.logarithms import log1p_fast
from fastvi.kernels.jit import inline, kernel
from fastvi.kernels.philox import WORD, philox
from fastvi.kernels.scalar import exp_of_negative

_BLOCK_BITS = 8  # entries whose places in children's tables are looked up, not computed
_BLOCK = 1 << _BLOCK_BITS


class Forest(NamedTuple):
    """Buckets as arrays: K of them, S units in all scopes."""

    unit: np.ndarray  # (K,) int64
    begin: np.ndarray  # (K + 1,) where the scope of each one begins
    scope: np.ndarray  # (S,) its units, bit 0 first
    place: np.ndarray  # (S,) the bit of each in the parent's scope; the parent's unit is the last
    coupling: np.ndarray  # (S,) float64 of the bucket's unit with each of them
    first_child: np.ndarray  # (K + 1,)
    child: np.ndarray  # buckets whose tables each one takes
    start: np.ndarray  # (K,) where each one's table begins


@inline
def _size(forest, bucket):
    """Return the number of entries of a table."""
    return 1 << (forest.begin[bucket + 1] - forest.begin[bucket])


@inline
def _linear(forest, bucket, state):
    """Return <couplings, state>; -inf * 0 is 0."""
    total, begin = 0.0, forest.begin[bucket]
    for bit in range(forest.begin[bucket + 1] - begin):
        if (state >> bit) & 1:
            total += forest.coupling[begin + bit]
    return total


@inline
def _terms(forest, fields, bucket, state, tables):
    """Return t0 and t1 of a state of a bucket's scope."""
    off, on = 0.0, fields[forest.unit[bucket]] + _linear(forest, bucket, state)
    for k in range(forest.first_child[bucket], forest.first_child[bucket + 1]):
        child = forest.child[k]
        at = forest.start[child] + child_entry(forest, child, state)
        off += tables[at]
        on += tables[at + _size(forest, child) // 2]
    return off, on


@inline
def _fill_entries(forest, bucket, linear, entries):
    """Set what the states of a block have in common with those of all others: couplings and entries."""
    count = min(_size(forest, bucket), _BLOCK)
    for i in range(count):
        linear[i] = _linear(forest, bucket, i)
    first = forest.first_child[bucket]
    for k in range(first, forest.first_child[bucket + 1]):
        for i in range(count):
            entries[k - first, i] = child_entry(forest, forest.child[k], i)


@inline
def _fill_terms(forest, fields, bucket, block, linear, entries, tables, off, on):
    """Set t0 and t1 of the states of a block; return their number."""
    count = min(_size(forest, bucket) - block, _BLOCK)
    above = fields[forest.unit[bucket]] + _linear(forest, bucket, block)
    for i in range(count):
        off[i], on[i] = 0.0, above + linear[i]
    first = forest.first_child[bucket]
    for k in range(first, forest.first_child[bucket + 1]):
        child = forest.child[k]
        at = forest.start[child] + child_entry(forest, child, block)
        half = _size(forest, child) // 2
        for i in range(count):
            off[i] += tables[at + entries[k - first, i]]
            on[i] += tables[at + half + entries[k - first, i]]
    return count


@inline
def _most_children(forest):
    """Return the largest number of children."""
    most = 1
    for bucket in range(forest.unit.size):
        most = max(most, forest.first_child[bucket + 1] - forest.first_child[bucket])
    return most


@kernel
def fill_log_tables(forest, fields, first, last, low, high, largest, tables):
    """Fill the tables of buckets ``first`` .. ``last`` - 1, entries ``low`` .. ``high`` - 1 of each.

    ``low`` is a multiple of the block. With ``largest`` the larger term is taken for the sum.
    """
    linear, off, on = np.empty(_BLOCK), np.empty(_BLOCK), np.empty(_BLOCK)
    entries = np.empty((_most_children(forest), _BLOCK), np.int64)
    for bucket in range(first, last):
        _fill_entries(forest, bucket, linear, entries)
        for block in range(low, min(high, _size(forest, bucket)), _BLOCK):
            count = _fill_terms(forest, fields, bucket, block, linear, entries, tables, off, on)
            out = forest.start[bucket] + block
            if largest:
                for i in range(count):
                    tables[out + i] = max(off[i], on[i])
            else:
                for i in range(count):
                    larger = off[i] if off[i] > on[i] else on[i]  # finite: that of all units off is
                    smaller = on[i] if off[i] > on[i] else off[i]
                    tables[out + i] = larger + log1p_fast(exp_of_negative(smaller - larger))


@kernel
def add_log_moments(forest, fields, tables, marginals, means, pairs):
    """Set ``means`` (units) and ``pairs`` (S,) to the first and second moments; return the entropy.

    pairs[i] is E[z_u z_v] of a bucket's unit u and the unit v that scope[i] names, where they are coupled.
    ``marginals`` is scratch of the size of ``tables``: the probability of each state of a scope, from the
    roots down.
    """
    linear, off, on = np.empty(_BLOCK), np.empty(_BLOCK), np.empty(_BLOCK)
    entries = np.empty((_most_children(forest), _BLOCK), np.int64)
    entropy = 0.0
    for i in range(marginals.size):
        marginals[i] = 0.0
    for i in range(pairs.size):
        pairs[i] = 0.0
    for bucket in range(forest.unit.size - 1, -1, -1):
        start, begin = forest.start[bucket], forest.begin[bucket]
        size, num_bits = _size(forest, bucket), forest.begin[bucket + 1] - begin
        if num_bits == 0:
            marginals[start] = 1.0
        mean, first = 0.0, forest.first_child[bucket]
        _fill_entries(forest, bucket, linear, entries)
        for block in range(0, size, _BLOCK):
            count = _fill_terms(forest, fields, bucket, block, linear, entries, tables, off, on)
            for i in range(
                count
            ):  # the states' own shares of the sum, and their masses with the unit off, on
                whole, mass = tables[start + block + i], marginals[start + block + i]
                difference = off[i] - whole, on[i] - whole
                share = exp_of_negative(min(difference[0], 0.0)), exp_of_negative(min(difference[1], 0.0))
                off[i], on[i] = mass * share[0], mass * share[1]
                # of what has no share 0 is left, not 0 * -inf
                entropy -= off[i] * difference[0] if share[0] > 0.0 else 0.0
                entropy -= on[i] * difference[1] if share[1] > 0.0 else 0.0
                mean += on[i]
            for bit in range(num_bits):
                if forest.coupling[begin + bit] != 0.0:
                    for i in range(count):
                        if ((block + i) >> bit) & 1:
                            pairs[begin + bit] += on[i]
            for k in range(first, forest.first_child[bucket + 1]):
                child = forest.child[k]
                at = forest.start[child] + child_entry(forest, child, block)
                half = _size(forest, child) // 2
                for i in range(count):
                    marginals[at + entries[k - first, i]] += off[i]
                    marginals[at + half + entries[k - first, i]] += on[i]
        means[forest.unit[bucket]] = mean
    return max(entropy, 0.0)


@inline
def _scope_state(forest, bucket, states):
    """Return the state of a bucket's scope, of states of units."""
    state, begin = 0, forest.begin[bucket]
    for bit in range(forest.begin[bucket + 1] - begin):
        state |= int(states[forest.scope[begin + bit]]) << bit
    return state


@kernel
def log_table_mode(forest, fields, tables, states):
    """Set ``states`` (units) to the most probable state, of tables that hold the largest terms.

    A unit is on where that is larger: of equal states it is off, units in the order reversed.
    """
    for bucket in range(forest.unit.size - 1, -1, -1):
        off, on = _terms(forest, fields, bucket, _scope_state(forest, bucket, states), tables)
        states[forest.unit[bucket]] = 1 if on > off else 0


@kernel
def log_table_draws(forest, fields, tables, key_low, key_high, datum, first_sample, out):
    """Draw states (num, units) exactly, each unit given those of its scope, from the roots down.

    Sample k, unit i takes words 2 (i % 2) and the next of block i // 2 of the generator.
    """
    for k in range(out.shape[0]):
        sample, states = first_sample + k, out[k]
        for bucket in range(forest.unit.size - 1, -1, -1):
            unit = forest.unit[bucket]
            off, on = _terms(forest, fields, bucket, _scope_state(forest, bucket, states), tables)
            w0, w1, w2, w3 = philox(unit >> 1, sample & WORD, sample >> 32, datum, key_low, key_high)
            if unit & 1:
                w0, w1 = w2, w3
            uniform = ((w0 << 21) | (w1 >> 11)) * (1.0 / 9007199254740992.0)
            difference = on - off
            small = math.exp(-abs(difference))
            # the smaller of the two probabilities has all its digits
            if difference <= 0.0:
                states[unit] = 1 if uniform < small / (1.0 + small) else 0
            else:
                states[unit] = 0 if uniform < small / (1.0 + small) else 1
