"""The variational Renyi bound of given log weights."""

# ruff: noqa: E501

from __future__ import annotations

import itertools
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
NEAR = [1 + sign * 2.0**-power for sign in (-1, 1) for power in (1, 4, 10, 20, 30, 40, 50, 52)]
ALPHAS = [-INF, -1e300, -1e3, -3.0, 0.0, 0.5, 1.0, 2.0, 7.5, 1e3, 1e300, INF, 1e-20, 1 - EPS / 2, *NEAR]
WEIGHT = st.one_of(st.floats(-4, 4), st.floats(-1e3, 1e3), st.sampled_from([-INF, -1e3, 0.0, 1e3]))
ALPHA = st.one_of(
    st.floats(-10, 10),
    st.sampled_from(ALPHAS),
    st.floats(1e-17, 1e-2).map(lambda t: 1 - t),
    st.floats(-1e6, 1e6),
)


def tolerance(log_w):
    """Differences to the anchor are rounded to EPS / 2 of the spread, and so is what they go through; K < 2000."""
    finite = np.abs(log_w[np.isfinite(log_w)])
    return 16 * EPS * max(finite.max(initial=0.0), 1e-3)


def check(log_w, alpha):
    want = [naive.renyi_bound(row, alpha) for row in log_w.tolist()]
    got = fastvi.renyi_bound(log_w, alpha)
    for row, bound, true in zip(log_w, got, want, strict=True):
        np.testing.assert_allclose(bound, true, rtol=8 * EPS, atol=tolerance(row))


@pytest.mark.parametrize("alpha", ALPHAS)
def test_against_many_digits(alpha):
    rng = np.random.default_rng(5)
    scales = np.array([[1e-9], [1e-3], [1], [30], [300]])
    check(rng.normal(size=(5, 37)) * scales, alpha)
    check(rng.normal(size=(5, 37)) * scales - 1e3, alpha)


@given(hnp.arrays(np.float64, st.tuples(st.integers(0, 3), st.integers(1, 12)), elements=WEIGHT), ALPHA)
def test_any_rows(log_w, alpha):
    check(log_w, alpha)


@given(hnp.arrays(np.float64, (3, 10), elements=WEIGHT), st.lists(ALPHA, min_size=2, max_size=5))
def test_falls_with_alpha(log_w, alphas):
    bounds = [fastvi.renyi_bound(log_w, alpha) for alpha in sorted(alphas)]
    for high, low in itertools.pairwise(bounds):
        allowed = 2 * tolerance(log_w) + np.where(np.isfinite(high), 16 * EPS * np.abs(high), 0.0)
        assert (low <= high + allowed).all()


def test_alpha_to_one_is_the_elbo():
    """The derivative in alpha at 1 is minus half the variance, which no cancellation hides."""
    log_w = np.random.default_rng(1).normal(size=1000) * 10
    elbo = fastvi.renyi_bound(log_w, 1)
    assert elbo == pytest.approx(log_w.mean(), abs=1e-13)
    # the next term is step^2 / 6 times a third moment; weights change by less than 1 % in between, and
    # 1 + step is rounded
    third = (np.abs(log_w - log_w.mean()) ** 3).mean()
    for step in (1e-5, -1e-5):
        change = fastvi.renyi_bound(log_w, 1 + step) - elbo
        allowed = 1.01 * step**2 * third / 6 + 1e-11 * log_w.var() + 64 * EPS * np.abs(log_w).max()
        assert abs(change + step * log_w.var() / 2) <= allowed < 1e-4 * abs(change)


def test_special_orders():
    log_w = np.random.default_rng(2).normal(size=(4, 700)) * 20
    log_w[0, 3:9] = -INF
    at_zero = fastvi.renyi_bound(log_w, 0.0)
    np.testing.assert_allclose(at_zero, fastvi.log_mean_exp(log_w), rtol=1e-14, atol=1e-14)
    np.testing.assert_array_equal(fastvi.renyi_bound(log_w, -INF), log_w.max(axis=1))
    np.testing.assert_array_equal(fastvi.renyi_bound(log_w, INF), log_w.min(axis=1))
    np.testing.assert_array_equal(fastvi.renyi_bound(log_w, np.array(1)), fastvi.renyi_bound(log_w, 1))


