"""Mean-field coordinate ascent on the exact ELBO, datum by datum.

For factorised q the ELBO is linear in each q_i, so its optimum given the others is logit q_i = t_i + E_q[L
| z_i = 1] - E_q[L | z_i = 0], with log p(x, z) = c + <t, z> + L(z). The states are a matrix (row bits,
column bits): averaging it over the columns leaves a small table in which all row bits are updated in turn,
and the same the other way round. A sweep over all d bits costs two products of the matrix with a vector.

Pairwise models need no states: logit q_i = t_i + sum_j J_ij m_j, m the means of q, and a sweep costs d^2; of
sparse coding 4 d D from residuals, where couplings are too large beside what they leave.
"""

from __future__ import annotations

import math

import numpy as np

from fastvi.kernels.jit import inline, kernel, reducing_kernel


@inline
def _sigmoid(logit):
    """Return sigmoid(logit)."""
    small = math.exp(-abs(logit))
    return (1.0 if logit >= 0.0 else small) / (1.0 + small)


@inline
def _entropy(logit):
    """Return the entropy of a bit, in nats."""
    small = math.exp(-abs(logit))
    return math.log1p(small) + abs(logit) * small / (1.0 + small)


@inline
def _weights(logits, out):
    """Write q of every subset of the bits to ``out``."""
    out[0] = 1.0
    for i in range(logits.size):
        one, zero = _sigmoid(logits[i]), _sigmoid(-logits[i])
        for s in range(1 << i):
            out[(1 << i) + s] = out[s] * one
            out[s] *= zero


@reducing_kernel
def _average_columns(table, weights, out):
    """Average a table over its columns."""
    for r in range(table.shape[0]):
        total = 0.0
        for c in range(table.shape[1]):
            total += table[r, c] * weights[c]
        out[r] = total


@inline
def _average_rows(table, weights, out):
    """Average a table over its rows."""
    out[:] = 0.0
    for r in range(table.shape[0]):
        weight = weights[r]
        for c in range(table.shape[1]):
            out[c] += weight * table[r, c]


@inline
def _average_top_bit(values, bit, logit):
    """Average ``bit``, the highest left, out of values[: 2 << bit]."""
    one, zero = _sigmoid(logit), _sigmoid(-logit)
    half = 1 << bit
    for s in range(half):
        values[s] = zero * values[s] + one * values[half + s]


@inline
def _ascend(values, linear, logits, scratch):
    """Update each bit in turn given the others; return the largest change of a probability."""
    moved = 0.0
    for i in range(logits.size):
        for s in range(values.size):
            scratch[s] = values[s]
        for bit in range(logits.size - 1, i, -1):
            _average_top_bit(scratch, bit, logits[bit])
        half = 1 << i
        for bit in range(i - 1, -1, -1):
            _average_top_bit(scratch, bit, logits[bit])
            _average_top_bit(scratch[half:], bit, logits[bit])
        new = linear[i] + (scratch[half] - scratch[0])
        moved = max(moved, abs(_sigmoid(new) - _sigmoid(logits[i])))
        logits[i] = new
    return moved


@kernel
def fit_mean_field(
    table, linear, constant, num_row_bits, max_sweeps, tolerance, logits, history, objective, converged
):
    """Run coordinate ascent for each datum from ``logits`` (N, d), which it overwrites.

    ``table`` (2^row bits, 2^column bits) is L(z); history (N, max_sweeps) holds the ELBO after each sweep.
    """
    num_latents = logits.shape[1]
    row_weights, column_weights = np.empty(table.shape[0]), np.empty(table.shape[1])
    row_values, column_values = np.empty(table.shape[0]), np.empty(table.shape[1])
    scratch = np.empty(max(table.shape[0], table.shape[1]))
    for n in range(logits.shape[0]):
        rows, columns = logits[n, :num_row_bits], logits[n, num_row_bits:]
        converged[n] = False
        for sweep in range(max_sweeps):
            _weights(columns, column_weights)
            _average_columns(table, column_weights, row_values)
            moved = _ascend(row_values, linear[n, :num_row_bits], rows, scratch)
            _weights(rows, row_weights)
            _average_rows(table, row_weights, column_values)
            moved = max(moved, _ascend(column_values, linear[n, num_row_bits:], columns, scratch))
            _weights(columns, column_weights)
            value = constant[n]
            for c in range(column_values.size):
                value += column_weights[c] * column_values[c]
            for i in range(num_latents):
                value += _sigmoid(logits[n, i]) * linear[n, i] + _entropy(logits[n, i])
            history[n, sweep:] = value
            objective[n] = value
            if moved <= tolerance:
                converged[n] = True
                break


