"""Loops over states around a user's function, and the log-sum-exp of its results."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from numba.extending import is_jitted

from fastvi.kernels.cpu.states.tile_masses import bit_masses
from fastvi.kernels.jit import inline, kernel, reducing_kernel
from fastvi.kernels.scalar import exp_fast

_NEVER = -1e5  # its exponential is 0


@inline
def _peak(values):
    """Return the largest value, and whether one is NaN or +inf."""
    best, good = -math.inf, True
    for s in range(values.size):
        good &= values[s] < math.inf
        best = values[s] if values[s] > best else best
    return best, not good


@reducing_kernel
def _exponentials(values, largest, cut):
    """Set values to exp(values - largest), 0 below exp(cut); return their sum."""
    total = 0.0
    for s in range(values.size):
        below = values[s] - largest
        values[s] = exp_fast(below if below >= cut else _NEVER)
        total += values[s]
    return total


@kernel
def add_logs(values, first, latents, cut, n, largest, total, ones):
    """Add exp(values), a power of two of states, to the running sum of datum n; ``values`` are used up.

    NaN and +inf make ``total`` NaN. ``ones`` (N, d), unless its first axis is empty, gets the part of each
    latent: bit i of first + s is that of latents[i]; it is relative to exp(largest).
    """
    peak, bad = _peak(values)
    if bad:
        total[n] = math.nan
        return
    if peak == -math.inf or peak < largest[n] + cut or total[n] != total[n]:
        return
    if peak > largest[n]:
        share = math.exp(largest[n] - peak)
        largest[n] = peak
        total[n] *= share
        if ones.shape[0] > 0:
            for i in range(ones.shape[1]):
                ones[n, i] *= share
    mass = _exponentials(values, largest[n], cut)
    total[n] += mass
    if ones.shape[0] > 0:
        low = 0
        while 1 << low < values.size:
            low += 1
        bits = np.empty(low)
        bit_masses(values, np.empty(values.size), bits)
        for i in range(latents.size):
            if i < low:
                ones[n, latents[i]] += bits[i]
            elif (first >> i) & 1:
                ones[n, latents[i]] += mass


@kernel
def add_rows_of_logs(table, tile_states, first, latents, cut, begin, end, largest, total, ones):
    """Add rows ``begin`` .. of a table (N, whole tiles of states) to the running sums as ``add_logs`` does.

    The table is left as it was.
    """
    values = np.empty(tile_states)
    for n in range(begin, end):
        for start in range(0, table.shape[1], tile_states):
            for s in range(tile_states):
                values[s] = table[n, start + s]
            add_logs(values, first + start, latents, cut, n, largest, total, ones)


@lru_cache(maxsize=64)
def user_loops(fn: Any) -> tuple[Any, Any]:
    """Return ``fill`` and ``add_sums`` for fn(x_n, z), compiled at their first calls.

    What is compiled depends on the caller's function, so it is not kept on disk, where a changed function
    could not be told from the old one.
    """
    compiled = fn if is_jitted(fn) else numba.njit(fn)

    @numba.njit(nogil=True, error_model="numpy")
    def fill(x_n, first, latents, out):
        """Set out[s] to fn(x_n, z), with bit i of first + s at z[latents[i]]."""
        z = np.empty(latents.size)
        for i in range(latents.size):
            z[latents[i]] = (first >> i) & 1
        for s in range(out.size):
            out[s] = compiled(x_n, z)
            i = 0  # count on: two bits change on average
            while i < latents.size and z[latents[i]] == 1.0:
                z[latents[i]] = 0.0
                i += 1
            if i < latents.size:
                z[latents[i]] = 1.0

    @numba.njit(nogil=True, error_model="numpy")
    def add_sums(x, begin, end, first, num_tiles, tile_states, latents, cut, largest, total, ones):
        """Add ``num_tiles`` tiles of states to the running sums of data ``begin`` .. end - 1."""
        values = np.empty(tile_states)
        for n in range(begin, end):
            for t in range(num_tiles):
                number = first + t * tile_states
                fill(x[n], number, latents, values)
                add_logs(values, number, latents, cut, n, largest, total, ones)

    return fill, add_sums
