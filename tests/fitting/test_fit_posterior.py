"""Mean-field fits: fixed points of the exact ELBO, monotone, and exact where the posterior factorises."""

from __future__ import annotations

import numpy as np
import pytest
from test_log_marginal import random_data, random_network

import fastvi


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("num_latents", [1, 2, 5, 10])
def test_no_coordinate_can_be_improved(num_latents):
    model, x = random_network(12, num_latents, seed=num_latents), random_data(4, 12)
    fit = fastvi.fit_posterior(model, x, tolerance=1e-12)
    assert fit.converged.all()
    best = fastvi.elbo(model, x, fit.q).value
    assert np.allclose(best, fit.objective, rtol=0, atol=1e-11)
    for i in range(num_latents):
        for step in (-0.1, 0.1):
            logits = fit.q.logits.copy()
            logits[:, i] += step
            assert (fastvi.elbo(model, x, fastvi.Bernoulli(logits)).value <= best + 1e-12).all()


def test_history_never_falls():
    model, x = random_network(30, 9, scale=2.0), random_data(20, 30)
    history = fastvi.fit_posterior(model, x, num_restarts=0).history
    assert history.size > 1
    assert (np.diff(history) >= -1e-11).all()


def test_restarts_find_the_better_of_two_modes():
    """One pixel that either of two rare causes explains: the prior's start ends in the rarer one."""
    model, x = fastvi.SigmoidBeliefNetwork([[20.0, 20.0]], [-10.0], [-5.0, -4.0]), [[1]]
    few, many = fastvi.fit_posterior(model, x, num_restarts=0), fastvi.fit_posterior(model, x, num_restarts=8)
    assert few.converged.all()
    assert np.argmax(few.q.logits[0]) == 0
    assert np.argmax(many.q.logits[0]) == 1
    assert 0.9 < many.objective[0] - few.objective[0] < 1.1  # the causes' odds differ by e
    assert fastvi.log_marginal(model, x)[0] - many.objective[0] > 0.2  # a mode is missing from each


def test_factorised_posterior_is_found_exactly():
    model = fastvi.SigmoidBeliefNetwork(np.diag([1.0, -2.0, 0.5]), np.zeros(3), [0.3, -0.7, 0.0])
    x = np.array([[1, 0, 1], [0, 0, 0]])
    fit = fastvi.fit_posterior(model, x)
    assert fastvi.kl_to_posterior(model, x, fit.q).max() <= 1e-25


def test_extreme_weights_and_priors():
    model, x = random_network(6, 5, scale=200.0, prior_scale=500.0), random_data(5, 6)
    fit = fastvi.fit_posterior(model, x)
    gap = fastvi.log_marginal(model, x) - fit.objective
    assert (gap >= -1e-9).all()
    assert np.isfinite(fit.objective).all()


def test_seed_decides_the_result():
    model, x = random_network(30, 8, scale=2.0), random_data(20, 30)
    first, again, other = (fastvi.fit_posterior(model, x, num_restarts=1, seed=s).q.logits for s in (1, 1, 2))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_no_data():
    fit = fastvi.fit_posterior(random_network(4, 3), np.empty((0, 4)))
    assert fit.q.logits.shape == (0, 3)
    assert fit.history.size == 0
    assert repr(fit) == "PosteriorFit(num_data=0, converged=0 of 0, steps=0)"
