"""Mixtures: densities against pure Python, draws against their components' own, wrong input."""

from __future__ import annotations

import pickle

import naive
import naive_distributions
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastvi

RNG = np.random.default_rng(0)
BINARY = fastvi.Mixture(
    [fastvi.Bernoulli(RNG.normal(size=(3, 4))), fastvi.Bernoulli(RNG.normal(size=4)), fastvi.Uniform(4)],
    [3.0, 2.0, 5.0],
)
REAL = fastvi.Mixture(
    [
        fastvi.Normal(RNG.normal(size=(3, 2)), RNG.uniform(0.5, 2, (3, 2))),
        fastvi.Normal([0.0, 1.0], [1.0, 3.0]),
    ],
    [0.25, 0.75],
)


@pytest.mark.parametrize("mixture", [BINARY, REAL])
def test_density_is_the_weighted_sum(mixture):
    z = mixture.sample(20, 1)
    parts = [each.log_prob(z) for each in mixture.components]
    found = mixture.log_prob(z)
    assert found.shape == (20, 3)
    for k in range(20):
        for n in range(3):
            logs = [float(np.broadcast_to(part, (20, 3))[k, n]) for part in parts]
            expected = naive_distributions.log_mixture(logs, mixture.weights.tolist())
            assert found[k, n] == pytest.approx(expected, rel=1e-13, abs=1e-13)


def test_a_state_that_one_component_rules_out():
    mixture = fastvi.Mixture([fastvi.Bernoulli([np.inf]), fastvi.Bernoulli([0.0])], [1.0, 1.0])
    assert np.allclose(mixture.log_prob([[0], [1]]), np.log([0.25, 0.75]), rtol=1e-15)
    sure = fastvi.Mixture([fastvi.Bernoulli([np.inf])], [2.0])
    assert sure.log_prob([0]) == -np.inf
    assert sure.log_prob([1]) == 0.0


@given(st.integers(0, 2**64 - 1))
@pytest.mark.parametrize("mixture", [BINARY, REAL])
def test_draws_are_those_of_the_picked_component(mixture, seed):
    z = mixture.sample(6, seed)
    cumulative = np.cumsum(mixture.weights).tolist()
    for n in range(3):
        for k in range(6):
            each = mixture.components[naive_distributions.picked(cumulative, seed, n, k)]
            if each.num_data is None:  # datum n of many
                rows = [np.broadcast_to(v, (3, v.size)) for v in vars_of(each)]
                each = (fastvi.Bernoulli if len(rows) == 1 else fastvi.Normal)(*rows)
            assert np.array_equal(z[k, n], each.sample(k + 1, seed)[k, n])


def vars_of(distribution):
    if isinstance(distribution, fastvi.Bernoulli):
        return [distribution.logits]
    return [distribution.mean, distribution.std]


def test_shares_of_the_components():
    z = fastvi.Mixture([fastvi.Bernoulli([np.inf]), fastvi.Bernoulli([-np.inf])], [1.0, 3.0]).sample(20000, 3)
    assert z.shape == (20000, 1, 1)
    assert abs(z.mean() - 0.25) <= 4.5 * np.sqrt(0.25 * 0.75 / 20000)


def test_mean():
    expected = np.zeros((3, 4))
    for weight, each in zip((0.3, 0.2, 0.5), BINARY.components, strict=True):
        for n in range(3):
            row = np.atleast_2d(each.logits)[n if each.num_data else 0]
            expected[n] += [weight * naive.sigmoid(t) for t in row.tolist()]
    assert np.allclose(BINARY.mean, expected, rtol=1e-14)
    assert not BINARY.mean.flags.writeable


def test_attributes_and_copies():
    assert BINARY.num_latents == 4
    assert BINARY.num_data == 3
    assert np.allclose(BINARY.weights, [0.3, 0.2, 0.5], rtol=1e-15)
    other = pickle.loads(pickle.dumps(BINARY))
    assert np.array_equal(other.sample(3, 1), BINARY.sample(3, 1))
    words = fastvi.Mixture(["prior", "uniform"], [1, 1])
    assert (words.num_latents, words.num_data) == (None, None)
    assert repr(words) == "Mixture(0.5 * 'prior', 0.5 * 'uniform')"
    for name in ("sample", "log_prob"):
        with pytest.raises(TypeError, match=f"components must all be distributions for {name}, got 'prior'"):
            getattr(words, name)(*((1, 1) if name == "sample" else ([[0]],)))
    with pytest.raises(TypeError, match="has no closed form"):
        BINARY.entropy()
    with pytest.raises(TypeError, match="model must be one of"):
        BINARY.save("mixture.npz")


@pytest.mark.parametrize(
    ("components", "weights", "text"),
    [
        ([], [], "components must be a sequence of at least one"),
        ("prior", [1], "components must be a sequence of at least one"),
        (["posterior"], [1], "components must be"),
        ([3], [1], "components must be"),
        ([fastvi.Uniform(2), fastvi.Uniform(3)], [1, 1], "components must have the same num_latents"),
        (
            [fastvi.Bernoulli(np.zeros((2, 2))), fastvi.Bernoulli(np.zeros((3, 2)))],
            [1, 1],
            "components must have the same num_data",
        ),
        ([fastvi.Uniform(1), fastvi.Normal([0.0], [1.0])], [1, 1], "binary or all over real latents"),
        (["uniform", fastvi.Normal([0.0], [1.0])], [1, 1], "binary or all over real latents"),
        ([fastvi.Mixture(["prior"], [1])], [1], "components must be"),
        (["prior"], [1, 2], "weights must have shape"),
        (["prior", "uniform"], [1, 0], "weights must be > 0"),
        (["prior", "uniform"], [1, np.nan], "weights must be"),
        (["prior", "uniform"], [1e308, 1e308], "weights must have a finite sum"),
    ],
)
def test_wrong_input(components, weights, text):
    with pytest.raises((ValueError, TypeError), match=text):
        fastvi.Mixture(components, weights)
