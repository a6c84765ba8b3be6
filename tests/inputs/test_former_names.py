"""Names that arguments had: they still work, and say what they are called now."""

from __future__ import annotations

import numpy as np
import pytest
from cases import encoder, network

import fastvi

START = network(6, 2, scale=0.1)
X = START.sample(40, 1).x


def test_num_particles_still_works():
    log_w = np.random.default_rng(5).normal(size=(3, 12))
    expected = fastvi.importance_weighted_bound(log_w, [2, 4])
    with pytest.warns(DeprecationWarning, match=r"^num_particles is called num_samples now$") as seen:
        found = fastvi.importance_weighted_bound(log_w, num_particles=[2, 4])
    assert seen[0].filename == __file__
    np.testing.assert_array_equal(found, expected)
    options = {"objective": "importance_weighted", "encoder": encoder(6, 2, divided=True), "num_epochs": 1}
    expected = fastvi.fit_model(START, X, num_samples=3, **options)
    with pytest.warns(DeprecationWarning, match=r"^num_particles is called num_samples now$") as seen:
        found = fastvi.fit_model(START, X, num_particles=3, **options)
    assert seen[0].filename == __file__
    np.testing.assert_array_equal(found.history, expected.history)


def test_both_names_are_refused():
    both = r"^num_samples must be given once, got num_particles, its former name, as well$"
    with pytest.raises(TypeError, match=both):
        fastvi.importance_weighted_bound(np.zeros((1, 4)), 2, num_particles=2)
    with pytest.raises(TypeError, match=both):
        fastvi.fit_model(START, X, objective="importance_weighted", num_samples=2, num_particles=2)


def test_max_sweeps_still_works():
    expected = fastvi.fit_posterior(START, X[:5], max_steps=2)
    with pytest.warns(DeprecationWarning, match=r"^max_sweeps is called max_steps now$") as seen:
        found = fastvi.fit_posterior(START, X[:5], max_sweeps=2)
    assert seen[0].filename == __file__
    np.testing.assert_array_equal(found.q.logits, expected.q.logits)
    with pytest.raises(TypeError, match=r"^max_steps must be given once, got max_sweeps, its former name"):
        fastvi.fit_posterior(START, X[:5], max_sweeps=2, max_steps=2)
