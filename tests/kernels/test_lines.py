"""Lines of pixels: tables of five bits, sums of what rows pick, softplus; twins and definitions."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest

from fastvi.kernels.cpu.dense.line_softplus import add_line, add_line_loops
from fastvi.kernels.cpu.dense.line_tables import (
    BITS,
    LINE,
    SUBSETS,
    TOGETHER,
    add_lines,
    add_lines_loops,
    fill_table,
    fill_table_loops,
)
from fastvi.kernels.jit import kernel

DTYPES = ["float64", "float32"]


@kernel
def run_fill(table, group, scales, lines, first):
    fill_table(table, group, scales, lines, first)


@kernel
def run_add(sums, at, table, first_group, values, values_at, stride, num_rows, num_groups):
    add_lines(sums, at, table, first_group, values, values_at, stride, num_rows, num_groups)


@kernel
def run_line(eta, at, x, x_at, linear, product, r):
    add_line(eta, at, x, x_at, linear, product, r)


@pytest.mark.parametrize("dtype", DTYPES)
def test_table_has_the_sum_of_each_subset(dtype):
    rng = np.random.default_rng(0)
    lines, scales = rng.normal(size=8 * LINE).astype(dtype), rng.normal(size=8)
    table = np.full(3 * SUBSETS * LINE, 7.0, dtype)
    run_fill(table, 1, scales, lines, 2)
    assert (table[: SUBSETS * LINE] == 7.0).all()
    assert (table[2 * SUBSETS * LINE :] == 7.0).all()
    found = table.reshape(3, SUBSETS, LINE)[1]
    picked = (np.arange(SUBSETS)[:, None] >> np.arange(BITS)) & 1
    scaled = scales[2 : 2 + BITS, None] * lines.reshape(8, LINE)[2 : 2 + BITS]
    # each of five terms and of four sums rounds to half a unit of at most the sum of sizes
    slack = 5 * np.finfo(dtype).eps * np.abs(scaled).sum(axis=0)
    assert (np.abs(found - np.einsum("vb,bp->vp", picked, scaled)) <= slack).all()
    twin = np.full(table.size, 7.0, dtype)
    fill_table_loops(twin, 1, scales, lines, 2)
    assert twin.tobytes() == table.tobytes()


@pytest.mark.parametrize("num_groups", [0, 1, TOGETHER - 1, TOGETHER])
@pytest.mark.parametrize(
    ("dtype", "of_sums"), [("float64", "float64"), ("float32", "float32"), ("float32", "float64")]
)
def test_rows_pick_lines(dtype, of_sums, num_groups):
    rng = np.random.default_rng(1)
    table = rng.normal(size=(TOGETHER + 1) * SUBSETS * LINE).astype(dtype)
    rows, stride = 5, 9
    values = rng.integers(0, SUBSETS, size=3 + TOGETHER * stride).astype(np.uint8)
    start = rng.normal(size=rows * LINE + 4).astype(of_sums)
    found, twin = start.copy(), start.copy()
    arguments = (table, 1, values, 3, stride, rows, num_groups)
    run_add(found, 2, *arguments)
    add_lines_loops(twin, 2, *arguments)
    assert twin.tobytes() == found.tobytes()
    assert found[:2].tolist() == start[:2].tolist()
    assert found[2 + rows * LINE :].tolist() == start[2 + rows * LINE :].tolist()
    picked = table.reshape(-1, SUBSETS, LINE).astype(np.float64)
    for r in range(rows):
        own = slice(2 + r * LINE, 2 + (r + 1) * LINE)
        expected = start[own].astype(np.float64)
        for g in range(num_groups):
            expected = expected + picked[1 + g, values[3 + g * stride + r]]
        assert np.allclose(found[own], expected, rtol=0, atol=50 * np.finfo(dtype).eps)  # sums of nine terms


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1.0, 30.0, 1e3])
def test_line_of_pixels(dtype, scale):
    rng, unit = np.random.default_rng(2), np.finfo(dtype).eps
    eta = (scale * rng.normal(size=LINE + 3)).astype(dtype)
    eta[2:6] = [0.0, -0.0, 1e30, -1e30]
    x = rng.uniform(size=LINE + 2).astype(dtype)
    x[1:5] = [1.0, 0.0, 1.0, 0.0]  # what is certain is seen to be
    found, twin = eta.copy(), eta.copy()
    sums, twin_sums = np.array([5.0, 7.0]), np.array([5.0, 7.0])
    products, twin_products = np.array([5.0, 2.0]), np.array([5.0, 2.0])
    run_line(found, 2, x, 1, sums, products, 1)
    add_line_loops(twin, 2, x, 1, twin_sums, twin_products, 1)
    line, pixels = eta[2 : 2 + LINE].tolist(), x[1 : 1 + LINE].tolist()
    with mpmath.workdps(40):
        small = [mpmath.exp(-abs(mpmath.mpf(e))) for e in line]
        product = 2 * mpmath.fprod(1 + s for s in small)
        sigma = [(1 if e >= 0 else s) / (1 + s) for e, s in zip(line, small, strict=True)]
        pull = [float(p - s) for p, s in zip(pixels, sigma, strict=True)]
        linear = 7 + mpmath.fsum(mpmath.mpf(p) * e - max(e, 0.0) for p, e in zip(pixels, line, strict=True))
    finite = [abs(e) for e in line if abs(e) < 1e29]
    for values, own_sums, own_products in (
        (found, sums, products),
        (twin, twin_sums, twin_products),
    ):
        assert own_sums[0] == own_products[0] == 5.0
        # e^-|eta| is right to 2 units where it is near 1; the quotient and the difference round once each
        assert np.allclose(values[2 : 2 + LINE], pull, rtol=0, atol=4 * unit)
        assert values[:2].tolist() == eta[:2].tolist()
        assert values[2 + LINE :].tolist() == eta[2 + LINE :].tolist()
        assert math.isclose(own_products[1], product, rel_tol=3 * LINE * unit)
        # two roundings of a pixel, four of the tree and one of the sum
        assert abs(own_sums[1] - linear) <= 8 * unit * (math.fsum(finite) + 7)
