"""The restricted machine as an estimator beside scikit-learn's own, and against sums over all states."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from optional import package

import fastvi

pytestmark = pytest.mark.peers
package("sklearn")
pandas = package("pandas")

from sklearn import neural_network  # noqa: E402

from fastvi.interop.sklearn import BernoulliRBM  # noqa: E402

RNG = np.random.default_rng(3)
D, LATENTS = 6, 3
X = RNG.integers(0, 2, (24, D)).astype(float)
PARAMETERS = ("components_", "intercept_hidden_", "intercept_visible_", "h_samples_")


def states(num):
    return np.array(list(itertools.product((0.0, 1.0), repeat=num)))


def energies(rbm, x):
    """h' C v + b' v + c' h of all data and hidden states."""
    h = states(LATENTS)
    pairs = x @ rbm.components_.T @ h.T
    return pairs + (x @ rbm.intercept_visible_)[:, None] + h @ rbm.intercept_hidden_


def test_from_scikit_learns_machine_to_the_exact_numbers():
    rbm = neural_network.BernoulliRBM(LATENTS, n_iter=3, random_state=0).fit(X[:16])
    machine = fastvi.RestrictedBoltzmannMachine.from_sklearn(rbm)
    held_out = fastvi.log_marginal(machine, X[16:])
    log_z = np.logaddexp.reduce(energies(rbm, states(D)), axis=None)
    assert fastvi.log_partition(machine) == pytest.approx(log_z, abs=1e-12)
    assert held_out == pytest.approx(np.logaddexp.reduce(energies(rbm, X[16:]), axis=1) - log_z, abs=1e-12)


def test_persistent_is_scikit_learns_algorithm(capsys):
    options = {"n_components": 4, "n_iter": 2, "random_state": 5, "verbose": 1}
    greys = np.abs(X - 0.25)
    theirs = neural_network.BernoulliRBM(**options).fit(greys)
    said = capsys.readouterr().out
    ours = BernoulliRBM(**options, objective="persistent").fit(greys)
    assert [line.split(", time")[0] for line in capsys.readouterr().out.splitlines()] == [
        line.split(", time")[0] for line in said.splitlines()
    ]
    for name in PARAMETERS:
        assert np.array_equal(getattr(ours, name), getattr(theirs, name))
    assert np.array_equal(ours.transform(greys), theirs.transform(greys))
    assert ours.get_feature_names_out().tolist() == theirs.get_feature_names_out().tolist()


def test_partial_fit_is_scikit_learns_step():
    ours = BernoulliRBM(2, objective="persistent", random_state=1)
    theirs = neural_network.BernoulliRBM(2, random_state=1)
    assert ours.partial_fit(X) is ours
    theirs.partial_fit(X)
    assert np.array_equal(ours.components_, theirs.components_)
    assert np.array_equal(ours.model_.weights, theirs.components_.T)


def test_names_of_features_do_not_outlive_a_fit():
    rbm = BernoulliRBM(2, n_iter=1, objective="persistent")
    rbm.fit(pandas.DataFrame(X, columns=list("abcdef")))
    assert hasattr(rbm, "feature_names_in_")
    assert not hasattr(rbm.fit(X), "feature_names_in_")


def test_the_machine_has_scikit_learns_parameters_and_attributes():
    theirs = neural_network.BernoulliRBM()
    defaults = BernoulliRBM().get_params()
    assert {name: defaults[name] for name in theirs.get_params()} == theirs.get_params()
    fitted = BernoulliRBM(LATENTS, batch_size=15, n_iter=1, random_state=0).fit(X)
    theirs = neural_network.BernoulliRBM(LATENTS, batch_size=15).fit(X)
    for name in PARAMETERS:
        ours = getattr(fitted, name)
        assert ours.shape == getattr(theirs, name).shape
        assert ours.dtype == np.float64
    assert np.isin(fitted.h_samples_, (0.0, 1.0)).all()
    assert isinstance(fitted, neural_network.BernoulliRBM)
    assert not hasattr(fitted, "partial_fit")
    assert not hasattr(BernoulliRBM(), "model_")
    assert fitted.gibbs(X[:2]).shape == (2, D)
    wide = BernoulliRBM(60, n_iter=1, random_state=0).fit(X)  # 2^6 states of the pixels
    assert wide.score_samples(X).shape == (24,)
    assert wide.transform(X) == pytest.approx(neural_network.BernoulliRBM.transform(wide, X), abs=1e-14)


WIDE = np.vstack([np.zeros(41), np.ones(41)])


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: BernoulliRBM(41).fit(WIDE), ValueError, "^objective must be 'persistent' where both"),
        (lambda: BernoulliRBM(objective="cd").fit(X), ValueError, "^objective must be one of"),
        (lambda: BernoulliRBM(n_iter=-1).fit(X), ValueError, "^n_iter must be an int >= 0"),
        (lambda: BernoulliRBM(batch_size=0).fit(X), ValueError, "^batch_size must be an int >= 1"),
        (lambda: BernoulliRBM(2, objective="persistent").fit(X, sample_weight=X[:, 0]), TypeError,
         "^sample_weight must be None for objective='persistent'"),
        (lambda: BernoulliRBM(41, n_iter=1, objective="persistent").fit(WIDE).score(WIDE), ValueError,
         "^n_components must be at most 40 .*annealed_importance_sampling"),
    ],
)  # fmt: skip
def test_wrong_input_is_named(call, error, text):
    with pytest.raises(error, match=text) as caught:
        call()
    assert "\n" not in str(caught.value)
