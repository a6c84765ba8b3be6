"""Learning by bounds and wake-sleep: gradients against differences and enumeration, unbiased, training."""

from __future__ import annotations

import itertools

import cases
import mpmath
import numpy as np
import pytest
from cases import decoder, linear_gaussian, network, sparse_coding, standard_normal, states

import fastvi
from fastvi.core.registry import rules_of
from fastvi.engine.expectation.q_moments import q_moments
from fastvi.fitting.model_trainers import ExactElbo, ImportanceWeighted, WakeSleep
from fastvi.fitting.sampled_bound import step_seed
from fastvi.fitting.score_gradients import leave_one_out, reweighted, vimco
from fastvi.fitting.training_data import TrainingData

RNG = np.random.default_rng(0)
OTHERS = {
    "sparse coding": sparse_coding(6, 3, RNG, 0.8),
    "deep": network(6, 3, RNG, prior=network(3, 2, RNG)),
    "decoder": decoder((3, 5, 6), seed=RNG),
    "linear": linear_gaussian(6, 2, RNG, 0.8),
    "autoencoder": decoder((2, 5, 6), prior=standard_normal(2), seed=RNG),
}


def encoder(num_pixels, d):
    return cases.encoder(num_pixels, 5, d, seed=RNG, divided=True)


def linear_encoder(num_pixels, num_outputs, family="bernoulli"):
    return cases.encoder(num_pixels, num_outputs, family=family, seed=RNG, scale=0.1, bias_scale=0.0)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize(("num_pixels", "d"), [(3, 1), (7, 5), (9, 12), (4, 15)])
def test_moments_under_q(num_pixels, d):
    model, logits, weights = network(num_pixels, d, RNG), 2 * RNG.normal(size=(5, d)), RNG.normal(size=5)
    logits[0, 0], logits[1, 0] = np.inf, -np.inf
    found = q_moments(rules_of(model).form(np.ones(num_pixels, bool), "float64"), logits, weights)
    z = states(d)
    mass = (np.exp(fastvi.Bernoulli(logits).log_prob(z[:, None])) * weights).sum(axis=1)
    on = 1 / (1 + np.exp(-(z @ model.weights.T + model.bias)))
    assert np.allclose(found.values[:, :-1], np.einsum("s,sj,si->ji", mass, on, z), atol=1e-12)
    assert np.allclose(found.values[:, -1], mass @ on, atol=1e-12)
    assert np.allclose(found.mean, fastvi.Bernoulli(logits).mean, atol=1e-14)


def test_the_elbo_learner_climbs_the_exact_elbo():
    model = network(6, 4, RNG)
    x = model.sample(20, 1)[1]
    learner = ExactElbo(model, encoder(6, 4), TrainingData(x), TrainingData(x), 1, 0)

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
    model = network(6, 4, RNG)
    x = model.sample(20, 1)[1]
    learner = ExactElbo(model, None, TrainingData(x), TrainingData(x), 1, 0)
    gradient = learner.gradient(np.arange(20), 0)
    q = fastvi.fit_posterior(model, x, num_restarts=0, max_steps=20, tolerance=1e-4).q
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
    d, model = 2, network(3, 2, RNG)
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


@pytest.mark.parametrize("gap", [1.0, 40.0, 2000.0])
def test_vimco_where_one_weight_is_all_there_is(gap):
    """Against its formula at 950 digits; terms are as large as the gap, and are off by a few roundings."""
    log_w = np.array([[-3.0, -3.0 - gap, -3.5 - gap], [-gap, 0.25, 0.25 - 2 * gap]])
    z = np.array([[[1, 0], [0, 0], [1, 1]], [[0, 1], [1, 1], [0, 0]]], np.uint8)
    mean, found = np.array([[0.25, 0.5], [0.75, 0.125]]), []
    with mpmath.workdps(950):
        for n in range(2):
            logs = [mpmath.mpf(t) for t in log_w[n].tolist()]
            w = [mpmath.exp(t) for t in logs]
            terms = []
            for k in range(3):
                middle = mpmath.exp((sum(logs) - logs[k]) / 2)
                signal = mpmath.log(sum(w)) - mpmath.log(sum(w) - w[k] + middle)
                terms.append(float(signal - w[k] / sum(w)) + 1 / 3)
            found.append([sum(t * (z[n, k, i] - mean[n, i]) for k, t in enumerate(terms)) for i in range(2)])
    np.testing.assert_allclose(vimco(log_w, z, mean), found, rtol=1e-13, atol=1e-15 * gap)


