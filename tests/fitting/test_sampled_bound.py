"""Sampled bounds: values; gradients in q, means within 4 standard errors; exact ones in the model."""

from __future__ import annotations

import numpy as np
import pytest
from cases import decoder, linear_gaussian, network, sparse_coding, states

import fastvi
from fastvi.core.registry import rules_of
from fastvi.engine.expectation.elbo_gradient import expected_log_joint
from fastvi.fitting.sampled_bound import REWEIGHTED, checked_estimator, sampled_bound

RNG = np.random.default_rng(0)
REPEATS = 20_000  # estimates at once: a datum as often, each with draws of its own

WEIGHTED = "importance_weighted"


NORMAL = fastvi.Normal([0.3, 0.0], [1.0, 0.8])
MODELS = {
    "network": network(5, 3, RNG),
    "deep network": network(5, 3, RNG, prior=network(3, 2, RNG)),
    "sparse coding": sparse_coding(4, 3, RNG, 0.8),
    "decoder": decoder((3, 4, 5), seed=RNG),
    "real pixels": decoder((3, 4, 4), "softplus", noise_std=0.7, seed=RNG),
    "linear Gaussian": linear_gaussian(4, 2, RNG),
    "normal prior": decoder((2, 5, 6), prior=NORMAL, seed=RNG),
    "both real": decoder((2, 5, 4), "sigmoid", NORMAL, 0.6, RNG),
}
BINARY = [name for name, model in MODELS.items() if not rules_of(model).real_latents]
REAL = [name for name in MODELS if name not in BINARY]


def parameters_of(model, num_data):
    width = model.num_latents * (2 if rules_of(model).real_latents else 1)
    return 0.5 * RNG.normal(size=(num_data, width))


def q_of(model, parameters):
    if not rules_of(model).real_latents:
        return fastvi.Bernoulli(parameters)
    mean, log_std = np.split(parameters, 2, axis=1)
    return fastvi.Normal(mean, np.exp(log_std))


def estimator_of(model, importance_weighted=False):
    return checked_estimator(model, WEIGHTED if importance_weighted else "elbo", None, 4)


@pytest.mark.parametrize("name", MODELS)
def test_value_is_that_of_the_draws(name):
    model = MODELS[name]
    x, parameters = model.sample(4, 1)[1], parameters_of(model, 4)
    q = q_of(model, parameters)
    z = q.sample(6, 9)
    log_w = (model.log_joint(x, z) - q.log_prob(z)).T
    options = {"num_samples": 6, "seed": 9}
    found = sampled_bound(model, x, parameters, **options, estimator=estimator_of(model))
    assert np.allclose(found.value, log_w.mean(axis=1), rtol=1e-12, atol=1e-12)
    found = sampled_bound(
        model, x, parameters, **options, importance_weighted=True, estimator=estimator_of(model, True)
    )
    assert np.allclose(found.value, np.log(np.exp(log_w).mean(axis=1)), rtol=1e-12, atol=1e-12)


def enumerated_slope(model, x, logits, num, importance_weighted):
    """Of the bound in logits: the sum over all states of all ``num`` samples, by differences."""
    d = logits.size
    z = states(d)
    log_p = model.log_joint(x, z)

    def bound(logits):
        log_q = fastvi.Bernoulli(logits).log_prob(z)
        log_w = log_p - log_q
        if not importance_weighted:
            return np.exp(log_q) @ log_w
        q, w = np.exp(log_q), np.exp(log_w)
        pairs = np.log((w[:, None] + w[None]) / 2) if num == 2 else None
        return q @ pairs @ q

    out = np.empty(d)
    for i in range(d):
        step = np.zeros(d)
        step[i] = 1e-5
        out[i] = (bound(logits + step) - bound(logits - step)) / 2e-5
    return out


def check_mean(estimates, expected):
    error = estimates.std(axis=0, ddof=1) / np.sqrt(len(estimates))
    assert (np.abs(estimates.mean(axis=0) - expected) <= 4.0 * error + 1e-9).all()
    assert (error < 0.05 * np.abs(expected).max()).all()  # else the check says nothing


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("estimator", ["leave_one_out", "disarm", "vimco"])
@pytest.mark.parametrize("name", ["network", "sparse coding", "decoder"])
def test_binary_gradients_are_unbiased(name, estimator):
    model = MODELS[name]
    x, logits = model.sample(1, 2)[1], parameters_of(model, 1)
    weighted = estimator == "vimco"
    found = sampled_bound(
        model, np.repeat(x, REPEATS, axis=0), np.repeat(logits, REPEATS, axis=0), num_samples=2, seed=3,
        importance_weighted=weighted, estimator=estimator,
    )  # fmt: skip
    check_mean(found.slope, enumerated_slope(model, x, logits[0], 2, weighted))


