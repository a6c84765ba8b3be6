"""log p(x) of decoders with normal priors: quadrature against closed forms and against SciPy."""

from __future__ import annotations

import math

import cases
import naive_models
import numpy as np
import pytest
from cases import linear_gaussian, standard_normal
from scipy import integrate

import fastvi
from fastvi.core.registry import rules_of
from fastvi.engine.quadrature import quadrature_form
from fastvi.engine.run.runs import Run

slow = pytest.mark.slow_without_jit


def linear(num_latents, noise_std):
    """One model twice: in closed form, and as a decoder of one layer."""
    closed, prior = linear_gaussian(4, num_latents, noise_std=noise_std), standard_normal(num_latents)
    layers = [(closed.weights, closed.bias)]
    return closed, fastvi.NeuralDecoder(layers, "relu", prior, "gaussian", noise_std)


def decoder(sizes, activation, noise_std=None, mean=0.0, std=1.0):
    prior = fastvi.Normal(np.full(sizes[0], mean), np.full(sizes[0], std))
    return cases.decoder(sizes, activation, prior, noise_std, scale=1.5, bias_scale=0.3, divided=True)


@slow
@pytest.mark.parametrize("noise_std", [3.0, 0.3, 0.01, 1e-4])
@pytest.mark.parametrize("num_latents", [1, 2])
def test_a_linear_model(num_latents, noise_std):
    closed, model = linear(num_latents, noise_std)
    _, x = closed.sample(4, 0)
    found, expected = fastvi.log_marginal(model, x), fastvi.log_marginal(closed, x)
    rounding = 1e-15 / noise_std**2  # of |x - b|^2 / s^2 and the like, which cancel
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=10 * rounding)


@slow
@pytest.mark.parametrize("noise_std", [1.0, 0.05])
def test_a_linear_model_of_three_latents(noise_std):
    closed, model = linear(3, noise_std)
    _, x = closed.sample(2, 0)
    np.testing.assert_allclose(fastvi.log_marginal(model, x), fastvi.log_marginal(closed, x), rtol=1e-9)


@slow
def test_posteriors_far_out():
    """A datum whose latent is 12, 24 or 65 standard deviations from the prior's mean."""
    closed = fastvi.LinearGaussian([[1.0]], [0.0], 0.5)
    model = fastvi.NeuralDecoder([([[1.0]], [0.0])], "relu", fastvi.Normal([0.0], [1.0]), "gaussian", 0.5)
    x = np.array([[0.0], [15.0], [-30.0], [12.4], [81.0]])
    expected = fastvi.log_marginal(closed, x)
    np.testing.assert_allclose(fastvi.log_marginal(model, x), expected, rtol=1e-12)
    far = np.array([[0.0], [200.0]])  # beyond the widest grid
    np.testing.assert_allclose(fastvi.log_marginal(model, far), fastvi.log_marginal(closed, far), rtol=1e-12)


@slow
@pytest.mark.parametrize("mean_std", [(0.0, 1.0), (0.7, 2.0)])
@pytest.mark.parametrize("noise_std", [None, 0.2])
@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "softplus", "relu"])
def test_one_latent_against_scipy(activation, noise_std, mean_std):
    model = decoder((1, 5, 6), activation, noise_std, *mean_std)
    z, x = model.sample(2, 1)
    mean, std = mean_std
    points, width = np.linspace(mean - 12 * std, mean + 12 * std, 199, endpoint=False, retstep=True)
    for n, found in enumerate(fastvi.log_marginal(model, x)):
        scale = model.log_joint(x[n], z[n])
        # all intervals at once: SciPy halves each where one of them asks for it
        parts, _ = integrate.quad_vec(
            lambda t, n=n, scale=scale: np.exp(model.log_joint(x[n], (points + t)[:, None]) - scale),
            0.0, width, epsabs=1e-13, epsrel=1e-11, norm="max",
        )  # fmt: skip
        np.testing.assert_allclose(
            found, scale + math.log(parts.sum()), rtol=0, atol=3e-8 * max(1.0, abs(found))
        )


@slow
def test_two_latents_against_a_finer_rule():
    model = decoder((2, 4, 5), "tanh", mean=0.2, std=1.3)
    _, x = model.sample(3, 1)
    nodes, weights = np.polynomial.legendre.leggauss(100)  # of Gauss-Hermite nodes 60 give 7 digits
    nodes, weights = 9 * nodes, weights * np.exp(-0.5 * (9 * nodes) ** 2)
    layers = [(w.tolist(), b.tolist()) for w, b in model.layers]
    expected = [
        naive_models.decoder_log_marginal_by_quadrature(
            layers, "tanh", [0.2, 0.2], [1.3, 1.3], row, nodes, weights / weights.sum()
        )
        for row in x.tolist()
    ]
    np.testing.assert_allclose(fastvi.log_marginal(model, x), expected, rtol=1e-8)


