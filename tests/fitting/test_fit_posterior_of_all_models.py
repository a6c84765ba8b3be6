"""fit_posterior beyond networks of few latents: optima against the exact functions, formulas and grids."""

from __future__ import annotations

import numpy as np
import pytest
from cases import decoder, linear_gaussian, sparse_coding, standard_normal, states

import fastvi

RNG = np.random.default_rng(0)
LINEAR = linear_gaussian(5, 3, RNG)
# x sees |z| alone, so that the posterior has a mode on each side of the axes
TWO_MODES = fastvi.NeuralDecoder(
    [([[4.0, 0.0], [-4.0, 0.0], [0.0, 1.0]], np.zeros(3)), ([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]], np.zeros(2))],
    "softplus", fastvi.Normal([0.0, 0.0], [1.0, 1.0]), "gaussian", 0.7,
)  # fmt: skip
SEEN = np.array([[6.0, 0.8], [4.5, 1.0]])


def grid_of(model, x, reach=6.0, num=801):
    """Posterior density (N, num, num) on a grid of two latents, its axis, and the mass of a cell."""
    line = np.linspace(-reach, reach, num)
    z = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
    log_p = model.log_joint(x[:, None], z[None])
    density = np.exp(log_p - log_p.max(axis=1, keepdims=True))
    return (density / density.sum(axis=1, keepdims=True)).reshape(len(x), num, num), line


@pytest.mark.parametrize(
    "model",
    [
        sparse_coding(6, 1, RNG, 0.8),
        sparse_coding(6, 5, RNG, 0.8),
        decoder((1, 6, 7), seed=RNG),
        decoder((5, 6, 7), seed=RNG),
    ],
    ids=repr,
)
def test_no_logit_can_be_improved(model):
    """At the optimum given the others a logit is the difference of the log joints' averages."""
    x = model.sample(4, 1)[1]
    fit = fastvi.fit_posterior(model, x, tolerance=1e-13)
    assert fit.converged.all()
    assert np.allclose(fastvi.elbo(model, x, fit.q).value, fit.objective, atol=1e-10)
    gap = fastvi.kl_to_posterior(model, x, fit.q)
    assert np.allclose(fastvi.log_marginal(model, x), fit.objective + gap, atol=1e-10)
    z = states(model.num_latents)
    log_joint = model.log_joint(x[:, None], z)
    for i in range(model.num_latents):
        ends = []
        for value in (1.0, 0.0):
            mean = fit.q.mean.copy()
            mean[:, i] = value
            q = np.prod(np.where(z == 1, mean[:, None], 1 - mean[:, None]), axis=2)
            ends.append((q * log_joint).sum(axis=1))
        best = 1 / (1 + np.exp(ends[1] - ends[0]))
        assert np.allclose(fit.q.mean[:, i], best, atol=1e-10)


@pytest.mark.slow_without_jit
def test_sparse_coding_of_any_size():
    """Where both can be done the table and the couplings find the same; forty latents take no table."""
    model = sparse_coding(6, 40, RNG, 0.8)
    x = model.sample(3, 2)[1]
    fit = fastvi.fit_posterior(model, x, tolerance=1e-12, max_steps=2000)
    assert fit.converged.all()
    # log odds of a latent are t_i + sum_j J_ij m_j, written out
    precision = model.noise_std**-2
    for i in range(40):
        mean = fit.q.mean.copy()
        mean[:, i] = 0.0
        left = x - model.bias - mean @ model.weights.T
        column = model.weights[:, i]
        logit = precision * (left @ column - 0.5 * column @ column) + model.prior_logits[i]
        assert np.allclose(fit.q.mean[:, i], 1 / (1 + np.exp(-logit)), atol=1e-10)


def test_a_linear_model_has_a_formula():
    """KL(q || p) of a normal posterior of covariance S is least at 1 / (S^-1)_ii (Bishop 10.1.2)."""
    x = LINEAR.sample(4, 1)[1]
    precision = np.eye(3) + LINEAR.weights.T @ LINEAR.weights / 0.49
    mean = np.linalg.solve(precision, LINEAR.weights.T @ (x - LINEAR.bias).T / 0.49).T
    reverse, forward = (
        fastvi.fit_posterior(LINEAR, x, objective=f"{side}_kl") for side in ("reverse", "forward")
    )
    assert np.allclose(reverse.q.mean, mean, atol=1e-12)
    assert np.allclose(reverse.q.std, np.diag(precision) ** -0.5, atol=1e-13)
    assert np.allclose(forward.q.mean, mean, atol=1e-12)
    covariance = np.linalg.inv(precision)
    assert np.allclose(forward.q.std, np.sqrt(np.diag(covariance)), atol=1e-13)
    assert np.allclose(fastvi.elbo(LINEAR, x, reverse.q).value, reverse.objective, atol=1e-12)
    gap = 0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1])
    assert np.allclose(fastvi.log_marginal(LINEAR, x) - reverse.objective, gap, atol=1e-11)
    posterior = fastvi.MultivariateNormal(mean, covariance)
    assert np.allclose(forward.objective, fastvi.kl_divergence(posterior, forward.q), atol=1e-11)
    assert (reverse.q.std < forward.q.std).all()


