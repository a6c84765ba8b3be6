"""Bernoulli and Uniform against their definitions, infinite logits included."""

from __future__ import annotations

import math

import mpmath
import naive
import numpy as np
import pytest
import strategies
from hypothesis import given

import fastvi
from fastvi.core.functions import log_sigmoid, sigmoid

INF = math.inf
GRID = [0.0, -0.0, 1e-300, 1e-9, 0.3, 1.0, 17.0, 36.5, 40.0, 300.0, 700.0, 744.0, 1e3, 1e300, INF]
SIGNED = np.array([*GRID, *(-g for g in GRID)])


def rows(logits):
    """Logits as a list of rows: one where they are (d,)."""
    return np.atleast_2d(logits).tolist()


@pytest.mark.parametrize("t", SIGNED)
def test_scalar_functions_against_mpmath(t):
    """Relative error; what is below the smallest normal double may lose digits."""
    with mpmath.workdps(60):
        exact = 1 / (1 + mpmath.exp(-mpmath.mpf(t)))
        log_exact = (
            -INF if t == -INF else t - mpmath.log1p(mpmath.exp(t)) if t < 0 else -mpmath.log1p(mpmath.exp(-t))
        )
        assert float(sigmoid(np.array(t))) == pytest.approx(float(exact), rel=1e-15, abs=1e-307)
        assert float(log_sigmoid(np.array(t))) == pytest.approx(float(log_exact), rel=1e-15, abs=1e-307)


# ---- log_prob --------------------------------------------------------------------------------------------


def naive_log_prob(z, logits):
    """With infinite logits: the definition of a point mass, so that no infinity is multiplied."""
    if any(math.isinf(t) and (t > 0) != bool(bit) for bit, t in zip(z, logits, strict=True)):
        return -INF
    pairs = [(bit, t) for bit, t in zip(z, logits, strict=True) if not math.isinf(t)]
    return naive.bernoulli_log_prob([bit for bit, _ in pairs], [t for _, t in pairs])


@given(strategies.bernoulli_logits())
def test_log_prob_is_its_definition(logits):
    q, z = fastvi.Bernoulli(logits), naive.states(logits.shape[-1])
    got = q.log_prob(np.array(z)[:, None])
    expected = [[naive_log_prob(state, row) for row in rows(logits)] for state in z]
    # (d,) logits have no data axis: (2^d, 1, d) states against them give (2^d, 1)
    np.testing.assert_allclose(got, np.reshape(expected, got.shape), rtol=1e-14)


@given(strategies.bernoulli_logits())
def test_probabilities_of_all_states_sum_to_one(logits):
    z = np.array(naive.states(logits.shape[-1]))[:, None]
    total = np.exp(fastvi.Bernoulli(logits).log_prob(z)).sum(axis=0)
    # exp of a log probability L has relative error |L| 2^-53, and L exp(L) is at most 1/e
    np.testing.assert_allclose(total, np.ones(len(rows(logits))), rtol=1e-14)


def test_shapes_of_log_prob():
    one, many = fastvi.Bernoulli(np.zeros(3)), fastvi.Bernoulli(np.zeros((4, 3)))
    z = np.zeros(3, dtype=int)
    assert one.log_prob(z).shape == ()
    assert one.log_prob(np.zeros((7, 1, 3))).shape == (7, 1)
    assert many.log_prob(z).shape == (4,)
    assert many.log_prob(np.zeros((7, 4, 3))).shape == (7, 4)
    assert fastvi.Bernoulli(np.zeros((0, 3))).log_prob(np.zeros((7, 0, 3))).shape == (7, 0)


# ---- entropy, mean ---------------------------------------------------------------------------------------


