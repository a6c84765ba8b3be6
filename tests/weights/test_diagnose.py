"""All diagnostics of given log weights."""

from __future__ import annotations

import math
from dataclasses import fields

import naive_log_weights as naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastvi
from fastvi.weights import log_weights as module

NAN, INF = math.nan, math.inf
EXTREME = st.one_of(st.floats(-4, 4), st.floats(-1e3, 1e3), st.sampled_from([-INF, -1e3, 0.0, 1e3]))
NAMES = ("log_marginal", "std_error", "ess", "pareto_k", "max_weight_share")


def values(estimate):
    return np.array([getattr(estimate, name) for name in NAMES])


def same(estimate, other):
    for field in fields(estimate):
        np.testing.assert_array_equal(getattr(estimate, field.name), getattr(other, field.name))


def special(num=300):
    """Ordinary, heavy, equal, all -inf, one finite, nearly equal, +-1e3."""
    log_w = np.random.default_rng(1).normal(size=(8, num)) * np.array(
        [[1], [20], [0], [1], [1], [1], [1], [1]]
    )
    log_w[2] = -734.25
    log_w[3] = -INF
    log_w[4, 1:] = -INF
    log_w[5] = 2.0 + 1e-13 * np.tanh(log_w[5])
    log_w[6] += 1e3
    log_w[7] -= 1e3
    return log_w


def test_against_the_oracle():
    log_w = special()
    got, want = values(fastvi.diagnose(log_w)).T, [naive.estimate(row) for row in log_w.tolist()]
    # the error is a difference of sums relative to 1 / K: 2^-53 K of its square at worst
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)


@given(hnp.arrays(np.float64, st.tuples(st.integers(0, 3), st.integers(1, 60)), elements=EXTREME))
def test_as_the_single_functions_and_as_a_stream(log_w):
    estimate, summary = fastvi.diagnose(log_w), fastvi.LogWeights()
    summary.update(log_w)
    same(estimate, summary.estimate())
    np.testing.assert_array_equal(estimate.log_marginal, fastvi.log_mean_exp(log_w))
    np.testing.assert_allclose(estimate.ess, fastvi.effective_sample_size(log_w), rtol=1e-14)
    k = fastvi.pareto_k(log_w)
    np.testing.assert_array_equal(estimate.pareto_k, np.where(estimate.pareto_k == -INF, -INF, k))
    assert estimate.num_samples == log_w.shape[1]


def test_equal_weights_are_no_alarm():
    estimate = fastvi.diagnose(special()[[2, 5]])
    np.testing.assert_array_equal(estimate.pareto_k, [-INF, -INF])
    np.testing.assert_array_equal(estimate.std_error, [0.0, 0.0])
    # one weight is smaller by 1e-9: the sum of 2,000 does not show it, the smallest does
    log_w = np.zeros(2000)
    log_w[77] = -1e-9
    assert fastvi.diagnose(log_w).pareto_k == INF


@pytest.mark.parametrize(
    "change",
    [
        np.asfortranarray,
        lambda a: np.repeat(a, 2, axis=1)[:, ::2],
        lambda a: np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
        lambda a: a.tolist(),
    ],
    ids=["fortran", "step", "reversed", "list"],
)
def test_layouts_give_the_same_bits(change):
    log_w = special(130)
    same(fastvi.diagnose(change(log_w)), fastvi.diagnose(log_w))


def test_axes_dtypes_and_read_only():
    log_w = special(130)
    log_w.flags.writeable = False
    estimate = fastvi.diagnose(log_w)
    same(fastvi.diagnose(log_w.T, axis=0), estimate)
    assert fastvi.diagnose(log_w[0]).ess.shape == (1,)
    assert fastvi.diagnose(np.zeros((0, 5))).ess.shape == (0,)
    narrow = log_w.astype(np.float32)
    got, want = (values(fastvi.diagnose(a)) for a in (narrow, narrow.astype(np.float64)))
    # float32: each weight and the sum of four have five roundings of 2^-24; the standard error is of their
    # squares' sum less 1 / K. k is that of float64
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(got[3], want[3])


def test_same_bits_for_any_number_of_threads_and_in_any_batch(monkeypatch, same_bits):
    monkeypatch.setattr(module, "_TASK_ENTRIES", 400)
    log_w = np.random.default_rng(3).normal(size=(13, 130)) * 3
    whole = same_bits(lambda: values(fastvi.diagnose(log_w)))
    rows = np.concatenate([values(fastvi.diagnose(row)) for row in log_w], axis=1)
    np.testing.assert_array_equal(rows, whole)


@pytest.mark.parametrize(
    ("log_w", "axis", "error", "message"),
    [
        (
            [[0.0, 1.0], [0.0, NAN]],
            -1,
            ValueError,
            r"^log_w must be finite or -inf, got nan at index \(1, 1\)",
        ),
        (
            [[0.0, 1.0], [INF, 0.0]],
            0,
            ValueError,
            r"^log_w must be finite or -inf, got inf at index \(1, 0\)",
        ),
        (
            np.zeros((2, 0)),
            -1,
            ValueError,
            r"^log_w must hold at least 1 weight along axis -1, got shape \(2, 0\)",
        ),
        (0.0, -1, ValueError, r"^log_w must have at least 1 axis, got shape \(\)"),
        (
            np.zeros((2, 0, 3)),
            (0, 1),
            ValueError,
            r"^log_w must hold at least 1 weight along axis \(0, 1\), got",
        ),
        ([0.0], (), ValueError, r"^axis must be an int or a tuple of ints that differ, got \(\)"),
        ([[0.0]], (1, -1), ValueError, r"^axis must be an int or a tuple of ints that differ, got \(1, -1\)"),
        ([[0.0]], (0, 2), ValueError, r"^axis must lie in -2 \.\.\. 1, got 2"),
        ([[0.0]], [0, 1], TypeError, r"^axis must be an int or a tuple of ints, got \[0, 1\]"),
        ([[0.0]], (0, 1.0), TypeError, r"^axis must be an int or a tuple of ints, got 1.0"),
        ([0.0], 1, ValueError, r"^axis must lie in -1 \.\.\. 0, got 1"),
        (None, -1, TypeError, r"^log_w must be an array of real numbers, got dtype object"),
    ],
)
def test_wrong_input(log_w, axis, error, message):
    with pytest.raises(error, match=message):
        fastvi.diagnose(log_w, axis)