def of_reweighted_wake_sleep(model, x, q, num):
    """Expectation over all draws of the encoder's slope in the logits (d,), and its limit."""
    z = all_samples(2, num)
    log_q = q.log_prob(z.astype(np.uint8))
    log_w = model.log_joint(x, z.astype(np.uint8)) - log_q
    found = reweighted(log_w, z - q.mean)
    return np.exp(log_q.sum(axis=1)) @ found, fastvi.exact_posterior(model, x).mean[0] - q.mean


def test_reweighted_wake_sleep_nears_the_forward_kl():
    """One sample has no weight of its own; the bias of K falls as 1 / K, up to a share of 1 / K of itself:
    the log-log slope from 4 to 8 samples is in -1.3 ... -0.7.
    """
    model = fastvi.SigmoidBeliefNetwork([[1.0, -0.5], [0.3, 0.8], [-0.6, 0.2]], [0.1, -0.2, 0.4], [0.5, -0.3])
    x, q = np.array([[1, 0, 1]]), fastvi.Bernoulli(np.array([-0.3, 0.6]))
    expected, limit = zip(*(of_reweighted_wake_sleep(model, x, q, num) for num in (1, 4, 8)), strict=True)
    assert np.abs(limit[0]).min() > 0.05
    assert np.allclose(expected[0], 0.0, atol=1e-15)
    bias = [np.abs(a - b) for a, b in zip(expected[1:], limit[1:], strict=True)]
    slope = np.log2(bias[1] / bias[0])
    assert np.all((slope > -1.3) & (slope < -0.7))


@pytest.mark.slow_without_jit
def test_the_reweighted_learner_has_its_expectation_and_its_limit():
    """Mean over seeds within 4.5 standard errors of the enumeration; one step of K = 20,000 within 4.5 of its
    own, sqrt(sum q (w / p(x))^2 (score - limit)^2 / K), of the forward KL's gradient.
    """
    model = network(4, 2, RNG)
    x = model.sample(1, 1)[1]
    learner = ImportanceWeighted(
        model, encoder(4, 2), TrainingData(x), TrainingData(x), 2, 3, estimator="reweighted"
    )
    q = learner.network.encoder()(x)
    q = fastvi.Bernoulli(q.logits[0])
    draws = [learner.gradient(np.zeros(1, int), step)["encoder_layer_1_bias"] for step in range(1000)]
    expected, limit = of_reweighted_wake_sleep(model, x, q, 2)
    error = np.std(draws, axis=0, ddof=1) / 1000**0.5
    assert np.all(np.abs(np.mean(draws, axis=0) - expected) <= 4.5 * error)
    many = ImportanceWeighted(
        model, encoder(4, 2), TrainingData(x), TrainingData(x), 20_000, 3, estimator="reweighted"
    )
    many.network.values.update(learner.network.values)
    found = many.gradient(np.zeros(1, int), 0)
    z = states(2)
    log_w = model.log_joint(x, z) - q.log_prob(z)
    share = np.exp(log_w - fastvi.log_marginal(model, x)[0])
    variance = np.exp(q.log_prob(z)) @ (share[:, None] * (z - q.mean - limit)) ** 2
    assert np.all(np.abs(found["encoder_layer_1_bias"] - limit) <= 4.5 * np.sqrt(variance / 20_000))
    # the model's gradient is the same mean of its own scores
    on, prior = (1 / (1 + np.exp(-eta)) for eta in (z @ model.weights.T + model.bias, model.prior_logits))
    scores = {"bias": x - on, "weights": (x - on)[:, :, None] * z[:, None], "prior_logits": z - prior}
    for name, value in fastvi.log_marginal_gradient(model, x).items():
        weighted = share.reshape(-1, *[1] * value.ndim) * (scores[name] - value)
        variance = np.tensordot(np.exp(q.log_prob(z)), weighted**2, axes=1)
        assert np.all(np.abs(found[name] - value) <= 4.5 * np.sqrt(variance / 20_000)), name


