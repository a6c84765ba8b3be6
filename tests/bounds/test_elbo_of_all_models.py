"""The ELBO of every model: against enumeration, quadrature and each other's code; sampled against exact."""

from __future__ import annotations

import cases
import numpy as np
import pytest
from cases import BINARY, MODELS, REAL, data_of, proposal_of, states

import fastvi
from fastvi.core.registry import rules_of

RNG = np.random.default_rng(5)


def enumerated(model, x, q):
    """Value and expected log joint over all states, in NumPy."""
    z = states(model.num_latents)[:, None]
    log_q = q.log_prob(z)
    log_p = model.log_joint(x, z)
    return (np.exp(log_q) * (log_p - log_q)).sum(axis=0), (np.exp(log_q) * log_p).sum(axis=0)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", BINARY)
def test_exact_for_binary_latents(name, shared):
    model = MODELS[name]
    x, q = data_of(model), proposal_of(model, None if shared else 3)
    value, joint = enumerated(model, x, q)
    slack = 1e-12 * max(1.0, np.abs(joint).max())
    has_prior = rules_of(model).prior() is not None
    for form in ("reconstruction", "joint", "log_ratio") if has_prior else ("joint", "log_ratio"):
        found = fastvi.elbo(model, x, q, decomposition=form)
        assert np.abs(found.value - value).max() <= slack
        assert np.abs(found.expected_log_joint - joint).max() <= slack
        assert (found.std_error == 0).all()
        assert np.allclose(found.value, found.expected_log_joint + found.entropy, rtol=0, atol=slack)
        if has_prior:
            assert np.allclose(found.value, found.reconstruction - found.kl_to_prior, rtol=0, atol=slack)
        else:
            assert np.isnan(found.kl_to_prior).all()
    assert (value <= fastvi.log_marginal(model, x) + slack).all()
    if not has_prior:
        with pytest.raises(ValueError, match="decomposition must be 'joint' or 'log_ratio'"):
            fastvi.elbo(model, x, q, decomposition="reconstruction")


