"""Nodes of a quadrature rule in turned and scaled coordinates, and sums over them."""

from __future__ import annotations

import math

from fastvi.kernels.cpu.dense.products import ROWS
from fastvi.kernels.jit import kernel
from fastvi.kernels.scalar import exp_fast


@kernel
def lattice_nodes(first, cells, offsets, cell, v):
    """Set v[s] (S, d) to (cells[n % C] + offsets[n // C]) cell of node n = first + s.

    Offsets run slowest.
    """
    num_cells, d = cells.shape
    for s in range(v.shape[0]):
        c, o = (first + s) % num_cells, (first + s) // num_cells
        for i in range(d):
            v[s, i] = (cells[c, i] + offsets[o, i]) * cell


@kernel
def turned_rows(v, centre, turn, mean, std, out):
    """Pack z = mean + std u with u = centre + turn v as rows, for nodes v (S, d).

    The mean pads them.
    """
    num_nodes, d = v.shape
    for s in range(-(-num_nodes // ROWS) * ROWS):
        at = (s // ROWS) * d * ROWS + s % ROWS
        for i in range(d):
            u = 0.0
            if s < num_nodes:
                u = centre[i]
                for k in range(d):
                    u += turn[i, k] * v[s, k]
            out[at + i * ROWS] = mean[i] + std[i] * u


@kernel
def add_half_squares(v, centre, turn, constant, out):
    """Add |u|^2 / 2 + constant to out[s], for u = centre + turn v."""
    num_nodes, d = v.shape
    for s in range(num_nodes):
        total = 0.0
        for i in range(d):
            u = centre[i]
            for k in range(d):
                u += turn[i, k] * v[s, k]
            total += u * u
        out[s] += 0.5 * total + constant


@kernel
def add_moments(v, f, weights, peak, work, sums):
    """Add the moments of nodes v (S, d) under weights w e^(f - peak) to ``sums``.

    In this order: the weight, the weight times f, times v (d,), times v v^T (d, d). ``work`` has room for S
    numbers. Weights that are empty are 1.
    """
    num_nodes, d = v.shape
    for s in range(num_nodes):
        below = f[s] - peak
        work[s] = below if below > -700.0 else -math.inf
    for s in range(num_nodes):
        work[s] = exp_fast(work[s]) if work[s] > -math.inf else 0.0
    if weights.size:
        for s in range(num_nodes):
            work[s] *= weights[s]
    for s in range(num_nodes):
        share = work[s]
        if share == 0.0:
            continue
        sums[0] += share
        sums[1] += share * f[s]
        for i in range(d):
            part = share * v[s, i]
            sums[2 + i] += part
            for j in range(i + 1):
                sums[2 + d + i * d + j] += part * v[s, j]
