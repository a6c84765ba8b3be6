"""Pareto smoothed importance sampling."""

from __future__ import annotations

import math

import naive_log_weights as naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastvi
from fastvi.weights import log_weights

NAN, INF = math.nan, math.inf

# Made with ArviZ 0.22.0 and NumPy 2.4.6 (Python 3.11): ``smoothed, k = arviz.psislw(golden_row(...))``, then
# k, the largest of ``smoothed`` and its fifth largest.
# (num, power, state, k, largest and fifth largest of ArviZ's normalised smoothed log weights). ArviZ 0.x has
# the paper's tail length; arviz-stats 0.8 rounds it down.
GOLDEN = [
    (21, 0.5, 1, 1.0719027988242331, -1.4533365710019357, -3.0289468229880563),
    (100, 0.3, 2, 1.0270825747364474, -2.936943940437282, -4.201958623305992),
    (225, 0.7, 3, 0.944451605720379, -2.0229233743421666, -3.9658153348048413),
    (226, 0.7, 4, 1.0871202009785816, -1.4882156518310088, -3.796198741309307),
    (1000, 1.2, 5, 1.0898717115249763, -1.161073369851086, -3.560851791089343),
    (1000, 0.05, 6, 0.288264920579972, -6.511836124314591, -6.680119289041566),
    (4000, 0.5, 7, 0.6233355454722809, -4.631614384820508, -5.418785035435994),
]


def golden_row(num, power, state):
    """-power log u with u from Lehmer's generator: Pareto weights of shape ``power``."""
    row = []
    for _ in range(num):
        state = state * 48271 % 2147483647
        row.append(-power * np.log(state / 2147483647))
    return np.array(row)


@pytest.mark.parametrize(("num", "power", "state", "k", "largest", "fifth"), GOLDEN)
def test_as_arviz(num, power, state, k, largest, fifth):
    log_w = golden_row(num, power, state)
    smoothed, got = fastvi.psis(log_w - 1234.5)
    normalised = smoothed - fastvi.log_mean_exp(smoothed) - math.log(num)
    assert got == pytest.approx(k, abs=1e-8)
    assert fastvi.pareto_k(log_w) == pytest.approx(k, abs=1e-8)
    assert np.sort(normalised)[[-1, -5]] == pytest.approx([largest, fifth], abs=1e-8)


