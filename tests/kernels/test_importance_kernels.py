"""The kernels of importance sampling: the emitted tile against its twin, tables of rows, splits, chunks."""

from __future__ import annotations

import math
from functools import partial

import naive
import numpy as np
import pytest
from cases import bernoulli, network, random_bits
from hypothesis import given
from hypothesis import strategies as st
from interpreted import few_without_jit

import fastvi
from fastvi.engine.importance.softplus_target import _Products, splits_before
from fastvi.engine.importance.targets import bit_groups
from fastvi.kernels.cpu.dense.row_products import (
    SAMPLES,
    multiply_rows,
    multiply_rows_loops,
    tile_lanes,
    tile_pixels,
)
from fastvi.kernels.jit import kernel


@kernel
def run_multiply_rows(products, at, table, tile_at, starts, start_at, num_groups, num_blocks):
    multiply_rows(products, at, table, tile_at, starts, start_at, num_groups, num_blocks)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("num_groups", [1, 2, 3, 13])
def test_emitted_tile_has_the_bits_of_its_twin(num_groups, dtype):
    rng, size = np.random.default_rng(num_groups), np.dtype(dtype).itemsize
    width, lanes = tile_pixels(size), tile_lanes(size)
    table = np.exp(rng.normal(size=40 * width)).astype(dtype)
    rows = rng.integers(0, 30, (4, num_groups, SAMPLES))  # of blocks of samples, two of which are multiplied
    starts = (rows * width).astype(np.uint32).reshape(-1)
    found, expected = np.full((2, (2 * SAMPLES + 2) * lanes), 1.5, dtype)
    arguments = (lanes, table, 10 * width, starts, num_groups * SAMPLES, num_groups, 2)
    run_multiply_rows(found, *arguments)
    multiply_rows_loops(expected, *arguments)
    assert np.array_equal(found, expected)
    picked = table.astype(float).reshape(-1, width)[10 + rows[1:3]].prod(axis=1)
    products = 1.5 * (1 + picked).reshape(2 * SAMPLES, 2, lanes).prod(axis=1)
    # of each factor a rounding for each group, and three more for each pair
    rtol = (2 * num_groups + 3) * np.finfo(dtype).eps / 2
    assert np.allclose(found[lanes:-lanes].reshape(-1, lanes), products, rtol=rtol, atol=0)
    assert (found[:lanes] == 1.5).all()
    assert (found[-lanes:] == 1.5).all()


