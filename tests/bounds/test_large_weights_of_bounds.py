"""Weights of any size: bounds, estimates and draws, right to a stated bound or refused by one line."""

from __future__ import annotations

import math

import mpmath
import naive_large_weights as naive
import numpy as np
import pytest
import strategies
from hypothesis import given
from interpreted import few_without_jit
from large_weights import CANCELLING, all_data, network, truth

import fastvi
from fastvi.core.registry import rules_of
from fastvi.engine.expectation import q_draws
from fastvi.kernels.cpu.random.draws import bernoulli_draws

# ---- bounds and estimates ---------------------------------------------------------------------------------


Q = [0.4, -1.0, 2.0]


@pytest.mark.parametrize("decomposition", ["reconstruction", "joint", "log_ratio"])
def test_exact_elbo(decomposition):
    x, q = all_data(3), fastvi.Bernoulli(Q)
    found = fastvi.elbo(CANCELLING, x, q, decomposition=decomposition)
    parameters = CANCELLING.weights, CANCELLING.bias, CANCELLING.prior_logits
    expected = np.array([naive.expected_log_joint(*parameters, row, Q) for row in x])
    np.testing.assert_allclose(found.expected_log_joint, expected, rtol=1e-14)
    np.testing.assert_allclose(found.value, expected + q.entropy(), rtol=1e-14)
    assert (found.value <= fastvi.log_marginal(CANCELLING, x)).all()


@pytest.mark.parametrize(
    "decomposition", few_without_jit(["reconstruction", "joint", "log_ratio"], ["reconstruction"])
)
def test_sampled_elbo_is_a_mean_over_its_draws(decomposition):
    x, q = all_data(3), fastvi.Bernoulli(Q)
    found = fastvi.elbo(CANCELLING, x, q, num_samples=50, seed=3, decomposition=decomposition)
    z = drawn(Q, len(x), 50, 3)
    logs = np.array([exact_log_joints(CANCELLING, row, z[:, n]) for n, row in enumerate(x)])
    prior = fastvi.Bernoulli(CANCELLING.prior_logits)
    log_q = np.array([q.log_prob(z[:, n]) for n in range(len(x))])
    if decomposition == "reconstruction":
        likelihood = logs - np.array([prior.log_prob(z[:, n]) for n in range(len(x))])
        expected = likelihood.mean(axis=1) - fastvi.kl_divergence(q, prior)
    elif decomposition == "joint":
        expected = logs.mean(axis=1) + q.entropy()
    else:
        expected = (logs - log_q).mean(axis=1)
    np.testing.assert_allclose(found.value, expected, rtol=1e-12)


def exact_log_joints(model, x, z):
    with mpmath.workdps(naive.DIGITS):
        prior = naive.factorised(model.prior_logits)
        return [
            float(naive.bernoulli(x, naive.logits(model.weights, model.bias, row)) + prior(row)) for row in z
        ]


def test_log_joints_of_given_states():
    x, z = all_data(3), all_data(3)
    found = CANCELLING.log_joint(x[:, None], z[None])
    np.testing.assert_allclose(found, [exact_log_joints(CANCELLING, row, z) for row in x], rtol=1e-14)
    joint = rules_of(CANCELLING).sampled_joint(x, np.tile(z, (8, 1, 1)))
    np.testing.assert_allclose(joint.value, found, rtol=1e-14)


def drawn(q_logits, num_data, num_samples, seed):
    """The library's draws (K, N, d) of one q for all data."""
    return bernoulli_draws(np.tile(np.array(q_logits), (num_data, 1)), num_samples, seed, 0, 0)


@pytest.mark.parametrize("num_samples", [1, 400])
def test_estimates_are_made_of_log_weights_that_are_right(num_samples):
    """Few samples of a model, and so many that a table of all states would pay."""
    x, q = all_data(3), fastvi.Bernoulli(Q)
    found = fastvi.estimate_log_marginal(CANCELLING, x, proposal=q, num_samples=num_samples, seed=5)
    z = drawn(Q, len(x), num_samples, 5)
    table = np.array([exact_log_joints(CANCELLING, row, all_data(3)) for row in x])
    log_w = table[np.arange(len(x)), z @ np.array([4, 2, 1])] - q.log_prob(z)
    np.testing.assert_allclose(found.log_marginal, fastvi.log_mean_exp(log_w.T), rtol=1e-13)


