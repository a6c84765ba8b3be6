"""Bounds of subcubes of restricted machines against sums over all states."""

import itertools

import numpy as np
import pytest

from fastvi import RestrictedBoltzmannMachine
from fastvi.engine.subcubes import search
from fastvi.rules.restricted_boltzmann_machine import RestrictedBoltzmannMachineRules

NOTHING = np.empty((1, 0), np.uint8)


def all_states(num):
    return np.array(list(itertools.product((0, 1), repeat=num)), np.int8).reshape(-1, num)


def log_sum(values):
    largest = values.max()
    return largest + np.log(np.exp(values - largest).sum())


def log_weights(weights, bias, linear):
    states = all_states(len(linear))
    return states @ linear + np.logaddexp(0.0, states @ weights.T + bias).sum(axis=1)


@pytest.mark.slow_without_jit
def test_bounds_of_machines_of_every_scale_are_true():
    rng = np.random.default_rng(0)
    for trial in range(40):
        visible, hidden = int(rng.integers(1, 9)), int(rng.integers(1, 7))
        scale, field = 10.0 ** rng.uniform(-3.0, 2.5, 2)
        weights = rng.normal(0.0, scale, (visible, hidden))
        model = RestrictedBoltzmannMachine(
            weights, rng.normal(0.0, field, visible), rng.normal(0.0, field, hidden)
        )
        rules = RestrictedBoltzmannMachineRules(model)
        if trial % 2 or hidden > visible:
            form, x = rules.subcube_partition_form(), NOTHING
        else:
            seen = rng.random(visible) < 0.5
            form, x = rules.subcube_form(seen), rng.integers(0, 2, (1, int(seen.sum()))).astype(np.uint8)
        terms = form.terms(x)
        exact = terms.constant[0] + log_weights(form.weights, form.bias, terms.linear[0])
        roots, error = form.roots(terms), form.error(terms)[0]
        assert roots.lower[0] <= log_sum(exact) + error
        assert log_sum(exact) <= roots.upper[0] + error
        num = form.num_latents
        states = rng.integers(-1, 2, (4, num)).astype(np.int8)
        states = states[(states < 0).any(axis=1)]
        members = np.zeros(len(states), np.int64)
        logits = np.where(states < 0, rng.normal(0.0, 10.0 ** rng.uniform(-1, 1.5), states.shape), 0.0)
        children, leaves = (
            form.expand(terms, members, states, logits),
            form.leaves(terms, members, states),
        )
        for k, state in enumerate(states):
            inside = ((state < 0) | (all_states(num) == state)).all(axis=1)
            assert leaves[k] == pytest.approx(log_sum(exact[inside]), rel=0, abs=error)
            for value in (0, 1):
                half = inside & (all_states(num)[:, children.bit[k]] == value)
                assert log_sum(exact[half]) <= children.upper[k, value] + error


@pytest.mark.slow_without_jit
def test_search_closes_on_log_z():
    rng = np.random.default_rng(1)
    model = RestrictedBoltzmannMachine(rng.normal(0.0, 0.5, (12, 9)), rng.normal(size=12), rng.normal(size=9))
    form = RestrictedBoltzmannMachineRules(model).subcube_partition_form()
    form = type(form)(form.weights, form.bias, form.data, leaf_bits=3)
    terms = form.terms(NOTHING)
    trees = search.start(form, terms, np.full(1, 1e-4), 10_000)
    search.grow(form, terms, trees)
    exact = log_sum(log_weights(form.weights, form.bias, terms.linear[0]))
    assert trees[0].closed - 1e-11 <= exact <= trees[0].ceiling + 1e-11
    assert trees[0].ceiling - max(trees[0].floor, trees[0].closed) <= 1e-4


def test_all_units_seen_is_a_product():
    rng = np.random.default_rng(2)
    model = RestrictedBoltzmannMachine(rng.normal(size=(5, 3)), rng.normal(size=5), rng.normal(size=3))
    form = RestrictedBoltzmannMachineRules(model).subcube_form(np.ones(5, bool))
    terms = form.terms(rng.integers(0, 2, (6, 5)).astype(np.uint8))
    expected = terms.constant + np.logaddexp(0.0, terms.linear).sum(axis=1)
    roots = form.roots(terms)
    np.testing.assert_allclose(roots.upper, expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(roots.lower, expected, rtol=0, atol=1e-10)
    assert form.roots(form.terms(np.empty((0, 5), np.uint8))).upper.shape == (0,)