@given(st.integers(1, 140), st.sampled_from([8, 6]))
def test_groups_cover_every_bit_once(num_latents, largest):
    groups, num_rows = bit_groups(num_latents, largest)
    bits = [
        first + i for first, num in zip(groups.first_bit, groups.num_bits, strict=True) for i in range(num)
    ]
    assert bits == list(range(num_latents))
    assert 1 <= groups.num_bits.min() <= groups.num_bits.max() <= largest
    last = groups.first_bit + groups.num_bits - 1
    assert np.array_equal(groups.first_bit // 32, last // 32)
    assert num_rows == (1 << groups.num_bits).sum()
    assert np.array_equal(np.cumsum(1 << groups.num_bits) - (1 << groups.num_bits), groups.first_row)


def softplus_sums(weights, bias, states, dtype="float64"):
    """sum_j softplus(eta_j) of each state through the tables."""
    groups, num_rows = bit_groups(weights.shape[1])
    products = _Products.build(weights, bias, groups, num_rows, dtype)
    rows = np.array(
        [
            [
                first_row + sum(int(state[first + i]) << i for i in range(num))
                for first, num, first_row in zip(*groups, strict=True)
            ]
            for state in states
        ],
        dtype=np.int32,
    )
    out = np.zeros(len(states))
    products.add(rows.reshape(-1), 1.0, out)
    negative = np.zeros(len(states))
    products.add(rows.reshape(-1), -1.0, negative)
    assert np.array_equal(negative, -out)
    return products, out


@pytest.mark.parametrize(
    ("scale", "low", "high", "direct", "split"),
    [
        (1.0, -1.0, 1.0, False, False),
        (8.0, 60.0, 100.0, False, True),  # e^80 a factor: products overflow unless they are split
        (1.0, 400.0, 450.0, True, False),  # two factors of one tile overflow
        (1.0, -750.0, -710.0, True, False),  # exponentials underflow
        (1.0, -800.0, 800.0, True, True),  # pixels of both kinds
        (1000.0, -1000.0, 1000.0, True, False),
    ],
)
def test_sums_of_softplus_at_any_scale(scale, low, high, direct, split):
    rng = np.random.default_rng(1)
    weights, bias = rng.uniform(-scale, scale, (90, 9)), rng.uniform(low, high, 90)
    states = rng.integers(0, 2, (21, 9))
    products, found = softplus_sums(weights, bias, states)
    assert bool(products.direct.shape[1]) is direct
    assert bool(products.splits.any()) is split
    for value, state in zip(found, states.tolist(), strict=True):
        logits = naive.sbn_logits(weights.tolist(), bias.tolist(), state)
        expected = math.fsum(naive.softplus(t) for t in logits)
        # per pixel: 10 roundings of the product that makes exp(eta), or of a sum of 10 terms; of the total:
        # one per pixel and tile
        reach = 9 * scale + max(-low, high)
        assert abs(value - expected) <= 2.0**-53 * 90 * (20 + 10 * reach) + 2.0**-53 * 90 * expected


@pytest.mark.parametrize(
    ("scale", "low", "high", "rest", "split"),
    [
        (0.1, -3.0, -2.0, False, False),
        (1.0, 4.0, 6.0, False, True),  # a lane of six tiles overflows unless it is split
        (1.0, 38.0, 42.0, True, True),  # two factors of one tile overflow, of some pixels
        (1.0, -100.0, -90.0, True, False),  # exponentials underflow
        (3.0, -500.0, 800.0, True, False),  # pixels of all three kinds
    ],
)
def test_sums_of_softplus_in_float32(scale, low, high, rest, split):
    """What does not fit is done in float64, so that the bound holds at any scale."""
    rng = np.random.default_rng(1)
    weights, bias = rng.uniform(-scale, scale, (90, 9)), rng.uniform(low, high, 90)
    states = rng.integers(0, 2, (21, 9))
    products, found = softplus_sums(weights, bias, states, "float32")
    assert (products.rest is not None) is rest
    assert bool(products.splits.any()) is split
    assert not products.direct.size
    _, exact = softplus_sums(weights, bias, states)
    # two groups: two entries and their product are rounded, then the factor and the product over a lane
    assert np.abs(found - exact).max() <= 90 * 5 * 2.0**-24 + 1e-12 * np.abs(exact).max()
    if products.table.size:
        assert not np.array_equal(found, exact)


def test_growth_never_leaves_the_range():
    rng = np.random.default_rng(2)
    for largest, overflow in ((700.0, 709.0), (87.0, 88.7)):
        growth = rng.uniform(0, largest - 1.0, 400)
        held = 0.0
        for split, more in zip(splits_before(growth, largest), growth, strict=True):
            held = (math.log(2.0) if split else held) + more
            assert held <= overflow


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("num_data", few_without_jit([1, 2, 7], [1]))
def test_same_bits_for_any_threads_and_chunks(monkeypatch, same_bits, num_data, dtype):
    """Few data (threads share a datum's samples) and many (threads share the data), short chunks and long."""
    model, x, q = network(20, 11), random_bits(num_data, 20), bernoulli(num_data, 11)
    monkeypatch.setattr("fastvi.engine.importance.softplus_target._TABLE_LATENTS", 0)
    tails = set()
    for chunk in (9, 40, 4096):
        monkeypatch.setattr("fastvi.engine.sampling.run_jobs.CHUNK", chunk)
        options = {"proposal": q, "num_samples": 50, "seed": 5, "dtype": dtype}
        ask = partial(fastvi.estimate_log_marginal, model, x, **options)
        # the largest weights are the same to the bit however they are cut into chunks
        tails.add(same_bits(ask).pareto_k.tobytes())
    assert len(tails) == 1