def test_estimates_under_a_prior_that_is_a_model():
    x, prior = all_data(3), network([[0.5], [2.0], [0.3]], [0.2, -0.3, 0.0], [0.1])
    model = fastvi.SigmoidBeliefNetwork(CANCELLING.weights, CANCELLING.bias, prior=prior)
    found = fastvi.estimate_log_marginal(model, x, proposal=fastvi.Bernoulli(Q), num_samples=50, seed=5)
    z = drawn(Q, len(x), 50, 5)
    log_w = model.log_joint(x, z) - fastvi.Bernoulli(Q).log_prob(z)
    np.testing.assert_allclose(found.log_marginal, fastvi.log_mean_exp(log_w.T), rtol=1e-13)


@pytest.mark.slow_without_jit
def test_annealing():
    """Weights of one temperature are importance weights from the prior."""
    x = np.array([row for row in all_data(3) if truth(CANCELLING, row[None])[0] > -20])
    found = fastvi.annealed_importance_sampling(CANCELLING, x, num_temperatures=30, num_chains=4000)
    low, high = found.interval(0.9999)
    assert ((low < truth(CANCELLING, x)) & (truth(CANCELLING, x) < high)).all()
    strong = network([[0.5, -1.0]], [0.2], [1e20, 0.3])
    found = fastvi.annealed_importance_sampling(strong, [[1]], num_temperatures=30, num_chains=4000)
    low, high = found.interval(0.9999)
    assert low[0] < truth(strong, [[1]])[0] < high[0]


def test_mean_field_fits():
    x = np.array([row for row in all_data(3) if truth(CANCELLING, row[None])[0] > -20])
    fit = fastvi.fit_posterior(CANCELLING, x)
    value = fastvi.elbo(CANCELLING, x, fit.q).value
    np.testing.assert_allclose(fit.objective, value, rtol=1e-10)
    assert (value <= fastvi.log_marginal(CANCELLING, x)).all()
    assert (value >= fastvi.elbo(CANCELLING, x, fastvi.Bernoulli(CANCELLING.prior_logits)).value).all()


def test_chi_square_bounds_and_divergences():
    x, q = np.array([[1, 1, 0], [0, 0, 1]]), fastvi.Bernoulli(Q)
    exact = [
        [float(v) for v in naive.posterior(CANCELLING.weights, CANCELLING.bias, CANCELLING.prior_logits, row)]
        for row in x
    ]
    masses = np.exp(q.log_prob(all_data(3)))
    possible = [row for row in range(2) if truth(CANCELLING, x[row : row + 1])[0] > -1e6]
    assert possible
    evidence = truth(CANCELLING, x)
    bound = fastvi.chi_square_bound(CANCELLING, x, q)
    for n in possible:
        p = np.array(exact[n])
        assert bound[n] == pytest.approx(evidence[n] + 0.5 * math.log((p**2 / masses).sum()), rel=1e-12)
        own = p > 0
        expected = (p[own] * np.log(p[own] / masses[own])).sum()
        found = fastvi.kl_from_posterior(CANCELLING, x[n : n + 1], q)
        assert found[0] == pytest.approx(expected, rel=1e-11)


def test_log_probabilities_of_large_logits_in_q():
    logits = np.array([[1e20, 0.3], [0.5, -0.2]])
    z = np.array([[[1, 0], [0, 1]], [[1, 0], [0, 1]]], np.uint8)
    found = q_draws.log_probabilities_of(logits, z)
    with mpmath.workdps(60):
        expected = [
            [float(naive.factorised(row)(state)) for state in states]
            for row, states in zip(logits, z, strict=True)
        ]
    np.testing.assert_allclose(found, expected, rtol=1e-15)
    alone = q_draws.log_probabilities_of(logits[1:], z[1:])
    assert found[1:].tobytes() == alone.tobytes()


