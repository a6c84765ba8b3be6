"""Categorical distributions against their definition, and what they draw."""

from __future__ import annotations

import math

import mpmath
import naive
import naive_divergences
import numpy as np
import pytest
import strategies
from hypothesis import assume, given
from hypothesis import strategies as st
from tolerances import share_error

import fastvi

INF = math.inf
NEVER = st.one_of(strategies.EXTREME, st.just(-INF))


@st.composite
def categorical_logits(draw, num_categories=None, elements=NEVER):
    """Logits (K,) or (N, K), one finite at least in each row."""
    k = draw(st.integers(1, 5)) if num_categories is None else num_categories
    num_data = draw(st.one_of(st.none(), st.integers(0, 3)))
    logits = draw(strategies.floats((k,) if num_data is None else (num_data, k), elements))
    assume((logits.max(axis=-1) > -INF).all())
    return logits


@given(categorical_logits())
def test_log_prob_and_entropy_are_their_definitions(logits):
    q = fastvi.Categorical(logits)
    rows = np.atleast_2d(logits).tolist()
    exact = [naive_divergences.categorical_logs(row) for row in rows]
    expected = np.array([[float(t) for t in row] for row in exact]).reshape(-1, logits.shape[-1])
    got = q.log_prob(np.arange(logits.shape[-1])[:, None])
    # a difference of logits is rounded before it is an exponent
    slack = 1e-14 + 5e-16 * np.abs(logits[np.isfinite(logits)]).max(initial=0.0)
    np.testing.assert_allclose(got, expected.T, rtol=slack, atol=1e-305)
    np.testing.assert_allclose(np.atleast_2d(q.probabilities), np.exp(expected), rtol=1e-12, atol=1e-320)
    with mpmath.workdps(naive_divergences.DIGITS):
        entropies = [float(-sum(mpmath.exp(t) * t for t in row if t > -INF)) for row in exact]
    np.testing.assert_allclose(q.entropy(), entropies, rtol=10 * slack, atol=1e-300)


def test_a_category_that_is_almost_certain_keeps_its_digits():
    q = fastvi.Categorical([0.0, -50.0])
    assert q.log_prob(0) == pytest.approx(-math.exp(-50), rel=1e-15)
    assert q.entropy()[0] == pytest.approx(51 * math.exp(-50), rel=1e-14)
    assert fastvi.Categorical([1e3, -1e3, -INF]).entropy()[0] == 0


def test_draws_are_those_of_the_definition():
    """The first category whose cumulative probability is above the uniform number of (seed, n, k)."""
    logits = np.log(
        np.array([[0.1, 0.2, 0.3, 0.4], [0.25, 0.0, 0.75, 0.0]]) + 0.0,
        where=[[True] * 4, [True, False, True, False]],
        out=np.full((2, 4), -INF),
    )
    q, seed = fastvi.Categorical(logits), 2**40 + 7
    z = q.sample(50, seed)
    assert z.shape == (50, 2)
    assert z.dtype == np.int64
    word = 2**32 - 1
    for n, row in enumerate(q.probabilities.tolist()):
        for k in range(50):
            a, b, _, _ = naive.philox((0, k, 0, n), (seed & word, seed >> 32))
            u = (a * 2**32 + b) // 2**11 / 2**53
            assert z[k, n] == sum(u >= math.fsum(row[: j + 1]) for j in range(3))
    assert np.array_equal(fastvi.Categorical(logits[:1]).sample(9, seed), z[:9, :1])


@pytest.mark.slow_without_jit
def test_frequencies_and_shapes():
    q = fastvi.Categorical([0.0, 1.0, -INF, 2.0])
    z = q.sample(40000, 3)
    assert z.shape == (40000, 1)
    share = np.bincount(z[:, 0], minlength=4) / 40000
    assert (np.abs(share - q.mean) <= 4.5 * share_error(q.mean, 40000)).all()
    assert q.log_prob(z).shape == (40000, 1)
    assert fastvi.Categorical(np.zeros((0, 3))).sample(2, 0).shape == (2, 0)
    assert fastvi.Categorical(np.zeros((0, 3))).entropy().shape == (0,)
    assert fastvi.Categorical(np.zeros((3, 2))).log_prob(np.zeros((5, 1), int)).shape == (5, 3)
    assert (fastvi.Categorical([2.0]).sample(3, 1) == 0).all()


def test_saved_and_loaded(tmp_path):
    q = fastvi.Categorical([[0.3, -INF], [1.0, 2.0]])
    q.save(tmp_path / "q.npz")
    again = fastvi.load(tmp_path / "q.npz")
    assert np.array_equal(again.logits, q.logits)
    assert repr(again) == "Categorical(num_categories=2, num_data=2)"
    assert not q.logits.flags.writeable
    with pytest.raises(AttributeError, match="immutable"):
        q.logits = 1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: fastvi.Categorical([0.0, math.nan]),
            ValueError,
            r"^logits must not contain NaN, got nan at index 1",
        ),
        (
            lambda: fastvi.Categorical([0.0, INF]),
            ValueError,
            r"^logits must be -inf or between .* got inf at index 1",
        ),
        (lambda: fastvi.Categorical([0.0, 1e301]), ValueError, r"^logits must be -inf or between"),
        (
            lambda: fastvi.Categorical([[0.0, 1.0], [-INF, -INF]]),
            ValueError,
            r"^logits must have a finite entry in every row, got -inf at index 1",
        ),
        (lambda: fastvi.Categorical(np.zeros((2, 0))), ValueError, r"^logits must have at least 1 category"),
        (lambda: fastvi.Categorical(0.0), ValueError, r"^logits must have 1 or 2 axes"),
        (
            lambda: fastvi.Categorical([0.0, 1.0]).log_prob([2]),
            ValueError,
            r"^z must lie in 0 \.\.\. 1, got 2 at index 0",
        ),
        (
            lambda: fastvi.Categorical([0.0, 1.0]).log_prob([0.5]),
            TypeError,
            r"^z must be an array of integers",
        ),
        (
            lambda: fastvi.Categorical(np.zeros((2, 2))).log_prob([0, 0, 0]),
            ValueError,
            r"^z must have shape \(\.\.\., 2\), or \(\.\.\., 1\) for all data, got shape \(3,\)$",
        ),
        (lambda: fastvi.Categorical([0.0]).sample(-1, 0), ValueError, r"^num must be an int >= 0"),
        (lambda: fastvi.Categorical([0.0]).sample(1, -1), ValueError, r"^seed must be an int"),
    ],
)
def test_wrong_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