@reducing_kernel
def _field(couplings, i, mean):
    """Return sum_j J_ij m_j of unit i."""
    total = 0.0
    for j in range(mean.size):
        total += couplings[i, j] * mean[j]
    return total


@kernel
def fit_pairs(couplings, linear, constant, max_sweeps, tolerance, logits, history, objective, converged):
    """Run coordinate ascent for each datum of a pairwise model, log p(x, z) = c + <t, z> + z^T J z / 2.

    ``linear`` is t (N, d). ``couplings`` is J (d, d): finite, symmetric, with diagonal 0. The other arguments
    are those of ``fit_mean_field``.
    """
    num_latents = logits.shape[1]
    mean = np.empty(num_latents)
    for n in range(logits.shape[0]):
        converged[n] = False
        for i in range(num_latents):
            mean[i] = _sigmoid(logits[n, i])
        for sweep in range(max_sweeps):
            moved = 0.0
            for i in range(num_latents):
                logits[n, i] = linear[n, i] + _field(couplings, i, mean)
                new = _sigmoid(logits[n, i])
                moved = max(moved, abs(new - mean[i]))
                mean[i] = new
            value = constant[n]
            for i in range(num_latents):
                value += mean[i] * (linear[n, i] + 0.5 * _field(couplings, i, mean)) + _entropy(logits[n, i])
            history[n, sweep:] = value
            objective[n] = value
            if moved <= tolerance:
                converged[n] = True
                break


@reducing_kernel
def _dot(a, b):
    """Return the sum of products."""
    total = 0.0
    for j in range(a.size):
        total += a[j] * b[j]
    return total


@kernel
def fit_coding(
    columns, data, prior_logits, constant, max_sweeps, tolerance, logits, history, objective, converged
):
    """Run coordinate ascent for each datum of sparse coding by residuals, 4 d D operations a sweep.

    log p(x, z) = constant + <c, z> - |data_n - sum_i z_i columns_i|^2 / 2. It serves noise so small that
    couplings keep no digits of the rest. The other arguments are those of ``fit_mean_field``.
    """
    num_latents = logits.shape[1]
    mean, squares, residual = np.empty(num_latents), np.empty(num_latents), np.empty(data.shape[1])
    for i in range(num_latents):
        squares[i] = _dot(columns[i], columns[i])
    for n in range(logits.shape[0]):
        converged[n] = False
        for i in range(num_latents):
            mean[i] = _sigmoid(logits[n, i])
        for sweep in range(max_sweeps):
            # anew in each sweep, so that rounding does not add up
            for j in range(residual.size):
                residual[j] = data[n, j]
            for i in range(num_latents):
                for j in range(residual.size):
                    residual[j] -= mean[i] * columns[i, j]
            moved = 0.0
            for i in range(num_latents):
                logits[n, i] = prior_logits[i] + _dot(columns[i], residual) + squares[i] * (mean[i] - 0.5)
                change = _sigmoid(logits[n, i]) - mean[i]
                moved = max(moved, abs(change))
                mean[i] += change
                for j in range(residual.size):
                    residual[j] -= change * columns[i, j]
            value = constant - 0.5 * _dot(residual, residual)
            for i in range(num_latents):
                spread = mean[i] * _sigmoid(-logits[n, i])
                value += mean[i] * prior_logits[i] - 0.5 * squares[i] * spread + _entropy(logits[n, i])
            history[n, sweep:] = value
            objective[n] = value
            if moved <= tolerance:
                converged[n] = True
                break
