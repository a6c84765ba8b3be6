"""Loops over rows of log weights against their twins, and the largest entries against ``sorted``."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastvi.kernels.cpu.weights.lanes import (
    MASK,
    STEP_BYTES,
    _largest_loops,
    _mask_loops,
    largest_of,
    lowest_bit,
    mask_above,
    sums_of,
)
from fastvi.kernels.cpu.weights.tails import buffer_size, largest_entries
from fastvi.kernels.jit import kernel

INF = math.inf
each_dtype = pytest.mark.parametrize("dtype", [np.float64, np.float32])


@kernel
def run_lanes(row, at, steps, shift, out):
    largest = largest_of(row, at, steps, row.dtype.type(-np.inf))
    total, squares = sums_of(row, at, steps, shift)
    out[0], out[1], out[2] = np.float64(largest), total, squares
    return mask_above(row, at, shift)


@kernel
def run_lowest_bit(bits):
    return lowest_bit(bits)


@kernel
def run_largest(row, kept, out, where):
    room = buffer_size(kept)
    floats, ints = np.empty(2 * room), np.empty(4 * room, np.int64)
    found, positions = largest_entries(row, kept, floats, ints)
    for i in range(found.size):
        out[i], where[i] = found[i], positions[i]
    return found.size


@each_dtype
@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_lanes(dtype, steps):
    rng = np.random.default_rng(steps)
    row = (4 * rng.normal(size=5 * STEP_BYTES // 4 + MASK + 3)).astype(dtype)
    row[7], row[9] = -INF, -1e4
    at, shift = 3, dtype(2.5)
    row[row > shift] -= dtype(20)  # exponentials are of numbers up to 0
    found = np.empty(3)
    bits = run_lanes(row, at, steps, shift, found)
    part = row[at : at + steps * STEP_BYTES // row.itemsize]
    assert found[0] == max(part, default=-INF) == _largest_loops(row, at, steps, dtype(-INF))
    weights = [math.exp(float(v) - float(shift)) for v in part]
    # float32: five roundings of a weight and its sum over a step, and those of the exponential
    error = 1e-14 if dtype is np.float64 else 5e-7
    for value, power in zip(found[1:], (1, 2), strict=True):
        assert value == pytest.approx(math.fsum(w**power for w in weights), rel=error, abs=1e-30)
    limit = dtype(1.0)
    assert bits & (2**64 - 1) == _mask_loops(row, at, shift)
    assert run_lanes(row, at, 0, limit, found) & (2**64 - 1) == sum(
        1 << i for i, v in enumerate(row[at : at + MASK]) if v > limit
    )


@each_dtype
def test_mask_holds_nan(dtype):
    row = np.full(MASK, -INF, dtype)
    row[[0, 5, 63]] = math.nan, 1.0, INF
    bits = run_lanes(row, 0, 0, dtype(0), np.empty(3)) & (2**64 - 1)
    assert bits == _mask_loops(row, 0, dtype(0)) == 1 | 1 << 5 | 1 << 63


@pytest.mark.parametrize("bits", [1, 2, 12, 1 << 62, -(1 << 63), -1])
def test_lowest_bit(bits):
    assert run_lowest_bit(bits) == next(i for i in range(64) if bits >> i & 1)


def check_largest(row, kept):
    out, where = np.empty(kept), np.empty(kept, np.int64)
    assert run_largest(row, kept, out, where) == kept
    order = sorted(range(row.size), key=lambda i: (row[i], i))[-kept:]
    np.testing.assert_array_equal(out, row[order].astype(np.float64))
    inside = out > max(out[0], -INF)  # of those equal to the smallest any may be in
    np.testing.assert_array_equal(where[inside], np.array(order)[inside])


ROWS = {
    "normal": lambda rng, num: rng.normal(size=num),
    "heavy": lambda rng, num: rng.standard_cauchy(size=num) * 100,
    "ties": lambda rng, num: rng.integers(0, 6, num).astype(float),
    "equal": lambda rng, num: np.full(num, -3.0),
    "empty": lambda rng, num: np.full(num, -INF),
    "mostly empty": lambda rng, num: np.where(rng.random(num) < 0.02, rng.normal(size=num), -INF),
    "one bucket": lambda rng, num: np.where(np.arange(num) == num // 2, 1e3, 1e-9 * rng.normal(size=num)),
    "wide": lambda rng, num: rng.normal(size=num) * 1e307,
    "tiny": lambda rng, num: rng.normal(size=num) * 1e-305,
    "rising": lambda rng, num: np.arange(float(num)),
    "sample too high": lambda rng, num: np.where(np.arange(num) % 16 == 0, 1.0, rng.normal(size=num) - 9),
}


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize(("num", "kept"), [(1, 1), (40, 9), (64, 64), (1000, 96), (5003, 214)])
def test_largest_entries(kind, num, kept):
    row = ROWS[kind](np.random.default_rng(num), num)
    check_largest(row, kept)
    if kind not in ("wide", "tiny"):
        check_largest(row.astype(np.float32), kept)


@given(st.lists(st.sampled_from([-INF, -1.0, 0.0, 1e-300, 2.0]) | st.floats(-5, 5), min_size=1, max_size=200))
def test_largest_of_any_entries(entries):
    row = np.array(entries)
    check_largest(row, -(-row.size // 3))


@each_dtype
@pytest.mark.parametrize("bad", [math.nan, INF])
@pytest.mark.parametrize("at", [0, 16, 999, 1002])
def test_nan_and_inf_are_found_anywhere(dtype, bad, at):
    row = np.random.default_rng(0).normal(size=1003).astype(dtype)
    row[at] = bad
    assert run_largest(row, 96, np.empty(96), np.empty(96, np.int64)) == 0