def hermite(model, x, q, num=60):
    """E_q[log p(x, z)] by Gauss and Hermite's nodes for each latent."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(num)
    d = model.num_latents
    grid = np.stack(np.meshgrid(*[nodes] * d, indexing="ij"), axis=-1).reshape(-1, d)
    mass = np.stack(np.meshgrid(*[weights] * d, indexing="ij"), axis=-1).reshape(-1, d).prod(axis=1)
    z = q.mean + q.std * grid[:, None]
    return (mass[:, None] * model.log_joint(x, z)).sum(axis=0) / mass.sum()


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("name", REAL)
def test_exact_for_real_latents(name):
    model = MODELS[name]
    x = data_of(model)
    d = model.num_latents
    q = fastvi.Normal(0.5 * RNG.normal(size=(3, d)), RNG.uniform(0.2, 0.6, (3, d)))
    for form in ("reconstruction", "joint"):
        found = fastvi.elbo(model, x, q, decomposition=form)
        expected = hermite(model, x, q, 24 if d == 3 else 60)
        assert np.allclose(found.expected_log_joint, expected, rtol=1e-8, atol=1e-8)
        assert np.allclose(found.value, expected + q.entropy(), rtol=1e-8, atol=1e-8)
        assert np.allclose(found.value, found.reconstruction - found.kl_to_prior, rtol=1e-12, atol=1e-10)
    assert (found.value <= fastvi.log_marginal(model, x) + 1e-8).all()
    with pytest.raises(ValueError, match="decomposition must be 'reconstruction' or 'joint'"):
        fastvi.elbo(model, x, q, decomposition="log_ratio")


def test_the_posterior_of_a_linear_model_has_no_gap():
    model = fastvi.LinearGaussian([[1.0], [2.0]], [0.0, 1.0], 0.5)
    x = np.array([[0.3, 2.0], [-1.0, 0.0]])
    precision = 1 + 5 / 0.25
    mean = ((x - model.bias) @ model.weights) / 0.25 / precision
    q = fastvi.Normal(mean, np.full((2, 1), precision**-0.5))
    assert np.allclose(fastvi.elbo(model, x, q).value, fastvi.log_marginal(model, x), rtol=0, atol=1e-12)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("name", MODELS)
def test_sampled_is_within_its_error_of_the_exact_one(name):
    model = MODELS[name]
    x, q = data_of(model, 6), proposal_of(model, 6)
    if "wide" in name:  # the exact one takes 2^37 states; the three forms sampled have three errors
        found = [
            fastvi.elbo(model, x, q, num_samples=4000, seed=2, decomposition=form)
            for form in ("reconstruction", "joint", "log_ratio")
        ]
        exact = found[0] if name != "wide sparse coding" else fastvi.elbo(model, x, q)
        for other in found[1:]:
            error = np.hypot(exact.std_error, other.std_error)
            assert (np.abs(other.value - exact.value) <= 4.5 * error).all()
        return
    exact = fastvi.elbo(model, x, q)
    forms = (
        ("joint", "log_ratio")
        if rules_of(model).prior() is None
        else ("reconstruction", "joint", "log_ratio")
    )
    for form in forms:
        found = fastvi.elbo(model, x, q, num_samples=5000, seed=3, decomposition=form)
        assert (np.abs(found.value - exact.value) <= 4.5 * found.std_error + 1e-10).all()
        assert np.isfinite(found.std_error).all()
    z = q.sample(5000, 3)
    ratio = model.log_joint(x, z) - q.log_prob(z)
    assert np.allclose(found.value, ratio.mean(axis=0), rtol=1e-11, atol=1e-11)
    assert np.allclose(found.std_error, ratio.std(axis=0, ddof=1) / 5000**0.5, rtol=1e-9)


@pytest.mark.slow_without_jit
def test_pairwise_models_of_any_size_have_a_formula():
    d = 90
    model = fastvi.BinarySparseCoding(RNG.normal(size=(5, d)), np.zeros(5), 1.0, np.zeros(d))
    x, q = model.sample(3, 1)[1], fastvi.Bernoulli(RNG.normal(size=(3, d)))
    exact = fastvi.elbo(model, x, q)
    sampled = fastvi.elbo(model, x, q, num_samples=20000, seed=1)
    assert (np.abs(exact.value - sampled.value) <= 4.5 * sampled.std_error).all()
    assert np.allclose(exact.value, fastvi.elbo(model, x, q, decomposition="joint").value, rtol=1e-12)


@pytest.mark.slow_without_jit
def test_missing_pixels_and_clamped_units():
    model = MODELS["network"]
    x = model.sample(4, 1)[1]
    observed = np.ones((4, 6), bool)
    observed[1, :3] = observed[2] = False
    q = proposal_of(model, 4)
    found = fastvi.elbo(model, x, q, observed=observed)
    for n in range(4):
        seen = observed[n]
        part = fastvi.SigmoidBeliefNetwork(model.weights[seen], model.bias[seen], model.prior_logits)
        one = fastvi.elbo(part, x[n : n + 1, seen], fastvi.Bernoulli(q.logits[n]))
        assert found.value[n] == pytest.approx(one.value[0], abs=1e-12)
    machine = cases.machine(5, RNG)
    z = machine.sample(3, 1)[1]
    mask = np.array([[True] * 5, [True, True, False, False, False], [False] * 5])
    q = fastvi.Bernoulli(RNG.normal(size=(3, 5)))
    for normalized in (True, False):
        options = {"observed": mask, "normalized": normalized}
        found, truth = fastvi.elbo(machine, z, q, **options), fastvi.log_marginal(machine, z, **options)
        assert found.value[0] == pytest.approx(truth[0], abs=1e-12)
        assert (found.value <= truth + 1e-12).all()
        sampled = fastvi.elbo(machine, z, q, num_samples=4000, **options)
        assert (np.abs(sampled.value - found.value) <= 4.5 * sampled.std_error + 1e-12).all()


@pytest.mark.slow_without_jit
def test_restricted_machines_over_their_hidden_units():
    machine = fastvi.RestrictedBoltzmannMachine(
        RNG.normal(size=(6, 3)), RNG.normal(size=6), RNG.normal(size=3)
    )
    x = RNG.integers(0, 2, (4, 6))
    q = fastvi.Bernoulli(RNG.normal(size=(4, 3)))
    found = fastvi.elbo(machine, x, q)
    z = states(3)[:, None]
    energy = (x @ machine.weights * z).sum(-1) + x @ machine.visible_bias + (z * machine.hidden_bias).sum(-1)
    log_q = q.log_prob(z)
    expected = (np.exp(log_q) * (energy - log_q)).sum(axis=0) - fastvi.log_partition(machine)
    assert np.allclose(found.value, expected, rtol=0, atol=1e-12)
    exact = x @ machine.weights + machine.hidden_bias  # the posterior factorises
    assert np.allclose(
        fastvi.elbo(machine, x, fastvi.Bernoulli(exact)).value, fastvi.log_marginal(machine, x), atol=1e-12
    )


def test_encoders_and_wrong_q():
    model = MODELS["network"]
    x = data_of(model)
    encoder = fastvi.Encoder([(RNG.normal(size=(4, 6)), np.zeros(4))], "tanh")
    assert np.array_equal(fastvi.elbo(model, x, encoder).value, fastvi.elbo(model, x, encoder(x)).value)
    for q, text in (
        (fastvi.Normal(np.zeros(4), np.ones(4)), "q must be a Bernoulli"),
        (fastvi.Bernoulli(np.zeros(5)), r"q must have logits of shape \(4,\) or \(3, 4\)"),
    ):
        with pytest.raises((ValueError, TypeError), match=text):
            fastvi.elbo(model, x, q)
    with pytest.raises(TypeError, match="q must be a normal distribution"):
        fastvi.elbo(MODELS["linear"], data_of(MODELS["linear"]), fastvi.Bernoulli(np.zeros(3)))


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("num_samples", [1, 5, 5000])
def test_same_bits_for_any_threads(same_bits, num_samples):
    model = MODELS["wide network"]
    x, q = data_of(model, 5), proposal_of(model, 5)
    found = same_bits(lambda: fastvi.elbo(model, x, q, num_samples=num_samples))
    assert np.isinf(found.std_error).all() == (num_samples == 1)