def test_wake_sleep_moves_as_it_says():
    model = network(5, 3, RNG)
    x = model.sample(8, 1)[1]
    learner = WakeSleep(model, encoder(5, 3), TrainingData(x), TrainingData(x), 4, 7)
    found = learner.gradient(np.arange(8), 2)
    q = learner.network.encoder()(x)
    z = q.sample(4, step_seed(7, 2, 0))
    expected = (x - 1 / (1 + np.exp(-(z @ model.weights.T + model.bias)))).mean(axis=(0, 1))
    assert np.allclose(found["bias"], expected, atol=1e-13)
    dreamt_z, dreamt_x = model.sample(8, step_seed(7, 2, 1))
    slope = dreamt_z - learner.network.encoder()(dreamt_x).mean
    assert np.allclose(found["encoder_layer_1_bias"], slope.mean(axis=0), atol=1e-13)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize(
    ("objective", "with_encoder"),
    [
        ("elbo", False),
        ("elbo", True),
        ("importance_weighted", True),
        ("wake_sleep", True),
        ("reweighted_wake_sleep", True),
    ],
)
def test_training_raises_the_exact_likelihood(set_threads, objective, with_encoder):
    truth, start = network(8, 3, RNG, 2.0, bias_scale=1.0), network(8, 3, RNG, 0.1, bias_scale=1.0)
    x = truth.sample(200, 1)[1]
    options = {
        "objective": objective, "encoder": encoder(8, 3) if with_encoder else None, "num_epochs": 12,
        "batch_size": 40, "learning_rate": 0.05,
    }  # fmt: skip
    fit = fastvi.fit_model(start, x, **options)
    own = fastvi.log_marginal(fit.model, x)
    # what the data say beyond doubt: 4.5 standard errors of a mean over them
    gain = own - fastvi.log_marginal(start, x)
    assert gain.mean() > 4.5 * gain.std(ddof=1) / 200**0.5
    assert own.mean() == fit.objective == fit.history.max()
    assert (fit.encoder is not None) == with_encoder
    set_threads("3")
    again = fastvi.fit_model(start, x, **options)
    assert np.array_equal(again.model.weights, fit.model.weights)
    exact = fastvi.fit_model(start, x, num_epochs=12, batch_size=40, learning_rate=0.05)
    # training by the likelihood itself is as good, as far as so many data can tell
    ahead = own - fastvi.log_marginal(exact.model, x)
    assert ahead.mean() <= 4.5 * ahead.std(ddof=1) / 200**0.5


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("objective", ["elbo", "importance_weighted", "wake_sleep", "reweighted_wake_sleep"])
@pytest.mark.parametrize("name", OTHERS)
def test_bounds_of_other_models_raise_the_exact_likelihood(name, objective):
    """From a model whose weights are a tenth of the truth's, with a linear encoder."""
    truth = OTHERS[name]
    x = truth.sample(80, 1)[1]
    arrays = truth.arrays()
    weight = "weights" if "weights" in arrays else "layer_0_weight"
    start = type(truth).from_arrays({**arrays, weight: 0.1 * arrays[weight]})
    d, family = truth.num_latents, "normal" if rules_of(truth).real_latents else "bernoulli"
    net = linear_encoder(6, 2 * d if family == "normal" else d, family)
    options = {
        "objective": objective, "encoder": net, "num_samples": 8, "num_epochs": 12,
        "batch_size": 20, "learning_rate": 0.05, "score": "bound",
    }  # fmt: skip
    fit = fastvi.fit_model(start, x, **options)
    before, after = (fastvi.log_marginal(model, x) for model in (start, fit.model))
    assert after.mean() > before.mean()
    assert np.array_equal(fastvi.fit_model(start, x, **options).history, fit.history)
    few = {"held_out": x[:10], "num_epochs": 1}
    exact = fastvi.fit_model(start, x, **{**options, "score": "exact", **few})
    assert exact.objective == max(exact.history)
    assert exact.history[0] == fastvi.log_marginal(start, x[:10]).mean()
    # the bound is that of one set of draws, 8 a datum: within 4.5 standard errors of what is exact
    if objective == "elbo":
        value = fastvi.elbo(start, x, options["encoder"]).value
        drawn = fastvi.elbo(start, x, options["encoder"], num_samples=8, decomposition="log_ratio")
        error = 4.5 * np.sqrt((drawn.std_error**2).sum()) / 80
        assert fit.history[0] == pytest.approx(value.mean(), abs=error)
    # E exp(bound) <= p(x) for each datum. So Markov's inequality for the product over data, at any of 13
    # epochs: the sum is above log p(x) by more than 14 + log 13 with a probability of less than 1e-6
    assert fit.objective <= after.mean() + (14 + np.log(13)) / 80


