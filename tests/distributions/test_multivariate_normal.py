"""Normal distributions with a full covariance: SciPy's density, what they draw, what they refuse."""

from __future__ import annotations

import math

import naive_models
import numpy as np
import pytest
from scipy import stats

import fastvi

RNG = np.random.default_rng(0)


def covariances(*shape):
    root = RNG.normal(size=(*shape, shape[-1] + 2))
    return root @ np.swapaxes(root, -1, -2) / shape[-1]


@pytest.mark.parametrize("d", [1, 2, 5, 20])
def test_log_prob_and_entropy_are_those_of_scipy(d):
    mean, covariance = RNG.normal(size=(3, d)), covariances(3, d)
    q = fastvi.MultivariateNormal(mean, covariance)
    points = RNG.normal(size=(7, 3, d))
    for n in range(3):
        other = stats.multivariate_normal(mean[n], covariance[n])
        assert np.allclose(q.log_prob(points)[:, n], other.logpdf(points[:, n]), rtol=1e-11, atol=1e-11)
        assert q.entropy()[n] == pytest.approx(other.entropy(), abs=1e-11)
        one = fastvi.MultivariateNormal(mean[n], covariance[n])
        assert np.array_equal(one.log_prob(points[:, n]), q.log_prob(points)[:, n])  # the same bits alone
    assert np.allclose(q.cholesky @ np.swapaxes(q.cholesky, 1, 2), q.covariance, rtol=1e-13, atol=1e-13)
    assert np.allclose(q.cholesky, np.linalg.cholesky(covariance), rtol=1e-12, atol=1e-12)
    assert np.allclose(q.std**2, np.diagonal(covariance, axis1=1, axis2=2), rtol=1e-15)


def test_diagonal_is_the_factorised_normal():
    mean, std = RNG.normal(size=(4, 3)), RNG.uniform(0.1, 3.0, (4, 3))
    full = fastvi.MultivariateNormal(mean, np.square(std)[..., None] * np.eye(3))
    factorised = fastvi.Normal(mean, std)
    assert np.allclose(full.std, std, rtol=1e-15)
    z = factorised.sample(5, 9)
    assert np.allclose(full.sample(5, 9), z, rtol=1e-14, atol=1e-14)
    assert np.allclose(full.log_prob(z), factorised.log_prob(z), rtol=1e-13)
    assert np.allclose(full.entropy(), factorised.entropy(), rtol=1e-14)


def test_draws_are_the_factor_times_standard_normal_numbers():
    q = fastvi.MultivariateNormal([1.0, -2.0], [[2.0, 0.6], [0.6, 0.5]])
    lower = [[math.sqrt(2.0), 0.0], [0.6 / math.sqrt(2.0), math.sqrt(0.5 - 0.18)]]
    z = q.sample(20, 5)
    for k in range(20):
        u = naive_models.standard_normal_draw(2, 5, 0, k)
        assert z[k, 0, 0] == pytest.approx(1.0 + lower[0][0] * u[0], rel=1e-12)
        assert z[k, 0, 1] == pytest.approx(-2.0 + lower[1][0] * u[0] + lower[1][1] * u[1], rel=1e-12)
    many = q.sample(20000, 1)[:, 0]
    assert np.abs(np.cov(many.T) - q.covariance).max() <= 4.5 * 2.0 * math.sqrt(2 / 20000)


def test_shared_parameters_and_shapes():
    mean, covariance = RNG.normal(size=(4, 3)), covariances(3)
    shared = fastvi.MultivariateNormal(mean, covariance)
    assert shared.covariance.shape == shared.cholesky.shape == (4, 3, 3)
    other = fastvi.MultivariateNormal(mean[0], np.stack([covariance] * 4))
    assert other.mean.shape == (4, 3)
    assert np.array_equal(other.cholesky, shared.cholesky)
    one = fastvi.MultivariateNormal(mean[0], covariance)
    assert one.num_data is None
    assert one.cholesky.shape == (3, 3)
    assert one.sample(2, 0).shape == (2, 1, 3)
    assert one.entropy().shape == (1,)
    none = fastvi.MultivariateNormal(np.zeros((0, 3)), covariance)
    assert none.covariance.shape == (0, 3, 3)
    assert none.sample(2, 0).shape == (2, 0, 3)
    assert none.entropy().shape == (0,)
    assert one.log_prob(np.zeros((5, 6, 3))).shape == (5, 6)
    assert repr(one) == "MultivariateNormal(num_latents=3, num_data=None)"


def test_far_points_have_no_density():
    q = fastvi.MultivariateNormal([0.0, 0.0], [[1e-200, 0.0], [0.0, 1e-200]])
    assert q.log_prob([1e200, -1e200]) == -math.inf
    assert q.log_prob([1e308, 1e308]) == -math.inf


def test_saved_and_loaded(tmp_path):
    q = fastvi.MultivariateNormal(RNG.normal(size=(2, 3)), covariances(2, 3))
    q.save(tmp_path / "q.npz")
    again = fastvi.load(tmp_path / "q.npz")
    for name in ("mean", "covariance", "cholesky", "std"):
        assert np.array_equal(getattr(again, name), getattr(q, name))
        assert not getattr(again, name).flags.writeable


def test_rounding_of_symmetry_is_taken_and_removed():
    covariance = covariances(4)
    covariance[0, 1] *= 1 + 1e-13
    q = fastvi.MultivariateNormal(np.zeros(4), covariance)
    assert np.array_equal(q.covariance, q.covariance.T)


@pytest.mark.parametrize(
    ("mean", "covariance", "message"),
    [
        (
            [0.0, 0.0],
            [[1.0, 0.5], [0.4, 1.0]],
            r"^covariance must be symmetric, got 0.5 at index \(0, 1\) and 0.4 in",
        ),
        (
            [0.0, 0.0],
            [[1.0, 2.0], [2.0, 1.0]],
            r"^covariance must be positive definite, got a matrix whose latent 1 has",
        ),
        (
            [0.0, 0.0],
            [np.eye(2), [[1.0, 1.0], [1.0, 1.0]]],
            r"^covariance must be positive definite, got a matrix at index 1",
        ),
        ([0.0] * 3, np.outer([1, 0.1, 0.3], [1, 0.1, 0.3]), r"^covariance must be positive definite"),
        ([0.0, 0.0], [[1.0, 0.0], [0.0, 0.0]], r"^covariance must have a diagonal > 0, got 0.0 at index 1"),
        ([0.0, 0.0], [[1.0, math.nan], [0.0, 1.0]], r"^covariance must be finite, got nan at index \(0, 1\)"),
        ([0.0, 0.0], np.eye(3), r"^covariance must have shape \(2, 2\), got shape \(3, 3\)"),
        (
            np.zeros((2, 2)),
            np.stack([np.eye(2)] * 3),
            r"^covariance must have shape \(2, 2\) or \(2, 2, 2\), got \(3, 2, 2\)",
        ),
        ([], np.zeros((0, 0)), r"^mean must have at least 1 latent"),
        ([math.inf], [[1.0]], r"^mean must be finite"),
        ([1.7e308], [[1e308]], None),
        ([1.7e308], [[1e300]], None),
        ([1.797e308], [[1e306]], None),
    ],
)
def test_wrong_parameters(mean, covariance, message):
    if message is None:  # 9 standard deviations of 1e154 are nothing to a mean of 1e308
        assert np.isfinite(fastvi.MultivariateNormal(mean, covariance).sample(9, 1)).all()
        return
    with pytest.raises(ValueError, match=message):
        fastvi.MultivariateNormal(mean, covariance)
