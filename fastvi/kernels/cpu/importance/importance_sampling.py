"""Log importance weights of sampled states, without a transcendental function per pixel.

The bits of z are cut into G groups. For each group and each of its values there is a row: of exp(W_g z_g)
over the pixels, or of whatever else is a sum over bits. A sample is then a row number per group; exp(eta) is
a product of G entries, and sum_j softplus(eta_j) the logarithm of prod_j (1 + exp(eta_j)): G multiplications
and an addition a pixel. Tables are cut in tiles of pixels, so that a tile's rows stay in cache while all
samples pass over it. They, and the products, may be float32; logarithms and their sums are float64.

Pixels whose logits could carry a product out of range (``direct``) are summed in log space.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from fastvi.kernels.cpu.dense.row_products import LINE, SAMPLES, multiply_rows
from fastvi.kernels.cpu.simd.prefetch import prefetch
from fastvi.kernels.jit import inline, kernel, reducing_kernel
from fastvi.kernels.scalar import LOG_TWO, exp_fast, log_fast

LOG_TWO_PI = math.log(2.0 * math.pi)
_BLOCKS = 32  # of samples, between which some lines of the next tile are fetched


class Groups(NamedTuple):
    """Groups of bits, none across the boundary of a 32-bit word; arrays (G,) of int64."""

    first_bit: Any
    num_bits: Any
    first_row: Any  # rows of a group are first_row ... first_row + 2^num_bits - 1


@kernel
def pick_rows(words, groups, rows):
    """Write each sample's row of each group: ``words`` (M, num_words, K) to ``rows`` (M, K * G) int32."""
    num_groups = groups.first_bit.size
    for m in range(words.shape[0]):
        for k in range(words.shape[2]):
            for g in range(num_groups):
                word = words[m, groups.first_bit[g] >> 5, k] >> (groups.first_bit[g] & 31)
                row = groups.first_row[g] + (word & ((1 << groups.num_bits[g]) - 1))
                rows[m, k * num_groups + g] = row


@kernel
def subset_rows(if_zero, if_one, groups, table):
    """Set table[row] to the sum of a group's bits by the bits of the row's value.

    A bit adds ``if_one`` where it is set, else ``if_zero``.
    """
    for g in range(groups.first_bit.size):
        first = groups.first_row[g]
        table[first] = 0
        for bit in range(groups.num_bits[g]):
            i, half = groups.first_bit[g] + bit, 1 << bit
            for row in range(first, first + half):
                table[row + half] = table[row] + if_one[i]
                table[row] += if_zero[i]


@kernel
def exponential_rows(weights, bias, pixels, groups, first_tile, table):
    """Set table[t, row, p] to exp(W_g z_g) for tiles ``first_tile``, ...

    Group 0 has the factor exp(bias).

    Pixel p of tile t is pixels[t * width + p]; what pads the last tile is 0, so that its factor is 1.
    """
    width = table.shape[2]
    ratios, held = np.empty(width), np.empty((1 << groups.num_bits.max(), width))
    for t in range(table.shape[0]):
        num_inside = min(width, pixels.size - (first_tile + t) * width)
        inside = pixels[(first_tile + t) * width :]
        for g in range(groups.first_bit.size):
            for p in range(width):
                ratios[p] = 1.0
                held[0, p] = 1.0
                if g == 0:
                    held[0, p] = math.exp(bias[inside[p]]) if p < num_inside else 0.0
            for bit in range(groups.num_bits[g]):
                half = 1 << bit
                for p in range(num_inside):
                    ratios[p] = math.exp(weights[inside[p], groups.first_bit[g] + bit])
                for row in range(half):
                    for p in range(width):
                        held[row + half, p] = held[row, p] * ratios[p]
            first = groups.first_row[g]
            for row in range(1 << groups.num_bits[g]):
                for p in range(width):
                    table[t, first + row, p] = held[row, p]


