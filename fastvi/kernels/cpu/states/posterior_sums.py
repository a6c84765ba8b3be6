"""Moments, entropy, largest states and samples of exact posteriors, from log tiles.

With log p(x_n) known, p(z | x_n) of a state takes one exponential. A row of a tile whose largest possible
probability times the number of states is below 2^-60 is passed over: posteriors are concentrated, and what
is left is a fraction of the states.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastvi.kernels.bits import bit_sum
from fastvi.kernels.cpu.states.softplus_product import subset_sums
from fastvi.kernels.cpu.states.tile_masses import bit_masses
from fastvi.kernels.host import COLUMNS
from fastvi.kernels.jit import inline, kernel, reducing_kernel
from fastvi.kernels.scalar import exp_fast

_NEVER = -1e300


class LogTiles(NamedTuple):
    """Some tiles and data, with log p(z | x_n) = offset[n] + <linear[n], z> + log_tiles.

    z = (outer, row, column) bits, d of them.
    """

    log_tiles: Any  # (T, padded rows * padded columns)
    peaks: Any  # (T, rows) largest entry of each row
    first_tile: int
    num_outer: int
    num_row_bits: int
    padded_rows: int
    linear: Any  # (N, d)
    offset: Any  # (N,)
    negligible: float  # log probability below which a state may be passed over


@kernel
def row_peaks(log_tiles, num_rows, padded_rows, num_columns, peaks):
    """Set peaks[t, a] to the largest entry of row a of tile t."""
    for t in range(log_tiles.shape[0]):
        for a in range(num_rows):
            best = -np.inf
            for b in range(num_columns):
                best = max(best, log_tiles[t, ((b // COLUMNS) * padded_rows + a) * COLUMNS + b % COLUMNS])
            peaks[t, a] = best


@inline
def _row_log_probabilities(tile, a, padded_rows, base, columns, out):
    """Set out[b] to base + columns[b] + tile[a, b], the padding of the columns included."""
    for first in range(0, columns.size, COLUMNS):
        at = first * padded_rows + a * COLUMNS
        for c in range(COLUMNS):
            out[first + c] = base + columns[first + c] + tile[at + c]


@reducing_kernel
def _exponentials(log_p, out):
    """Set out to exp(log_p); return its sum and that of -p log p."""
    mass, entropy = 0.0, 0.0
    for b in range(log_p.size):
        p = exp_fast(log_p[b])
        out[b] = p
        mass += p
        entropy -= p * max(log_p[b], _NEVER)  # a state that cannot be adds nothing: 0 * inf is nan
    return mass, entropy


@inline
def _padded_columns(linear, out):
    """Sum over the column bits.

    The padding has no probability and a finite logarithm: 0 * inf is nan.
    """
    size = 1 << linear.size
    subset_sums(linear, out[:size])
    peak = -np.inf
    for b in range(size):
        peak = max(peak, out[b])
    for b in range(size, out.size):
        out[b] = _NEVER
    return peak


@inline
def _keep_largest(row_log, num_columns, base_state, shift, log_probs, states):
    """Insert the row's states into the descending list ``log_probs`` where they belong."""
    last = log_probs.size - 1
    for b in range(num_columns):
        value = row_log[b]
        if value > log_probs[last]:
            place = last
            while place > 0 and log_probs[place - 1] < value:
                log_probs[place] = log_probs[place - 1]
                states[place] = states[place - 1]
                place -= 1
            log_probs[place] = value
            states[place] = base_state | (b << shift)


