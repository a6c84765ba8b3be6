"""Bernoulli pixels given rows of bits by one layer.

The layer needs sums of x eta - softplus(eta), their derivatives in the logits eta, and sums of those
derivatives, which are the gradient in the weights. Both directions are products with bits on one side, and
are made of the same tables: the logits of a row pick sums of columns of the weights by five of the row's
latents, the gradient of a latent picks sums of derivatives by five of the latent's rows. Pixels are cut into
lines of LINE.
"""

from __future__ import annotations

import numpy as np

from fastvi.kernels.cpu.dense.line_softplus import add_line
from fastvi.kernels.cpu.dense.line_tables import BITS, LINE, SUBSETS, TOGETHER, add_lines, fill_table
from fastvi.kernels.jit import kernel, reducing_kernel
from fastvi.kernels.scalar import log_fast

ROWS = 256  # whose logits are summed, and used, while they are in the second-level cache


@kernel
def values_of_rows(z, num_latents, first_row, num_rows, values):
    """Set values[g * R + r] to the value of a row's group of latents; ``z`` are bits, flat (R * d,)."""
    all_rows = z.size // num_latents
    whole = num_latents // BITS
    for r in range(first_row, first_row + num_rows):
        at = r * num_latents
        for group in range(whole):
            value = 0
            for bit in range(BITS):
                value |= int(z[at + group * BITS + bit]) << bit
            values[group * all_rows + r] = value
        if whole * BITS < num_latents:
            value = 0
            for bit in range(num_latents - whole * BITS):
                value |= int(z[at + whole * BITS + bit]) << bit
            values[whole * all_rows + r] = value


@kernel
def values_of_latents(z, num_latents, first_group, num_groups, values):
    """Set values[g * (d + 1) + i] to the value of a latent's group of rows.

    Latent d is on in every row, for the gradient in the bias.
    """
    all_rows = z.size // num_latents
    for group in range(first_group, first_group + num_groups):
        own = values[group * (num_latents + 1) : (group + 1) * (num_latents + 1)]
        at, count = group * BITS * num_latents, min(BITS, all_rows - group * BITS)
        own[num_latents] = (1 << count) - 1
        for i in range(num_latents):
            own[i] = z[at + i]
        for bit in range(1, count):
            at += num_latents
            for i in range(num_latents):
                own[i] |= z[at + i] << bit


@kernel
def lines_of_pixels(weights, bias, x, values, num_samples, first_line, pull, value):
    """Set value[r] to the sum of x_n eta - softplus(eta) over the pixels of some lines.

    ``pull`` (lines * R * LINE,) becomes x_n - sigmoid(eta) with n = r // num_samples.

    ``bias`` (D',) and ``x`` (N * D',) are padded to whole lines by pixels that are surely 0. There are at
    most 1,023 pixels: the product of their 1 + e^-|eta| is kept.
    """
    num_rows, num_latents = value.size, weights.shape[1]
    num_groups = (num_latents + BITS - 1) // BITS
    table = np.empty(num_groups * SUBSETS * LINE, pull.dtype)
    columns = np.empty(num_groups * BITS * LINE, pull.dtype)
    ones, product = np.ones(num_groups * BITS), np.ones(num_rows)
    for r in range(num_rows):
        value[r] = 0.0
    for i in range(columns.size):
        columns[i] = 0.0
    for line in range(pull.size // (num_rows * LINE)):
        first = (first_line + line) * LINE
        count = min(LINE, weights.shape[0] - first)
        for i in range(num_latents):
            for p in range(count):
                columns[i * LINE + p] = weights[first + p, i]
            for p in range(count, LINE):
                columns[i * LINE + p] = 0.0
        for group in range(num_groups):
            fill_table(table, group, ones, columns, group * BITS)
        for first_row in range(0, num_rows, ROWS):
            count = min(ROWS, num_rows - first_row)
            begin = (line * num_rows + first_row) * LINE
            for r in range(count):
                for p in range(LINE):
                    pull[begin + r * LINE + p] = bias[first + p]
            for group in range(0, num_groups, TOGETHER):
                together = min(TOGETHER, num_groups - group)
                add_lines(
                    pull, begin, table, group, values, group * num_rows + first_row, num_rows, count, together
                )
            n, k = first_row // num_samples, first_row % num_samples
            for r in range(count):
                add_line(pull, begin + r * LINE, x, n * bias.size + first, value, product, first_row + r)
                k += 1
                if k == num_samples:
                    n, k = n + 1, 0
    for r in range(num_rows):
        value[r] -= log_fast(product[r])


@kernel
def gradient_of_line(share, pull, values, weights, bias):
    """Set the gradient of sum_r share_r log p(x_n | z_r) in a line of pixels: W (LINE, d) and b (LINE,).

    ``weights`` and ``bias`` may have fewer pixels. ``pull`` (R * LINE,) are the derivatives in their logits.
    """
    num_rows, (num_pixels, num_latents) = share.size, weights.shape
    lines = num_latents + 1
    sums, table = np.zeros(lines * LINE), np.empty(TOGETHER * SUBSETS * LINE, pull.dtype)
    whole = num_rows // BITS
    rest = num_rows - whole * BITS  # rows of the last group, beside lines of 0
    factors, last = np.zeros(BITS), np.zeros(BITS * LINE, pull.dtype)
    for r in range(rest):
        factors[r] = share[whole * BITS + r]
    for i in range(rest * LINE):
        last[i] = pull[whole * BITS * LINE + i]
    num_groups = whole + (rest > 0)
    for first in range(0, num_groups, TOGETHER):
        count = min(TOGETHER, num_groups - first)
        for g in range(count):
            if first + g < whole:
                fill_table(table, g, share, pull, (first + g) * BITS)
            else:
                fill_table(table, g, factors, last, 0)
        add_lines(sums, 0, table, 0, values, first * lines, lines, lines, count)
    for i in range(num_latents):
        for p in range(num_pixels):
            weights[p, i] = sums[i * LINE + p]
    for p in range(num_pixels):
        bias[p] = sums[num_latents * LINE + p]


@kernel
def weighted_bits(z, mean, share, num_samples, out):
    """Sum share_r (z_ri - mean_ni) over the samples r of datum n to out[n, i].

    ``z`` is flat (R * d,).

    ``mean`` and ``out`` are (N, d).
    """
    num_latents = out.shape[1]
    for n in range(out.shape[0]):
        own_mean, sums = mean[n], out[n]
        for i in range(num_latents):
            sums[i] = 0.0
        for r in range(n * num_samples, (n + 1) * num_samples):
            own, factor = z[r * num_latents : (r + 1) * num_latents], share[r]
            for i in range(num_latents):
                sums[i] += factor * (own[i] - own_mean[i])


@reducing_kernel
def _inner(z, linear):
    """Return <linear, z> for bits z."""
    total = 0.0
    for i in range(z.size):
        total += float(z[i]) * linear[i]
    return total


@kernel
def add_inner(z, linear, num_samples, out):
    """Add <linear_n, z_r> to out[r], with n = r // num_samples.

    ``z`` are bits, flat (R * d,); ``linear`` (N, d) or (1, d) is finite.
    """
    num_latents = linear.shape[1]
    for r in range(out.size):
        n = r // num_samples if linear.shape[0] > 1 else 0
        out[r] += _inner(z[r * num_latents : (r + 1) * num_latents], linear[n])
