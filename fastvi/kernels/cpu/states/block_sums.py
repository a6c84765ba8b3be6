"""Log joints of blocks of states and data, and their running log-sum-exp.

A log joint is <t_n, h_s> - A_s, a product in registers, or -|y_n - u_s|^2 - A_s, a distance.

States come in groups; a group's product with one panel of ``COLUMNS`` data stays in the first-level cache
while its exponentials are added. What is below ``cut`` times the largest term so far is left out, number by
number: the same bits for a datum whatever stands beside it.
"""

from __future__ import annotations

import math

import numpy as np

from fastvi.kernels.cpu.dense.products import ROWS, panel_distances, panel_product
from fastvi.kernels.host import COLUMNS
from fastvi.kernels.jit import inline, kernel
from fastvi.kernels.scalar import exp_fast

_NEVER = -1e5  # its exponential is 0


@kernel
def bit_sums(first, latents, coefficients, constant, out):
    """Set out[s] to constant less the coefficients of the latents whose bits are set in first + s."""
    for s in range(out.size):
        total = constant
        for i in range(latents.size):
            if ((first + s) >> i) & 1:
                total -= coefficients[latents[i]]
        out[s] = total


@inline
def _log_joints(
    left, index, counts, first_panel, group_panels, depth, minus, minus_at, distances, right, right_at, acc
):
    """Write the log joints of one group of states and one panel of data to acc[s, c].

    They are <h_s, t_c> - minus[s], or -|u_s - y_c|^2 - minus[s].
    """
    for s in range(group_panels * ROWS):
        for c in range(COLUMNS):
            acc[s * COLUMNS + c] = -minus[minus_at + s]
    if distances:
        panel_distances(left, first_panel, group_panels, depth, right, right_at, acc)
    else:
        panel_product(left, index, counts, first_panel, group_panels, depth, right, right_at, acc)


@inline
def _kept(acc, size, largest, at, cut, kept, rows):
    """Move rows that have a number above ``cut``, less the largest, to the front; return how many."""
    count = 0
    for s in range(size):
        keep = False
        for c in range(COLUMNS):
            below = acc[s * COLUMNS + c] - largest[at + c]
            below = below if below >= cut else _NEVER
            kept[count * COLUMNS + c] = below
            keep |= below > _NEVER
        if keep:
            rows[count] = s
            count += 1
    return count


@inline
def _exponentials(values, size):
    """Take the exponential of the first ``size`` values, in place."""
    for i in range(size):
        values[i] = exp_fast(values[i])


@kernel
def add_block_sums(
    left, index, counts, minus, distances, group_states, num_groups, depth, right, first_panel, last_panel,
    cut, first, latents, largest, total, ones,
):  # fmt: skip
    """Add groups of states to the running log-sum-exp of the data of some panels.

    ``left`` holds ceil(group_states / ROWS) compressed panels of h for each group, or of u, not compressed,
    where data have ``distances`` to it; ``minus`` A in the same places, inf where a row is padding.
    ``largest`` and ``total`` are flat over panels of data. ``ones`` (data, d), unless its first axis is
    empty, gets the part of each latent: state s of group g has the bits of first + g * group_states + s, bit
    i that of latent latents[i].
    """
    group_panels = -(-group_states // ROWS)
    rows_of_group = group_panels * ROWS
    acc, kept = np.empty(rows_of_group * COLUMNS), np.empty((rows_of_group + 1) * COLUMNS)
    rows, peak, mass = np.empty(rows_of_group, np.int64), np.empty(COLUMNS), np.empty(COLUMNS)
    with_ones = ones.shape[0] > 0
    group_bits = 0
    while 1 << group_bits < group_states:
        group_bits += 1
    low = np.empty(group_bits * COLUMNS)
    for g in range(num_groups):
        for panel in range(first_panel, last_panel):
            at = panel * COLUMNS
            _log_joints(
                left, index, counts, g * group_panels, group_panels, depth, minus, g * rows_of_group,
                distances, right, panel * depth * COLUMNS, acc,
            )  # fmt: skip
            for c in range(COLUMNS):
                peak[c] = -math.inf
            for s in range(rows_of_group):
                for c in range(COLUMNS):
                    value = acc[s * COLUMNS + c]
                    peak[c] = value if value > peak[c] else peak[c]
            useful = False
            for c in range(COLUMNS):
                useful |= peak[c] >= largest[at + c] + cut
            if not useful:
                continue
            for c in range(COLUMNS):
                if peak[c] > largest[at + c]:
                    share = math.exp(largest[at + c] - peak[c])
                    largest[at + c] = peak[c]
                    total[at + c] *= share
                    if with_ones:
                        for i in range(ones.shape[1]):
                            ones[at + c, i] *= share
            count = _kept(acc, rows_of_group, largest, at, cut, kept, rows)
            _exponentials(kept, count * COLUMNS)
            for c in range(COLUMNS):
                mass[c] = 0.0
            for k in range(count):
                for c in range(COLUMNS):
                    mass[c] += kept[k * COLUMNS + c]
            for c in range(COLUMNS):
                total[at + c] += mass[c]
            if with_ones:
                for i in range(group_bits * COLUMNS):
                    low[i] = 0.0
                for k in range(count):
                    for i in range(group_bits):
                        if (rows[k] >> i) & 1:
                            for c in range(COLUMNS):
                                low[i * COLUMNS + c] += kept[k * COLUMNS + c]
                number = first + g * group_states
                for c in range(COLUMNS):
                    for i in range(group_bits):
                        ones[at + c, latents[i]] += low[i * COLUMNS + c]
                    for i in range(group_bits, latents.size):
                        if (number >> i) & 1:
                            ones[at + c, latents[i]] += mass[c]


@kernel
def block_logs(
    left, index, counts, minus, distances, group_states, num_groups, depth, right, panel, where, out
):
    """Set out[c, t, where[s]] to the log joint of state s of tile t and datum c of a panel.

    Tiles are whole groups.
    """
    group_panels = -(-group_states // ROWS)
    rows_of_group = group_panels * ROWS
    acc = np.empty(rows_of_group * COLUMNS)
    groups_of_tile = where.size // group_states
    for g in range(num_groups):
        _log_joints(
            left, index, counts, g * group_panels, group_panels, depth, minus, g * rows_of_group, distances,
            right, panel * depth * COLUMNS, acc,
        )  # fmt: skip
        tile, begin = g // groups_of_tile, (g % groups_of_tile) * group_states
        for c in range(out.shape[0]):
            for s in range(group_states):
                out[c, tile, where[begin + s]] = acc[s * COLUMNS + c]
