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

import fastvi
from fastvi.engine.importance import softplus_target
from fastvi.engine.importance.targets import bit_groups
from fastvi.engine.sampling import run_jobs
from fastvi.kernels.cpu.dense.row_products import LANES, WIDTH, multiply_rows, multiply_rows_loops
from fastvi.kernels.jit import kernel


@kernel
def run_multiply_rows(products, at, table, tile_at, rows, row_at, num_groups):
    multiply_rows(products, at, table, tile_at, rows, row_at, num_groups)


@pytest.mark.parametrize("num_groups", [1, 2, 3, 13])
def test_emitted_tile_has_the_bits_of_its_twin(num_groups):
    rng = np.random.default_rng(num_groups)
    table = np.exp(rng.normal(size=40 * WIDTH))
    rows = rng.integers(0, 30, 2 * num_groups).astype(np.int32)
    found, expected = np.full(3 * LANES, 1.5), np.full(3 * LANES, 1.5)
    arguments = (LANES, table, 10 * WIDTH, rows, num_groups, num_groups)
    run_multiply_rows(found, *arguments)
    multiply_rows_loops(expected, *arguments)
    assert np.array_equal(found, expected)
    picked = table.reshape(-1, WIDTH)[10 + rows[num_groups:]].prod(axis=0)
    factors = (1 + picked).reshape(-1, LANES).prod(axis=0)
    assert np.allclose(found[LANES : 2 * LANES], 1.5 * factors, rtol=1e-13)


@given(st.integers(1, 140))
def test_groups_cover_every_bit_once(num_latents):
    groups, num_rows = bit_groups(num_latents)
    bits = [
        first + i for first, num in zip(groups.first_bit, groups.num_bits, strict=True) for i in range(num)
    ]
    assert bits == list(range(num_latents))
    assert 1 <= groups.num_bits.min() <= groups.num_bits.max() <= 8
    last = groups.first_bit + groups.num_bits - 1
    assert np.array_equal(groups.first_bit // 32, last // 32)
    assert num_rows == (1 << groups.num_bits).sum()
    assert np.array_equal(np.cumsum(1 << groups.num_bits) - (1 << groups.num_bits), groups.first_row)


def softplus_sums(weights, bias, states):
    """sum_j softplus(eta_j) of each state through the tables."""
    groups, num_rows = bit_groups(weights.shape[1])
    products = softplus_target._Products.build(weights, bias, groups, num_rows)
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
        (1.0, 250.0, 300.0, True, False),  # four factors of one tile overflow
        (1.0, -300.0, 300.0, True, True),  # pixels of both kinds
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


def test_growth_never_leaves_the_range():
    rng = np.random.default_rng(2)
    growth = rng.uniform(0, 699, 400)
    held = 0.0
    for split, more in zip(softplus_target.splits_before(growth), growth, strict=True):
        held = (math.log(2.0) if split else held) + more
        assert held <= 709.0


@pytest.mark.parametrize("num_data", [1, 2, 7])
def test_same_bits_for_any_threads_and_chunks(monkeypatch, same_bits, num_data):
    """Few data (threads share a datum's samples) and many (threads share the data), short chunks and long."""
    model, x, q = network(20, 11), random_bits(num_data, 20), bernoulli(num_data, 11)
    monkeypatch.setattr(softplus_target, "_TABLE_LATENTS", 0)
    tails = set()
    for chunk in (8, 40, 4096):
        monkeypatch.setattr(run_jobs, "CHUNK", chunk)
        ask = partial(fastvi.estimate_log_marginal, model, x, proposal=q, num_samples=50, seed=5)
        # the largest weights are the same to the bit however they are cut into chunks
        tails.add(same_bits(ask).pareto_k.tobytes())
    assert len(tails) == 1
