"""Micro-kernels of a network's layers: as emitted, as plain loops, and as NumPy has them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastvi.kernels.cpu.dense.layer_tiles import (
    columns_of,
    distance_block,
    distance_loops,
    exp_block,
    exp_loops,
    fill_block,
    lanes_of,
    layer_block,
    layer_loops,
    picked_block,
    picked_loops,
    softplus_block,
    softplus_loops,
)
from fastvi.kernels.cpu.dense.products import ROWS
from fastvi.kernels.host import COLUMNS, LAYER_64
from fastvi.kernels.jit import kernel

DTYPES = (np.float64, np.float32)
UNIT = {np.float64: 2.0**-53, np.float32: 2.0**-24}


@kernel
def run_layer(acc, left, right, length):
    layer_block(acc, 1, left, 0, right, 0, length)


@kernel
def run_picked(acc, left, index, right, length):
    picked_block(acc, 1, left, 0, index, 1, right, 0, length)


@kernel
def run_distance(acc, left, right, length):
    distance_block(acc, 1, left, 0, right, 0, length)


@kernel
def run_softplus(acc, ones, products):
    softplus_block(acc, 1, ones, 1, products, 1)


@kernel
def run_exp(acc):
    exp_block(acc, 1)


@kernel
def run_fill(acc, row):
    fill_block(acc, 1, row, 1)
    return columns_of(row), lanes_of(row)


def columns(dtype):
    return COLUMNS * 8 // np.dtype(dtype).itemsize


# what is negative adds nothing: panels may have fewer inputs than are worked on at a time
@pytest.mark.parametrize("length", [-256, -1, 0, 1, 3, 4, 5, 30])
@pytest.mark.parametrize("dtype", DTYPES)
def test_products_and_distances(dtype, length):
    rng, width, used = np.random.default_rng(length + 256), columns(dtype), max(length, 0)
    left, right = rng.normal(size=(40, ROWS)).astype(dtype), rng.normal(size=(40, width)).astype(dtype)
    index = rng.permutation(40).astype(np.int32)
    rows, wide = left[:used].astype(float), right.astype(float)
    truths = {
        "layer": np.einsum("kr,kc->rc", rows, wide[:used]),
        "picked": np.einsum("kr,kc->rc", rows, wide[index[1 : 1 + used]]),
        "distance": -np.square(rows[:, :, None] - wide[:used, None]).sum(axis=0),
    }
    left, right = left.reshape(-1), right.reshape(-1)
    found = {name: (np.ones(ROWS * width + 2, dtype), np.ones(ROWS * width + 2, dtype)) for name in truths}
    run_layer(found["layer"][0], left, right, length)
    layer_loops(found["layer"][1], 1, left, 0, right, 0, length)
    run_picked(found["picked"][0], left, index, right, length)
    picked_loops(found["picked"][1], 1, left, 0, index, 1, right, 0, length)
    run_distance(found["distance"][0], left, right, length)
    distance_loops(found["distance"][1], 1, left, 0, right, 0, length)
    # each of ``used`` steps rounds a sum of at most 40 terms of size 20
    close = {"rtol": 0, "atol": (used + 1) * 800 * UNIT[dtype]}
    for name, truth in truths.items():
        for acc in found[name]:
            np.testing.assert_allclose(acc[1:-1].reshape(ROWS, width) - 1.0, truth, **close)
            assert (acc[[0, -1]] == 1.0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_fill(dtype):
    width = columns(dtype)
    acc, row = np.zeros(ROWS * width + 2, dtype), np.arange(width + 1).astype(dtype)
    assert run_fill(acc, row) == (width, LAYER_64.lanes * 8 // np.dtype(dtype).itemsize)
    np.testing.assert_array_equal(acc[1:-1].reshape(ROWS, width), np.tile(row[1:], (ROWS, 1)))
    assert (acc[[0, -1]] == 0.0).all()


@pytest.mark.parametrize("scale", [1.0, 30.0, 1e30])
@pytest.mark.parametrize("dtype", DTYPES)
def test_softplus(dtype, scale):
    rng, width = np.random.default_rng(0), columns(dtype)
    lanes = LAYER_64.lanes * 8 // np.dtype(dtype).itemsize
    eta = (scale * rng.normal(size=ROWS * width)).astype(dtype)
    eta[:3] = 0.0, -0.0, -math.inf
    acc = np.concatenate([[7.0], eta, [7.0]]).astype(dtype)
    sums = [(np.ones(ROWS * lanes + 2), np.full(ROWS * lanes + 2, 1.5, dtype)) for _ in range(2)]
    run_softplus(acc, *sums[0])
    softplus_loops(acc, 1, sums[1][0], 1, sums[1][1], 1)
    cells = eta.astype(float).reshape(ROWS, -1, lanes)
    ones = np.maximum(cells, 0.0).sum(axis=1)
    factors = (1.0 + np.exp(-np.abs(cells))).prod(axis=1)
    for found_ones, products in sums:
        # terms of one sign, some of them, and some factors: a few roundings each
        np.testing.assert_allclose(
            found_ones[1:-1].reshape(ROWS, lanes) - 1.0, ones, rtol=8 * UNIT[dtype], atol=1e-15
        )
        np.testing.assert_allclose(products[1:-1].reshape(ROWS, lanes) / 1.5, factors, rtol=40 * UNIT[dtype])
        assert (found_ones[[0, -1]] == 1.0).all()
        assert (products[[0, -1]] == 1.5).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp(dtype):
    x = -np.geomspace(1e-9, 690.0 if dtype is np.float64 else 79.0, ROWS * columns(dtype)).astype(dtype)
    x[:3] = 0.0, -1e5, -math.inf
    found, twin = (np.concatenate([[1.0], x, [1.0]]).astype(dtype) for _ in range(2))
    run_exp(found)
    exp_loops(twin, 1)
    truth = np.exp(x.astype(float))
    assert (truth[1:3] == 0.0).all()
    assert (found[2:4] == 0.0).all()
    # off by half a unit of |x| and a few units more
    close = (np.minimum(np.abs(x), 1e3) + 4) * UNIT[dtype] * truth
    assert (np.abs(found[1:-1] - truth) <= close).all()
    assert (np.abs(twin[1:-1] - truth) <= close).all()
    assert (found[[0, -1]] == 1.0).all()
