"""Fits of a datum in any batch, a decoder's tables in groups and tiles, the gradient where a fit ends."""

from __future__ import annotations

import numpy as np
import pytest
from cases import decoder, network, sparse_coding, standard_normal

import fastvi
from fastvi.core.registry import rules_of
from fastvi.engine.expectation.elbo_gradient import expected_log_joint
from fastvi.engine.mean_field import block_mean_field

RNG = np.random.default_rng(5)


MODELS = [
    network(12, 5, 1),
    sparse_coding(6, 30, RNG, 0.8),
    decoder((4, 6, 5), seed=RNG),
    pytest.param(decoder((1, 6, 5), prior=standard_normal(1), seed=RNG), marks=pytest.mark.slow_without_jit),
]


def parameters(q):
    return q.logits if isinstance(q, fastvi.Bernoulli) else np.concatenate([q.mean, q.std], axis=1)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_a_fit_does_not_depend_on_the_data_after_it(model):
    """Nor do its random starts."""
    x = model.sample(9, 1)[1]
    together = fastvi.fit_posterior(model, x, num_restarts=3, seed=2)
    for num in (1, 4):
        alone = fastvi.fit_posterior(model, x[:num], num_restarts=3, seed=2)
        assert np.array_equal(parameters(alone.q), parameters(together.q)[:num])
        assert np.array_equal(alone.objective, together.objective[:num])


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_more_restarts_are_never_worse(model):
    x = model.sample(9, 1)[1]
    few, many = (fastvi.fit_posterior(model, x, num_restarts=num).objective for num in (1, 4))
    assert (many >= few).all()


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("d", [1, 2, 7, pytest.param(12, marks=pytest.mark.slow_without_jit)])
def test_tables_of_log_joints(d, likelihood):
    """Twelve latents are four tiles."""
    model = decoder((d, 6, 5), noise_std=None if likelihood == "bernoulli" else 0.6, seed=RNG)
    x = model.sample(11, 1)[1]
    form = rules_of(model).form(np.ones(5, bool), "float64")
    terms = form.data.terms(x)
    found = block_mean_field.log_joint_tables(form, terms.linear) + terms.constant[:, None]
    numbers = np.arange(1 << d)
    z = np.empty((1 << d, d), np.uint8)
    for bit, latent in enumerate(form.order[form.latents]):
        z[:, latent] = (numbers >> bit) & 1
    assert np.allclose(found, model.log_joint(x[:, None], z), rtol=0, atol=1e-11)


@pytest.mark.slow_without_jit
def test_groups_of_data_change_no_bit(monkeypatch):
    model = decoder((11, 6, 5), seed=RNG)
    x = model.sample(7, 1)[1]
    whole = fastvi.fit_posterior(model, x, num_restarts=1)
    assert np.allclose(fastvi.elbo(model, x, whole.q).value, whole.objective, rtol=0, atol=1e-11)
    for bits in (1, 12, 13):  # one, two and four data at a time
        monkeypatch.setattr(block_mean_field, "_TABLE_BITS", bits)
        parts = fastvi.fit_posterior(model, x, num_restarts=1)
        assert np.array_equal(parts.q.logits, whole.q.logits)
        assert np.array_equal(parts.history, whole.history)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("scale", [0.2, 1.0])
def test_a_fit_ends_where_the_gradient_is_small(scale):
    """In q's logits: a sweep that moves no mean by more than 1e-8 leaves some d couplings of it."""
    model = network(40, 8, scale=scale, seed=3)
    x = model.sample(30, 2)[1]
    fit = fastvi.fit_posterior(model, x)
    assert fit.converged.all()
    mean = fit.q.mean
    found = expected_log_joint(rules_of(model).form(np.ones(40, bool), "float64"), x, fit.q.logits)
    gradient = found.slope - mean * (1.0 - mean) * fit.q.logits
    assert np.sqrt(np.square(gradient).sum(axis=1)).max() <= 1e-6


def test_extreme_logits():
    model = fastvi.BinarySparseCoding([[1000.0, -3.0]], [0.5], 0.01, [1000.0, -1000.0])
    fit = fastvi.fit_posterior(model, [[1000.5], [0.0]])
    assert fit.converged.all()
    assert np.allclose(fastvi.log_marginal(model, [[1000.5], [0.0]]), fit.objective, rtol=1e-12)
    assert (fit.q.mean == [[1.0, 0.0], [0.0, 0.0]]).all()