@kernel
def logit_rows(weights, bias, pixels, groups, table):
    """Set table[row, c] to W_g z_g of pixel pixels[c], with the bias in group 0."""
    for g in range(groups.first_bit.size):
        first = groups.first_row[g]
        for c in range(pixels.size):
            table[first, c] = bias[pixels[c]] if g == 0 else 0.0
        for bit in range(groups.num_bits[g]):
            i, half = groups.first_bit[g] + bit, 1 << bit
            for row in range(first, first + half):
                for c in range(pixels.size):
                    table[row + half, c] = table[row, c] + weights[pixels[c], i]


@kernel
def sum_bits(rows, groups, constants, if_zero, if_one, sums, log_w):
    """Set log_w[m, k] to constants[m] plus a sum over the bits of sample k of datum m.

    A bit adds ``if_one`` where it is set, else ``if_zero``, each (M, d), or (1, d) for all data. The samples
    pick ``rows`` (M, K * G). ``sums`` is scratch, one number for each row of a table.
    """
    num_groups = groups.first_bit.size
    for m in range(log_w.shape[0]):
        subset_rows(if_zero[m if len(if_zero) > 1 else 0], if_one[m if len(if_one) > 1 else 0], groups, sums)
        for k in range(log_w.shape[1]):
            total = constants[m]
            for g in range(num_groups):
                total += sums[rows[m, k * num_groups + g]]
            log_w[m, k] = total


@kernel
def add_looked_up(rows, positions, table, log_w):
    """Add table[position] to log_w[k]. A state's position is a sum over its groups."""
    num_groups = rows.size // log_w.size
    for k in range(log_w.size):
        position = np.int64(0)
        for g in range(num_groups):
            position += positions[rows[k * num_groups + g]]
        log_w[k] += table[position]


@inline
def _split(bits, powers, layout):
    """Move the exponents of positive numbers, given by their bits, to ``powers``."""
    for i in range(powers.size):
        powers[i] += (bits[i] >> layout.shift) - layout.bias
        bits[i] = (bits[i] & layout.mantissa) | layout.one