@pytest.mark.parametrize("alpha", ALPHAS)
def test_constants_and_zeros(alpha):
    assert fastvi.renyi_bound(np.full(1001, -734.1), alpha) == -734.1
    assert fastvi.renyi_bound([0.3], alpha) == 0.3
    assert fastvi.renyi_bound([-INF, -INF], alpha) == -INF
    assert fastvi.renyi_bound(np.zeros((0, 3)), alpha).shape == (0,)
    with_zero = fastvi.renyi_bound([0.0, -INF], alpha)
    assert with_zero == (-INF if alpha >= 1 else pytest.approx(math.log(0.5) / (1 - alpha), rel=1e-15))


def test_axes_dtypes_and_layouts():
    log_w = np.random.default_rng(3).normal(size=(3, 4, 5)).astype(np.float32).astype(np.float64)
    for axis, alpha in itertools.product((0, 1, -1), (-INF, 0.25, 1, 1 + 1e-9, 3)):
        want = fastvi.renyi_bound(np.moveaxis(log_w, axis, -1).reshape(-1, log_w.shape[axis]).copy(), alpha)
        got = fastvi.renyi_bound(log_w, alpha, axis)
        assert got.shape == np.delete(log_w.shape, axis).tolist() or got.ravel().shape == want.shape
        np.testing.assert_array_equal(got.ravel(), want)
        np.testing.assert_allclose(
            fastvi.renyi_bound(log_w.astype(np.float32), alpha, axis).ravel(), want, rtol=1e-14, atol=1e-14
        )
    assert np.shape(fastvi.renyi_bound([0.0, 1.0], 0.5)) == ()
    frozen = log_w[0, ::2, ::-1]
    frozen.flags.writeable = False
    np.testing.assert_array_equal(fastvi.renyi_bound(frozen, 2), fastvi.renyi_bound(frozen.tolist(), 2))


def test_same_bits_for_any_number_of_threads_and_in_any_batch(monkeypatch, same_bits):
    monkeypatch.setattr(module, "_TASK_ENTRIES", 400)
    log_w = np.random.default_rng(3).normal(size=(23, 130)) * np.geomspace(1e-3, 10, 23)[:, None]
    for alpha in (0.3, 1.0, 1.1):
        whole = same_bits(lambda alpha=alpha: fastvi.renyi_bound(log_w, alpha))
        np.testing.assert_array_equal([fastvi.renyi_bound(row, alpha) for row in log_w], whole)


# fmt: off
WRONG = [
    ("NaN", lambda: fastvi.renyi_bound([[0.0, 1.0], [NAN, 0.0]], 0.5), ValueError, r"^log_w must be finite or -inf, got nan at index \(1, 0\)"),
    ("+inf, power < 0", lambda: fastvi.renyi_bound([0.0, INF], 2.0), ValueError, r"^log_w must be finite or -inf, got inf at index 1"),
    ("+inf at alpha inf", lambda: fastvi.renyi_bound([0.0, INF], INF), ValueError, r"got inf at index 1"),
    ("K = 0", lambda: fastvi.renyi_bound(np.zeros((3, 0)), 0), ValueError, r"^log_w must hold at least 1 weight along axis -1"),
    ("no axes", lambda: fastvi.renyi_bound(1.0, 0), ValueError, r"^log_w must have at least 1 axis"),
    ("text", lambda: fastvi.renyi_bound(["a"], 0), TypeError, r"^log_w must be an array of real numbers, got dtype <U1"),
    ("axis", lambda: fastvi.renyi_bound([0.0], 0, 1), ValueError, r"^axis must lie in -1 \.\.\. 0, got 1"),
    ("alpha nan", lambda: fastvi.renyi_bound([0.0], NAN), ValueError, r"^alpha must be a real number, got nan"),
    ("alpha text", lambda: fastvi.renyi_bound([0.0], "1"), TypeError, r"^alpha must be a real number, got '1' \(str\)"),
    ("alpha array", lambda: fastvi.renyi_bound([0.0], [0.0, 1.0]), TypeError, r"^alpha must be a real number, got \[0.0, 1.0\] \(list\)"),
    ("alpha True", lambda: fastvi.renyi_bound([0.0], True), TypeError, r"^alpha must be a real number, got True"),
    ("alpha None", lambda: fastvi.renyi_bound([0.0], None), TypeError, r"^alpha must be a real number, got None"),
]
# fmt: on


@pytest.mark.parametrize(("call", "error", "message"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_wrong_input(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