@pytest.mark.slow_without_jit
def test_forward_of_a_decoder_is_that_of_a_grid():
    """By sums over 801 x 801 nodes, whose error falls geometrically too."""
    fit = fastvi.fit_posterior(TWO_MODES, SEEN, objective="forward_kl")
    mass, line = grid_of(TWO_MODES, SEEN)
    step = line[1] - line[0]
    for axis in (0, 1):
        own = mass.sum(axis=2 - axis)
        mean = own @ line
        assert np.allclose(fit.q.mean[:, axis], mean, atol=1e-8)
        assert np.allclose(fit.q.std[:, axis], np.sqrt(own @ line**2 - mean**2), atol=1e-8)
    entropy = -(mass * np.log(np.maximum(mass, 1e-300))).sum(axis=(1, 2)) + 2 * np.log(step)
    cross = (np.log(fit.q.std) + 0.5 * np.log(2 * np.pi * np.e)).sum(axis=1)
    assert np.allclose(fit.objective, cross - entropy, atol=1e-7)


@pytest.mark.slow_without_jit
def test_reverse_of_a_decoder_settles_on_one_mode():
    fit = fastvi.fit_posterior(TWO_MODES, SEEN)
    forward = fastvi.fit_posterior(TWO_MODES, SEEN, objective="forward_kl")
    assert fit.converged.all()
    assert np.allclose(fastvi.elbo(TWO_MODES, SEEN, fit.q).value, fit.objective, atol=1e-8)
    assert (np.abs(fit.q.mean[:, 0]) > 0.8).all()
    assert np.abs(forward.q.mean[:, 0]).max() < 1e-6
    assert (fit.q.std[:, 0] < 0.4 * forward.q.std[:, 0]).all()
    # an optimum: the ELBO falls in every direction
    for i in range(2):
        for step in (-1e-3, 1e-3):
            mean, std = fit.q.mean.copy(), fit.q.std.copy()
            mean[:, i] += step
            std[:, i] *= 1 + step
            for q in (fastvi.Normal(mean, fit.q.std), fastvi.Normal(fit.q.mean, std)):
                assert (fastvi.elbo(TWO_MODES, SEEN, q).value < fit.objective).all()


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("estimator", ["leave_one_out", "disarm", "reparameterized"])
def test_sampled_fits_reach_the_exact_optimum(estimator):
    if estimator == "reparameterized":
        model, exact = LINEAR, None
    else:
        model = decoder((3, 6, 7), seed=RNG)
    x = model.sample(5, 3)[1]
    exact = fastvi.fit_posterior(model, x, num_restarts=0)
    fit = fastvi.fit_posterior(model, x, num_samples=32, estimator=estimator, max_steps=400, seed=1)
    reached = fastvi.elbo(model, x, fit.q).value
    assert (reached <= exact.objective + 1e-9).all()
    # what is reported is a mean over 1,000 draws; what is missed is less than such a mean can tell
    error = fastvi.elbo(model, x, fit.q, num_samples=1000, decomposition="log_ratio").std_error
    assert (exact.objective - reached <= error).all()
    assert (np.abs(fit.objective - reached) <= 4.5 * error).all()
    again = fastvi.fit_posterior(model, x[:2], num_samples=32, estimator=estimator, max_steps=400, seed=1)
    same = (
        (again.q.mean, fit.q.mean[:2])
        if estimator == "reparameterized"
        else (again.q.logits, fit.q.logits[:2])
    )
    assert np.array_equal(*same)


def bound_of_sixteen(model, x, q):
    """Mean and standard error of 62 bounds of 16 draws, as many as a fit reports the mean of."""
    z = q.sample(62 * 16, 99)
    log_w = (model.log_joint(x, z) - q.log_prob(z)).reshape(62, 16, len(x))
    bounds = np.logaddexp.reduce(log_w, axis=1) - np.log(16)
    return bounds.mean(axis=0), bounds.std(axis=0, ddof=1) / 62**0.5


