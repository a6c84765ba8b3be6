"""Log joints of blocks of states and data, and their running log-sum-exp.

A log joint is <t_n, h_s> - A_s, a product in registers, or -|y_n - u_s|^2 - A_s, a distance.

States come in groups; a group's product with one panel of data stays in the first-level cache while its
exponentials are added. Products and exponentials are in float64 or in float32, sums in float64. What is below
``cut`` times the largest term so far is left out, number by number: the same bits for a datum whatever stands
beside it.
"""

from __future__ import annotations

import math

import numpy as np

from fastvi.kernels.cpu.dense.layer_tiles import columns_of, exp_block
from fastvi.kernels.cpu.dense.products import ROWS, panel_distances, panel_product
from fastvi.kernels.jit import inline, kernel

_NEVER = -1e5  # its exponential is 0


@kernel
def bit_sums(first, latents, coefficients, constant, out):
    """Set out[s] to constant less the coefficients of the latents whose bits are set in first + s."""
    for s in range(out.size):
        out[s] = constant
    for i in range(latents.size):
        coefficient = coefficients[latents[i]]
        for s in range(out.size):
            out[s] -= coefficient if ((first + s) >> i) & 1 else 0.0


@inline
def _products(left, index, counts, first_panel, group_panels, depth, distances, right, right_at, found):
    """Write <h_s, t_c>, or -|u_s - y_c|^2, of one group of states and one panel of data to found[s, c]."""
    for i in range(group_panels * ROWS * columns_of(right)):
        found[i] = 0.0
    if distances:
        panel_distances(left, first_panel, group_panels, depth, right, right_at, found)
    else:
        panel_product(left, index, counts, first_panel, group_panels, depth, right, right_at, found)


@inline
def _kept(logs, size, columns, largest, at, cut, kept, rows):
    """Move rows that have a number above ``cut``, less the largest, to the front; return how many."""
    count = 0
    for s in range(size):
        keep = False
        for c in range(columns):
            below = logs[s * columns + c] - largest[at + c]
            below = below if below >= cut else _NEVER
            kept[count * columns + c] = below
            keep |= below > _NEVER
        if keep:
            rows[count] = s
            count += 1
    return count


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
    columns = columns_of(right)
    found, logs = np.empty(rows_of_group * columns, right.dtype), np.empty(rows_of_group * columns)
    # less the largest; with room for a row that is not kept, in whole tiles
    kept, rows = np.zeros((rows_of_group + ROWS) * columns, right.dtype), np.empty(rows_of_group, np.int64)
    peak, mass = np.empty(columns), np.empty(columns)
    with_ones = ones.shape[0] > 0
    group_bits = 0
    while 1 << group_bits < group_states:
        group_bits += 1
    low = np.empty(group_bits * columns)
    for g in range(num_groups):
        for panel in range(first_panel, last_panel):
            at = panel * columns
            _products(
                left, index, counts, g * group_panels, group_panels, depth, distances, right,
                panel * depth * columns, found,
            )  # fmt: skip
            for c in range(columns):
                peak[c] = -math.inf
            for s in range(rows_of_group):
                cost = minus[g * rows_of_group + s]
                for c in range(columns):
                    value = found[s * columns + c] - cost
                    logs[s * columns + c] = value
                    peak[c] = value if value > peak[c] else peak[c]
            useful = False
            for c in range(columns):
                useful |= peak[c] >= largest[at + c] + cut
            if not useful:
                continue
            for c in range(columns):
                if peak[c] > largest[at + c]:
                    share = math.exp(largest[at + c] - peak[c])
                    largest[at + c] = peak[c]
                    total[at + c] *= share
                    if with_ones:
                        for i in range(ones.shape[1]):
                            ones[at + c, i] *= share
            count = _kept(logs, rows_of_group, columns, largest, at, cut, kept, rows)
            for s in range(0, count, ROWS):
                exp_block(kept, s * columns)
            for c in range(columns):
                mass[c] = 0.0
            for k in range(count):
                for c in range(columns):
                    mass[c] += kept[k * columns + c]
            for c in range(columns):
                total[at + c] += mass[c]
            if with_ones:
                for i in range(group_bits * columns):
                    low[i] = 0.0
                for k in range(count):
                    for i in range(group_bits):
                        if (rows[k] >> i) & 1:
                            for c in range(columns):
                                low[i * columns + c] += kept[k * columns + c]
                number = first + g * group_states
                for c in range(columns):
                    for i in range(group_bits):
                        ones[at + c, latents[i]] += low[i * columns + c]
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
    columns = columns_of(right)
    found = np.empty(rows_of_group * columns, right.dtype)
    groups_of_tile = where.size // group_states
    for g in range(num_groups):
        _products(
            left, index, counts, g * group_panels, group_panels, depth, distances, right,
            panel * depth * columns, found,
        )  # fmt: skip
        tile, begin = g // groups_of_tile, (g % groups_of_tile) * group_states
        for c in range(out.shape[0]):
            for s in range(group_states):
                out[c, tile, where[begin + s]] = found[s * columns + c] - minus[g * rows_of_group + s]
