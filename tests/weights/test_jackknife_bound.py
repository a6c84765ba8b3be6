"""The jackknife of given log weights."""

from __future__ import annotations

import math

import naive_log_weights as naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tolerances import EPS

import fastvi
from fastvi.weights import log_weights as module

NAN, INF = math.nan, math.inf
EXTREME = st.one_of(st.floats(-4, 4), st.floats(-1e3, 1e3), st.sampled_from([-INF, -1e3, 0.0, 1e3]))


def check(log_w):
    """Differences of log weights, and logarithms of totals, are rounded to EPS / 2 of the largest."""
    for row, got in zip(log_w, fastvi.jackknife_bound(log_w), strict=True):
        finite = np.abs(row[np.isfinite(row)])
        atol = 16 * EPS * max(finite.max(initial=0.0), 1.0)
        np.testing.assert_allclose(got, naive.jackknife_bound(row.tolist()), rtol=8 * EPS, atol=atol)


@given(hnp.arrays(np.float64, st.tuples(st.integers(0, 3), st.integers(2, 20)), elements=EXTREME))
def test_any_rows(log_w):
    check(log_w)


@pytest.mark.parametrize("num", [2, 15, 17, 511, 513, 1030])
def test_around_lane_and_block_sizes(num):
    rng = np.random.default_rng(num)
    log_w = rng.normal(size=(5, num)) * np.array([[1e-9], [0.1], [1], [30], [1]])
    log_w[4, num // 2] += 50.0
    check(log_w)


def test_one_weight_dominates():
    """Without it, what is left is e^-900 of the sum: the definition in float64 would have log 0."""
    log_w = np.array([0.0, -900.0, -900.0])
    # leaving out 1 of 3: log(1 / 2) twice, and once -900
    want = 3 * math.log(1 / 3) - 2 * (2 * math.log(1 / 2) - 900.0) / 3
    assert fastvi.jackknife_bound(log_w) == pytest.approx(want, rel=1e-15)


def test_defined_answers():
    np.testing.assert_allclose(fastvi.jackknife_bound(np.full((2, 1001), -734.25)), -734.25, rtol=1e-15)
    assert fastvi.jackknife_bound([-INF, -INF]) == -INF
    assert fastvi.jackknife_bound([-INF, 3.0, -INF]) == INF
    assert fastvi.jackknife_bound(np.zeros((0, 2))).shape == (0,)


def bias(function, num):
    """Of an estimate from weights that are 1 or 3 with probability 1/2: a sum over the number of 3s."""
    log_w = math.log(3.0) * (np.arange(num) < np.arange(num + 1)[:, None])
    probability = [math.comb(num, ones) / 2.0**num for ones in range(num + 1)]
    return probability @ function(log_w) - math.log(2.0)


@pytest.mark.slow_without_jit
def test_bias_falls_with_the_square_of_the_number_of_samples():
    """The mean of w / p(x) - 1 has moments 1 / (4 K), 0, 3 / (16 K^2) - 1 / (8 K^3), 0, 15 / (64 K^3), ...

    The logarithm's series makes -1 / (8 K) - 3 / (64 K^2) + O(1 / (64 K^3)) of them, K b_K - (K - 1) b_(K-1)
    of that 3 / (64 K (K - 1)) + O(1 / (32 K^3)): allowed are four times what O says.
    """
    for num in (64, 128):
        plain, jackknife = bias(fastvi.log_mean_exp, num), bias(fastvi.jackknife_bound, num)
        assert plain == pytest.approx(-1 / (8 * num) - 3 / (64 * num**2), abs=1 / (16 * num**3))
        assert jackknife == pytest.approx(3 / (64 * num * (num - 1)), abs=1 / (8 * num**3))


def test_axes_dtypes_and_layouts():
    log_w = np.random.default_rng(3).normal(size=(3, 4, 5)).astype(np.float32)
    for axis in (0, 1, -1):
        rows = np.moveaxis(log_w, axis, -1)
        want = fastvi.jackknife_bound(rows.reshape(-1, log_w.shape[axis]).astype(np.float64))
        got = fastvi.jackknife_bound(log_w, axis)
        assert got.shape == rows.shape[:-1]
        np.testing.assert_allclose(got.ravel(), want, rtol=1e-14)
    assert np.shape(fastvi.jackknife_bound([0.0, 1.0])) == ()
    frozen = log_w[0, ::2, ::-1]
    frozen.flags.writeable = False
    np.testing.assert_array_equal(fastvi.jackknife_bound(frozen), fastvi.jackknife_bound(frozen.copy()))


def test_same_bits_for_any_number_of_threads_and_in_any_batch(monkeypatch, same_bits):
    monkeypatch.setattr(module, "_TASK_ENTRIES", 400)
    log_w = np.random.default_rng(3).normal(size=(23, 130)) * 3
    whole = same_bits(lambda: fastvi.jackknife_bound(log_w))
    np.testing.assert_array_equal([fastvi.jackknife_bound(row) for row in log_w], whole)


@pytest.mark.parametrize(
    ("log_w", "axis", "error", "message"),
    [
        (
            [[0.0, 1.0], [NAN, 0.0]],
            -1,
            ValueError,
            r"^log_w must be finite or -inf, got nan at index \(1, 0\)",
        ),
        ([0.0, INF, 1.0], -1, ValueError, r"^log_w must be finite or -inf, got inf at index 1"),
        ([-INF, NAN], -1, ValueError, r"^log_w must be finite or -inf, got nan at index 1"),
        ([[0.0]], 0, ValueError, r"^log_w must hold at least 2 weights along axis 0, got shape \(1, 1\)"),
        (np.zeros((3, 0)), -1, ValueError, r"^log_w must hold at least 1 weight along axis -1"),
        (1.0, -1, ValueError, r"^log_w must have at least 1 axis, got shape \(\)"),
        ([0.0, 1.0], 1, ValueError, r"^axis must lie in -1 \.\.\. 0, got 1"),
        (["a"], -1, TypeError, r"^log_w must be an array of real numbers, got dtype <U1"),
    ],
)
def test_wrong_input(log_w, axis, error, message):
    with pytest.raises(error, match=message):
        fastvi.jackknife_bound(log_w, axis)
