"""Kernels of annealing against their twins and definitions: sums of rows, draws of single units and of 32."""

from __future__ import annotations

import math

import naive
import numpy as np
import pytest
from interpreted import few_without_jit

from fastvi.engine.annealing.machines import tiles, words_of
from fastvi.kernels.cpu.annealing.layer_draws import UNITS, compare, compare_loops, draw_units
from fastvi.kernels.cpu.annealing.layers import sum_tile
from fastvi.kernels.cpu.annealing.partial_sums import (
    BLOCK,
    ENTRIES,
    GROUPS,
    LINE,
    add_entries,
    add_entries_loops,
    add_rows,
    fill_table,
    fill_table_loops,
)
from fastvi.kernels.cpu.annealing.words import MACHINES, Counter
from fastvi.kernels.cpu.dense.picked_rows import WIDTH, add_picked_rows, add_picked_rows_loops
from fastvi.kernels.cpu.random.draw_words import NUM_WORDS, draw_words, draw_words_loops
from fastvi.kernels.jit import kernel

WORD = 2**32 - 1
BOTH = pytest.mark.parametrize("dtype", [np.float64, np.float32])


@kernel
def run_fill(table, rows, first):
    fill_table(table, rows, first)


@kernel
def run_add(fields, at, table, word):
    add_entries(fields, at, table, word)


@kernel
def run_rows(fields, at, rows, first, word):
    add_rows(fields, at, rows, first, word)


@kernel
def run_compare(fields, at, bias, bias_at, beta, block, c1, c2, c3, k0, k1):
    return compare(fields, at, bias, bias_at, beta, block, c1, c2, c3, k0, k1)


run_compare_loops = kernel(compare_loops)  # it calls what Python cannot


@kernel
def run_draw(fields, at, bias, beta, tile, step, chain, layer, key_low, key_high):
    counter = Counter(MACHINES, step, chain, layer, key_low, key_high)
    return draw_units(fields, at, bias, beta, tile, counter)


@BOTH
def test_partial_sums_are_those_of_the_twins(dtype):
    rng = np.random.default_rng(1)
    width = LINE // np.dtype(dtype).itemsize
    rows = rng.normal(size=(3 * BLOCK, width)).astype(dtype)
    found, twin = np.zeros((2, GROUPS, ENTRIES, width), dtype)
    run_fill(found, rows, BLOCK)
    fill_table_loops(twin, rows, BLOCK)
    assert np.array_equal(found, twin)
    for word in (0, WORD, 0x80000001, int(rng.integers(2**32))):
        sums = np.ones((3, width + 2), dtype)
        run_add(sums[0], 1, found, word)
        run_rows(sums[1], 1, rows, BLOCK, word)
        add_entries_loops(sums[2], 1, twin, word)
        assert np.array_equal(sums[0], sums[1])
        assert np.array_equal(sums[0], sums[2])
        assert sums[:, [0, -1]].ravel().tolist() == [1.0] * 6  # the neighbours are untouched