def test_the_exact_gradient_is_that_of_enumeration():
    model = MODELS["network"]
    x, logits = model.sample(1, 2)[1], parameters_of(model, 1)
    q = fastvi.Bernoulli(logits)
    exact = expected_log_joint(rules_of(model).form(np.ones(5, bool), "float64"), x, logits).slope
    exact = exact - q.mean * (1 - q.mean) * logits
    assert np.allclose(exact[0], enumerated_slope(model, x, logits[0], 2, False), atol=1e-8)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("name", REAL)
def test_reparameterised_gradients_are_unbiased(name):
    model = MODELS[name]
    x, parameters = model.sample(1, 2)[1], parameters_of(model, 1)
    found = sampled_bound(
        model, np.repeat(x, REPEATS, axis=0), np.repeat(parameters, REPEATS, axis=0), num_samples=2, seed=3,
        estimator="reparameterized",
    )  # fmt: skip
    expected = np.empty(parameters.size)
    for i in range(parameters.size):
        ends = []
        for sign in (1, -1):
            moved = parameters.copy()
            moved[0, i] += sign * 1e-4
            ends.append(fastvi.elbo(model, x, q_of(model, moved)).value[0])
        expected[i] = (ends[0] - ends[1]) / 2e-4
    check_mean(found.slope, expected)


