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

from fastvi.kernels.jit import inline, kernel
from fastvi.kernels.philox import WORD, philox
from fastvi.kernels.scalar import log_add_exp

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
    start: np.ndarray  # (K + 1,) where each one's table begins


@inline
def child_entry(forest, child, state):
    """Return the entry of a child's table, its last bit 0, that belongs to a state of the parent's scope."""
    entry, begin = 0, forest.begin[child]
    for bit in range(forest.begin[child + 1] - begin - 1):
        entry |= ((state >> forest.place[begin + bit]) & 1) << bit
    return entry


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
        size = forest.start[child + 1] - forest.start[child]
        at = forest.start[child] + child_entry(forest, child, state)
        off += tables[at]
        on += tables[at + size // 2]
    return off, on


@kernel
def fill_log_tables(forest, fields, first, last, low, high, largest, tables):
    """Fill the tables of buckets ``first`` .. ``last`` - 1, entries ``low`` .. ``high`` - 1 of each.

    ``low`` is a multiple of the block. With ``largest`` the larger term is taken for the sum.
    """
    linear = np.empty(_BLOCK)
    off, on = np.empty(_BLOCK), np.empty(_BLOCK)
    entries = np.empty(_BLOCK, np.int64)
    for bucket in range(first, last):
        size = forest.start[bucket + 1] - forest.start[bucket]
        for i in range(min(size, _BLOCK)):
            linear[i] = _linear(forest, bucket, i)
        for block in range(low, min(high, size), _BLOCK):
            count = min(_BLOCK, size - block)
            above = fields[forest.unit[bucket]] + _linear(forest, bucket, block)
            for i in range(count):
                off[i], on[i] = 0.0, above + linear[i]
            for k in range(forest.first_child[bucket], forest.first_child[bucket + 1]):
                child = forest.child[k]
                at = forest.start[child] + child_entry(forest, child, block)
                half = (forest.start[child + 1] - forest.start[child]) // 2
                for i in range(count):
                    entries[i] = child_entry(forest, child, i)
                for i in range(count):
                    off[i] += tables[at + entries[i]]
                    on[i] += tables[at + half + entries[i]]
            out = forest.start[bucket] + block
            if largest:
                for i in range(count):
                    tables[out + i] = max(off[i], on[i])
            else:
                for i in range(count):
                    tables[out + i] = log_add_exp(off[i], on[i])


@inline
def _entropy(difference, share):
    """Return the entropy of a bit that is 1 with probability share = sigmoid(difference)."""
    size = abs(difference)
    if size == math.inf:
        return 0.0
    return math.log1p(math.exp(-size)) + size * (share if difference < 0.0 else 1.0 - share)


@kernel
def add_log_moments(forest, fields, tables, marginals, means, pairs):
    """Set ``means`` (units) and ``pairs`` (S,) to the first and second moments; return the entropy.

    pairs[i] is E[z_u z_v] of a bucket's unit u and the unit v that scope[i] names. ``marginals`` is scratch
    of the size of ``tables``: the probability of each state of a scope, from the roots down.
    """
    entropy = 0.0
    for i in range(marginals.size):
        marginals[i] = 0.0
    for i in range(pairs.size):
        pairs[i] = 0.0
    for bucket in range(forest.unit.size - 1, -1, -1):
        start, begin = forest.start[bucket], forest.begin[bucket]
        size, num_bits = forest.start[bucket + 1] - start, forest.begin[bucket + 1] - begin
        if num_bits == 0:
            marginals[start] = 1.0
        mean = 0.0
        for state in range(size):
            mass = marginals[start + state]
            if mass == 0.0:
                continue
            off, on = _terms(forest, fields, bucket, state, tables)
            whole = tables[start + state]
            share = math.exp(min(on - whole, 0.0))
            with_on, with_off = mass * share, mass * math.exp(min(off - whole, 0.0))
            entropy += mass * _entropy(on - off, share)
            mean += with_on
            for bit in range(num_bits):
                if (state >> bit) & 1:
                    pairs[begin + bit] += with_on
            for k in range(forest.first_child[bucket], forest.first_child[bucket + 1]):
                child = forest.child[k]
                at = forest.start[child] + child_entry(forest, child, state)
                marginals[at] += with_off
                marginals[at + (forest.start[child + 1] - forest.start[child]) // 2] += with_on
        means[forest.unit[bucket]] = mean
    return entropy


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
