"""Dense products A B from packed panels, and a network's layers while they are in cache.

A is packed in panels of ``ROWS`` rows, B in panels of ``COLUMNS`` columns (of float32 twice as many), both
with the reduction axis running slowest, as ``layer_block`` reads them. A number of the product is summed in
one order, whatever stands beside it: the same bits for a row in any batch.
"""

from __future__ import annotations

import math

import numpy as np

from fastvi.kernels.bits import bits_to_float, float_to_bits
from fastvi.kernels.cpu.dense.layer_tiles import (
    columns_of,
    distance_block,
    fill_block,
    lanes_of,
    layer_block,
    picked_block,
    softplus_block,
)
from fastvi.kernels.host import COLUMNS, LAYER_64
from fastvi.kernels.jit import inline, kernel
from fastvi.kernels.scalar import exp_fast, log_fast

ROWS = LAYER_64.rows
_DEPTH = 256  # of the reduction axis at a time: a panel of B is then half of the first-level cache
_FACTORS = 512  # factors 1 + exp(-|eta|) <= 2 of a running product before its logarithm is taken
_FACTORS_32 = 64  # the same in float32
_LOG2_E, _LN2 = 1.4426950408889634, 0.6931471805599453
_ROUNDER, _ROUNDER_BITS = 6755399441055744.0, 0x4338000000000000  # as in ``exp_fast``

IDENTITY, RELU, TANH, SIGMOID, SOFTPLUS, LEAKY_RELU, ELU, GELU, SILU = range(9)
LEAK = 0.01  # slope of "leaky_relu" below 0
_SQRT_HALF, _SQRT_TWO_PI = math.sqrt(0.5), math.sqrt(2.0 * math.pi)


