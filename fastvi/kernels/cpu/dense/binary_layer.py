"""Bernoulli pixels given rows of bits by one layer.

The layer needs sums of softplus(eta), their derivative in the logits eta, and sums of those derivatives,
which are the gradient in the weights.

The bits are cut into groups, as in ``importance_sampling``. A table has W_g z_g for each value of each group,
so that the logits of a row are a sum of as many table rows as there are groups. The other way round, a row's
derivatives are added to the sum of each group's value, and the sums of single bits are made of those at the
end: an eighth of the additions of a matrix product. Pixels are cut into tiles of WIDTH, derivatives into
lines of OCTET pixels.
"""

from __future__ import annotations

import numpy as np

from fastvi.kernels.cpu.dense.picked_rows import OCTET, WIDTH, add_octet, add_picked_rows
from fastvi.kernels.jit import kernel, reducing_kernel
from fastvi.kernels.scalar import exp_of_negative, log_fast


@kernel
def values_of_bits(z, groups, values, rows):
    """Write each group's value (G * R,) and its row (R * G,) in a table of all groups.

    ``z`` is flat (R * d,).
    """
    num_groups = groups.first_bit.size
    num_latents = groups.first_bit[num_groups - 1] + groups.num_bits[num_groups - 1]
    num_rows = rows.size // num_groups
    for r in range(num_rows):
        for g in range(num_groups):
            value, at = 0, r * num_latents + groups.first_bit[g]
            for bit in range(groups.num_bits[g]):
                value |= int(z[at + bit]) << bit
            values[g * num_rows + r] = value
            rows[r * num_groups + g] = groups.first_row[g] + value


@kernel
def weight_rows(weights, first_pixel, groups, table):
    """Set table[row * WIDTH + p] to W_g z_g of pixel first_pixel + p.

    It is 0 where the last tile has no pixel.
    """
    num_pixels = min(WIDTH, weights.shape[0] - first_pixel)
    steps = np.empty(WIDTH)
    for g in range(groups.first_bit.size):
        first = groups.first_row[g]
        for p in range(WIDTH):
            table[first * WIDTH + p] = 0.0
        for bit in range(groups.num_bits[g]):
            i, half = groups.first_bit[g] + bit, (1 << bit) * WIDTH
            for p in range(WIDTH):
                steps[p] = weights[first_pixel + p, i] if p < num_pixels else 0.0
            for at in range(first * WIDTH, first * WIDTH + half, WIDTH):
                for p in range(WIDTH):
                    table[at + half + p] = table[at + p] + steps[p]


@reducing_kernel
def _softplus(eta):
    """Return the sum of softplus(eta); ``eta`` becomes sigmoid(eta)."""
    linear, product = 0.0, 1.0
    for p in range(WIDTH):
        small = exp_of_negative(-abs(eta[p]))
        linear += eta[p] if eta[p] > 0.0 else 0.0
        product *= 1.0 + small
        eta[p] = (1.0 if eta[p] >= 0.0 else small) / (1.0 + small)
    return linear + log_fast(product)


@kernel
def tile_softplus(x, bias, table, rows, num_groups, num_samples, value, pull):
    """Set value[r] to minus the sum of softplus(eta) over a tile's pixels.

    ``pull`` (WIDTH // OCTET, R, OCTET), flat, becomes x_n - sigmoid(eta) with n = r // num_samples.

    ``x`` (N * WIDTH,) and ``bias`` (WIDTH,) are those of the tile, padded by pixels that are surely 0.
    """
    held, num_rows = np.empty(WIDTH), value.size
    for r in range(num_rows):
        for p in range(WIDTH):
            held[p] = bias[p]
        add_picked_rows(held, 0, table, 0, rows, r * num_groups, num_groups)
        value[r] = -_softplus(held)
        at = (r // num_samples) * WIDTH
        for octet in range(WIDTH // OCTET):
            to = (octet * num_rows + r) * OCTET
            for p in range(OCTET):
                pull[to + p] = x[at + octet * OCTET + p] - held[octet * OCTET + p]


@kernel
def tile_gradient(share, pull, values, groups, scaled, sums, weights, bias):
    """Sum the gradient of sum_r share_r log p(x_n | z_r) over the rows of one line of pixels.

    It goes to OCTET rows of the weights, (d * OCTET,), and to the bias, (OCTET,), from ``pull`` (R * OCTET,).

    ``values`` (G * R,) are the groups' values of each row; ``scaled`` (R * OCTET,) and ``sums`` (largest
    group's values * OCTET,) are scratch.
    """
    num_rows = share.size
    for r in range(num_rows):
        for p in range(OCTET):
            scaled[r * OCTET + p] = share[r] * pull[r * OCTET + p]
    for g in range(groups.first_bit.size):
        num_values = 1 << groups.num_bits[g]
        for i in range(OCTET * num_values):
            sums[i] = 0.0
        for r in range(num_rows):
            add_octet(sums, OCTET * values[g * num_rows + r], scaled, r * OCTET)
        for bit in range(
            groups.num_bits[g] - 1, -1, -1
        ):  # the upper half has the bit; it joins the lower one
            at, half = (groups.first_bit[g] + bit) * OCTET, OCTET << bit
            for p in range(OCTET):
                weights[at + p] = 0.0
            for i in range(0, half, OCTET):
                for p in range(OCTET):
                    weights[at + p] += sums[half + i + p]
                    sums[i + p] += sums[half + i + p]
        if g == 0:
            for p in range(OCTET):
                bias[p] = sums[p]


@kernel
def weighted_bits(z, mean, share, num_samples, out):
    """Sum share_r (z_ri - mean_ni) over the samples r of datum n to out[n, i].

    ``z`` is flat (R * d,).

    ``mean`` and ``out`` are (N, d).
    """
    num_latents = out.shape[1]
    for n in range(out.shape[0]):
        for i in range(num_latents):
            out[n, i] = 0.0
        for r in range(n * num_samples, (n + 1) * num_samples):
            for i in range(num_latents):
                out[n, i] += share[r] * (z[r * num_latents + i] - mean[n, i])


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