def check(log_w):
    smoothed, k = fastvi.psis(log_w)
    np.testing.assert_array_equal(fastvi.pareto_k(log_w), k)
    for row, got, shape in zip(log_w.tolist(), smoothed, k, strict=True):
        want_row, want = naive.psis(row)
        # k is a mean of logarithms of O(700) at most, weighed by a posterior whose exponents are good to
        # about 1e-11
        np.testing.assert_allclose(shape, want, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(got, want_row, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("num", [1, 2, 20, 21, 26, 64, 225, 226, 500])
def test_oracle(num):
    rng = np.random.default_rng(num)
    log_w = rng.normal(size=(6, num)) * np.array([[0.01], [0.3], [1], [2], [5], [30]])
    log_w[5, rng.random(num) < 0.5] = -INF
    log_w[4] += 1e3
    log_w[3] -= 1e3
    check(log_w)


@given(hnp.arrays(np.float64, (2, 60), elements=st.integers(-20, 5).map(lambda i: i / 4)))
def test_tied_weights(log_w):
    check(log_w)


ANY = st.one_of(st.floats(-4, 4), st.floats(-1e3, 1e3), st.sampled_from([-INF, -1e3, 0.0, 1e3]))


@given(hnp.arrays(np.float64, st.tuples(st.integers(0, 3), st.integers(1, 60)), elements=ANY))
def test_properties_of_any_rows(log_w):
    smoothed, k = fastvi.psis(log_w)
    np.testing.assert_array_equal(np.isnan(k), (log_w == -INF).all(axis=1))
    assert not np.isnan(smoothed).any()
    assert (smoothed.max(axis=1) <= log_w.max(axis=1)).all()
    unfit = ~np.isfinite(k)
    np.testing.assert_array_equal(smoothed[unfit], log_w[unfit])
    tail = math.ceil(min(log_w.shape[1] / 5, 3 * math.sqrt(log_w.shape[1])))
    body = np.argsort(log_w, axis=1, kind="stable")[:, : log_w.shape[1] - tail]
    np.testing.assert_array_equal(np.take_along_axis(smoothed, body, 1), np.take_along_axis(log_w, body, 1))
    for before, after in zip(log_w, smoothed, strict=True):
        ordered = after[np.argsort(before, kind="stable")]
        assert (ordered[1:] >= ordered[:-1] - 1e-12).all()
    # the order of samples does not enter k, nor does a change of scale by a power of two
    np.testing.assert_array_equal(fastvi.pareto_k(log_w[:, ::-1]), k)


@given(hnp.arrays(np.float64, 50, elements=st.floats(-4, 4), unique=True), st.floats(-1e3, 1e3))
def test_scale_of_the_weights_does_not_enter(log_w, shift):
    log_w = (
        np.round(log_w * 1024) / 1024
    )  # so that the shift is exact to rounding errors far below the spacing
    shifted = log_w + np.round(shift)
    np.testing.assert_array_equal(fastvi.pareto_k(shifted), fastvi.pareto_k(log_w))


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("shape", [0.2, 0.5, 1.0])
def test_shape_of_pareto_weights_is_found(shape):
    """log w = -shape log u has Pareto weights; the fit's standard error: (1 + k) / sqrt(M), M = 671."""
    log_w = -shape * np.log1p(-np.random.default_rng(1).random((4, 50_000)))
    assert fastvi.pareto_k(log_w) == pytest.approx(np.full(4, shape), abs=4.5 * (1 + shape) / math.sqrt(671))


@pytest.mark.parametrize(
    ("log_w", "k"),
    [
        (np.zeros(1), INF),
        (np.arange(20.0), INF),
        (np.full(1000, -3.5), INF),
        (np.full(1000, -INF), NAN),
        (np.full(1, -INF), NAN),
        (np.concatenate([[0.0], np.full(999, -INF)]), INF),
        (np.concatenate([np.arange(4.0), np.full(996, -7.0)]), INF),
        (np.concatenate([np.full(50, 0.0), np.full(50, -800.0)]), INF),
        (np.concatenate([np.full(50, 0.0), np.full(435, -INF)]), INF),
        (np.concatenate([np.full(50, 0.0), np.full(435, -3.0)]), INF),
        (np.concatenate([np.linspace(0.0, 1e-13, 50), np.full(435, -INF)]), INF),
    ],
    ids=[
        "K = 1",
        "K = 20",
        "equal",
        "all -inf",
        "one -inf",
        "one finite",
        "four above the rest",
        "half equal",
        "equal beside zeros",
        "equal above the rest",
        "equal to rounding beside zeros",
    ],
)
def test_nothing_to_fit(log_w, k):
    smoothed, got = fastvi.psis(log_w)
    np.testing.assert_equal(float(got), k)
    np.testing.assert_equal(float(fastvi.pareto_k(log_w)), k)
    np.testing.assert_array_equal(smoothed, log_w)


def test_five_above_the_rest_are_fitted():
    assert np.isfinite(fastvi.pareto_k(np.concatenate([np.arange(5.0), np.full(995, -7.0)])))


def test_nearly_equal_weights_keep_their_digits():
    """Differences of 2^-40 j against 2^-30 j, j < 400: what is linear in such small logs is bent by less than
    400 * 2^-31 of itself, and k, a mean of logarithms of it, moves by no more.
    """
    steps = np.random.default_rng(2).permutation(400).astype(float)
    tight, loose = fastvi.pareto_k(np.stack([steps * 2.0**-40, steps * 2.0**-30]))
    assert tight == pytest.approx(loose, abs=400 * 2.0**-31)


def test_grid_that_goes_through_zero():
    """An exponential tail has b = 0; here the grid has a b of about 1e-15, and 1 - b x would be rounding."""
    num, points = 300, 47
    excess = -np.log1p(-(np.arange(num) + 0.5) / num)
    quartile = excess[int(num / 4 + 0.5) - 1]
    for j in (35.5, 36.5, 38.5):
        excess[-1] = 3 * quartile / (math.sqrt(points / j) - 1) * (1 + 1e-14)
        assert excess[-1] > excess[-2]
        w = 1e-3 + (1 - 1e-3) * excess / excess[-1]
        log_w = np.concatenate([np.log(w), np.full(9700, math.log(1e-3))])
        assert fastvi.pareto_k(log_w) == pytest.approx(naive.psis(log_w.tolist())[1], abs=1e-9)


def test_long_sorted_rows():
    row = np.sort(np.random.default_rng(4).normal(size=5000))
    k = fastvi.pareto_k(np.stack([row, row[::-1], np.random.default_rng(5).permutation(row)]))
    assert k[0] == k[1] == k[2]
    assert k[0] == pytest.approx(naive.psis(row.tolist())[1], abs=1e-9)


@pytest.mark.parametrize("shift", [10.0, -10.0, 0.0])
def test_entries_that_the_first_limit_is_taken_from_are_no_fair_sample(shift):
    """Every 16th entry is looked at: with these too large, too few others exceed the limit."""
    row = np.random.default_rng(6).normal(size=5000)
    row[::16] += shift
    assert fastvi.pareto_k(row) == pytest.approx(naive.psis(row.tolist())[1], abs=1e-9)


@pytest.mark.parametrize("scale", [1e-6, 1e-2, 1.0, 20.0, 60.0, 200.0])
def test_tails_of_any_width(scale):
    """From 20 to 200, ratios in a tail are below 2^120, beyond it and beyond the doubles."""
    check(np.random.default_rng(7).normal(size=(3, 600)) * scale)


@pytest.mark.parametrize("function", [fastvi.pareto_k, lambda a, **axis: fastvi.psis(a, **axis)[1]])
def test_axis(function):
    log_w = np.random.default_rng(8).normal(size=(3, 90))
    np.testing.assert_array_equal(function(log_w.T, axis=0), function(log_w))
    np.testing.assert_array_equal(function(log_w[:, ::-1].T, axis=-2), function(log_w))
    assert np.shape(function(log_w[0], axis=0)) == ()
    with pytest.raises(ValueError, match=r"^axis must lie in -2 \.\.\. 1, got 2"):
        function(log_w, axis=2)


def test_smoothed_weights_lie_as_the_weights_do():
    log_w = np.random.default_rng(8).normal(size=(3, 90))
    np.testing.assert_array_equal(fastvi.psis(log_w.T, axis=0)[0], fastvi.psis(log_w)[0].T)
    np.testing.assert_array_equal(fastvi.psis(log_w[0], axis=0)[0], fastvi.psis(log_w)[0][0])


def test_shapes_layouts_and_dtypes():
    log_w = np.random.default_rng(6).normal(size=(3, 90))
    k = fastvi.pareto_k(log_w)
    smoothed = fastvi.psis(log_w)[0]
    frozen = np.asfortranarray(log_w)
    frozen.flags.writeable = False
    np.testing.assert_array_equal(fastvi.pareto_k(frozen), k)
    np.testing.assert_array_equal(fastvi.psis(frozen)[0], smoothed)
    assert np.shape(fastvi.pareto_k(log_w[0])) == ()
    assert fastvi.psis(log_w[0])[0].shape == (90,)
    assert fastvi.pareto_k(np.zeros((0, 5))).shape == (0,)
    assert fastvi.psis(np.zeros((0, 5)))[0].shape == (0, 5)
    narrow = log_w.astype(np.float32)
    np.testing.assert_array_equal(fastvi.pareto_k(narrow), fastvi.pareto_k(narrow.astype(np.float64)))
    assert fastvi.psis(narrow)[0].dtype == np.float64


def test_input_is_left_alone():
    log_w = np.random.default_rng(7).normal(size=(2, 100))
    before = log_w.copy()
    smoothed, _ = fastvi.psis(log_w)
    np.testing.assert_array_equal(log_w, before)
    assert (smoothed != before).any()


def test_same_bits_for_any_number_of_threads(monkeypatch, same_bits):
    monkeypatch.setattr(log_weights, "_TASK_ENTRIES", 200)
    log_w = np.random.default_rng(8).normal(size=(13, 100))
    _, k = same_bits(lambda: fastvi.psis(log_w))
    np.testing.assert_array_equal(np.stack([fastvi.pareto_k(row) for row in log_w]), k)


@pytest.mark.parametrize("function", [fastvi.pareto_k, fastvi.psis])
@pytest.mark.parametrize(
    ("log_w", "error", "message"),
    [
        ([[0.0, 1.0], [0.0, NAN]], ValueError, r"^log_w must be finite or -inf, got nan at index \(1, 1\)"),
        ([0.0, INF], ValueError, r"^log_w must be finite or -inf, got inf at index 1"),
        (
            np.zeros((2, 0)),
            ValueError,
            r"^log_w must hold at least 1 weight along axis -1, got shape \(2, 0\)",
        ),
        (0.0, ValueError, r"^log_w must have at least 1 axis, got shape \(\)"),
        (["a"], TypeError, r"^log_w must be an array of real numbers, got dtype <U1"),
        (None, TypeError, r"^log_w must be an array of real numbers, got dtype object"),
    ],
)
def test_wrong_input(function, log_w, error, message):
    with pytest.raises(error, match=message):
        function(log_w)


@pytest.mark.parametrize("axis", [(0, 1), (1, 0), (0, 2), (-1,), (0, 1, 2), (2, -3)])
def test_samples_along_several_axes(axis):
    """As of the rows that NumPy makes of these axes, in their order."""
    log_w = np.random.default_rng(8).normal(size=(4, 30, 5)) * 2
    last = np.moveaxis(log_w, axis, range(-len(axis), 0))
    shape = last.shape[: 3 - len(axis)]
    rows = last.reshape(math.prod(shape), -1)
    smoothed, k = fastvi.psis(rows)
    np.testing.assert_array_equal(fastvi.pareto_k(log_w, axis=axis), k.reshape(shape))
    got, got_k = fastvi.psis(log_w, axis=axis)
    np.testing.assert_array_equal(np.moveaxis(got, axis, range(-len(axis), 0)).reshape(rows.shape), smoothed)
    np.testing.assert_array_equal(got_k, k.reshape(shape))
    for function in (fastvi.log_mean_exp, fastvi.effective_sample_size, fastvi.jackknife_bound):
        np.testing.assert_array_equal(function(log_w, axis), function(rows).reshape(shape))
    estimate = fastvi.diagnose(log_w, axis)
    assert estimate.log_marginal.shape == (shape or (1,))
    np.testing.assert_array_equal(estimate.log_marginal.ravel(), fastvi.diagnose(rows).log_marginal)
    np.testing.assert_array_equal(estimate.std_error.ravel(), fastvi.diagnose(rows).std_error)
