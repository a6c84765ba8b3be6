"""Loops over rows of tables, emitted and in plain loops, and the block of a table's factors."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import EPS

from fastvi.kernels.cpu.elimination import rows
from fastvi.kernels.cpu.elimination.rows import BLOCK
from fastvi.kernels.host import COLUMNS
from fastvi.kernels.jit import kernel

RNG = np.random.default_rng(1)


@kernel
def run_sums(out, out_row, table, row, half, entries, factors, weights, count):
    rows.row_sums(out, out_row, table, row, half, entries, factors, weights, count)


@kernel
def run_copies(pairs, table, row, half, entries, count):
    rows.row_copies(pairs, table, row, half, entries, count)


@kernel
def run_products(pairs, table, row, half, entries, count):
    rows.row_products(pairs, table, row, half, entries, count)


@kernel
def run_shares(pairs, factors, weights, table, masses, row, sums, count):
    rows.row_shares(pairs, factors, weights, table, masses, row, sums, count)


@kernel
def run_additions(masses, row, half, entries, pairs, count):
    rows.row_additions(masses, row, half, entries, pairs, count)


@kernel
def run_bit_sum(sums, row, pairs, bit, count):
    rows.bit_sum(sums, row, pairs, bit, count)


@kernel
def run_checks(table, row, low, high, lost, count):
    rows.row_checks(table, row, low, high, lost, count)


def numbers(num_rows):
    return RNG.uniform(0.5, 1.5, num_rows * COLUMNS)


def same(emitted, twin, written, *arguments):
    """The emitted loop writes what its twin does into argument ``written``, to a rounding a step."""
    results = []
    for loop in (emitted, twin):
        own = [value.copy() if isinstance(value, np.ndarray) else value for value in arguments]
        loop(*own)
        results.append(own[written])
    np.testing.assert_allclose(*results, rtol=8 * EPS)
    assert (results[0] != arguments[written]).any()


@pytest.mark.parametrize("count", [1, 2, 8, BLOCK])
def test_loops_and_their_twins(count):
    table, whole, pairs = numbers(20), numbers(BLOCK + 3), numbers(2 * BLOCK)
    entries, masses, sums = RNG.integers(0, 8, BLOCK), numbers(BLOCK + 3), numbers(3)
    factors, weights = RNG.random(2 * BLOCK), RNG.random(2 * COLUMNS)
    same(run_sums, rows.row_sums_loops, 0, whole, 3, table, 2, 9, entries, factors, weights, count)
    same(run_copies, rows.row_copies_loops, 0, pairs, table, 2, 9, entries, count)
    same(run_products, rows.row_products_loops, 0, pairs, table, 2, 9, entries, count)
    for written in (0, 6):
        same(
            run_shares, rows.row_shares_loops, written, pairs, factors, weights, whole, masses, 2, sums, count
        )
    same(run_additions, rows.row_additions_loops, 0, table, 2, 9, entries, pairs, count)
    for bit in range(count.bit_length() - 1):
        same(run_bit_sum, rows.bit_sum_loops, 0, sums, 1, pairs, bit, count)


def test_sums_are_those_of_the_definition():
    table, out = numbers(4), np.zeros(2 * COLUMNS)
    factors, weights = RNG.random(2 * BLOCK), RNG.random(2 * COLUMNS)
    run_sums(out, 0, table, 0, 2, np.array([1, 0]), factors, weights, 2)
    rows_of = table.reshape(4, COLUMNS)
    for i, entry in enumerate((1, 0)):
        off = rows_of[entry] * factors[i] * weights[:COLUMNS]
        on = rows_of[entry + 2] * factors[BLOCK + i] * weights[COLUMNS:]
        np.testing.assert_allclose(out.reshape(2, COLUMNS)[i], off + on, rtol=8 * EPS)


@pytest.mark.parametrize("value", [0.0, 0.24, 4.1, np.inf, np.nan, -1.0])
def test_checks(value):
    """A lane is lost by any number outside, NaN too, and by no number within."""
    table, lost = np.tile([0.25, 4.0], 3 * COLUMNS // 2), np.zeros(COLUMNS)
    run_checks(table, 0, 0.25, 4.0, lost, 3)
    assert not lost.any()
    table[COLUMNS + 2] = value
    run_checks(table, 2, 0.25, 4.0, lost, 1)
    assert not lost.any()
    run_checks(table, 1, 0.25, 4.0, lost, 2)
    assert np.flatnonzero(lost).tolist() == [2]
    plain = np.zeros(COLUMNS)
    rows.row_checks_loops(table, 0, 0.25, 4.0, plain, 3)
    np.testing.assert_array_equal(plain, lost)
