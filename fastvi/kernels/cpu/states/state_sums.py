"""Sums over all states that need q(z) and p(x, z) of each state, row by row in log space."""

from __future__ import annotations

import numpy as np

from fastvi.kernels.cpu.states.softplus_product import subset_sums
from fastvi.kernels.host import COLUMNS
from fastvi.kernels.jit import inline, kernel, reducing_kernel
from fastvi.kernels.scalar import exp_fast

# what ``state_sums`` adds of each state
LOG_RATIO, TO_POSTERIOR, FROM_POSTERIOR = 0, 1, 2

_NEVER = -1e300


@kernel
def merge_expectations(sums, first_tile, outer_zero, outer_one, values):
    """Add to values[n] the sum over tiles of q_n(outer bits of the tile) * sums[n, t]."""
    for n in range(values.size):
        for t in range(sums.shape[1]):
            weight = 1.0
            for i in range(outer_one.shape[1]):
                weight *= outer_one[n, i] if ((first_tile + t) >> i) & 1 else outer_zero[n, i]
            if weight > 0.0:
                values[n] += weight * sums[n, t]


@inline
def _log_masses(log_zero, log_one, out):
    """Set out[s] to log q of every subset of a group of bits."""
    out[0] = 0.0
    for i in range(log_zero.size):
        half = 1 << i
        for s in range(half):
            out[half + s] = out[s] + log_one[i]
            out[s] += log_zero[i]


@inline
def _tables(row, column, linear, log_zero, log_one, rows_p, columns_p, rows_q, columns_q):
    """Write the parts of log p and log q that a datum's row bits and column bits give."""
    subset_sums(linear[row:column], rows_p)
    subset_sums(linear[column:], columns_p)
    _log_masses(log_zero[row:column], log_one[row:column], rows_q)
    _log_masses(log_zero[column:], log_one[column:], columns_q)


@inline
def _outer_log_mass(log_zero, log_one, state):
    """Return log q of the outer bits of a tile."""
    total = 0.0
    for i in range(log_zero.size):
        total += log_one[i] if (state >> i) & 1 else log_zero[i]
    return total


@inline
def _outer_linear(linear, state):
    """Return the linear function of a tile's outer bits.

    A bit that is off adds nothing, even if its coefficient is infinite.
    """
    total = 0.0
    for i in range(linear.size):
        if (state >> i) & 1:
            total += linear[i]
    return total


@inline
def _row_logs(tile, a, padded_rows, base_p, base_q, columns_p, columns_q, log_p, log_q):
    """Write log p and log q of the states of one row of a tile."""
    for first in range(0, columns_p.size, COLUMNS):
        at = first * padded_rows + a * COLUMNS
        for c in range(min(COLUMNS, columns_p.size - first)):
            log_p[first + c] = base_p + columns_p[first + c] + tile[at + c]
            log_q[first + c] = base_q + columns_q[first + c]


@inline
def _finite(log_mass):
    """Replace -inf by a finite number that leaves no mass: 0 * inf is nan."""
    return log_mass if log_mass > _NEVER else _NEVER


@inline
def _log_ratio(log_p, log_q):
    """Return q (log p - log q): 0 where q is 0, -inf where p alone is."""
    value = exp_fast(log_q) * (_finite(log_p) - _finite(log_q))
    ruled_out = -np.inf if log_q > -np.inf else value
    return ruled_out if log_p == -np.inf else value


@inline
def _divergence(log_p, log_q, p, q):
    """Return p - q - q log(p / q) >= 0. Summed over two distributions it is KL(q || p).

    No term cancels another. The result is +inf where p alone is 0, even with a q too small for a double.
    Choices, not branches, so that a row is vectorised.
    """
    y = _finite(log_p) - _finite(log_q)
    # e^y - 1 - y by its series: at |y| = 1/4 the first term left out is below 1e-17 of the sum
    near = y if abs(y) <= 0.25 else 0.0
    y2 = near * near
    low = (1.0 / 2.0 + near * (1.0 / 6.0)) + y2 * (1.0 / 24.0 + near * (1.0 / 120.0))
    middle = (1.0 / 720.0 + near * (1.0 / 5040.0)) + y2 * (1.0 / 40320.0 + near * (1.0 / 362880.0))
    high = (1.0 / 3628800.0 + near * (1.0 / 39916800.0)) + y2 * (1.0 / 479001600.0)
    series = low + y2 * y2 * (middle + y2 * y2 * high)
    value, far = q * (y2 * series), p - q - q * y
    value = value if abs(y) <= 0.25 else far
    ruled_out = np.inf if log_q > -np.inf else value
    return ruled_out if log_p == -np.inf else value


@reducing_kernel
def _sum_log_ratios(log_p, log_q):
    """Return the sum of q (log p - log q) over a row."""
    total = 0.0
    for b in range(log_p.size):
        total += _log_ratio(log_p[b], log_q[b])
    return total


@kernel
def _exponentials(logs, out):
    """Set out to exp(logs)."""
    for b in range(logs.size):
        out[b] = exp_fast(logs[b])


@reducing_kernel
def _sum_divergences(log_p, log_q, p, q):
    """Return the sum of divergences over a row.

    Exponentials come first, in loops of their own: a state takes 14 ns, in one loop with the rest 37.
    """
    _exponentials(log_p, p)
    _exponentials(log_q, q)
    total = 0.0
    for b in range(log_p.size):
        total += _divergence(log_p[b], log_q[b], p[b], q[b])
    return total