def test_exact_gradients_of_the_elbo_are_refused():
    encoder = fastvi.Encoder([(np.zeros((3, 3)), np.zeros(3))], "relu")
    line = r"^model must keep the sum of its \|weights\|, .* below 262912, .* got Sigmoid.*num_samples"
    with pytest.raises(ValueError, match=line):
        fastvi.fit_encoder(CANCELLING, all_data(3), encoder)


# ---- Boltzmann machines -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e8, 1e20, 1e300])
def test_machines_whose_energies_are_lost_are_refused(scale):
    line = (
        "must have a sum of {}[|]values[|] of at most 1e[+]08, up to which log Z and log p[(]x[)] are right"
    )
    with pytest.raises(ValueError, match="^couplings and bias " + line.format("finite ")):
        fastvi.BoltzmannMachine([[0, scale], [scale, 0]], [0.0, 0.0])
    with pytest.raises(ValueError, match="^weights, visible_bias and hidden_bias " + line.format("")):
        fastvi.RestrictedBoltzmannMachine([[scale, 1.0]], [0.0], [0.0, 0.0])


@pytest.mark.parametrize("seed", range(4))
def test_machines_of_the_largest_energies(seed):
    """1e-6 nats, and no probability above 1; biases undo the couplings, so that energies cancel."""
    rng = np.random.default_rng(seed)
    d = 6
    couplings = np.triu(rng.normal(size=(d, d)), 1)
    couplings += couplings.T
    bias = -couplings.sum(axis=1) / 2
    scale = 0.99e8 / (np.abs(couplings).sum() + np.abs(bias).sum())
    couplings, bias, z = scale * couplings, scale * bias, all_data(d)
    machine = fastvi.BoltzmannMachine(couplings, bias)
    with mpmath.workdps(50):
        energies = [naive.energy(couplings, bias, row) for row in z]
        log_z = naive.log_sum_exp(energies)
        expected = [float(energy - log_z) for energy in energies]
    found = fastvi.log_marginal(machine, z)
    assert np.abs(found - expected).max() <= 1e-6
    assert abs(fastvi.log_partition(machine) - float(log_z)) <= 1e-6
    assert (found <= 0).all()


@given(strategies.networks_with_data(max_latents=4, max_pixels=4))
def test_no_probability_is_above_one(case):
    """Units that are certain leave log p(x) at 0, and rounding must not lift it."""
    model, x = case
    found = fastvi.log_marginal(model, x)
    assert (found <= 0).all()
    assert fastvi.exact_posterior(model, x).log_marginal.tobytes() == found.tobytes()


def test_a_gpu_refuses_large_weights():
    from fastvi.engine.cuda.place import UnsupportedError, cuda_form

    form = rules_of(CANCELLING).form(np.ones(3, bool), "float64")
    with pytest.raises(
        UnsupportedError, match=r"^device='cuda' sums networks of smaller weights than this one"
    ):
        cuda_form(form)


def test_elbo_of_a_large_network_under_a_prior_that_is_a_model():
    """kl_to_prior is that of the prior alone, however large the rest."""
    prior = network([[0.5], [2.0], [0.3]], [0.2, -0.3, 0.0], [0.1])
    large = fastvi.SigmoidBeliefNetwork(CANCELLING.weights, CANCELLING.bias, prior=prior)
    small = fastvi.SigmoidBeliefNetwork(np.zeros((3, 3)), np.zeros(3), prior=prior)
    x, q = all_data(3), fastvi.Bernoulli(Q)
    found, expected = fastvi.elbo(large, x, q), fastvi.elbo(small, x, q)
    np.testing.assert_allclose(found.kl_to_prior, expected.kl_to_prior, rtol=1e-9)


def test_plans_and_draws():
    assert fastvi.plan(CANCELLING, 3).states == 8
    z, x = CANCELLING.sample(500, 0)
    # pixel 2 is 1 with probability 1 where z = (1, 0, 0) and 0 where z = (0, 0, 1); both bits cancel to 0
    assert (x[(z == [1, 0, 0]).all(axis=1), 2] == 1).all()
    both = x[(z[:, 0] == 1) & (z[:, 2] == 1), 2]
    # five standard errors of a fair coin
    assert abs(both.mean() - 0.5) <= 5 * 0.5 / math.sqrt(len(both))
