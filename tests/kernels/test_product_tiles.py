"""Running products of a register tile, emitted and in plain loops, and the tiles of weights made of them."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from tolerances import EPS

from fastvi.engine.states.softplus_form import softplus_form, softplus_sum_form
from fastvi.engine.states.tile_batch import log_totals
from fastvi.kernels.cpu.simd import product_tiles
from fastvi.kernels.cpu.simd.product_tiles import FLUSH_EXPONENT, HIGHEST_POWER
from fastvi.kernels.cpu.states import softplus_tiles
from fastvi.kernels.host import COLUMNS
from fastvi.kernels.jit import JIT_DISABLED, kernel


@kernel
def run_product(start, powers, start_at, left, left_at, right, right_at, length, acc, exponent, acc_at):
    product_tiles.product_block(
        start, powers, start_at, left, left_at, right, right_at, length, acc, exponent, acc_at
    )


@kernel
def run_weight(inverse, products, scales, power, out, peak, total):
    start, powers, left, right, length = products
    row_scale, row_power, column_scale, column_power = scales
    if inverse:
        product_tiles.inverse_weight_block(
            start, powers, 1, left, 2, right, 3, length, row_scale, row_power, 1, column_scale, column_power,
            2, power, out, 1, peak, total,
        )  # fmt: skip
    else:
        product_tiles.weight_block(
            start, powers, 1, left, 2, right, 3, length, row_scale, row_power, 1, column_scale, column_power,
            2, power, out, 1, peak, total,
        )  # fmt: skip


def factors(left, right, length, rows):
    """left[k, r] + right[k, c] of the block, (length, rows, COLUMNS) float64."""
    return left[: length * rows].reshape(length, rows, 1).astype(float) + right[: length * COLUMNS].reshape(
        length, 1, COLUMNS
    )


@pytest.mark.parametrize("length", [0, 1, 2, 7, 64])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_product_block(dtype, length):
    rng = np.random.default_rng(length)
    rows = product_tiles.product_tile(np.dtype(dtype).itemsize).rows
    cells, eps = rows * COLUMNS, np.finfo(dtype).eps
    start = rng.uniform(1, 2, cells + 5).astype(dtype)
    powers = np.arange(cells + 5).astype("int64" if dtype == "float64" else "int32")
    left, right = (rng.uniform(0.2, 0.8, 3 + 64 * n).astype(dtype) for n in (rows, COLUMNS))
    acc, exponent = np.full(cells + 3, 7.0, dtype), np.full(cells + 3, 7, powers.dtype)
    twin, twin_exponent = acc.copy(), exponent.copy()
    run_product(start, powers, 2, left, 3, right, 1, length, acc, exponent, 1)
    product_tiles.product_loops(start, powers, 2, left, 3, right, 1, length, twin, twin_exponent, 1)
    assert np.array_equal(exponent, twin_exponent)
    # an addition and a multiplication a step in the same order: at most the twin's own rounding apart
    assert np.allclose(acc, twin, rtol=2 * length * eps, atol=0)
    found, found_powers = acc[1:-2].astype(float), exponent[1:-2]
    assert ((found >= 1) & (found < 2)).all()
    expected = start[2:-3] * factors(left[3:], right[1:], length, rows).prod(axis=0).reshape(-1)
    moved = 2.0 ** (found_powers - powers[2:-3])
    assert np.allclose(found * moved, expected, rtol=4 * length * eps + 1e-15, atol=0)
    assert (acc[[0, -2, -1]] == 7).all()  # the neighbours are untouched
    # in place, as a tile's later blocks
    run_product(start, powers, 2, left, 3, right, 1, length, start, powers, 2)
    assert np.array_equal(start[2:-3], acc[1:-2])
    assert np.array_equal(powers[2:-3], exponent[1:-2])


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_weight_blocks(dtype, inverse):
    rng = np.random.default_rng(3)
    rows, length = product_tiles.product_tile(np.dtype(dtype).itemsize).rows, 9
    cells = rows * COLUMNS
    start = rng.uniform(1, 2, cells + 2).astype(dtype)
    powers = rng.integers(-900, 900, cells + 2).astype("int64" if dtype == "float64" else "int32")
    powers[1:3] = 1700, -1700  # beyond either end of the range, whichever sign they have
    left, right = (rng.uniform(0.2, 0.8, 3 + length * n).astype(dtype) for n in (rows, COLUMNS))
    scales = [rng.uniform(1, 2, 2 + n) for n in (rows, COLUMNS)]
    scale_powers = [rng.integers(-200, 200, 2 + n) for n in (rows, COLUMNS)]
    power, out = 55, np.full(cells + 2, 7.0)
    peak, total = np.full(COLUMNS, 3.0), np.full(COLUMNS, 5.0)
    products = (start, powers, left, right, length)
    tables = (scales[0], scale_powers[0], scales[1], scale_powers[1])
    run_weight(inverse, products, tables, power, out, peak, total)

    mantissa, exponent = np.empty(cells, dtype), np.empty(cells, powers.dtype)
    product_tiles.product_loops(start, powers, 1, left, 2, right, 3, length, mantissa, exponent, 0)
    sign = -1 if inverse else 1
    shift = scale_powers[0][1 : rows + 1, None] + scale_powers[1][2:] - power
    shift = shift.reshape(-1) + sign * exponent.astype(int)
    value = np.outer(scales[0][1 : rows + 1], scales[1][2:]).reshape(-1) * mantissa.astype(float) ** sign
    expected = np.where(shift < FLUSH_EXPONENT, 0.0, np.ldexp(value, np.minimum(shift, HIGHEST_POWER)))
    assert (shift < FLUSH_EXPONENT).any()
    assert (shift > HIGHEST_POWER).any()
    # the product's own rounding, that of the twin, and three operations more
    assert np.allclose(out[1:-1], expected, rtol=4 * length * np.finfo(dtype).eps + 8 * EPS, atol=0)
    assert (out[[0, -1]] == 7.0).all()
    weights = out[1:-1].reshape(rows, COLUMNS)
    assert np.array_equal(peak, np.maximum(3.0, weights.max(axis=0)))
    assert np.array_equal(total, np.cumsum(np.vstack([np.full(COLUMNS, 5.0), weights]), axis=0)[-1])
    twin, twin_peak, twin_total = np.full_like(out, 7.0), np.full_like(peak, 3.0), np.full_like(peak, 5.0)
    loops = product_tiles.inverse_weight_loops if inverse else product_tiles.weight_loops
    loops(
        *products[:2], 1, left, 2, right, 3, length, *tables[:2], 1, *tables[2:], 2, power, twin, 1,
        twin_peak, twin_total,
    )  # fmt: skip
    assert np.allclose(out, twin, rtol=4 * length * np.finfo(dtype).eps + 8 * EPS, atol=0)


@pytest.mark.needs_jit
def test_product_block_is_vectorised():
    assert not JIT_DISABLED
    tile = product_tiles.PRODUCT_64
    acc, left, right = np.ones(tile.rows * COLUMNS), np.ones(tile.rows), np.ones(COLUMNS)
    powers = np.zeros(acc.size, np.int64)
    fresh = numba.njit(run_product.py_func)  # code from the cache cannot be inspected
    fresh(acc, powers, 0, left, 0, right, 0, 1, acc, powers, 0)
    (code,) = fresh.inspect_llvm().values()
    assert f"fmul <{tile.lanes} x double>" in code


def network(num_latents, num_pixels, scale):
    rng = np.random.default_rng(num_pixels)
    weights = scale * rng.normal(size=(num_pixels, num_latents))
    return weights, rng.normal(size=num_pixels), rng.normal(size=num_latents)


def unpacked(form, tile):
    """Rows and columns of a packed tile."""
    _, row_bits, column_bits, _ = form.tiling
    whole = tile.reshape(form.column_panels, form.padded_rows, COLUMNS).transpose(1, 0, 2)
    return whole.reshape(form.padded_rows, -1)[: 1 << row_bits, : 1 << column_bits]


def log_tile(form, weights, bias, linear, sign, number):
    """sign * sum of softplus + <linear, z> of a tile's states, from the definition."""
    outer, row_bits, column_bits, _ = form.tiling
    states = number + (
        (np.arange(1 << row_bits)[:, None] << outer) + (np.arange(1 << column_bits) << (outer + row_bits))
    )
    z = (states[..., None] >> np.arange(form.num_latents)) & 1
    z = z[..., np.argsort(form.order)].astype(float)
    return sign * np.logaddexp(0.0, z @ weights.T + bias).sum(axis=-1) + z @ linear