@kernel
def pack_rows(a, out):
    """Pack the rows of ``a`` (M, K) as panels (ceil(M / ROWS), K, ROWS), padded by 0."""
    num_rows, depth = a.shape
    for p in range(-(-num_rows // ROWS)):
        for r in range(ROWS):
            m = p * ROWS + r
            for k in range(depth):
                out[(p * depth + k) * ROWS + r] = a[m, k] if m < num_rows else 0.0


@kernel
def pack_columns(b, out):
    """Pack the columns of ``b`` (K, N) as panels of float64 or float32, padded by 0."""
    depth, num_columns = b.shape
    columns = columns_of(out)
    for p in range(-(-num_columns // columns)):
        for k in range(depth):
            for c in range(columns):
                j = p * columns + c
                out[(p * depth + k) * columns + c] = b[k, j] if j < num_columns else 0.0


@kernel
def pack_bits(first, num_states, latents, out):
    """Pack states as rows of 0.0 and 1.0: bit i of first + s is at latent latents[i] of row s."""
    depth = latents.size
    for i in range(out.size):
        out[i] = 0.0
    for s in range(num_states):
        at = (s // ROWS) * depth * ROWS + s % ROWS
        for i in range(depth):
            if ((first + s) >> i) & 1:
                out[at + latents[i] * ROWS] = 1.0


@kernel
def compress(panels, depth, index, counts):
    """Leave out of each panel the rows of the reduction axis that are all 0, in place.

    ``counts[p]`` of them are left, those of ``index[p * depth + k]``. A product keeps its bits.
    """
    for p in range(counts.size):
        begin, count = p * depth, 0
        for k in range(depth):
            some = False
            for r in range(ROWS):
                some |= panels[(begin + k) * ROWS + r] != 0.0
            if some:
                for r in range(ROWS):
                    panels[(begin + count) * ROWS + r] = panels[(begin + k) * ROWS + r]
                index[begin + count] = k
                count += 1
        counts[p] = count


@kernel
def keep_all(depth, index, counts):
    """Set ``index`` and ``counts`` for panels of which nothing is left out."""
    for p in range(counts.size):
        counts[p] = depth
        for k in range(depth):
            index[p * depth + k] = k


@inline
def panel_product(left, index, counts, first_panel, num_panels, depth, right, right_at, acc):
    """Add A B to acc[r, c], for ``num_panels`` panels of compressed rows and one panel of columns."""
    columns = columns_of(right)
    for start in range(0, depth, _DEPTH):
        for q in range(num_panels):
            p = first_panel + q
            length = min(_DEPTH, counts[p] - start)
            at, into = p * depth + start, q * ROWS * columns
            if counts[p] == depth:
                layer_block(acc, into, left, at * ROWS, right, right_at + start * columns, length)
            else:
                picked_block(acc, into, left, at * ROWS, index, at, right, right_at, length)


@inline
def panel_distances(left, first_panel, num_panels, depth, right, right_at, acc):
    """Subtract |a_r - b_c|^2 from acc[r, c], for ``num_panels`` panels of rows and one of columns.

    The rows are not compressed.
    """
    columns = columns_of(right)
    for start in range(0, depth, _DEPTH):
        for q in range(num_panels):
            at, length = (first_panel + q) * depth + start, min(_DEPTH, depth - start)
            into, column = q * ROWS * columns, right_at + start * columns
            distance_block(acc, into, left, at * ROWS, right, column, length)


@inline
def _begin(bias, first, acc):
    """Set the rows of ``acc`` to a panel of the bias."""
    for at in range(0, acc.size, COLUMNS):
        for c in range(COLUMNS):
            acc[at + c] = bias[first + c]


@kernel
def product(left, right, bias, depth, out):
    """Set out (M, N) to A B + bias, ``bias`` padded to panels."""
    num_rows, num_columns = out.shape
    panels = -(-num_rows // ROWS)
    acc = np.empty(panels * ROWS * COLUMNS)
    for p in range(-(-num_columns // COLUMNS)):
        _begin(bias, p * COLUMNS, acc)
        for start in range(0, depth, _DEPTH):
            for q in range(panels):
                layer_block(
                    acc, q * ROWS * COLUMNS, left, (q * depth + start) * ROWS, right,
                    (p * depth + start) * COLUMNS, min(_DEPTH, depth - start),
                )  # fmt: skip
        width = min(COLUMNS, num_columns - p * COLUMNS)
        if width == COLUMNS:
            for m in range(num_rows):
                for c in range(COLUMNS):
                    out[m, p * COLUMNS + c] = acc[m * COLUMNS + c]
        else:
            for m in range(num_rows):
                for c in range(width):
                    out[m, p * COLUMNS + c] = acc[m * COLUMNS + c]


@inline
def _tanh(t):
    """Return tanh(t) to a few units in the last place."""
    # (1 - e^x) / (1 + e^x) at x = -2 |t|, with e^x = scale (1 + rest): of small t no digit is lost. The
    # reduction is off by |x| 2^-53, which the scale makes small
    x = -2.0 * abs(t)
    x = -40.0 if x < -40.0 else x  # e^-40 is nothing beside 1; nan stays nan
    shifted = x * _LOG2_E + _ROUNDER
    r = x - (shifted - _ROUNDER) * _LN2
    r2 = r * r
    r4 = r2 * r2
    # the Taylor series to r^13, as ``exp_fast`` has it
    low = (1.0 / 2.0 + r * (1.0 / 6.0)) + r2 * (1.0 / 24.0 + r * (1.0 / 120.0))
    middle = (1.0 / 720.0 + r * (1.0 / 5040.0)) + r2 * (1.0 / 40320.0 + r * (1.0 / 362880.0))
    high = (1.0 / 3628800.0 + r * (1.0 / 39916800.0)) + r2 * (1.0 / 479001600.0 + r * (1.0 / 6227020800.0))
    rest = r + r2 * (low + r4 * (middle + r4 * high))
    scale = bits_to_float((float_to_bits(shifted) - _ROUNDER_BITS + 1023) << 52)
    less = (1.0 - scale) - scale * rest
    return math.copysign(less / (2.0 - less), t)


@inline
def _softplus(t):
    """Return log(1 + e^t) to a few units in the last place."""
    small = exp_fast(-abs(t))
    one_more = 1.0 + small
    # what 1 + small lost is put back by the quotient (Higham 2002, "Accuracy and Stability", section 1.14.1)
    lost = one_more - 1.0
    logarithm = small if lost == 0.0 else log_fast(one_more) * small / lost
    return (t if t > 0.0 else 0.0) + logarithm


@inline
def _elu(t):
    """Return t above 0 and e^t - 1 below, to a few units in the last place."""
    inside = 0.0 if t > 0.0 else t
    inside = -40.0 if inside < -40.0 else inside  # e^-40 is nothing beside 1
    power = exp_fast(inside)
    # Kahan's formula: the error of e^t is in both terms (Higham 2002, section 1.14.1)
    below = inside if power == 1.0 else (power - 1.0) * inside / log_fast(power)
    return t if t > 0.0 else below


@inline
def _gelu(t):
    """Return t times the normal distribution function of t, to 0 at -inf.

    It is the value at an argument that is off by a unit in the last place, to a few units more.
    """
    inside = -50.0 if t < -50.0 else t  # the value is 0 from -39 on
    return inside * (0.5 * math.erfc(-_SQRT_HALF * inside))


@inline
def _within(t, reach):
    """Return the nearest number to t within +-``reach``; nan stays nan."""
    t = -reach if t < -reach else t
    return reach if t > reach else t


@inline
def _silu(t):
    """Return t times sigmoid(t) to a few units in the last place, to 0 at -inf."""
    inside = -800.0 if t < -800.0 else t
    return inside / (1.0 + exp_fast(-inside))


@kernel
def activate(values, activation):
    """Apply the activation to each number of a vector, in place."""
    if activation == RELU:
        for i in range(values.size):
            values[i] = values[i] if values[i] > 0.0 else 0.0
    elif activation == TANH:
        for i in range(values.size):
            values[i] = _tanh(values[i])
    elif activation == SIGMOID:
        for i in range(values.size):
            values[i] = 1.0 / (1.0 + exp_fast(-values[i]))
    elif activation == SOFTPLUS:
        for i in range(values.size):
            values[i] = _softplus(values[i])
    elif activation == LEAKY_RELU:
        for i in range(values.size):
            values[i] = values[i] if values[i] > 0.0 else LEAK * values[i]
    elif activation == ELU:
        for i in range(values.size):
            values[i] = _elu(values[i])
    elif activation == GELU:
        for i in range(values.size):
            values[i] = _gelu(values[i])
    elif activation == SILU:
        for i in range(values.size):
            values[i] = _silu(values[i])


@kernel
def hidden_layer(left, index, counts, right, bias, depth, num_rows, width, activation, out):
    """Pack f(A B + bias) as rows of the next product, whose depth is ``width``."""
    panels = -(-num_rows // ROWS)
    acc = np.empty(panels * ROWS * COLUMNS)
    for p in range(-(-width // COLUMNS)):
        _begin(bias, p * COLUMNS, acc)
        panel_product(left, index, counts, 0, panels, depth, right, p * depth * COLUMNS, acc)
        activate(acc, activation)
        columns = min(COLUMNS, width - p * COLUMNS)
        for q in range(panels):
            at = (q * width + p * COLUMNS) * ROWS
            for c in range(columns):
                for r in range(ROWS):
                    out[at + c * ROWS + r] = acc[(q * ROWS + r) * COLUMNS + c]


@inline
def _exp_below_one(x):
    """Return e^x for x <= 0 to 2^-53 of 1, which is all that 1 + e^x needs.

    It takes 3.7 ns a term of the sum below on a Zen 1 core, where ``exp_fast`` takes 5.2.

    The polynomial is the Chebyshev economisation of degree 11 over |r| <= log(2) / 2, within 4e-18.
    """
    x = x if x > -700.0 else -700.0
    shifted = x * _LOG2_E + _ROUNDER  # the nearest integer, in the low bits
    r = x - (shifted - _ROUNDER) * _LN2  # off by |x| 2^-53, which e^x makes small
    r2 = r * r
    r4 = r2 * r2
    low = (0.99999999999999999693 + r * 0.99999999999999999976) + r2 * (
        0.50000000000000184039 + r * 0.1666666666666668082
    )
    middle = (0.04166666666648795252 + r * 0.0083333333333195896163) + r2 * (
        0.0013888888952352862866 + r * 0.00019841269890076402829
    )
    high = (2.4801485441561312966e-5 + r * 2.7557240887229868596e-6) + r2 * (
        2.763265472252779189e-7 + r * 2.5110049204818659793e-8
    )
    value = low + r4 * (middle + r4 * high)
    return bits_to_float(float_to_bits(value) + ((float_to_bits(shifted) - _ROUNDER_BITS) << 52))


@inline
def _add_softplus(eta, ones, products):
    """Add max(eta, 0) to ``ones`` and multiply ``products`` by 1 + exp(-|eta|)."""
    for i in range(eta.size):
        value = eta[i]
        ones[i] += value if value > 0.0 else 0.0
        products[i] *= 1.0 + _exp_below_one(-abs(value))


@kernel
def softplus_sums(left, index, counts, right, bias, depth, num_rows, width, out):
    """Set out[m] to the sum over columns of softplus(A B + bias), in float64 or in float32.

    A term takes an exponential while its tile is in registers, hundreds of terms one logarithm. The sums are
    in float64.

    Where ``width`` is no multiple of a panel's columns, ``bias`` is padded with a very negative number.
    """
    panels, columns, lanes = -(-num_rows // ROWS), columns_of(right), lanes_of(right)
    size, sums = ROWS * columns, ROWS * lanes
    # what is summed at once needs no accumulators of its own for each panel
    apart = size if depth > _DEPTH else 0
    acc = np.empty(max(panels * apart, size), right.dtype)
    ones, logs = np.zeros(panels * sums), np.zeros(panels * sums)
    products = np.ones(panels * sums, right.dtype)
    column_panels = -(-width // columns)
    most = (_FACTORS if columns == COLUMNS else _FACTORS_32) // (columns // lanes)
    for p in range(column_panels):
        # without inputs there is a round, too
        for start in range(0, max(depth, 1), _DEPTH):
            for q in range(panels):
                into = q * apart
                if start == 0:
                    fill_block(acc, into, bias, p * columns)
                # as panel_product has it; a function here would count references to its arrays at each call
                length, at, right_at = min(_DEPTH, counts[q] - start), q * depth + start, p * depth * columns
                if counts[q] == depth:
                    layer_block(acc, into, left, at * ROWS, right, right_at + start * columns, length)
                else:
                    picked_block(acc, into, left, at * ROWS, index, at, right, right_at, length)
                if start + _DEPTH >= depth:
                    softplus_block(acc, into, ones, q * sums, products, q * sums)
        if (p + 1) % most == 0 or p + 1 == column_panels:
            for i in range(products.size):
                logs[i] += log_fast(np.float64(products[i]))
                products[i] = 1.0
    for m in range(num_rows):
        total = 0.0
        for i in range(m * lanes, (m + 1) * lanes):
            total += ones[i] + logs[i]
        out[m] = total


@kernel
def subtract_distances(left, right, depth, out):
    """Subtract |a_m - b_n|^2 from out (M, N), with the bits that blocks of states have.

    Rows and columns are packed.
    """
    num_rows, num_columns = out.shape
    panels = -(-num_rows // ROWS)
    acc = np.zeros(panels * ROWS * COLUMNS)
    for p in range(-(-num_columns // COLUMNS)):
        for m in range(num_rows):
            for c in range(min(COLUMNS, num_columns - p * COLUMNS)):
                acc[m * COLUMNS + c] = out[m, p * COLUMNS + c]
        panel_distances(left, 0, panels, depth, right, p * depth * COLUMNS, acc)
        for m in range(num_rows):
            for c in range(min(COLUMNS, num_columns - p * COLUMNS)):
                out[m, p * COLUMNS + c] = acc[m * COLUMNS + c]


@kernel
def sigmoid_rows(values, factors, out):
    """Set out[m, j] to factors[m] * sigmoid(values[m, j])."""
    for m in range(values.shape[0]):
        for j in range(values.shape[1]):
            out[m, j] = factors[m] / (1.0 + exp_fast(-values[m, j]))


@kernel
def multiply_slopes(hidden, activation, values):
    """Multiply ``values`` by f'(t), given h = f(t); of GELU and SILU ``hidden`` holds t.

    At a kink the slope is that from below.
    """
    for m in range(values.shape[0]):
        for j in range(values.shape[1]):
            h = hidden[m, j]
            if activation == RELU:
                slope = 1.0 if h > 0.0 else 0.0
            elif activation == TANH:
                slope = (1.0 - h) * (1.0 + h)
            elif activation == SIGMOID:
                slope = h * (1.0 - h)
            elif activation == SOFTPLUS:
                slope = -math.expm1(-h)
            elif activation == LEAKY_RELU:
                slope = 1.0 if h > 0.0 else LEAK
            elif activation == ELU:
                slope = 1.0 if h > 0.0 else 1.0 + h
            elif activation == GELU:
                t = _within(h, 50.0)
                slope = 0.5 * math.erfc(-_SQRT_HALF * t) + t * math.exp(-0.5 * t * t) / _SQRT_TWO_PI
            elif activation == SILU:
                t = _within(h, 800.0)
                slope = (1.0 + t / (1.0 + exp_fast(t))) / (1.0 + exp_fast(-t))
            else:
                slope = 1.0
            values[m, j] *= slope


@kernel
def softplus_rows(values, out):
    """Set out[m] to the sum over j of softplus(values[m, j])."""
    ones, products = np.empty(values.shape[1]), np.empty(values.shape[1])
    for m in range(values.shape[0]):
        for j in range(values.shape[1]):
            ones[j], products[j] = 0.0, 1.0
        _add_softplus(values[m], ones, products)
        total, product_of_some = 0.0, 1.0
        for j in range(values.shape[1]):
            total += ones[j]
            product_of_some *= products[j]
            if (j + 1) % _FACTORS == 0:
                total += math.log(product_of_some)
                product_of_some = 1.0
        out[m] = total + math.log(product_of_some)


@kernel
def responsibilities(logs, largest, weights, mass):
    """Turn logs[s, n] into weights[n] * exp(logs[s, n] - largest[n]); mass[s] sums their sizes."""
    for s in range(logs.shape[0]):
        total = 0.0
        for n in range(logs.shape[1]):
            logs[s, n] = weights[n] * exp_fast(min(logs[s, n] - largest[n], 0.0))
            total += abs(logs[s, n])
        mass[s] = total