@BOTH
@pytest.mark.parametrize("num_rows", few_without_jit([1, 11, 64, 200], [1, 11]))
def test_sums_of_layers(dtype, num_rows):
    """Of few chains and of many, to the bit; and right to the rounding of W and of the additions."""
    rng = np.random.default_rng(1)
    matrix, bits = rng.normal(size=(num_rows, UNITS + 7)), rng.random((9, num_rows)) < 0.5
    bits[3] = False
    packed, words = tiles(matrix, dtype), words_of(bits.astype(np.uint8))
    width = LINE // np.dtype(dtype).itemsize
    assert packed.shape == (2, UNITS // width, -(-num_rows // BLOCK) * BLOCK, width)
    found = np.empty((2, 9, UNITS), dtype)
    for few in (False, True):
        chains = [slice(0, 4), slice(4, 5), slice(5, 9)] if few else [slice(0, 9)]
        sums = np.empty((2, 9, UNITS), dtype)
        for t in range(2):
            for some in chains:
                own = np.ascontiguousarray(words[:, some])
                scratch = np.empty((GROUPS, ENTRIES, width), dtype), np.empty(own.shape[1] * width, dtype)
                fields = np.empty(own.shape[1] * UNITS, dtype)
                sum_tile(packed[t], own, *scratch, fields)
                sums[t, some] = fields.reshape(-1, UNITS)
        if few:
            assert np.array_equal(sums, found)
        found = sums
    fields = np.concatenate(list(found), axis=1)
    roundings = (num_rows / 32 + 7) * np.finfo(dtype).eps / 2
    assert (np.abs(fields[:, : UNITS + 7] - bits @ matrix) <= roundings * (bits @ np.abs(matrix))).all()
    assert not fields[:, UNITS + 7 :].any()


def high_and_low(unit, step, chain, layer, key):
    """The 16 bits of a unit, and the 32 that settle what they leave open."""
    tile, part, i = unit // 32, unit % 32 // 8, unit % 8
    block, which = 4 * tile + i // 2, i % 2 + part // 2 * 2
    high = naive.philox((block | MACHINES, step, chain, layer), key)[which]
    low = naive.philox((2 * block + part % 2 | MACHINES | 1 << 31, step, chain, layer), key)[which]
    return (high >> 16 if part % 2 else high & 0xFFFF), low


@BOTH
def test_ties_are_settled_by_the_low_words(dtype):
    """A tie comes once in 2^16 draws: chances are set between the very words that will be drawn."""
    key, fields, beta = (12345, 678), np.zeros(UNITS + 3, dtype), dtype(0.5)
    # the margin is 2^16 p - u: rounding of the logit, of size 11 at most, moves it by 65,536 2^-24 in float32
    offset = 0.1 if dtype is np.float32 else 1e-6
    for tile in (0, 2):
        words = [high_and_low(UNITS * tile + j, 3, 5, 1, key) for j in range(UNITS)]
        for sign in (-1.0, 1.0):
            share = np.array([min(max(low / 2**32 + sign * offset, 0.0), 1.0) for _, low in words])
            chance = (np.array([high for high, _ in words]) + share) / 65536.0
            bias = np.zeros(UNITS * (tile + 1), dtype)
            bias[UNITS * tile :] = np.log(chance) - np.log1p(-chance)
            expected = sum(
                int(low < share[j] * 2**32) << j for j, (_, low) in enumerate(words)
            )  # of sign -1 none, where nothing is cut off
            found = run_draw(fields, 3, bias, beta, tile, 3, 5, 1, *key)
            sure = [0.0 < s < 1.0 for s in share]
            mask = sum(int(each) << j for j, each in enumerate(sure))
            assert sum(sure) > 20
            assert found & mask == expected & mask


@pytest.mark.slow_without_jit
@BOTH
def test_chances_are_right_to_some_units_in_the_last_place(dtype):
    """p 2^16 a little above u + 1 is on for sure, a little below it is left open."""
    key = (7, 9)
    step = np.finfo(dtype).eps / 2
    for chain in range(100):
        highs = np.array([high_and_low(j, 1, chain, 0, key)[0] for j in range(UNITS)])
        chance = (highs + 1.0) / 65536.0
        for sign in (-1, 1):
            logit = np.log(chance) - np.log1p(-np.minimum(chance, 1 - 2.0**-17))
            # the logit's rounding, and 6 + 1.25 |logit| of the exponential and of the comparison
            moved = chance * (1.0 + sign * step * (6.0 + 2.25 * np.abs(logit)))
            usable = (moved < 1.0) & (highs < 65000)  # beyond, the logit's rounding counts for more
            moved = np.where(usable, moved, 0.5)
            bias = (np.log(moved) - np.log1p(-moved)).astype(dtype)
            found = run_compare(np.zeros(UNITS, dtype), 0, bias, 0, dtype(1.0), MACHINES, 1, chain, 0, *key)
            on, left_open = found & WORD, found >> 32
            for j in np.flatnonzero(usable):
                assert (on >> int(j)) & 1 == (sign > 0)
                assert (left_open >> int(j)) & 1 == (sign < 0)


@BOTH
@pytest.mark.parametrize("block", [0, 8, (1 << 32) - 4])
def test_comparisons_are_those_of_the_twin(dtype, block):
    rng = np.random.default_rng(block)
    fields, bias = (rng.normal(scale=scale, size=UNITS + 5).astype(dtype) for scale in (3.0, 1.0))
    counter = block, WORD, 5, 1 << 31, WORD - 1, 7
    found = run_compare(fields, 2, bias, 4, dtype(0.7), *counter)
    assert found == run_compare_loops(fields, 2, bias, 4, dtype(0.7), *counter)
    assert 0 < found & WORD < WORD


@BOTH
def test_huge_logits_leave_nothing_to_chance(dtype):
    fields = np.tile(np.array([1e3, -1e3, 1e30, -1e30, 200.0, -200.0, 60.0, -60.0], dtype), 4)
    for step in range(50):
        found = run_draw(fields, 0, np.zeros(UNITS, dtype), dtype(1.0), 0, step, 0, 0, 1, 2)
        assert found == 0x55555555


@pytest.mark.slow_without_jit
@BOTH
def test_means_of_draws_are_their_chances(dtype):
    bias = np.linspace(-6.0, 6.0, UNITS).astype(dtype)
    draws = 2000
    counts = np.zeros(UNITS)
    for step in range(draws):
        word = run_draw(np.zeros(UNITS, dtype), 0, bias, dtype(1.0), 0, step, 2, 1, 3, 4)
        counts += (word >> np.arange(UNITS)) & 1
    p = np.array([naive.sigmoid(float(t)) for t in bias])
    assert (np.abs(counts / draws - p) <= 5.0 * np.sqrt(p * (1 - p) / draws)).all()
    assert math.isclose(((counts / draws - p) ** 2 / (p * (1 - p)) * draws).mean(), 1.0, abs_tol=1.3)


@kernel
def run_words(out, at, block, c1, c2, c3, k0, k1):
    draw_words(out, at, block, c1, c2, c3, k0, k1)


run_words_loops = kernel(draw_words_loops)  # it calls what Python cannot


@kernel
def run_picked_rows(out, at, table, tile_at, rows, row_at, num_rows):
    add_picked_rows(out, at, table, tile_at, rows, row_at, num_rows)


@pytest.mark.parametrize("block", [0, 8, (1 << 32) - 4])
def test_words_are_those_of_the_twin(block):
    word = 2**32 - 1
    found, twin = np.zeros((2, NUM_WORDS + 3))
    run_words(found, 2, block, word, 5, 1 << 31, word - 1, 7)
    run_words_loops(twin, 2, block, word, 5, 1 << 31, word - 1, 7)
    assert np.array_equal(found, twin)
    assert found[2 + 4 * 3 + 1] == naive.philox((block + 1, word, 5, 1 << 31), (word - 1, 7))[3]
    assert found[[0, 1, -1]].tolist() == [0.0, 0.0, 0.0]  # the neighbours are untouched


@pytest.mark.parametrize("num_rows", [0, 1, 2, 9])
def test_sums_of_rows_are_those_of_the_twin(num_rows):
    rng = np.random.default_rng(num_rows)
    table, rows = rng.normal(size=3 + 20 * WIDTH), rng.integers(20, size=12).astype(np.int32)
    found, twin = np.ones((2, WIDTH + 2))
    run_picked_rows(found, 1, table, 3, rows, 2, num_rows)
    add_picked_rows_loops(twin, 1, table, 3, rows, 2, num_rows)
    assert np.array_equal(found, twin)
    assert found[[0, -1]].tolist() == [1.0, 1.0]
