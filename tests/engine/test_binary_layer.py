"""Rows of bits through one layer: value and gradient against the definition, shapes, extremes, dtypes."""

from __future__ import annotations

import naive
import numpy as np
import pytest

from fastvi.engine.expectation.binary_layer import BinaryLayer


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


# pixels beside the sizes of lines (16), bits beside those of groups (5) and their blocks (40), rows beside
# those of groups (5), of blocks (40) and of rows that are worked on together (256)
SHAPES = [
    (1, 1, 1, 1), (2, 3, 7, 4), (3, 2, 8, 5), (2, 2, 15, 6), (2, 2, 16, 39), (1, 39, 17, 40), (2, 20, 33, 41),
    (1, 41, 5, 81), (1, 257, 2, 6), (3, 100, 1, 2), (0, 3, 5, 4), (3, 0, 5, 4),
]  # fmt: skip


def float32_bound(weights, bias):
    """Bounds on the error of a value and of a derivative in a logit.

    A logit rounds each of d / 5 + 6 partial sums and each weight, to 2^-24 of the sizes of its terms, and
    x - sigmoid(eta) is never more than 1. Twelve takes in what of a pixel's terms, all below its logit's size
    or log(2), the line's sums and products round. A derivative changes by a quarter of its logit.
    """
    sizes = np.abs(weights).sum(axis=1) + np.abs(bias)
    rounded = (weights.shape[1] / 5 + 12) * 2.0**-24
    return rounded * (sizes.sum() + len(bias)), rounded * sizes.max() / 4 + 4 * 2.0**-24


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("scale", [0.3, 1e3])
@pytest.mark.parametrize("shape", SHAPES)
def test_value_and_gradient(shape, scale, dtype):
    weights, bias, x, z, share = problem(*shape, scale)
    layer = BinaryLayer(weights, bias, x, z, dtype)
    rows = z.reshape(-1, z.shape[2]).tolist()
    data = np.repeat(x, z.shape[1], axis=0).tolist()
    expected = [
        naive.sbn_log_likelihood(weights.tolist(), bias.tolist(), *pair)
        for pair in zip(data, rows, strict=True)
    ]
    assert layer.value.shape == share.shape
    if dtype == "float64":  # terms of the size of the logits are summed, each to 2^-53 of the largest
        size = (np.abs(weights).sum() + np.abs(bias).sum()) * 1e-15
        tolerance = 1e-13 * np.abs(share).sum() + size  # slopes are at most 1/4 of the logits' error
    else:
        size, slope = float32_bound(weights, bias)
        tolerance = (slope + 20 * 2.0**-24) * np.abs(share).sum()  # 20: 40 terms summed by fives and eights
    assert np.allclose(layer.value, expected, rtol=1e-13, atol=size)
    of_weights, of_bias = naive.sbn_likelihood_gradient(
        weights.tolist(), bias.tolist(), data, rows, share.tolist()
    )
    found = layer.of_parameters(share)
    assert np.allclose(found[0], of_weights, rtol=0, atol=tolerance)
    assert np.allclose(found[1], of_bias, rtol=0, atol=tolerance)
    again = layer.of_parameters(share)  # nothing was used up
    assert np.array_equal(again[0], found[0])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_certain_pixels(dtype):
    """Logits of +-1,000 and of 0: probabilities of exactly 0, 1 and 1/2."""
    weights, bias = np.array([[2000.0], [-2000.0], [1.0]]), np.array([-1000.0, 1000.0, -1.0])
    x, z = np.array([[1, 0, 1], [0, 1, 0]], np.uint8), np.array([[[0], [1]], [[0], [1]]], np.uint8)
    layer = BinaryLayer(weights, bias, x, z, dtype)
    off = -np.logaddexp(0.0, 1.0)  # x = 1 at a logit of -1
    expected = [-2000.0 + off, np.log(0.5), -np.logaddexp(0.0, -1.0), -2000.0 + np.log(0.5)]
    assert np.allclose(layer.value, expected, rtol=3e-16 if dtype == "float64" else 2e-7, atol=0)
    _, of_bias = layer.of_parameters(np.array([1.0, 0.0, 0.0, 0.0]))
    assert of_bias[:2].tolist() == [1.0, -1.0]
    _, of_bias = layer.of_parameters(np.array([0.0, 1.0, 0.0, 0.0]))
    assert of_bias.tolist() == [0.0, 0.0, 0.5]


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_same_bits_for_any_threads_and_in_any_batch(same_bits, dtype):
    weights, bias, x, z, share = problem(5, 4, 70, 43)

    def ask():
        layer = BinaryLayer(weights, bias, x, z, dtype)
        part = BinaryLayer(weights, bias, x[2:4], z[2:4], dtype)
        return layer.value, layer.of_parameters(share), part.value

    whole, _, part = same_bits(ask)
    assert np.array_equal(part, whole[8:16])