@pytest.mark.slow_without_jit
def test_reparameterised_gradient_of_the_weighted_bound_is_unbiased():
    """K = 2 weights of one normal latent: the bound is a double integral, by Gauss and Hermite."""
    model = fastvi.LinearGaussian([[1.0], [-0.5]], [0.2, 0.0], 0.8)
    x, parameters = np.array([[1.3, 0.4]]), np.array([[-0.4, 0.3]])
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()

    def bound(mean, log_std):
        q = fastvi.Normal([mean], [np.exp(log_std)])
        z = (mean + np.exp(log_std) * nodes)[:, None]
        w = np.exp(model.log_joint(x, z) - q.log_prob(z))
        return weights @ np.log((w[:, None] + w[None]) / 2) @ weights

    mean, log_std = parameters[0]
    expected = np.array([
        (bound(mean + 1e-5, log_std) - bound(mean - 1e-5, log_std)) / 2e-5,
        (bound(mean, log_std + 1e-5) - bound(mean, log_std - 1e-5)) / 2e-5,
    ])  # fmt: skip
    found = sampled_bound(
        model, np.repeat(x, REPEATS, axis=0), np.repeat(parameters, REPEATS, axis=0), num_samples=2, seed=4,
        importance_weighted=True, estimator="reparameterized",
    )  # fmt: skip
    check_mean(found.slope, expected)
    assert found.value.mean() == pytest.approx(
        bound(mean, log_std), abs=4 * found.value.std() / np.sqrt(REPEATS)
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_the_gradient_in_the_model_is_that_of_the_value(name, weighted):
    """For given draws the value is a function of the model's parameters: differences give its gradient."""
    model = MODELS[name]
    x, parameters = model.sample(5, 1)[1], parameters_of(model, 5)
    options = {
        "num_samples": 4,
        "seed": 9,
        "importance_weighted": weighted,
        "estimator": estimator_of(model, weighted),
    }
    found = sampled_bound(model, x, parameters, with_model=True, **options).of_model
    arrays = model.arrays()
    assert set(found) == set(rules_of(model).learnable())
    for name, gradient in found.items():
        assert gradient.shape == arrays[name].shape
        for at in {0, gradient.size - 1}:
            ends = []
            for sign in (1, -1):
                moved = np.array(arrays[name], dtype=np.float64)
                moved.reshape(-1)[at] += sign * 1e-6
                other = type(model).from_arrays({**arrays, name: moved})
                ends.append(sampled_bound(other, x, parameters, **options).value.sum())
            assert gradient.reshape(-1)[at] == pytest.approx(
                (ends[0] - ends[1]) / 2e-6, rel=1e-6, abs=1e-7
            ), name


@pytest.mark.parametrize("estimator", ["leave_one_out", "disarm", "vimco"])
def test_no_variance_where_q_is_the_posterior(estimator):
    """Weights of independent latents do not depend on the draw; neither do gradients, which are 0."""
    model = fastvi.SigmoidBeliefNetwork([[2.0, 0.0], [-1.0, 0.0], [0.0, 1.5]], [0.1, 0.2, 0.3], [0.4, -0.3])
    x = np.array([[1, 0, 1], [0, 0, 1]], np.uint8)
    mean = fastvi.exact_posterior(model, x).mean
    logits = np.log(mean / (1 - mean))
    found = sampled_bound(
        model, x, logits, num_samples=4, seed=1, importance_weighted=estimator == "vimco", estimator=estimator
    )
    assert np.abs(found.slope).max() < 1e-14
    assert np.allclose(found.value, fastvi.log_marginal(model, x), atol=1e-13)


def test_no_variance_where_a_normal_q_is_the_posterior():
    model = fastvi.LinearGaussian([[1.0], [2.0]], [0.0, 1.0], 0.5)
    x = np.array([[0.3, 1.8], [-1.0, 2.0]])
    precision = 1 + 5.0 / 0.25
    mean = ((x - [0.0, 1.0]) @ [1.0, 2.0]) / 0.25 / precision
    parameters = np.stack([mean, np.full(2, -0.5 * np.log(precision))], axis=1)
    for weighted in (False, True):
        found = sampled_bound(
            model,
            x,
            parameters,
            num_samples=3,
            seed=1,
            importance_weighted=weighted,
            estimator="reparameterized",
        )
        assert np.abs(found.slope).max() < 1e-12
        assert np.allclose(found.value, fastvi.log_marginal(model, x), atol=1e-12)


@pytest.mark.slow_without_jit
def test_reweighted_tends_to_the_forward_kl():
    """The gradient of E_p(z|x)[log q(z)] in logits is the posterior's mean less q's."""
    model = MODELS["network"]
    x, logits = model.sample(3, 2)[1], parameters_of(model, 3)
    expected = fastvi.exact_posterior(model, x).mean - fastvi.Bernoulli(logits).mean
    # a mean of w (z - E_p z) with w = p(z | x) / q(z) over a mean of w: its standard error by all states
    q = fastvi.Bernoulli(logits)
    z = ((np.arange(8)[:, None] >> np.arange(3)) & 1).astype(np.uint8)[:, None]
    log_q = q.log_prob(z)
    w = np.exp(model.log_joint(x, z) - fastvi.log_marginal(model, x) - log_q)
    centred = z - q.mean - expected
    variance = (np.exp(log_q)[..., None] * (w[..., None] * centred) ** 2).sum(axis=0)
    for num in (1000, 40_000):
        found = sampled_bound(model, x, logits, num_samples=num, seed=5, estimator=REWEIGHTED)
        assert (np.abs(found.slope - expected) <= 4.5 * np.sqrt(variance / num)).all()


@pytest.mark.parametrize("name", MODELS)
def test_a_datum_keeps_its_bits(name, monkeypatch, same_bits):
    """In any batch, in chunks, on any number of threads."""
    model = MODELS[name]
    x, parameters = model.sample(7, 1)[1], parameters_of(model, 7)
    options = {"num_samples": 6, "seed": 9, "estimator": estimator_of(model)}
    whole = same_bits(lambda: sampled_bound(model, x, parameters, with_model=True, **options))
    some = np.array([5, 2])
    part = sampled_bound(model, x[some], parameters[some], numbers=some, **options)
    assert np.array_equal(part.value, whole.value[some])
    assert np.array_equal(part.slope, whole.slope[some])
    monkeypatch.setattr("fastvi.fitting.sampled_bound._CHUNK_NUMBERS", 60)
    chunks = sampled_bound(model, x, parameters, with_model=True, **options)
    assert np.array_equal(chunks.slope, whole.slope)
    for name, value in whole.of_model.items():
        assert np.allclose(chunks.of_model[name], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_no_data(name):
    model = MODELS[name]
    x, parameters = model.sample(0, 1)[1], parameters_of(model, 0)
    found = sampled_bound(model, x, parameters, num_samples=2, seed=0, estimator=estimator_of(model))
    assert found.value.shape == (0,)
    assert found.slope.shape == parameters.shape


@pytest.mark.parametrize("estimator", ["leave_one_out", "disarm"])
def test_certain_bits_have_no_gradient(estimator):
    model = MODELS["network"]
    x, logits = model.sample(2, 1)[1], np.array([[1e3, -1e3, 0.5], [0.0, 1e3, -1e3]])
    found = sampled_bound(model, x, logits, num_samples=8, seed=0, estimator=estimator)
    assert np.isfinite(found.slope).all()
    assert (found.slope[np.abs(logits) == 1e3] == 0).all()


def test_wrong_estimators():
    model, real = MODELS["network"], MODELS["linear Gaussian"]
    for args, message in [
        ((model, "elbo", "vimco", 4), "estimator must be one of 'leave_one_out', 'disarm', got 'vimco'"),
        ((model, WEIGHTED, "disarm", 4), "estimator must be"),
        ((real, "elbo", "disarm", 4), "estimator must be"),
        ((model, "elbo", None, 1), "num_samples must be at least 2 for estimator='leave_one_out', got 1"),
        ((model, "elbo", "disarm", 3), "num_samples must be even for estimator='disarm', got 3"),
    ]:
        with pytest.raises(ValueError, match=message):
            checked_estimator(*args)
    assert checked_estimator(real, WEIGHTED, None, 1) == "reparameterized"


@pytest.mark.parametrize("estimator", ["leave_one_out", "disarm", "vimco", REWEIGHTED])
@pytest.mark.parametrize("name", ["network", "deep network"])
def test_float32_is_float64_with_the_same_draws(name, estimator):
    model, num = MODELS[name], 6
    x, logits = model.sample(7, 1)[1], RNG.normal(size=(7, model.num_latents))
    whole, single = (
        sampled_bound(
            model, x, logits, num_samples=num, seed=3, with_model=True, estimator=estimator, dtype=dtype,
            importance_weighted=estimator in ("vimco", REWEIGHTED),
        )
        for dtype in ("float64", "float32")
    )  # fmt: skip
    sizes = np.abs(model.weights).sum() + np.abs(model.bias).sum()
    error = (model.num_latents / 5 + 12) * 2.0**-24 * (sizes + model.num_pixels)  # of a log weight
    assert whole.value.tobytes() != single.value.tobytes()
    assert np.allclose(single.value, whole.value, rtol=0, atol=error)
    # a slope is a sum over K samples of log weights, or of functions of them with slopes of at most 2, times
    # z - m in [-1, 1], over K or K - 1
    assert np.allclose(single.slope, whole.slope, rtol=0, atol=4 * error)
    for part, other in zip(single.of_model.values(), whole.of_model.values(), strict=True):
        assert part.dtype == np.float64
        # each datum's shares of 1 in derivatives in [-1, 1]; shares change by twice a log weight
        assert np.allclose(part, other, rtol=0, atol=len(x) * 3 * error)


def test_float32_where_logits_are_large_is_float64():
    model = fastvi.SigmoidBeliefNetwork([[2e5], [3e5]], [-1e5, 0.5], [0.3])
    options = {"num_samples": 4, "seed": 1, "estimator": "leave_one_out"}
    x, logits = np.array([[1, 0]], np.uint8), np.array([[0.2]])
    whole, single = (
        sampled_bound(model, x, logits, **options, dtype=dtype) for dtype in ("float64", "float32")
    )
    assert whole.value.tobytes() == single.value.tobytes()


@pytest.mark.slow_without_jit
def test_float32_of_public_functions():
    """The options reach the bound, each fit with the draws that it has in float64."""
    model, encoder = MODELS["network"], fastvi.Encoder([(np.zeros((3, 5)), np.zeros(3))], "relu")
    x = model.sample(20, 1)[1]
    for fit in (
        lambda **options: fastvi.fit_posterior(model, x, num_samples=4, max_steps=5, **options).q.logits,
        lambda **options: (
            fastvi.fit_encoder(model, x, encoder, num_samples=4, num_epochs=1, **options).history
        ),
        *(
            lambda objective=objective, **options: (
                fastvi.fit_model(
                    model, x, objective=objective, encoder=encoder, num_samples=4, num_epochs=1, **options
                ).model.weights
            )
            for objective in ("elbo", "importance_weighted", "wake_sleep")
        ),
        lambda **options: (
            fastvi.elbo(model, x, fastvi.Bernoulli(np.zeros(3)), num_samples=9, **options).value
        ),
    ):
        whole, single = fit(), fit(dtype="float32")
        assert single.dtype == np.float64
        assert np.array_equal(whole, fit(dtype="float64"))
        assert not np.array_equal(single, whole)
        # a few steps of Adam on gradients that differ in the seventh digit
        assert np.allclose(single, whole, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("ask", "line"),
    [
        (lambda m, e, x: fastvi.elbo(m, x, fastvi.Bernoulli(np.zeros(3)), dtype="float32"), "is sampled"),
        (lambda m, e, x: fastvi.fit_posterior(m, x, dtype="float32"), "is sampled"),
        (lambda m, e, x: fastvi.fit_encoder(m, x, e, dtype="float32"), "is sampled"),
        (lambda m, e, x: fastvi.fit_model(m, x, dtype="float32"), "is sampled"),
        (lambda m, e, x: fastvi.fit_posterior(m, x, num_samples=4, dtype="float16"), "got 'float16'"),
        (
            lambda m, e, x: fastvi.fit_posterior(MODELS["decoder"], x, num_samples=4, dtype="float32"),
            "NeuralDecoder",
        ),
        (
            lambda m, e, x: fastvi.elbo(
                MODELS["real pixels"], x, fastvi.Bernoulli(np.zeros(3)), num_samples=4, dtype="float32"
            ),
            "NeuralDecoder",
        ),
    ],
)
def test_where_there_is_no_float32(ask, line):
    encoder = fastvi.Encoder([(np.zeros((3, 5)), np.zeros(3))], "relu")
    with pytest.raises(ValueError, match=f"^dtype must be .*{line}"):
        ask(MODELS["network"], encoder, np.zeros((2, 5), np.uint8))
