"""Restricted machines with scikit-learn's attributes, against sums over all states in pure Python."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest

import fastvi

RNG = np.random.default_rng(4)
COMPONENTS, VISIBLE, HIDDEN = RNG.normal(size=(3, 4)), RNG.normal(size=4), RNG.normal(size=3)


def fitted(**changed):
    return SimpleNamespace(
        **{"components_": COMPONENTS, "intercept_visible_": VISIBLE, "intercept_hidden_": HIDDEN, **changed}
    )


def weight(v, h):
    """exp(h' C v + b' v + c' h)."""
    pairs = sum(COMPONENTS[i, j] * h[i] * v[j] for i in range(3) for j in range(4))
    return math.exp(pairs + sum(map(float.__mul__, VISIBLE.tolist(), map(float, v)))
                    + sum(map(float.__mul__, HIDDEN.tolist(), map(float, h))))  # fmt: skip


def test_log_z_and_log_p_are_those_of_all_states():
    machine = fastvi.RestrictedBoltzmannMachine.from_sklearn(fitted())
    states = list(itertools.product((0, 1), repeat=3))
    total = {v: math.fsum(weight(v, h) for h in states) for v in itertools.product((0, 1), repeat=4)}
    log_z = math.log(math.fsum(total.values()))
    # tens of terms of a few units each: some hundred roundings
    assert fastvi.log_partition(machine) == pytest.approx(log_z, abs=1e-13)
    x = np.array(list(total))
    expected = [math.log(value) - log_z for value in total.values()]
    assert fastvi.log_marginal(machine, x) == pytest.approx(expected, abs=1e-13)


def test_parameters_are_copies_in_double_precision():
    rbm = fitted(components_=np.asfortranarray(COMPONENTS, dtype=np.float32))
    machine = fastvi.RestrictedBoltzmannMachine.from_sklearn(rbm)
    assert machine.weights.dtype == np.float64
    assert np.array_equal(machine.weights, rbm.components_.T)
    rbm.components_[...] = 0.0
    assert machine.weights.any()


@pytest.mark.parametrize(
    ("rbm", "error", "text"),
    [
        (SimpleNamespace(n_components=3), TypeError, "without components_, intercept_visible_, intercept_h"),
        (None, TypeError, "^rbm must be a fitted BernoulliRBM"),
        (fitted(components_=COMPONENTS[0]), ValueError, "^rbm.components_ must have 2 axes"),
        (fitted(components_=COMPONENTS[:0]), ValueError, "^rbm.components_ must have shape"),
        (fitted(components_=COMPONENTS.T), ValueError, r"^rbm.intercept_visible_ must have shape \(3,\)"),
        (fitted(intercept_hidden_=VISIBLE), ValueError, r"^rbm.intercept_hidden_ must have shape \(3,\)"),
        (fitted(components_=COMPONENTS * np.nan), ValueError, "^rbm.components_ must be finite"),
    ],
)
def test_wrong_input_is_named(rbm, error, text):
    with pytest.raises(error, match=text):
        fastvi.RestrictedBoltzmannMachine.from_sklearn(rbm)
