"""Kernels over tiles of states, against sums that are written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cases import random_bits, states
from tolerances import EPS

from fastvi.engine.linalg import weighted_sums
from fastvi.kernels.cpu.states.tile_masses import merge_expected_logs
from fastvi.kernels.cpu.states.tile_posteriors import add_slopes

OUTER, ROW, COLUMN = 2, 3, 4


def slopes(q, weights, bias):
    """sum_z Q(z) sigmoid(eta_j(z)) z_i, and without z_i, for q (outer, rows, columns)."""
    z = states(OUTER + ROW + COLUMN).astype(float)
    eta = z @ weights.T + bias
    small = np.exp(-np.abs(eta))
    sigmoid = np.where(eta >= 0, 1.0, small) / (1.0 + small)
    flat = q.transpose(2, 1, 0).reshape(-1)  # outer bits change fastest
    weighted = flat[:, None] * sigmoid
    return np.concatenate([weighted.T @ z, weighted.sum(axis=0)[:, None]], axis=1)


@pytest.mark.parametrize("scale", [1.0, 30.0, 120.0])
@pytest.mark.parametrize("empty_rows", [(), (1, 4, 6), range(8)])
def test_slopes(scale, empty_rows):
    """Of weights that fit factors, of some that do not, and of logits in the hundreds; rows that count for
    nothing; pixels that fill no block.

    Terms are positive. Each is off by a few EPS for each weight in its logit, or EPS times the logit's parts,
    and so is their sum.
    """
    rng = np.random.default_rng(3)
    weights, bias = scale * rng.normal(size=(19, OUTER + ROW + COLUMN)), scale * rng.normal(size=19)
    q = rng.random((4, 8, 16))
    q[:, list(empty_rows)] = 0.0
    q[2] *= 1e-310  # denormal: it counts for nothing beside the rest
    parts = [np.ascontiguousarray(part) for part in np.split(weights, [OUTER, OUTER + ROW], axis=1)]
    found = np.zeros((19, 10))
    for first in (0, 2):
        add_slopes(q[first : first + 2], first, *parts, bias, 1e-30, found)
    size = np.abs(weights).sum(axis=1) + np.abs(bias) + 32
    np.testing.assert_allclose(found, slopes(q, weights, bias), rtol=4 * EPS * size.max(), atol=1e-300)


def test_merged_logs_are_those_of_all_waves():
    rng = np.random.default_rng(4)
    bound, total = rng.normal(size=(5, 3)) * 50, rng.random((5, 3))
    expected = -rng.random((5, 3))
    bound[1] = -math.inf  # a wave in which nothing has a weight
    total[1] = expected[1] = 0.0
    bound[:, 2], total[:, 2], expected[:, 2] = -math.inf, 0.0, 0.0
    sums = np.full(3, -math.inf), np.zeros(3), np.zeros(3)
    for k in range(5):
        merge_expected_logs(*sums, bound[k], total[k], expected[k])
    high = bound.max(axis=0)
    assert np.array_equal(sums[0], high)
    for n in range(2):
        share = np.exp(bound[:, n] - high[n])
        below = np.where(share > 0, bound[:, n] - high[n], 0.0)
        assert sums[1][n] == pytest.approx((share * total[:, n]).sum(), rel=16 * EPS)
        parts = share * (expected[:, n] + below * total[:, n])
        assert sums[2][n] == pytest.approx(parts.sum(), rel=64 * EPS)
    assert sums[1][2] == sums[2][2] == 0.0


@pytest.mark.parametrize(("num_data", "num_pixels"), [(0, 3), (1, 1), (23, 11)])
def test_weighted_sums(monkeypatch, num_data, num_pixels):
    """In blocks that cut data and pixels; the rounding of a sum of N terms."""
    x, rng = random_bits(num_data, num_pixels), np.random.default_rng(5)
    weights, mean = rng.normal(size=num_data), rng.random((num_data, 4))
    whole = weighted_sums.weighted_sums(x, weights, mean)
    monkeypatch.setattr(weighted_sums, "_DATA", 7)
    monkeypatch.setattr(weighted_sums, "_PIXELS", 3)
    cut = weighted_sums.weighted_sums(x, weights, mean)
    expected = np.einsum("n,nj,ni->ji", weights, x, mean), np.einsum("n,nj->j", weights, x)
    for found in (whole, cut):
        for value, want in zip(found, expected, strict=True):
            assert value.shape == want.shape
            assert np.abs(value - want).max(initial=0) <= num_data * EPS * np.abs(weights).sum()