@slow
@pytest.mark.parametrize("num_latents", [1, 2])
def test_probabilities_of_all_images_sum_to_one(num_latents):
    model = decoder((num_latents, 3, 4), "softplus")
    every = (np.arange(16)[:, None] >> np.arange(4)) & 1
    np.testing.assert_allclose(np.exp(fastvi.log_marginal(model, every)).sum(), 1.0, rtol=1e-9)


@slow
def test_masks_and_no_data():
    closed, model = linear(2, 0.5)
    _, x = closed.sample(4, 0)
    masks = np.array([[True] * 4, [True, False, True, False], [False] * 4, [True, False, True, False]])
    found = fastvi.log_marginal(model, np.where(masks, x, np.nan), observed=masks)
    np.testing.assert_allclose(found, fastvi.log_marginal(closed, x, observed=masks), rtol=1e-9, atol=1e-12)
    assert fastvi.log_marginal(model, x[:0]).shape == (0,)
    assert fastvi.log_marginal(closed, x[:0]).shape == (0,)


@slow
@pytest.mark.parametrize("noise_std", [None, 0.1])
def test_same_bits_for_any_threads_and_company(noise_std, same_bits):
    model = decoder((2, 6, 8), "tanh", noise_std)
    _, x = model.sample(20, 0)
    found = same_bits(lambda: fastvi.log_marginal(model, x))
    np.testing.assert_array_equal(fastvi.log_marginal(model, x[7:9]), found[7:9])


@slow  # what overflows is a warning there
@pytest.mark.parametrize("far", [1e9, 1e30, 1e100])
def test_a_datum_beyond_what_doubles_resolve_ends_on_the_coarse_grid(monkeypatch, far):
    """tanh saturates, so that its posterior is flat to rounding and has no end; minutes went into it.

    The largest log joint density is that of the nearest output: the sum of |weights| is its reach.
    """
    rng = np.random.default_rng(0)
    layers = [(rng.normal(size=(6, 2)), rng.normal(size=6)), (rng.normal(size=(4, 6)), rng.normal(size=4))]
    model = fastvi.NeuralDecoder(layers, "tanh", fastvi.Normal([0.0, 0.0], [1.0, 1.0]), "gaussian", 0.5)
    monkeypatch.setattr(quadrature_form, "find_region", None)
    with pytest.warns(fastvi.AccuracyWarning) as caught:
        (value,) = fastvi.log_marginal(model, np.full((1, 4), far))
    assert caught[0].message.moved.tolist() == [np.inf]
    reach = np.abs(layers[1][0]).sum() + np.abs(layers[1][1]).sum()
    assert value == pytest.approx(-4 * far**2 / (2 * 0.5**2), rel=4 * reach / far + 1e-14)


def test_refusals():
    model = decoder((4, 3), "relu")
    with pytest.raises(ValueError, match=r"^model must have at most 3 latents .*, got 4$"):
        fastvi.log_marginal(model, np.zeros((1, 3)))
    huge = fastvi.NeuralDecoder([([[1.0]], [0.0]), ([[1e300]], [0.0])], "relu", fastvi.Normal([0.0], [1e10]))
    with pytest.raises(ValueError, match=r"^layers must keep outputs finite"):
        fastvi.log_marginal(huge, [[1]])


def test_a_linear_gaussian_is_asked_like_any_model():
    model, _ = linear(2, 0.5)
    _, x = model.sample(5, 0)
    np.testing.assert_allclose(fastvi.log_marginal(model, x), rules_of(model).log_marginal(x), rtol=1e-13)
    mask = np.array([True, False, True, True])
    gradient = fastvi.log_marginal_gradient(model, x, observed=mask, data_weights=np.arange(5.0))
    expected = rules_of(model).gradient(x[:, mask], np.arange(5.0), mask, Run())
    for name, value in expected.items():
        np.testing.assert_allclose(gradient[name], value, rtol=1e-12)
    assert fastvi.plan(model, 5).states == 0


@slow
def test_logits_so_large_that_each_pixel_is_summed_by_itself():
    """Against a trapezoid rule with 400,001 nodes where the density is: they are 1/160 of the narrower
    logistic's width apart, which leaves errors far below 1e-8.
    """
    w, b, mean = np.array([[3e6], [-2e5]]), np.array([0.3, 1.0]), 0.2
    model = fastvi.NeuralDecoder([(w, b)], "tanh", fastvi.Normal([mean], [1.0]))
    found = fastvi.log_marginal(model, np.array([[1, 1]]))
    z = np.linspace(-4e-4, 4e-4, 400_001)
    logs = -np.logaddexp(0.0, -(z[:, None] * w[:, 0] + b)).sum(axis=1)
    logs -= 0.5 * np.square(z - mean) + 0.5 * np.log(2 * np.pi)
    want = np.logaddexp.reduce(logs) + np.log(z[1] - z[0])
    np.testing.assert_allclose(found, [want], rtol=0, atol=2e-8)
