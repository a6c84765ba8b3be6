"""Dense products, and the kernels that work on their panels."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest

from fastvi.core import functions
from fastvi.core.functions import ACTIVATIONS, SLOPES_OF_ARGUMENTS, TURNS
from fastvi.engine.linalg.products import Packed, matmul, packed_columns, packed_rows
from fastvi.kernels.cpu.dense import products
from fastvi.kernels.cpu.dense.layer_tiles import picked_block, picked_loops
from fastvi.kernels.host import COLUMNS
from fastvi.kernels.jit import kernel

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("rows", "depth", "columns"),
    [(1, 1, 1), (5, 3, 7), (8, 16, 16), (0, 3, 4), (3, 0, 4), (3, 4, 0), (33, 300, 17), (70, 20, 40)],
)
def test_product(rows, depth, columns):
    a, b, bias = RNG.normal(size=(rows, depth)), RNG.normal(size=(depth, columns)), RNG.normal(size=columns)
    expected = np.einsum("ik,kj->ij", a, b)
    np.testing.assert_allclose(matmul(a, b), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(matmul(a, b, bias), expected + bias, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(Packed(b, bias).product(a), matmul(a, b, bias))


def test_product_has_the_same_bits_for_any_number_of_threads_and_rows(same_bits):
    a, b = RNG.normal(size=(300, 40)), RNG.normal(size=(40, 23))
    found = same_bits(lambda: matmul(a, b))
    np.testing.assert_array_equal(matmul(a[17:18], b), found[17:18])


@kernel
def run_gather(out, left, index, right, length):
    picked_block(out, 1, left, 0, index, 1, right, 0, length)


@pytest.mark.parametrize("length", [0, 1, 5])
def test_gather_block(length):
    left, right = RNG.normal(size=64 * products.ROWS), RNG.normal(size=64 * COLUMNS)
    index = np.array([9, 4, 0, 63, 17, 5], np.int32)
    out, twin = np.ones(products.ROWS * COLUMNS + 2), np.ones(products.ROWS * COLUMNS + 2)
    run_gather(out, left, index, right, length)
    picked_loops(twin, 1, left, 0, index, 1, right, 0, length)
    np.testing.assert_allclose(out, twin, rtol=0, atol=1e-13)
    picked = right.reshape(-1, COLUMNS)[index[1 : 1 + length]]
    expected = np.einsum("kr,kc->rc", left.reshape(-1, products.ROWS)[:length], picked)
    np.testing.assert_allclose(out[1:-1].reshape(products.ROWS, COLUMNS) - 1, expected, rtol=0, atol=1e-13)


def test_compressed_rows_give_the_same_bits():
    a, b = RNG.normal(size=(50, 30)), RNG.normal(size=(30, 40))
    a[:, ::3] = 0.0
    a[:32, 1::3] = 0.0
    panels = np.empty(-(-50 // products.ROWS) * products.ROWS * 30)
    products.pack_rows(a, panels)
    index, counts = (
        np.empty(panels.size // products.ROWS, np.int32),
        np.empty(-(-50 // products.ROWS), np.int64),
    )
    full = np.arange(30)
    columns, found = Packed(b), np.zeros((2, counts.size, 40, products.ROWS))
    rest = columns.columns, columns.bias, 30, 50, 40, products.IDENTITY
    counts[:] = 30
    every = np.tile(full, counts.size).astype(np.int32)
    products.hidden_layer(panels, every, counts, *rest, found[0].reshape(-1))
    products.compress(panels, 30, index, counts)
    assert (counts < 30).all()
    products.hidden_layer(panels, index, counts, *rest, found[1].reshape(-1))
    np.testing.assert_array_equal(found[0], found[1])
    rows = found[0].transpose(0, 2, 1).reshape(-1, 40)[:50]
    np.testing.assert_allclose(rows, np.einsum("ik,kj->ij", a, b), rtol=0, atol=1e-13)


def test_distances_are_those_of_rows_and_columns():
    # the reduction axis is longer than what is worked on at a time
    a, b = RNG.normal(size=(11, 300)), RNG.normal(size=(300, 13))
    out = np.ones((11, 13))
    products.subtract_distances(packed_rows(a), packed_columns(b), 300, out)
    truth = 1.0 - np.square(a[:, :, None] - b[None]).sum(axis=1)
    # 300 positive terms, each sum of which is rounded once a term
    np.testing.assert_allclose(out, truth, rtol=0, atol=300 * 2.0**-52 * np.abs(truth).max())


POINTS = np.concatenate(
    [
        [0.0, -0.0, 1e-300, 0.0624, 0.0626, 700.0, 1e4, 1e300],
        RNG.normal(size=40) * 3,
        RNG.normal(size=20) * 40,
    ]
)
POINTS = np.concatenate([POINTS, -POINTS])
FUNCTIONS = {
    "relu": (products.RELU, lambda t: max(t, 0.0)),
    "tanh": (products.TANH, math.tanh),
    "sigmoid": (products.SIGMOID, lambda t: 1 / (1 + math.exp(-t)) if t > -700 else 0.0),
    "softplus": (products.SOFTPLUS, lambda t: max(t, 0.0) + math.log1p(math.exp(-abs(t)))),
    "leaky_relu": (products.LEAKY_RELU, lambda t: t if t > 0 else 0.01 * t),
    "elu": (products.ELU, lambda t: t if t > 0 else math.expm1(t)),
    "gelu": (products.GELU, lambda t: t * math.erfc(-t / math.sqrt(2)) / 2),
    "silu": (products.SILU, lambda t: t / (1 + math.exp(-t)) if t > -700 else 0.0),
    "identity": (products.IDENTITY, lambda t: t),
}
SLOPES = {
    "relu": lambda t: float(t > 0),
    "tanh": lambda t: 1 / mpmath.cosh(t) ** 2,
    "sigmoid": lambda t: 1 / (2 + mpmath.exp(t) + mpmath.exp(-t)),
    "softplus": lambda t: 1 / (1 + mpmath.exp(-t)),
    "leaky_relu": lambda t: 1.0 if t > 0 else 0.01,
    "elu": lambda t: 1.0 if t > 0 else mpmath.exp(t),
    "gelu": lambda t: mpmath.ncdf(t) + t * mpmath.npdf(t) if abs(t) < 1e3 else float(t > 0),
    "silu": lambda t: (1 + t / (1 + mpmath.exp(t))) / (1 + mpmath.exp(-t)),
    "identity": lambda t: 1.0,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_activations(name):
    number, function = FUNCTIONS[name]
    values = POINTS.copy()
    products.activate(values, number)
    expected = [function(t) for t in POINTS]
    # "relative" below 1e-300 would ask for denormals, which are flushed; in its tail "gelu" has the value of
    # an argument that is rounded, and t^2 2^-53 is 2e-13 where it is not 0
    rtol = 5e-13 if name == "gelu" else 1e-14
    np.testing.assert_allclose(values, expected, rtol=rtol, atol=1e-300)
    np.testing.assert_allclose(ACTIVATIONS[name](POINTS), expected, rtol=rtol, atol=1e-300)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_activations_at_infinity(name):
    """Where a unit overflowed. What is no number stays none ("relu" makes it 0)."""
    values = np.array([-np.inf, np.inf, np.nan])
    low = {"tanh": -1.0, "elu": -1.0, "leaky_relu": -np.inf, "identity": -np.inf}.get(name, 0.0)
    high = 1.0 if name in ("tanh", "sigmoid") else np.inf
    products.activate(values, FUNCTIONS[name][0])
    np.testing.assert_array_equal(values[:2], [low, high])
    assert np.isnan(values[2]) or name == "relu"
    np.testing.assert_array_equal(ACTIVATIONS[name](np.array([-np.inf, np.inf])), [low, high])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_slopes(name):
    number, function = FUNCTIONS[name]
    known = POINTS if name in SLOPES_OF_ARGUMENTS else np.array([function(t) for t in POINTS])
    expected = [float(SLOPES[name](mpmath.mpf(t))) for t in POINTS]
    found = np.ones((1, len(POINTS)))
    products.multiply_slopes(known[None], number, found)
    # that of "tanh" is (1 - h) (1 + h): where h is near 1 its rounding is what is left, some 2^-53
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-15)
    slopes = functions.SLOPES | SLOPES_OF_ARGUMENTS
    np.testing.assert_allclose(slopes[name](known), expected, rtol=0, atol=1e-15)
    if name in SLOPES_OF_ARGUMENTS:
        ends = np.array([[-np.inf, np.inf]])
        found = np.ones((1, 2))
        products.multiply_slopes(ends, number, found)
        np.testing.assert_array_equal(found, [[0.0, 1.0]])
        np.testing.assert_array_equal(slopes[name](ends), [[0.0, 1.0]])


@pytest.mark.parametrize("name", SLOPES_OF_ARGUMENTS)
def test_turning_points(name):
    """Where the slope is 0, and so to the last digit where the value is least."""
    turn = TURNS[name]
    assert float(mpmath.findroot(SLOPES[name], turn)) == pytest.approx(turn, rel=1e-15)


@pytest.mark.parametrize("width", [0, 1, COLUMNS, COLUMNS + 3, 40])
def test_softplus_sums(width):
    z, weights, bias = (
        RNG.integers(0, 2, (9, 4)).astype(float),
        RNG.normal(size=(4, width)),
        RNG.normal(size=width),
    )
    weights[:, : width // 2] *= 50.0
    panels = np.empty(-(-9 // products.ROWS) * products.ROWS * 4)
    products.pack_rows(z, panels)
    index, counts = (
        np.empty(panels.size // products.ROWS, np.int32),
        np.empty(-(-9 // products.ROWS), np.int64),
    )
    products.compress(panels, 4, index, counts)
    packed, out = Packed(weights, bias, padding=-1e300), np.empty(9)
    products.softplus_sums(panels, index, counts, packed.columns, packed.bias, 4, 9, width, out)
    eta = np.einsum("ik,kj->ij", z, weights) + bias
    expected = np.logaddexp(0.0, eta).sum(axis=1)
    np.testing.assert_allclose(out, expected, rtol=1e-14, atol=1e-15)
    rows = np.empty(9)
    products.softplus_rows(eta, rows)
    np.testing.assert_allclose(rows, expected, rtol=1e-14, atol=1e-15)


def test_running_products_of_many_pixels_do_not_overflow():
    width = 1100 * COLUMNS  # 2^1100 is beyond the doubles
    packed, out = Packed(np.zeros((1, width)), padding=-1e300), np.empty(1)
    panels, index, counts = np.zeros(products.ROWS), np.zeros(1, np.int32), np.array([0])
    products.softplus_sums(panels, index, counts, packed.columns, packed.bias, 1, 1, width, out)
    np.testing.assert_allclose(out, width * math.log(2.0), rtol=1e-14)
    products.softplus_rows(np.zeros((1, width)), out)
    np.testing.assert_allclose(out, width * math.log(2.0), rtol=1e-14)