@kernel
def largest_states(tiles, log_probs, states):
    """Insert the states of these tiles into each datum's largest so far, as ``posterior_sums`` does.

    No exponential is taken. Rows of tiles are bounded, and those looked at that may reach the largest: of
    random posteriors (d = 16) 23 of 512 in their order, 4 where the row of the largest bound is known before.
    """
    log_tiles, peaks, first_tile, num_outer, num_row_bits, padded_rows, linear, offset, _ = tiles
    row, column = num_outer, num_outer + num_row_bits
    num_rows, num_columns = 1 << num_row_bits, 1 << (linear.shape[1] - column)
    padded_columns = log_tiles.shape[1] // padded_rows
    rows, columns, row_log = np.empty(num_rows), np.empty(padded_columns), np.empty(padded_columns)
    bases, bounds = np.empty(peaks.shape), np.empty(peaks.shape)
    last = log_probs.shape[1] - 1
    for n in range(linear.shape[0]):
        subset_sums(linear[n, row:column], rows)
        column_peak = _padded_columns(linear[n, column:], columns)
        best, best_tile, best_row = -np.inf, 0, 0
        for t in range(log_tiles.shape[0]):
            shift = offset[n] + bit_sum(linear[n, :num_outer], first_tile + t)
            for a in range(num_rows):
                bases[t, a] = shift + rows[a]
                bounds[t, a] = bases[t, a] + column_peak + peaks[t, a]  # rounded as the states are
                if bounds[t, a] > best:
                    best, best_tile, best_row = bounds[t, a], t, a
        reach = log_probs[n, last]
        if last == 0 and best > reach:  # the largest is at least that of the row of the largest bound
            base = bases[best_tile, best_row]
            _row_log_probabilities(log_tiles[best_tile], best_row, padded_rows, base, columns, row_log)
            for b in range(num_columns):
                reach = max(reach, row_log[b])
        for t in range(log_tiles.shape[0]):
            for a in range(num_rows):
                if bounds[t, a] < reach or bounds[t, a] <= log_probs[n, last]:
                    continue
                _row_log_probabilities(log_tiles[t], a, padded_rows, bases[t, a], columns, row_log)
                state = (first_tile + t) | (a << row)
                _keep_largest(row_log, num_columns, state, column, log_probs[n], states[n])


@kernel
def merge_largest(log_probs, states, part_log_probs, part_states):
    """Insert each datum's states of one shard into the descending list of those so far."""
    last = log_probs.shape[1] - 1
    for n in range(log_probs.shape[0]):
        for k in range(part_log_probs.shape[1]):
            value = part_log_probs[n, k]
            if not value > log_probs[n, last]:
                break
            place = last
            while place > 0 and log_probs[n, place - 1] < value:
                log_probs[n, place] = log_probs[n, place - 1]
                states[n, place] = states[n, place - 1]
                place -= 1
            log_probs[n, place] = value
            states[n, place] = part_states[n, k]


@kernel
def posterior_sums(tiles, mean, pairs, entropy, log_probs, states):
    """Add the states of these tiles to each datum's sums.

    ``mean`` (N, d) and ``entropy`` (N,) are sums over states; ``pairs`` (N, d, d) too, unless its first axis
    is empty. ``log_probs`` (N, k) holds the largest so far in descending order, ``states`` their bits. All in
    the order of the tiles' bits.
    """
    log_tiles, peaks, first_tile, num_outer, num_row_bits, padded_rows, linear, offset, negligible = tiles
    num_latents = linear.shape[1]
    row, column = num_outer, num_outer + num_row_bits
    pairwise = pairs.shape[0] > 0
    num_rows, num_columns = 1 << num_row_bits, 1 << (num_latents - column)
    padded_columns = log_tiles.shape[1] // padded_rows
    rows, columns = np.empty(num_rows), np.empty(padded_columns)
    row_log, probabilities = np.empty(padded_columns), np.empty(padded_columns)
    row_mass, column_mass = np.empty(num_rows), np.empty(num_columns)
    joint = np.empty((num_rows, num_columns))
    scratch = np.empty(max(num_rows, num_columns))
    row_bits, column_bits = np.empty(num_row_bits), np.empty(num_latents - column)
    for n in range(linear.shape[0]):
        subset_sums(linear[n, row:column], rows)
        column_peak = _padded_columns(linear[n, column:], columns)
        for a in range(num_rows):
            for b in range(num_columns):
                joint[a, b] = 0.0
        for t in range(log_tiles.shape[0]):
            shift = offset[n] + bit_sum(linear[n, :num_outer], first_tile + t)
            touched = False
            for a in range(num_rows):
                base = shift + rows[a]
                bound = base + column_peak + peaks[t, a]
                if bound < negligible and bound <= log_probs[n, -1]:
                    continue
                if not touched:
                    touched = True
                    for s in range(num_rows):
                        row_mass[s] = 0.0
                    for s in range(num_columns):
                        column_mass[s] = 0.0
                _row_log_probabilities(log_tiles[t], a, padded_rows, base, columns, row_log)
                mass, part = _exponentials(row_log, probabilities)
                entropy[n] += part
                row_mass[a] = mass
                for b in range(num_columns):
                    column_mass[b] += probabilities[b]
                if pairwise:
                    for b in range(num_columns):
                        joint[a, b] += probabilities[b]
                if bound > log_probs[n, -1]:
                    state = (first_tile + t) | (a << row)
                    _keep_largest(row_log, num_columns, state, column, log_probs[n], states[n])
            if not touched:
                continue
            bit_masses(row_mass, scratch, row_bits)
            bit_masses(column_mass, scratch, column_bits)
            total = 0.0
            for a in range(num_rows):
                total += row_mass[a]
            for i in range(row_bits.size):
                mean[n, row + i] += row_bits[i]
            for i in range(column_bits.size):
                mean[n, column + i] += column_bits[i]
            for i in range(num_outer):
                if (first_tile + t) >> i & 1:
                    mean[n, i] += total
                    if pairwise:
                        for j in range(num_outer):
                            if (first_tile + t) >> j & 1:
                                pairs[n, i, j] += total
                        for j in range(row_bits.size):
                            pairs[n, i, row + j] += row_bits[j]
                        for j in range(column_bits.size):
                            pairs[n, i, column + j] += column_bits[j]
        if pairwise:
            _add_inner_pairs(joint, row, column, scratch, row_mass, column_mass, column_bits, pairs[n])


