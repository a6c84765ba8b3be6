"""Rows of bits through one layer: value and gradient against the definition, shapes, extremes, twins."""

from __future__ import annotations

import naive
import numpy as np
import pytest

from fastvi.engine.expectation.binary_layer import BinaryLayer
from fastvi.kernels.cpu.dense.picked_rows import OCTET, add_octet, add_octet_loops
from fastvi.kernels.jit import kernel


def problem(num_data, num, num_pixels, num_latents, scale=1.0):
    rng = np.random.default_rng(num_data + 10 * num_pixels + 100 * num_latents)
    weights, bias = scale * rng.normal(size=(num_pixels, num_latents)), scale * rng.normal(size=num_pixels)
    x = rng.integers(2, size=(num_data, num_pixels)).astype(np.uint8)
    return (
        weights,
        bias,
        x,
        rng.integers(2, size=(num_data, num, num_latents)).astype(np.uint8),
        rng.normal(size=num_data * num),
    )


# pixels and bits beside the sizes of tiles (32), lines (8), groups (8) and words (32)
SHAPES = [
    (1, 1, 1, 1), (2, 3, 7, 8), (3, 2, 8, 9), (2, 2, 31, 31), (2, 2, 32, 32), (1, 3, 33, 33), (2, 1, 65, 70),
    (0, 3, 5, 4), (3, 0, 5, 4),
]  # fmt: skip


@pytest.mark.parametrize("scale", [0.3, 1e3])
@pytest.mark.parametrize("shape", SHAPES)
def test_value_and_gradient(shape, scale):
    weights, bias, x, z, share = problem(*shape, scale)
    layer = BinaryLayer(weights, bias, x, z)
    rows = z.reshape(-1, z.shape[2]).tolist()
    data = np.repeat(x, z.shape[1], axis=0).tolist()
    expected = [
        naive.sbn_log_likelihood(weights.tolist(), bias.tolist(), *pair)
        for pair in zip(data, rows, strict=True)
    ]
    # terms of the size of the logits are summed, each to 2^-53 of the largest
    size = (np.abs(weights).sum() + np.abs(bias).sum()) * 1e-15
    assert layer.value.shape == share.shape
    assert np.allclose(layer.value, expected, rtol=1e-13, atol=size)
    of_weights, of_bias = naive.sbn_likelihood_gradient(
        weights.tolist(), bias.tolist(), data, rows, share.tolist()
    )
    found = layer.of_parameters(share)
    tolerance = 1e-13 * np.abs(share).sum() + size  # slopes are at most 1/4 of the logits' error
    assert np.allclose(found[0], of_weights, rtol=0, atol=tolerance)
    assert np.allclose(found[1], of_bias, rtol=0, atol=tolerance)
    again = layer.of_parameters(share)  # nothing was used up
    assert np.array_equal(again[0], found[0])


@pytest.mark.slow_without_jit
def test_same_bits_for_any_threads_and_in_any_batch(same_bits):
    weights, bias, x, z, share = problem(5, 4, 70, 40)

    def ask():
        layer = BinaryLayer(weights, bias, x, z)
        return layer.value, layer.of_parameters(share), BinaryLayer(weights, bias, x[2:4], z[2:4]).value

    whole, _, part = same_bits(ask)
    assert np.array_equal(part, whole[8:16])


@kernel
def run_octet(out, at, values, value_at):
    add_octet(out, at, values, value_at)


def test_octet_is_that_of_the_twin():
    rng = np.random.default_rng(0)
    values, found = rng.normal(size=OCTET + 5), rng.normal(size=OCTET + 4)
    twin = found.copy()
    run_octet(found, 2, values, 3)
    add_octet_loops(twin, 2, values, 3)
    assert np.array_equal(found, twin)
    assert not np.array_equal(found[2:-2], twin[2:-2] - values[3:-2])
