"""Emitted micro-kernels against their plain-loop twins, and the panels that they read."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import EPS

from fastvi.kernels.cpu.simd import denormals, register_tiles
from fastvi.kernels.host import COLUMNS, MATMUL_64
from fastvi.kernels.jit import kernel


@kernel
def run_matmul(total, total_at, left, left_at, right, right_at, weight, weight_at, length):
    register_tiles.matmul_block(total, total_at, left, left_at, right, right_at, weight, weight_at, length)


@pytest.mark.parametrize("length", [0, 1, 5, 64])
def test_matmul_block(length):
    rng = np.random.default_rng(length)
    rows, lanes = MATMUL_64.rows, COLUMNS
    left, right = rng.normal(size=64 * rows), rng.normal(size=64 * COLUMNS)
    weight = rng.normal(size=rows * COLUMNS + 1)
    total, twin = np.ones(rows * lanes + 2), np.ones(rows * lanes + 2)
    run_matmul(total, 1, left, 0, right, 0, weight, 1, length)
    register_tiles.matmul_loops(twin, 1, left, 0, right, 0, weight, 1, length)
    size = np.abs(left).max() * np.abs(right).max() * np.abs(weight).max()
    assert np.allclose(total, twin, rtol=0, atol=4 * (length + 2) * COLUMNS * EPS * size)
    products = left[: length * rows].reshape(length, rows).T @ right[: length * COLUMNS].reshape(
        length, COLUMNS
    )
    expected = (products * weight[1:].reshape(rows, COLUMNS)).sum(axis=1)
    found = (total[1:-1] - 1).reshape(rows, lanes).sum(axis=1)
    assert np.allclose(found, expected, rtol=0, atol=4 * (length + 2) * COLUMNS * EPS * size)


@kernel
def run_mass(total, total_at, left, right, weight, weight_at, scale, mass, mass_at, length):
    register_tiles.mass_block(
        total, total_at, left, 0, right, 0, weight, weight_at, scale, 1, mass, mass_at, length
    )


@kernel
def run_store(out, out_at, left, right, length):
    register_tiles.store_block(out, out_at, left, 0, right, 0, length)


@pytest.mark.parametrize("length", [0, 1, 5, 64])
def test_mass_block(length):
    rng = np.random.default_rng(length)
    rows, lanes = MATMUL_64.rows, COLUMNS
    left, right = rng.normal(size=64 * rows), rng.normal(size=64 * COLUMNS)
    weight, scale = rng.normal(size=rows * COLUMNS + 1), rng.normal(size=rows + 1)
    total, mass = np.ones(rows * lanes + 2), np.ones(rows * COLUMNS + 2)
    run_mass(total, 1, left, right, weight, 1, scale, mass, 1, length)
    products = left[: length * rows].reshape(length, rows).T @ right[: length * COLUMNS].reshape(
        length, COLUMNS
    )
    parts = products * weight[1:].reshape(rows, COLUMNS)
    size = np.abs(left).max() * np.abs(right).max() * np.abs(weight).max() * max(1, np.abs(scale).max())
    close = {"rtol": 0, "atol": 4 * (length + 2) * COLUMNS * EPS * size}
    assert np.allclose((total[1:-1] - 1).reshape(rows, lanes).sum(axis=1), parts.sum(axis=1), **close)
    assert np.allclose(mass[1:-1].reshape(rows, COLUMNS) - 1, parts * scale[1:, None], **close)
    assert (mass[[0, -1]] == 1).all()
    assert (total[[0, -1]] == 1).all()
    same = np.ones_like(total)  # sums have the bits that matmul_block gives
    run_matmul(same, 1, left, 0, right, 0, weight, 1, length)
    assert np.array_equal(total, same)
    twin_total, twin_mass = np.ones_like(total), np.ones_like(mass)
    register_tiles.mass_loops(twin_total, 1, left, 0, right, 0, weight, 1, scale, 1, twin_mass, 1, length)
    assert np.allclose(total, twin_total, **close)
    assert np.allclose(mass, twin_mass, **close)


@pytest.mark.parametrize("length", [0, 1, 5, 64])
def test_store_block(length):
    rng = np.random.default_rng(length)
    rows = MATMUL_64.rows
    left, right = rng.normal(size=64 * rows), rng.normal(size=64 * COLUMNS)
    out, twin = np.ones(rows * COLUMNS + 2), np.ones(rows * COLUMNS + 2)
    run_store(out, 1, left, right, length)
    register_tiles.store_loops(twin, 1, left, 0, right, 0, length)
    products = left[: length * rows].reshape(length, rows).T @ right[: length * COLUMNS].reshape(
        length, COLUMNS
    )
    size = np.abs(left).max() * np.abs(right).max()
    close = {"rtol": 0, "atol": 4 * (length + 2) * EPS * (1 + size)}
    assert np.allclose(out[1:-1].reshape(rows, COLUMNS) - 1, products, **close)
    assert np.allclose(out, twin, **close)
    assert (out[[0, -1]] == 1).all()


@kernel
def run_flushed(a, b):
    before = denormals.begin_flushing()
    product = a[0] * b[0]
    denormals.end_flushing(before)
    return product


def test_flushing_ends_with_the_kernel():
    """Flushed inside or not (not every host does), a denormal product is one again afterwards."""
    small = np.array([1e-200])
    assert run_flushed(small, np.array([1e-115])) in (0.0, 1e-200 * 1e-115)
    assert float(small[0] * np.array([1e-115])[0]) == 1e-200 * 1e-115 > 0.0