@inline
def _add_inner_pairs(joint, row, column, scratch, row_mass, column_mass, column_bits, pairs):
    """Add second moments within and between row bits and column bits, from their joint masses."""
    num_rows, num_columns = joint.shape
    row_bits = np.empty(column - row)
    for i in range(column - row):  # row bit i with every row bit and every column bit
        for b in range(num_columns):
            column_mass[b] = 0.0
        for a in range(num_rows):
            row_mass[a] = 0.0
            if (a >> i) & 1:
                for b in range(num_columns):
                    column_mass[b] += joint[a, b]
                    row_mass[a] += joint[a, b]
        bit_masses(row_mass, scratch, row_bits)
        bit_masses(column_mass, scratch, column_bits)
        for j in range(row_bits.size):
            pairs[row + i, row + j] += row_bits[j]
        for j in range(column_bits.size):
            pairs[row + i, column + j] += column_bits[j]
    for i in range(column_bits.size):  # column bit i with every column bit
        for b in range(num_columns):
            column_mass[b] = 0.0
            if (b >> i) & 1:
                for a in range(num_rows):
                    column_mass[b] += joint[a, b]
        bit_masses(column_mass, scratch, column_bits)
        for j in range(column_bits.size):
            pairs[column + i, column + j] += column_bits[j]


@kernel
def sample_states(tiles, uniforms, taken, cumulative, states):
    """Draw states by the inverse cumulative distribution, in the order of tiles, rows, columns.

    ``uniforms`` (N, K) are ascending; taken[n] of them have their state, cumulative[n] is the mass so far.
    """
    log_tiles, peaks, first_tile, num_outer, num_row_bits, padded_rows, linear, offset, negligible = tiles
    num_latents = linear.shape[1]
    row, column = num_outer, num_outer + num_row_bits
    num_rows, num_columns = 1 << num_row_bits, 1 << (num_latents - column)
    padded_columns = log_tiles.shape[1] // padded_rows
    rows, columns = np.empty(num_rows), np.empty(padded_columns)
    row_log, probabilities = np.empty(padded_columns), np.empty(padded_columns)
    for n in range(linear.shape[0]):
        if taken[n] == uniforms.shape[1]:
            continue
        subset_sums(linear[n, row:column], rows)
        column_peak = _padded_columns(linear[n, column:], columns)
        for t in range(log_tiles.shape[0]):
            shift = offset[n] + bit_sum(linear[n, :num_outer], first_tile + t)
            for a in range(num_rows):
                base = shift + rows[a]
                if base + column_peak + peaks[t, a] < negligible:
                    continue
                _row_log_probabilities(log_tiles[t], a, padded_rows, base, columns, row_log)
                mass, _ = _exponentials(row_log, probabilities)
                b, within = 0, probabilities[0]
                while taken[n] < uniforms.shape[1] and uniforms[n, taken[n]] < cumulative[n] + mass:
                    target = uniforms[n, taken[n]] - cumulative[n]
                    while within <= target and b < num_columns - 1:
                        b += 1
                        within += probabilities[b]
                    states[n, taken[n]] = (first_tile + t) | (a << row) | (b << column)
                    taken[n] += 1
                cumulative[n] += mass