@pytest.mark.slow_without_jit
def test_a_network_of_forty_latents_learns_by_its_bound():
    """No sum over 2^40 states: scored by the bound."""
    truth = network(12, 40, RNG, 0.7, bias_scale=1.0)
    x = truth.sample(100, 1)[1]
    start = network(12, 40, RNG, 0.1, bias_scale=1.0)
    fit = fastvi.fit_model(
        start, x, objective="importance_weighted", encoder=encoder(12, 40), num_epochs=8, batch_size=25,
        learning_rate=0.05, score="bound",
    )  # fmt: skip
    assert fit.objective > fit.history[0] + 0.5


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"objective": "wake_sleep"}, "encoder must be an Encoder for objective='wake_sleep', got None"),
        ({"encoder": encoder(5, 3)}, "encoder must be None for objective='exact'"),
        ({"objective": "elbo", "encoder": encoder(4, 3)}, "encoder must go from 5 pixels to 3 latents"),
        (
            {"objective": "importance_weighted", "encoder": encoder(5, 3), "num_samples": 1},
            "num_samples must be an int >= 2",
        ),
        (
            {"objective": "reweighted_wake_sleep", "encoder": encoder(5, 3), "num_samples": 1},
            "num_samples must be an int >= 2",
        ),
        ({"num_samples": 5}, "num_samples must be None for objective='exact', got 5"),
        ({"estimator": "vimco"}, "estimator must be None for objective='exact', got 'vimco'"),
        ({"score": "bound"}, "score must be 'exact' where nothing is sampled, got 'bound' for 'exact'"),
        ({"score": "elbo"}, "score must be one of"),
        (
            {"objective": "elbo", "num_samples": 5},
            "encoder must be an Encoder for objective='elbo', got None",
        ),
        (
            {"objective": "elbo", "num_samples": 1, "encoder": encoder(5, 3)},
            "num_samples must be at least 2 for estimator='leave_one_out', got 1",
        ),
        (
            {"objective": "wake_sleep", "estimator": "disarm", "encoder": encoder(5, 3)},
            "estimator must be None for objective='wake_sleep', got 'disarm'",
        ),
        (
            {"model": fastvi.BoltzmannMachine(np.zeros((5, 5)), np.zeros(5)), "objective": "wake_sleep"},
            "model must have a prior p",
        ),
        ({"objective": "reweighted_wake_sleep"}, "encoder must be an Encoder for objective='reweighted_wake"),
        (
            {"model": fastvi.LinearGaussian(np.ones((5, 2)), np.zeros(5), 1.0), "objective": "elbo"},
            "num_samples must be a number for objective='elbo' of models but a SigmoidBeliefNetwork",
        ),
    ],
)
def test_wrong_input(options, text):
    arguments = {"model": network(5, 3, RNG), "x": np.zeros((4, 5)), "num_epochs": 1, **options}
    with pytest.raises((ValueError, TypeError), match=f"^{text}"):
        fastvi.fit_model(**arguments)
