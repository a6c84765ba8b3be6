"""Which tiles count for which datum, and sums over those alone.

All states of tile t together are at most

    bound[n, t] = log scale of the tile in datum n + log of the sum of the tile's numbers,

since the tables u_n and v_n are at most 1. Of the tile with the largest bound the sum is taken first. What is
then below it by more than a factor of 2^60 times the number of tiles is negligible: all of it together is
below 2^-60 of the datum's sum. The rule looks at one datum, and at one wave of tiles: a datum's sum has the
same bits in any company.

Under a network of the principal components of MNIST, d = 20, a third of 64 tiles hold all of a datum's mass
but 2^-60, and the bound lets 43 % pass.
"""

from __future__ import annotations

import math

import numpy as np

from fastvi.kernels.bits import bit_sum
from fastvi.kernels.cpu.simd.denormals import begin_flushing, end_flushing
from fastvi.kernels.cpu.states.tile_sums import DATA_ROWS, add_tile_sums
from fastvi.kernels.host import COLUMNS
from fastvi.kernels.jit import inline, kernel
from fastvi.kernels.scalar import LOG_TWO

_PANELS = 8  # panels of data whose tables are gathered at a time: a quarter of the second-level cache


@kernel
def tile_totals(tiles, out):
    """Set out[t] to the sum of the numbers of tile t, lane after lane as the blocks of weights add them."""
    lanes = np.empty(COLUMNS)
    for t in range(tiles.shape[0]):
        for c in range(COLUMNS):
            lanes[c] = 0.0
        tile = tiles[t]
        for i in range(0, tile.size, COLUMNS):
            for c in range(COLUMNS):
                lanes[c] += tile[i + c]
        out[t] = 0.0
        for c in range(COLUMNS):
            out[t] += lanes[c]


@inline
def _scale(n, t, scales, first_tile, outer, base):
    """Return the log of what tile t is relative to in datum n."""
    return base[n] + bit_sum(outer[n], first_tile + t) + scales[t]


@inline
def _likely_tile(n, scales, log_totals, first_tile, outer, base):
    """Return the tile with the largest bound, the first of several."""
    best, found = -math.inf, 0
    for t in range(scales.size):
        bound = _scale(n, t, scales, first_tile, outer, base) + log_totals[t]
        if bound > best:
            best, found = bound, t
    return found


@inline
def _least(n, t, total, scales, first_tile, outer, base):
    """Return the bound below which a tile is negligible, for the sum ``total`` of the likely tile t."""
    if not total > 0.0:
        return -math.inf
    margin = (60.0 + math.log2(scales.size)) * LOG_TWO
    return _scale(n, t, scales, first_tile, outer, base) + math.log(total) - margin


@kernel
def likely_tiles(scales, log_totals, first_tile, outer, base, out):
    """Set out[n] to the tile with datum n's largest bound."""
    for n in range(out.size):
        out[n] = _likely_tile(n, scales, log_totals, first_tile, outer, base)


@kernel
def tiles_that_count(sums, likely, scales, log_totals, first_tile, outer, base, out):
    """Set out[n, t] to whether tile t, not the likely one, has to be summed for datum n."""
    for n in range(likely.size):
        least = _least(n, likely[n], sums[n, likely[n]], scales, first_tile, outer, base)
        for t in range(scales.size):
            bound = _scale(n, t, scales, first_tile, outer, base) + log_totals[t]
            out[n, t] = bound >= least and t != likely[n]


@kernel
def drop_negligible(sums, scales, log_totals, first_tile, outer, base):
    """Set the sums of tiles that do not count to 0, where all have been summed."""
    for n in range(base.size):
        likely = _likely_tile(n, scales, log_totals, first_tile, outer, base)
        least = _least(n, likely, sums[n, likely], scales, first_tile, outer, base)
        for t in range(scales.size):
            bound = _scale(n, t, scales, first_tile, outer, base) + log_totals[t]
            if bound < least and t != likely:
                sums[n, t] = 0.0


@inline
def _gather(rows, columns, num_rows, column_panels, members, left, right):
    """Pack the tables of some data, next to each other."""
    for k in range(members.size):
        panel, r = k // DATA_ROWS, k % DATA_ROWS
        source, place = members[k] // DATA_ROWS, members[k] % DATA_ROWS
        for s in range(num_rows):
            left[(panel * num_rows + s) * DATA_ROWS + r] = rows[(source * num_rows + s) * DATA_ROWS + place]
        for p in range(column_panels):
            to = ((panel * column_panels + p) * DATA_ROWS + r) * COLUMNS
            begin = ((source * column_panels + p) * DATA_ROWS + place) * COLUMNS
            for c in range(COLUMNS):
                right[to + c] = columns[begin + c]


@kernel
def sums_of_members(tiles, first_tile, rows, columns, num_rows, padded_rows, wanted, first, last, out):
    """Set out[n, t] to the sum over a tile for the data and tiles that wanted[n, t] says.

    ``tiles`` are those from number ``first_tile`` of the wave, the data ``first`` .. ``last`` - 1. Sums are
    as ``tile_sums`` gives them. Tables are gathered: 320 numbers a datum for the 16,384 of a tile.
    """
    column_panels = tiles.shape[1] // (padded_rows * COLUMNS)
    most = _PANELS * DATA_ROWS
    left, right = np.zeros(most * num_rows), np.zeros(most * column_panels * COLUMNS)
    lanes, members = np.empty(most * COLUMNS), np.empty(most, np.int64)
    before = begin_flushing()
    for t in range(tiles.shape[0]):
        n = first
        while n < last:
            count = 0
            while n < last and count < most:
                members[count] = n
                count += int(wanted[n, first_tile + t])
                n += 1
            _gather(rows, columns, num_rows, column_panels, members[:count], left, right)
            panels = (count + DATA_ROWS - 1) // DATA_ROWS
            own = lanes[: panels * DATA_ROWS * COLUMNS]
            add_tile_sums(tiles[t], left, right, num_rows, padded_rows, 0, panels, own)
            for k in range(count):
                total = 0.0
                for lane in range(COLUMNS):
                    total += own[k * COLUMNS + lane]
                out[members[k], first_tile + t] = total
    end_flushing(before)
