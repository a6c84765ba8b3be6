"""Learning by bounds and wake-sleep: gradients against differences and enumeration, unbiased, training."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import fastvi
from fastvi.engine.q_moments import q_moments
from fastvi.fitting.learners import ExactElbo, ImportanceWeighted, WakeSleep
from fastvi.fitting.score_gradients import leave_one_out, vimco

RNG = np.random.default_rng(0)


def network(num_pixels, d, scale=1.0):
    return fastvi.SigmoidBeliefNetwork(
        scale * RNG.normal(size=(num_pixels, d)), RNG.normal(size=num_pixels), RNG.normal(size=d)
    )


def states(d):
    return ((np.arange(1 << d)[:, None] >> np.arange(d)) & 1).astype(np.uint8)


def encoder(num_pixels, d, hidden=5):
    return fastvi.Encoder(
        [
            (RNG.normal(size=(hidden, num_pixels)) / 2, RNG.normal(size=hidden)),
            (RNG.normal(size=(d, hidden)), RNG.normal(size=d)),
        ],
        "tanh",
    )


@pytest.mark.slow_without_jit
@pytest.mark.parametrize(("num_pixels", "d"), [(3, 1), (7, 5), (9, 12), (4, 15)])
def test_moments_under_q(num_pixels, d):
    model, logits, weights = network(num_pixels, d), 2 * RNG.normal(size=(5, d)), RNG.normal(size=5)
    logits[0, 0], logits[1, 0] = np.inf, -np.inf
    found = q_moments(model._form(np.ones(num_pixels, bool), "float64"), logits, weights)
    z = states(d)
    mass = (np.exp(fastvi.Bernoulli(logits).log_prob(z[:, None])) * weights).sum(axis=1)
    on = 1 / (1 + np.exp(-(z @ model.weights.T + model.bias)))
    assert np.allclose(found.values[:, :-1], np.einsum("s,sj,si->ji", mass, on, z), atol=1e-12)
    assert np.allclose(found.values[:, -1], mass @ on, atol=1e-12)
    assert np.allclose(found.mean, fastvi.Bernoulli(logits).mean, atol=1e-14)


def test_the_elbo_learner_climbs_the_exact_elbo():
    model = network(6, 4)
    x = model.sample(20, 1)[1]
    learner = ExactElbo(model, encoder(6, 4), x, x, 1, 0)

    def value():
        return fastvi.elbo(learner.parameters.model(), x, learner.network.encoder()).value.mean()

    gradient = learner.gradient(np.arange(20), 0)
    assert set(gradient) == set(learner.adam.parameters)
    for name, parameter in learner.adam.parameters.items():
        flat = parameter.reshape(-1)
        for at in {0, flat.size - 1}:
            before, ends = flat[at], []
            for sign in (1, -1):
                flat[at] = before + sign * 1e-5
                ends.append(value())
            flat[at] = before
            assert gradient[name].reshape(-1)[at] == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=1e-8), name


def test_the_elbo_with_its_own_q_climbs_too():
    model = network(6, 4)
    x = model.sample(20, 1)[1]
    learner = ExactElbo(model, None, x, x, 1, 0)
    gradient = learner.gradient(np.arange(20), 0)
    q = fastvi.fit_posterior(model, x, num_restarts=0, max_sweeps=20, tolerance=1e-4).q
    z = states(4)
    on = 1 / (1 + np.exp(-(z @ model.weights.T + model.bias)))
    mass = np.exp(q.log_prob(z[:, None]))
    expected = np.einsum("nj,ni->ji", x, q.mean) - np.einsum("sn,sj,si->ji", mass, on, z)
    assert np.allclose(gradient["weights"], expected / 20, atol=1e-12)
    assert np.allclose(gradient["bias"], (x - np.einsum("sn,sj->nj", mass, on)).mean(axis=0), atol=1e-12)


def all_samples(d, num):
    """Every way to draw ``num`` states of d bits: (2^(d num), num, d)."""
    return np.array(list(itertools.product(states(d), repeat=num)), dtype=np.float64)


@pytest.mark.parametrize("num", [2, 3])
def test_estimators_are_unbiased(num):
    """Their mean over all draws, each with its probability, is the derivative of the expectation."""
    d, model = 2, network(3, 2)
    x, logits = np.array([[1, 0, 1]]), np.array([[0.3, -0.8]])
    z = all_samples(d, num)

    def weights(logits):
        q = fastvi.Bernoulli(logits[0])
        flat = z.astype(np.uint8)
        log_q = q.log_prob(flat)
        return model.log_joint(x, flat) - log_q, np.exp(log_q.sum(axis=1))

    def bounds(logits):
        log_w, mass = weights(logits)
        return (mass * log_w[:, 0]).sum(), (mass * np.log(np.exp(log_w).mean(axis=1))).sum()

    log_w, mass = weights(logits)
    means = np.broadcast_to(fastvi.Bernoulli(logits).mean, (len(z), d))
    found = [(mass[:, None] * f(log_w, z, means)).sum(axis=0) for f in (leave_one_out, vimco)]
    for i in range(d):
        ends = []
        for sign in (1, -1):
            moved = logits.copy()
            moved[0, i] += sign * 1e-5
            ends.append(np.array(bounds(moved)))
        slope = (ends[0] - ends[1]) / 2e-5
        assert found[0][i] == pytest.approx(slope[0], abs=1e-9)
        assert found[1][i] == pytest.approx(slope[1], abs=1e-9)


@pytest.mark.slow_without_jit
def test_the_importance_weighted_learner_is_unbiased_in_the_model():
    """Over steps, that is seeds, the mean gradient in the bias is within 4.5 standard errors of the exact."""
    model = network(4, 2)
    x = model.sample(1, 1)[1]
    learner = ImportanceWeighted(model, encoder(4, 2), x, x, 2, 3)
    draws = np.array([learner.gradient(np.zeros(1, int), step)["bias"] for step in range(1500)])
    z = all_samples(2, 2).astype(np.uint8)
    q = learner.network.encoder()(x)
    mass = np.exp(fastvi.Bernoulli(q.logits[0]).log_prob(z).sum(axis=1))

    def bound(bias):
        moved = fastvi.SigmoidBeliefNetwork(model.weights, bias, model.prior_logits)
        log_w = moved.log_joint(x, z) - fastvi.Bernoulli(q.logits[0]).log_prob(z)
        return (mass * np.log(np.exp(log_w).mean(axis=1))).sum()

    error = draws.std(axis=0, ddof=1) / len(draws) ** 0.5
    for j in range(4):
        step = np.eye(4)[j] * 1e-5
        slope = (bound(model.bias + step) - bound(model.bias - step)) / 2e-5
        assert abs(draws[:, j].mean() - slope) <= 4.5 * error[j] + 1e-9


def test_wake_sleep_moves_as_it_says():
    model = network(5, 3)
    x = model.sample(8, 1)[1]
    learner = WakeSleep(model, encoder(5, 3), x, x, 4, 7)
    found = learner.gradient(np.arange(8), 2)
    q = learner.network.encoder()(x)
    z = q.sample(4, learner._seed_of(2, 0))
    expected = (x - 1 / (1 + np.exp(-(z @ model.weights.T + model.bias)))).mean(axis=(0, 1))
    assert np.allclose(found["bias"], expected, atol=1e-13)
    dreamt_z, dreamt_x = model.sample(8, learner._seed_of(2, 1))
    slope = dreamt_z - learner.network.encoder()(dreamt_x).mean
    assert np.allclose(found["encoder_layer_1_bias"], slope.mean(axis=0), atol=1e-13)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize(
    ("objective", "with_encoder"),
    [("elbo", False), ("elbo", True), ("importance_weighted", True), ("wake_sleep", True)],
)
def test_training_raises_the_exact_likelihood(set_threads, objective, with_encoder):
    truth, start = network(8, 3, 2.0), network(8, 3, 0.1)
    x = truth.sample(200, 1)[1]
    options = {
        "objective": objective, "encoder": encoder(8, 3) if with_encoder else None, "num_epochs": 12,
        "batch_size": 40, "learning_rate": 0.05,
    }  # fmt: skip
    fit = fastvi.fit_model(start, x, **options)
    assert fit.history.max() > fit.history[0] + 0.1
    assert fastvi.log_marginal(fit.model, x).mean() == fit.objective
    assert (fit.encoder is not None) == with_encoder
    set_threads("3")
    again = fastvi.fit_model(start, x, **options)
    assert np.array_equal(again.model.weights, fit.model.weights)
    exact = fastvi.fit_model(start, x, num_epochs=12, batch_size=40, learning_rate=0.05)
    assert exact.objective >= fit.objective - 0.05


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"objective": "wake_sleep"}, "encoder must be an Encoder for objective='wake_sleep', got None"),
        ({"encoder": encoder(5, 3)}, "encoder must be None for objective='exact'"),
        ({"objective": "elbo", "encoder": encoder(4, 3)}, "encoder must go from 5 pixels to 3 latents"),
        (
            {"objective": "importance_weighted", "encoder": encoder(5, 3), "num_particles": 1},
            "num_particles must be an int >= 2",
        ),
        (
            {"model": fastvi.LinearGaussian(np.ones((5, 2)), np.zeros(5), 1.0), "objective": "elbo"},
            "model must be a SigmoidBeliefNetwork",
        ),
    ],
)
def test_wrong_input(options, text):
    arguments = {"model": network(5, 3), "x": np.zeros((4, 5)), "num_epochs": 1, **options}
    with pytest.raises((ValueError, TypeError), match=f"^{text}"):
        fastvi.fit_model(**arguments)