@given(strategies.bernoulli_logits(elements=strategies.EXTREME))
def test_entropy_is_its_definition(logits):
    got = fastvi.Bernoulli(logits).entropy()
    expected = [naive.bernoulli_entropy(row) for row in rows(logits)]
    # the oracle sums q log q over states: where q = 1 - tiny it loses what is below 2^-53
    np.testing.assert_allclose(got, np.reshape(expected, got.shape), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("t", SIGNED)
def test_entropy_of_one_latent_against_mpmath(t):
    with mpmath.workdps(60):
        a = mpmath.mpf(abs(t))
        exact = 0 if abs(t) > 1e4 else mpmath.log1p(mpmath.exp(-a)) + a / (1 + mpmath.exp(a))
        assert float(fastvi.Bernoulli([t]).entropy()[0]) == pytest.approx(float(exact), rel=2e-15, abs=1e-305)


@given(strategies.bernoulli_logits())
def test_mean_has_the_shape_of_the_logits(logits):
    q = fastvi.Bernoulli(logits)
    expected = [
        [1.0 if t == INF else 0.0 if t == -INF else naive.sigmoid(t) for t in row] for row in rows(logits)
    ]
    np.testing.assert_allclose(q.mean, np.reshape(expected, logits.shape), rtol=1e-15)
    assert not q.mean.flags.writeable
    assert q.mean is q.mean


# ---- sampling --------------------------------------------------------------------------------------------


@pytest.mark.slow_without_jit
def test_draws_follow_the_means():
    logits, num = np.array([[0.0, 1.5, -INF, INF], [-3.0, 0.2, 1e3, -1e3]]), 20_000
    q = fastvi.Bernoulli(logits)
    z = q.sample(num, seed=5)
    assert (z.shape, z.dtype) == ((num, 2, 4), np.uint8)
    error = np.sqrt(q.mean * (1 - q.mean) / num)
    assert (np.abs(z.mean(axis=0) - q.mean) <= 5 * error).all()


@pytest.mark.slow_without_jit
def test_draws_of_different_latents_and_data_are_independent():
    z = fastvi.Bernoulli(np.zeros((3, 4))).sample(20_000, seed=11).reshape(20_000, 12)
    correlation = np.corrcoef(z.T) - np.eye(12)
    assert np.abs(correlation).max() < 5 / math.sqrt(20_000)


def test_a_draw_depends_on_seed_datum_and_sample_only():
    logits = np.random.default_rng(0).standard_normal((5, 9))
    whole = fastvi.Bernoulli(logits).sample(20, seed=2**64 - 1)
    np.testing.assert_array_equal(fastvi.Bernoulli(logits).sample(20, seed=2**64 - 1), whole)
    np.testing.assert_array_equal(fastvi.Bernoulli(logits[:3]).sample(12, seed=2**64 - 1), whole[:12, :3])
    assert (fastvi.Bernoulli(logits).sample(20, seed=0) != whole).any()


def test_shapes_of_samples():
    assert fastvi.Bernoulli(np.zeros(3)).sample(7, 0).shape == (7, 1, 3)
    assert fastvi.Bernoulli(np.zeros((0, 3))).sample(7, 0).shape == (7, 0, 3)
    assert fastvi.Bernoulli(np.zeros((2, 3))).sample(0, 0).shape == (0, 2, 3)


# ---- Uniform ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 70])
def test_uniform(d):
    q = fastvi.Uniform(d)
    assert (q.num_latents, q.num_data) == (d, None)
    np.testing.assert_array_equal(q.logits, np.zeros(d), strict=True)
    np.testing.assert_array_equal(q.mean, np.full(d, 0.5), strict=True)
    np.testing.assert_allclose(q.entropy(), [d * math.log(2)], rtol=1e-15)
    z = q.sample(100, seed=1)
    np.testing.assert_array_equal(z, fastvi.Bernoulli(np.zeros(d)).sample(100, seed=1))
    np.testing.assert_allclose(q.log_prob(z), np.full((100, 1), -d * math.log(2)), rtol=1e-15)


def test_the_prior_of_a_network_is_a_bernoulli():
    prior = fastvi.SigmoidBeliefNetwork(np.zeros((2, 3)), np.zeros(2), [1.0, 2.0, 3.0]).prior
    assert type(prior) is fastvi.Bernoulli
    np.testing.assert_array_equal(prior.logits, [1.0, 2.0, 3.0])


def test_reprs_are_one_line():
    assert repr(fastvi.Bernoulli(np.zeros((4, 3)))) == "Bernoulli(num_latents=3, num_data=4)"
    assert repr(fastvi.Bernoulli(np.zeros(3))) == "Bernoulli(num_latents=3, num_data=None)"
    assert repr(fastvi.Uniform(3)) == "Uniform(num_latents=3)"