# sizes of no panel, blocks that end early since their range is spent, pixels of all kinds, none at all
@pytest.mark.parametrize(
    ("num_latents", "num_pixels", "scale"),
    [
        (1, 3, 1.0),
        (5, 0, 1.0),
        (5, 1, 1.0),
        (9, 70, 0.3),
        (10, 9, 300.0),
        pytest.param(12, 37, 1.0, marks=pytest.mark.slow_without_jit),
        pytest.param(11, 60, 8.0, marks=pytest.mark.slow_without_jit),
    ],
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_tiles_hold_what_the_definition_says(num_latents, num_pixels, scale, dtype):
    weights, bias, prior = network(num_latents, num_pixels, scale)
    eps = np.finfo(dtype).eps
    for sign in (-1.0, 1.0):
        if sign < 0:
            form = softplus_form(weights, bias, prior, dtype=dtype)
        else:
            none = np.zeros((0, num_latents))
            form = softplus_sum_form(weights, bias, prior, none, np.zeros(0), dtype=dtype)
        linear = np.empty(num_latents)
        linear[form.order] = form.centre  # what a tile holds beside the sum
        tiles, scales = np.empty((form.tiling.num_tiles, form.tile_size)), np.empty(form.tiling.num_tiles)
        form.fill(0, tiles, scales)
        for t in range(form.tiling.num_tiles):
            expected = log_tile(form, weights, bias, linear, sign, t)
            found = unpacked(form, tiles[t])
            with np.errstate(divide="ignore"):
                logs = np.log(found) + scales[t]
            # a rounding for each pixel, and those of logits and sums as large as these
            size = np.abs(weights).sum(axis=1).max(initial=0.0) + np.abs(expected).max() + 1.0
            close = 8.0 * (num_pixels + 2) * eps + 64.0 * EPS * size
            seen = found > 0.0
            assert np.abs(logs - expected)[seen].max() <= close
            assert (expected[~seen] < scales[t] - 1000.0 * np.log(2.0)).all()


@pytest.mark.slow_without_jit
def test_a_tile_that_begins_far_below_its_largest_is_made_in_steps(monkeypatch):
    """Its first register tile is 2^-500 and less of what comes last."""
    weights = np.full((400, 9), -1.5)  # at most 5 of 9 bits are set in the first register tile
    form = softplus_form(weights, np.full(400, 12.0), np.zeros(9), fold_prior=False)
    tiles, scales = np.empty((form.tiling.num_tiles, form.tile_size)), np.empty(form.tiling.num_tiles)
    steps, in_steps = [], type(form)._fill_in_steps

    def counted(self, *arguments):
        steps.append(arguments[0])
        in_steps(self, *arguments)

    monkeypatch.setattr(type(form), "_fill_in_steps", counted)
    form.fill(0, tiles, scales)
    assert steps == [0] * len(tiles)
    expected = log_tile(form, weights, np.full(400, 12.0), np.zeros(9), -1.0, 0)
    found = unpacked(form, tiles[0])
    seen = found > 0.0
    assert np.ptp(expected[seen]) > 500 * np.log(2.0)
    assert np.allclose(np.log(found[seen]) + scales[0], expected[seen], rtol=1e-12)
    assert expected[~seen].max() < expected.max() - 1000 * np.log(2.0)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("group", [1, 3, 8])
def test_sums_of_a_tile_do_not_depend_on_where_they_are_made(group):
    """In the call that makes the tile, or later over a wave: the same bits."""
    weights, bias, prior = network(12, 30, 1.0)
    form = softplus_form(weights, bias, prior)
    x = (np.random.default_rng(0).random((7, 30)) < 0.5).astype(np.uint8)
    batch = form.batch(form.terms(x))
    packed, _ = batch.packed
    num = form.tiling.num_tiles
    tiles, scales = form.fill_wave(0, most=num)
    expected = packed.sums(tiles)
    sums, own, totals = np.empty((packed.padded_data, num)), np.empty(num), np.empty(num)
    for first in range(0, num, group):
        some = min(group, num - first)
        plain = np.empty(some, np.bool_)
        softplus_tiles.softplus_tiles(
            form.tables, form.sign, first, form.padded_rows, *form.ones, np.empty((1, form.tile_size)),
            own[first : first + some], totals[first : first + some], plain, packed.rows, packed.columns,
            packed.num_panels, sums, first,
        )  # fmt: skip
        assert plain.all()
    assert np.array_equal(np.log(totals), log_totals(tiles))
    assert np.array_equal(own, scales)
    assert np.array_equal(sums[:7], expected)
