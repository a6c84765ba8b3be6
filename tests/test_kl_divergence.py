"""KL divergences: the definition, mpmath where q is close to p, and the limits at infinite logits."""

from __future__ import annotations

import math

import mpmath
import naive
import numpy as np
import pytest
import strategies
from hypothesis import assume, given
from hypothesis import strategies as st

import fastvi
from fastvi.bounds.kl_divergence import bernoulli_kl

INF = math.inf
SMALLEST = 1e-300  # below it products of two probabilities leave the normal doubles


def exact_kl(a, b):
    """One latent, finite logits; the digits cover the cancellation of two numbers e^-2000 apart."""
    with mpmath.workdps(950):
        a, b = mpmath.mpf(a), mpmath.mpf(b)
        tiny_a, tiny_b = mpmath.exp(-abs(a)), mpmath.exp(-abs(b))

        def log_sigmoids(t, tiny):
            rest = mpmath.log(1 + tiny)
            return (-rest, -t - rest) if t > 0 else (t - rest, -rest)

        (a1, a0), (b1, b0) = log_sigmoids(a, tiny_a), log_sigmoids(b, tiny_b)
        q1 = 1 / (1 + tiny_a) if a > 0 else tiny_a / (1 + tiny_a)
        q0 = tiny_a / (1 + tiny_a) if a > 0 else 1 / (1 + tiny_a)
        return float(q1 * (a1 - b1) + q0 * (a0 - b0))


def kl(a, b):
    return float(bernoulli_kl(np.array(float(a)), np.array(float(b))))


@pytest.mark.parametrize("a", [0.0, 0.3, -2.0, 20.0, -36.0, 45.0, -300.0, 600.0])
@pytest.mark.parametrize("change", [0.0, 1e-12, -1e-7, 1e-3, -0.4, 0.999, 1.001, -1.001, 3.0, -40.0, 999.0])
def test_small_and_large_differences_against_mpmath(a, change):
    exact = exact_kl(a, a + change)
    assert kl(a, a + change) == pytest.approx(exact, rel=1e-14, abs=SMALLEST)


def test_close_distributions_do_not_cancel():
    """The textbook form is off by about 1e-16, ten times the value; the quadratic term says what it is."""
    assert kl(0.0, 1e-8) == pytest.approx(1e-16 / 8, rel=1e-13)


@given(st.floats(-800, 800), st.floats(-800, 800))
def test_one_latent_against_mpmath(a, b):
    assert kl(a, b) == pytest.approx(exact_kl(a, b), rel=1e-14, abs=SMALLEST)


@given(st.data())
def test_kl_divergence_is_its_definition(data):
    d = data.draw(st.integers(1, 4))
    q, p = (data.draw(strategies.bernoulli_logits(d, elements=strategies.EXTREME)) for _ in "qp")
    assume(q.ndim == 1 or p.ndim == 1 or len(q) == len(p))
    got = fastvi.kl_divergence(fastvi.Bernoulli(q), fastvi.Bernoulli(p))
    both = np.broadcast_arrays(np.atleast_2d(q), np.atleast_2d(p))
    expected = [naive.bernoulli_kl(a, b) for a, b in zip(*(side.tolist() for side in both), strict=True)]
    assert got.shape == both[0].shape[:1]
    # the oracle cancels: its terms are of the size of the logits
    scale = max(1.0, np.abs(q).max(initial=0), np.abs(p).max(initial=0))
    np.testing.assert_allclose(got, np.reshape(expected, got.shape), rtol=1e-12, atol=1e-13 * scale)


@given(st.data())
def test_never_negative_never_nan_and_zero_for_equals(data):
    d = data.draw(st.integers(1, 4))
    q, p = (fastvi.Bernoulli(data.draw(strategies.floats(d, strategies.INFINITE))) for _ in "qp")
    assert fastvi.kl_divergence(q, p)[0] >= 0
    assert fastvi.kl_divergence(q, q)[0] == 0


INFINITE = [
    (INF, INF, 0.0),
    (-INF, -INF, 0.0),
    (INF, -INF, INF),
    (-INF, INF, INF),
    (0.0, INF, INF),
    (1e3, INF, INF),  # the mean of q rounds to 1, its logit knows that it is not
    (-1e3, -INF, INF),
    (INF, 0.0, math.log(2)),
    (-INF, 0.0, math.log(2)),
    (INF, -1e3, 1e3),
    (-INF, 1e3, 1e3),
    (INF, 40.0, math.log1p(math.exp(-40))),
    (-INF, 1e308, 1e308),
    (1e3, -1e3, 1e3),
    (-1e3, 1e3, 1e3),
    (1e308, -1e308, 1e308),
    (0.0, 1e308, 0.5e308),
]


@pytest.mark.parametrize(("a", "b", "expected"), INFINITE)
def test_limits(a, b, expected):
    assert kl(a, b) == pytest.approx(expected, rel=1e-15)


def test_kl_to_uniform_is_the_missing_entropy():
    q = fastvi.Bernoulli([[0.3, -2.0], [INF, 5.0]])
    expected = 2 * math.log(2) - q.entropy()
    np.testing.assert_allclose(fastvi.kl_divergence(q, fastvi.Uniform(2)), expected, rtol=1e-14)


def test_shapes():
    one, many, none = (fastvi.Bernoulli(np.ones(shape)) for shape in [(3,), (4, 3), (0, 3)])
    assert fastvi.kl_divergence(one, fastvi.Uniform(3)).shape == (1,)
    assert fastvi.kl_divergence(one, many).shape == (4,)
    assert fastvi.kl_divergence(many, one).shape == (4,)
    assert fastvi.kl_divergence(none, one).shape == (0,)