@kernel
def row_starts(rows, num_groups, width, starts):
    """Write where the rows of samples begin in a tile, for SAMPLES samples side by side, to ``starts``.

    What pads the last of them has the tile's first row.
    """
    num = rows.size // num_groups
    for block in range(starts.size // (num_groups * SAMPLES)):
        for s in range(SAMPLES):
            k = block * SAMPLES + s
            for g in range(num_groups):
                start = rows[k * num_groups + g] * width if k < num else 0
                starts[(block * num_groups + g) * SAMPLES + s] = start


@kernel
def add_products(
    table, num_tiles, tile_size, splits, starts, num_groups, sign, products, bits, powers, layout, log_w
):
    """Add sign * log prod_j (1 + exp(eta_j)) over all tiles of the flat ``table`` to log_w[k].

    ``splits[t]`` says that the running products could overflow in tile t. ``products``, its integer view
    ``bits`` and ``powers`` are scratch of as many lanes a sample as ``tile_lanes`` says, for a whole number
    of SAMPLES.
    """
    for i in range(products.size):
        products[i] = 1.0
        powers[i] = 0
    num_blocks, width = -(-log_w.size // SAMPLES), LINE // table.itemsize
    lanes = width // 2
    turns = -(-num_blocks // _BLOCKS)
    ahead = -(-tile_size // max(turns * width, 1)) * width  # of the next tile, fetched in each turn
    for t in range(num_tiles):
        if splits[t]:
            _split(bits, powers, layout)
        end = min(t + 2, num_tiles) * tile_size
        for turn in range(turns):
            block = turn * _BLOCKS
            multiply_rows(
                products, block * SAMPLES * lanes, table, t * tile_size, starts,
                block * SAMPLES * num_groups, num_groups, min(_BLOCKS, num_blocks - block),
            )  # fmt: skip
            begin = (t + 1) * tile_size + turn * ahead
            for at in range(begin, min(begin + ahead, end), width):
                prefetch(table, at)
    _split(bits, powers, layout)
    for k in range(log_w.size):  # the lanes of a sample become one, in the place of a lane that was read
        product, power = products[k * lanes], powers[k * lanes]
        for lane in range(k * lanes + 1, (k + 1) * lanes):
            product *= products[lane]
            power += powers[lane]
        products[k], powers[k] = product, power
    for k in range(log_w.size):  # a loop of its own, which LLVM vectorises
        log_w[k] += sign * (log_fast(np.float64(products[k])) + powers[k] * LOG_TWO)


@reducing_kernel
def _softplus_sum(eta):
    """Return the sum of softplus(eta)."""
    total = 0.0
    for c in range(eta.size):
        above = eta[c] if eta[c] > 0.0 else 0.0
        total += above + log_fast(1.0 + exp_fast(-abs(eta[c])))
    return total


@kernel
def add_softplus(table, rows, sign, log_w):
    """Add sign * the sum of softplus(eta) over the columns of ``table`` to log_w[k], in log space."""
    num_groups = rows.size // max(log_w.size, 1)
    eta = np.empty(table.shape[1])
    for k in range(log_w.size):
        for c in range(eta.size):
            eta[c] = table[rows[k * num_groups], c]
        for g in range(1, num_groups):
            picked = table[rows[k * num_groups + g]]
            for c in range(eta.size):
                eta[c] += picked[c]
        log_w[k] += sign * _softplus_sum(eta)


@kernel
def add_pairs(words, couplings, log_w):
    """Add the sum over i < j of J_ij z_i z_j to log_w[k], over the pairs of bits that are set."""
    num_latents = couplings.shape[0]
    ones = np.empty(num_latents, np.int64)
    for k in range(log_w.size):
        count, total = 0, 0.0
        for i in range(num_latents):
            if (words[i >> 5, k] >> (i & 31)) & 1:
                row = couplings[i]
                for other in range(count):
                    total += row[ones[other]]
                ones[count] = i
                count += 1
        log_w[k] += total


@kernel
def subtract_log_sums(log_q, log_w):
    """Subtract log sum_c exp(log_q[c, k]) from log_w[k]."""
    for k in range(log_w.size):
        largest = -math.inf
        for c in range(log_q.shape[0]):
            largest = max(largest, log_q[c, k])
        total = 0.0
        for c in range(log_q.shape[0]):
            total += math.exp(log_q[c, k] - largest)
        log_w[k] -= largest + math.log(total)


@kernel
def add_normal_logs(z, mean, std, out):
    """Add log N(z_k; mean, std^2) to out[k], z (K, d)."""
    constant = 0.0
    for i in range(mean.size):
        constant -= math.log(std[i]) + 0.5 * LOG_TWO_PI
    for k in range(out.size):
        total = 0.0
        for i in range(mean.size):
            u = (z[k, i] - mean[i]) / std[i]
            total += u * u
        out[k] += constant - 0.5 * total


@kernel
def add_panel_sums(features, units, counts, depth, linear, out):
    """Add <linear, h_k> to out[k], for features packed in panels of rows.

    ``units`` are the features that are left in a panel.
    """
    panel_rows = features.size // (counts.size * depth)
    for panel in range(counts.size):
        for u in range(counts[panel]):
            factor = linear[units[panel * depth + u]]
            at = (panel * depth + u) * panel_rows
            for r in range(min(panel_rows, out.size - panel * panel_rows)):
                out[panel * panel_rows + r] += factor * features[at + r]


@kernel
def subtract_panel_distances(features, num_panels, depth, point, out):
    """Subtract |point - u_k|^2 from out[k], for u packed in panels of rows."""
    panel_rows = features.size // (num_panels * depth)
    for panel in range(num_panels):
        for u in range(depth):
            at = (panel * depth + u) * panel_rows
            for r in range(min(panel_rows, out.size - panel * panel_rows)):
                apart = point[u] - features[at + r]
                out[panel * panel_rows + r] -= apart * apart


@kernel
def pack_words(words, num_latents, first, num, panel_rows, out):
    """Pack the bits of samples ``first``, ... as rows of 0.0 and 1.0, laid out as by ``pack_bits``."""
    for i in range(out.size):
        out[i] = 0.0
    for s in range(num):
        at = (s // panel_rows) * num_latents * panel_rows + s % panel_rows
        for i in range(num_latents):
            if (words[i >> 5, first + s] >> (i & 31)) & 1:
                out[at + i * panel_rows] = 1.0
