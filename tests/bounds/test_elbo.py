"""ELBO and KL to the posterior: three decompositions, the identity with log p(x), the definition."""

from __future__ import annotations

import naive
import numpy as np
import pytest
import strategies
from cases import bernoulli, network, parameters_of, random_bits
from hypothesis import given
from hypothesis import strategies as st
from tolerances import EPS, rounding

import fastvi

MODERATE = st.floats(-30, 30)


def tolerance(model, q_logits):
    """Rounding of a sum over states whose terms are as large as log p and log q."""
    finite = np.abs(np.clip(q_logits, -800, 800)).sum()
    return 4 * rounding(model) + 16 * EPS * finite


@given(strategies.networks_with_data_and_q(elements=MODERATE, q_elements=MODERATE))
def test_three_decompositions_equal_the_definition(case):
    model, x, q_logits = case
    q = fastvi.Bernoulli(q_logits)
    all_logits = np.broadcast_to(q_logits, (len(x), model.num_latents))
    expected = np.array(
        [
            naive.sbn_elbo(*parameters_of(model), row, logits)
            for row, logits in zip(x, all_logits, strict=True)
        ]
    )
    for decomposition in ("reconstruction", "joint", "log_ratio"):
        bound = fastvi.elbo(model, x, q, decomposition=decomposition)
        assert np.abs(bound.value - expected).max(initial=0) <= tolerance(model, q_logits)
        parts = bound.reconstruction - bound.kl_to_prior, bound.expected_log_joint + bound.entropy
        for value in parts:
            assert np.abs(value - expected).max(initial=0) <= tolerance(model, q_logits)
        assert (bound.std_error == 0).all()


@given(strategies.networks_with_data_and_q(elements=MODERATE, q_elements=MODERATE))
def test_log_marginal_is_elbo_plus_divergence(case):
    model, x, q_logits = case
    q = fastvi.Bernoulli(q_logits)
    divergence = fastvi.kl_to_posterior(model, x, q)
    total = fastvi.elbo(model, x, q).value + divergence
    assert np.abs(total - fastvi.log_marginal(model, x)).max(initial=0) <= tolerance(model, q_logits)
    assert (divergence >= 0).all()


def test_elbo_of_certain_latents():
    """Probabilities 0 and 1: the sum over states has one term."""
    model, x = network(6, 3), random_bits(2, 6)
    logits = np.array([[np.inf, -np.inf, np.inf], [0.0, np.inf, -np.inf]])
    q = fastvi.Bernoulli(logits)
    expected = [naive.sbn_elbo(*parameters_of(model), row, list(t)) for row, t in zip(x, logits, strict=True)]
    for decomposition in ("reconstruction", "joint", "log_ratio"):
        bound = fastvi.elbo(model, x, q, decomposition=decomposition)
        assert np.allclose(bound.value, expected, rtol=0, atol=1e-12)
    gap = fastvi.log_marginal(model, x) - expected
    assert np.allclose(fastvi.kl_to_posterior(model, x, q), gap, rtol=0, atol=1e-12)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("num_latents", [9, 11])
def test_several_tiles_against_the_definition(num_latents):
    model = network(7, num_latents, seed=3)
    x = model.sample(2, 0)[1]
    logits = np.random.default_rng(0).normal(size=(2, num_latents))
    q = fastvi.Bernoulli(logits)
    expected = [
        naive.sbn_elbo(*parameters_of(model), row, t) for row, t in zip(x, logits.tolist(), strict=True)
    ]
    divergence = [
        naive.sbn_kl_to_posterior(*parameters_of(model), row, t)
        for row, t in zip(x, logits.tolist(), strict=True)
    ]
    for decomposition in ("reconstruction", "joint", "log_ratio"):
        value = fastvi.elbo(model, x, q, decomposition=decomposition).value
        assert np.allclose(value, expected, rtol=0, atol=tolerance(model, logits))
    assert np.allclose(fastvi.kl_to_posterior(model, x, q), divergence, rtol=1e-12, atol=0)


def test_small_divergences_keep_their_digits():
    """Independent pixels leave the posterior factorised: the KL of a q slightly off it has a closed form."""
    model = fastvi.SigmoidBeliefNetwork(np.diag([1.0, -2.0, 0.5]), np.zeros(3), [0.3, -0.7, 0.0])
    x = np.array([[1, 0, 1]])
    on = model.prior_logits + np.log(1 / (1 + np.exp(-(2 * x[0] - 1) * np.diag(model.weights)))) - np.log(0.5)
    posterior = fastvi.Bernoulli(on)
    assert fastvi.kl_to_posterior(model, x, posterior)[0] <= 1e-30
    for step in (1e-2, 1e-5, 1e-7):
        q = fastvi.Bernoulli(on + step)
        expected = fastvi.kl_divergence(q, posterior)
        found = fastvi.kl_to_posterior(model, x, q)
        # the divergence is about step^2 / 8 a latent; an error of eps in log p enters as step * eps
        assert np.allclose(found, expected, rtol=1e-13 / step + 1e-13, atol=0)


@pytest.mark.slow_without_jit
def test_same_bits_for_any_number_of_threads(same_bits):
    model, x = network(20, 10), random_bits(17, 20)
    q = bernoulli(17, 10)
    same_bits(
        lambda: (
            fastvi.elbo(model, x, q, decomposition="reconstruction"),
            fastvi.elbo(model, x, q, decomposition="log_ratio"),
            fastvi.kl_to_posterior(model, x, q),
            fastvi.fit_posterior(model, x),
        )
    )


@pytest.mark.slow_without_jit
def test_sampled_elbo_is_within_its_error_of_the_exact_one():
    model, x = network(8, 5), random_bits(6, 8)
    q = bernoulli(6, 5)
    exact, sampled = fastvi.elbo(model, x, q), fastvi.elbo(model, x, q, num_samples=4000, seed=3)
    assert (np.abs(sampled.value - exact.value) <= 4.5 * sampled.std_error).all()
    # log p(x | z) is what is sampled: its variance by enumeration, a sample's within 4.5 standard errors
    z = np.array(naive.states(5), np.uint8)[:, None]
    mass, term = np.exp(q.log_prob(z)), model.log_joint(x, z) - model.prior.log_prob(z)
    centred = term - (mass * term).sum(axis=0)
    second, fourth = ((mass * centred**power).sum(axis=0) for power in (2, 4))
    error = np.sqrt((fourth - second**2) / 4000)
    assert (np.abs(4000 * sampled.std_error**2 - second) <= 4.5 * error).all()
    allowed = 4.5 * np.sqrt(second / 4000)
    assert (np.abs(sampled.reconstruction - exact.reconstruction) <= allowed).all()
    again = fastvi.elbo(model, x[:2], fastvi.Bernoulli(q.logits[:2]), num_samples=4000, seed=3)
    assert np.allclose(again.value, sampled.value[:2], rtol=1e-13)
    assert np.isinf(fastvi.elbo(model, x, q, num_samples=1).std_error).all()


def test_no_data():
    model, q = network(4, 3), fastvi.Bernoulli(np.zeros(3))
    assert fastvi.elbo(model, np.empty((0, 4)), q).value.shape == (0,)
    assert fastvi.kl_to_posterior(model, np.empty((0, 4)), q).shape == (0,)
    assert repr(fastvi.elbo(model, np.empty((0, 4)), q)) == "Elbo(num_data=0)"