@pytest.mark.slow_without_jit
def test_importance_weighted_lies_between():
    """Its q is at least as wide as that of the reverse KL, and its bound above the ELBO."""
    x = LINEAR.sample(5, 3)[1]
    reverse = fastvi.fit_posterior(LINEAR, x)
    fit = fastvi.fit_posterior(LINEAR, x, objective="importance_weighted", num_samples=16, max_steps=400)
    assert (fit.q.std > reverse.q.std).all()
    assert (fit.objective > reverse.objective).all()
    _, error = bound_of_sixteen(LINEAR, x, fit.q)
    assert (fit.objective <= fastvi.log_marginal(LINEAR, x) + 4.5 * error).all()
    binary = decoder((3, 6, 7), seed=RNG)
    x = binary.sample(4, 1)[1]
    fit = fastvi.fit_posterior(binary, x, objective="importance_weighted", num_samples=16, max_steps=200)
    value, error = bound_of_sixteen(binary, x, fit.q)
    assert (np.abs(fit.objective - value) <= 4.5 * 2**0.5 * error).all()
    # a mean of K weights of relative variance chi^2 has a logarithm that is low by chi^2 / 2K and less
    truth = fastvi.log_marginal(binary, x)
    chi_square = np.expm1(2 * (fastvi.chi_square_bound(binary, x, fit.q) - truth))
    assert (np.abs(truth - chi_square / 32 - fit.objective) <= 4.5 * error + (chi_square / 16) ** 2).all()
    forward = fastvi.fit_posterior(binary, x, objective="forward_kl", num_samples=256, max_steps=200)
    # the last 50 of 200 steps are averaged, each of 256 draws: were they but 20 independent ones, one step's
    # standard error is 4.5 of theirs
    mean = fastvi.exact_posterior(binary, x).mean
    assert (np.abs(forward.q.mean - mean) <= np.sqrt(mean * (1 - mean) / 256)).all()


@pytest.mark.slow_without_jit
def test_two_hundred_latents():
    """No table of 2^200 states: the sampled bound rises above that of the prior."""
    model = fastvi.SigmoidBeliefNetwork(0.3 * RNG.normal(size=(30, 200)), np.zeros(30), RNG.normal(size=200))
    x = model.sample(3, 1)[1]
    fit = fastvi.fit_posterior(model, x, num_samples=16, max_steps=150)
    before = fastvi.elbo(model, x, model.prior, num_samples=2000)
    assert (fit.objective > before.value + 5 * before.std_error).all()


@pytest.mark.parametrize("objective", ["reverse_kl", "forward_kl"])
@pytest.mark.parametrize(
    "model", [LINEAR, TWO_MODES, decoder((2, 6, 7), seed=RNG), sparse_coding(6, 3, RNG, 0.8)], ids=repr
)
def test_no_data(model, objective):
    x = np.zeros((0, model.num_pixels))
    for options in ({}, {"num_samples": 4, "max_steps": 2}):
        fit = fastvi.fit_posterior(model, x, objective=objective, **options)
        assert fit.q.mean.shape == (0, model.num_latents)
        assert fit.objective.shape == (0,)


@pytest.mark.parametrize(
    ("model", "options", "text"),
    [
        (LINEAR, {"objective": "importance_weighted"}, "num_samples must be a number for objective="),
        (LINEAR, {"estimator": "disarm"}, "estimator must be None without num_samples, got 'disarm'"),
        (LINEAR, {"learning_rate": 0.1}, "learning_rate must be None without num_samples, got 0.1"),
        (LINEAR, {"num_samples": 4, "estimator": "disarm"}, "estimator must be one of 'reparameterized'"),
        (LINEAR, {"num_samples": 0}, "num_samples must be"),
        (LINEAR, {"num_samples": 4, "learning_rate": -1.0}, "learning_rate must be"),
        (
            decoder((25, 6, 7), seed=RNG),
            {},
            "model must have at most 24 latents to be fitted exactly, got 25; pass num_samples",
        ),
        (decoder((4, 6, 7), prior=standard_normal(4)), {}, "model must have at most 3 latents"),
        (
            fastvi.BoltzmannMachine(np.zeros((3, 3)), np.zeros(3)),
            {"num_samples": 4},
            "model must have a prior",
        ),
        (
            sparse_coding(6, 3, RNG, 0.8),
            {"num_samples": 3, "estimator": "disarm"},
            "num_samples must be even for estimator='disarm'",
        ),
    ],
)
def test_wrong_input(model, options, text):
    with pytest.raises((ValueError, TypeError), match=f"^{text}"):
        fastvi.fit_posterior(model, np.zeros((2, model.num_pixels)), **options)