@kernel
def state_sums(kind, tiles, log_zero, log_one, values):
    """Add to values[n] the sum over the states of these tiles of a function of log p and log q.

    log p comes from ``LogTiles``, log q_n from the log probabilities ``log_zero`` and ``log_one`` (N, d).

    The function is q log(p / q) (``LOG_RATIO``), p - q - q log(p / q) (``TO_POSTERIOR``) or that of p and q
    exchanged (``FROM_POSTERIOR``). Every state counts, so ``peaks`` and ``negligible`` are not asked.
    """
    log_tiles, _, first_tile, num_outer, num_row_bits, padded_rows, linear, offset, _ = tiles
    row, column = num_outer, num_outer + num_row_bits
    num_columns = 1 << (linear.shape[1] - column)
    rows_p, rows_q = np.empty(1 << num_row_bits), np.empty(1 << num_row_bits)
    columns_p, columns_q = np.empty(num_columns), np.empty(num_columns)
    log_p, log_q = np.empty(num_columns), np.empty(num_columns)
    p, q = np.empty(num_columns), np.empty(num_columns)
    for n in range(values.size):
        _tables(row, column, linear[n], log_zero[n], log_one[n], rows_p, columns_p, rows_q, columns_q)
        for t in range(log_tiles.shape[0]):
            outer_p = offset[n] + _outer_linear(linear[n, :row], first_tile + t)
            outer_q = _outer_log_mass(log_zero[n, :row], log_one[n, :row], first_tile + t)
            total = 0.0
            for a in range(rows_p.size):
                base_p, base_q = outer_p + rows_p[a], outer_q + rows_q[a]
                _row_logs(
                    log_tiles[t], a, padded_rows, base_p, base_q, columns_p, columns_q, log_p, log_q
                )  # fmt: skip
                if kind == LOG_RATIO:
                    total += _sum_log_ratios(log_p, log_q)
                elif kind == TO_POSTERIOR:
                    total += _sum_divergences(log_p, log_q, p, q)
                else:
                    total += _sum_divergences(log_q, log_p, q, p)
            values[n] += total


@kernel
def _half_log_squares(log_p, log_q, out):
    """Set out to log sqrt(p^2 / q); return the largest.

    It is -inf where p is 0 and +inf where q alone is.
    """
    best = -np.inf
    for b in range(log_p.size):
        value = -np.inf if log_p[b] == -np.inf else log_p[b] - 0.5 * log_q[b]
        out[b] = value
        best = max(best, value)
    return best


@reducing_kernel
def _sum_squares(half_logs, largest):
    """Return the sum of exp(2 (h - largest)), ``largest`` finite."""
    total = 0.0
    for b in range(half_logs.size):
        total += exp_fast(2.0 * (half_logs[b] - largest))
    return total


@kernel
def square_sums(tiles, log_zero, log_one, largest, total):
    """Add the states of these tiles to sum_z p^2 / q = total[n] exp(2 largest[n]).

    p and q are as in ``state_sums``. The sum is +inf where q is 0 and p is not.

    In halves, so that the square of what a double holds does not overflow. A row all of whose states
    together are below 2^-60 of the sum so far is passed over.
    """
    log_tiles, _, first_tile, num_outer, num_row_bits, padded_rows, linear, offset, negligible = tiles
    row, column = num_outer, num_outer + num_row_bits
    num_columns = 1 << (linear.shape[1] - column)
    rows_p, rows_q = np.empty(1 << num_row_bits), np.empty(1 << num_row_bits)
    columns_p, columns_q = np.empty(num_columns), np.empty(num_columns)
    log_p, log_q = np.empty(num_columns), np.empty(num_columns)
    for n in range(total.size):
        _tables(row, column, linear[n], log_zero[n], log_one[n], rows_p, columns_p, rows_q, columns_q)
        for t in range(log_tiles.shape[0]):
            outer_p = offset[n] + _outer_linear(linear[n, :row], first_tile + t)
            outer_q = _outer_log_mass(log_zero[n, :row], log_one[n, :row], first_tile + t)
            for a in range(rows_p.size):
                base_p, base_q = outer_p + rows_p[a], outer_q + rows_q[a]
                _row_logs(
                    log_tiles[t], a, padded_rows, base_p, base_q, columns_p, columns_q, log_p, log_q
                )  # fmt: skip
                best = _half_log_squares(log_p, log_q, log_p)
                if best == -np.inf or largest[n] == np.inf:
                    continue
                if best == np.inf:
                    largest[n], total[n] = np.inf, 1.0
                    continue
                if 2.0 * (best - largest[n]) < negligible:
                    continue
                if best > largest[n]:
                    total[n] *= exp_fast(2.0 * (largest[n] - best))
                    largest[n] = best
                total[n] += _sum_squares(log_p, largest[n])


@kernel
def unpack_tiles(tiles, num_row_bits, padded_rows, first_tile, num_tiles, table):
    """Unpack tiles into the rows of ``table``.

    The row index is tile + num_tiles * row of the tile, the column index as in the tile.
    """
    for t in range(tiles.shape[0]):
        for a in range(1 << num_row_bits):
            for b in range(table.shape[1]):
                at = ((b // COLUMNS) * padded_rows + a) * COLUMNS + b % COLUMNS
                table[first_tile + t + num_tiles * a, b] = tiles[t, at]
