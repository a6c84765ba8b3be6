"""Mean-field fits: fixed points of the exact ELBO, monotone, and exact where the posterior factorises."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from cases import network, random_bits

import fastvi


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("num_latents", [1, 2, 5, 10])
def test_no_coordinate_can_be_improved(num_latents):
    model, x = network(12, num_latents, seed=num_latents), random_bits(4, 12)
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
    model, x = network(30, 9, scale=2.0), random_bits(20, 30)
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
    own = (model.weights.tolist(), model.bias.tolist(), model.prior_logits.tolist(), x[0])
    for fit, mean in ((few, [1.0, 0.0]), (many, [0.0, 1.0])):
        for _ in range(100):  # coordinate ascent, by its definition
            for i in (0, 1):
                ends = [[value if k == i else other for k in (0, 1)] for other in (0, 1) for value in (0, 1)]
                off, on, off_too, on_too = (naive.sbn_log_joint(*own, z) for z in ends)
                logit = (1 - mean[1 - i]) * (on - off) + mean[1 - i] * (on_too - off_too)
                mean[i] = naive.sigmoid(logit)
        best = naive.sbn_elbo(*own, [naive.log(m) - naive.log(1 - m) for m in mean])
        # sweeps end where the bound moves by less than the tolerance
        assert fit.objective[0] == pytest.approx(best, abs=1e-8)
    assert few.objective < many.objective < fastvi.log_marginal(model, x)


def test_factorised_posterior_is_found_exactly():
    model = fastvi.SigmoidBeliefNetwork(np.diag([1.0, -2.0, 0.5]), np.zeros(3), [0.3, -0.7, 0.0])
    x = np.array([[1, 0, 1], [0, 0, 0]])
    fit = fastvi.fit_posterior(model, x)
    assert fastvi.kl_to_posterior(model, x, fit.q).max() <= 1e-25


def test_extreme_weights_and_priors():
    model, x = network(6, 5, scale=200.0, prior_scale=500.0), random_bits(5, 6)
    fit = fastvi.fit_posterior(model, x)
    gap = fastvi.log_marginal(model, x) - fit.objective
    assert (gap >= -1e-9).all()
    assert np.isfinite(fit.objective).all()


def test_seed_decides_the_result():
    model, x = network(30, 8, scale=2.0), random_bits(20, 30)
    first, again, other = (fastvi.fit_posterior(model, x, num_restarts=1, seed=s).q.logits for s in (1, 1, 2))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_no_data():
    fit = fastvi.fit_posterior(network(4, 3), np.empty((0, 4)))
    assert fit.q.logits.shape == (0, 3)
    assert fit.history.size == 0
    assert repr(fit) == "PosteriorFit(num_data=0, converged=0 of 0, steps=0)"
