"""Estimators in scikit-learn: its own checks and tools, and sums over all states in NumPy."""

from __future__ import annotations

import importlib
import itertools
import pickle
import sys

import numpy as np
import pytest
from optional import package

import fastvi

pytestmark = pytest.mark.peers
package("sklearn")
pandas = package("pandas")

import joblib  # noqa: E402
from scipy.sparse import csr_matrix  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.model_selection import GridSearchCV, KFold  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.utils.estimator_checks import check_estimator  # noqa: E402

from fastvi.interop.sklearn import BernoulliRBM, BinaryFactorAnalysis  # noqa: E402

RNG = np.random.default_rng(3)
D, LATENTS = 6, 3
X = RNG.integers(0, 2, (24, D)).astype(float)
X[:, 1] = X[:, 0]
HOLES = np.where(RNG.random(X.shape) < 0.15, np.nan, X)
WEIGHTS = RNG.integers(0, 4, 24)
FACTORS = BinaryFactorAnalysis(LATENTS, max_iter=4, batch_size=15, random_state=0)
MACHINE = BernoulliRBM(LATENTS, n_iter=4, batch_size=15, random_state=0)
BOTH = pytest.mark.parametrize("estimator", [FACTORS, MACHINE], ids=["factors", "machine"])


def states(num):
    return np.array(list(itertools.product((0.0, 1.0), repeat=num)))


def log_joint(fitted, x):
    """log p(x_n, z) of all data and states of all latents, (N, S)."""
    z = states(LATENTS)
    if isinstance(fitted, BinaryFactorAnalysis):
        eta, c = z @ fitted.components_ + fitted.intercept_, fitted.prior_logits_
        seen = x @ eta.T - np.logaddexp(0.0, eta).sum(axis=1)
        return seen + z @ c - np.logaddexp(0.0, c).sum()
    energies = [
        rows @ fitted.components_.T @ z.T + (rows @ fitted.intercept_visible_)[:, None]
        for rows in (x, states(D))
    ]
    each, of_all = (energy + z @ fitted.intercept_hidden_ for energy in energies)
    return each - np.logaddexp.reduce(of_all, axis=None)


def brute_force(fitted, holes):
    """log p of what was seen and posterior means, by all ways to fill the holes."""
    log_p, means = np.empty(len(holes)), np.empty((len(holes), LATENTS))
    for n, row in enumerate(holes):
        missing = np.isnan(row)
        filled = np.tile(row, (2 ** missing.sum(), 1))
        filled[:, missing] = states(missing.sum())
        joint = np.logaddexp.reduce(log_joint(fitted, filled), axis=0)
        log_p[n] = np.logaddexp.reduce(joint)
        means[n] = np.exp(joint - log_p[n]) @ states(LATENTS)
    return log_p, means


# ---- scikit-learn's own checks ----------------------------------------------------------------------------

NO_WEIGHTS = "scikit-learn's own algorithm has no weights, so sample_weight is refused"
WEIGHT_CHECKS = (
    "pandas_series", "not_an_array", "list", "shape", "not_overwritten"
)  # fmt: skip
EQUIVALENCE = (
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weight_equivalence_on_sparse_data",
)
CANNOT_APPLY = {
    "persistent": dict.fromkeys(
        [f"check_sample_weights_{name}" for name in WEIGHT_CHECKS]
        + ["check_all_zero_sample_weights_error", *EQUIVALENCE],
        NO_WEIGHTS,
    ),
    "wake_sleep": {
        **dict.fromkeys(EQUIVALENCE, "two copies of a datum have draws of their own"),
        "check_estimators_nan_inf": "transform sums out NaN, fit refuses it",
    },
}


@pytest.mark.parametrize(
    "estimator",
    [
        BinaryFactorAnalysis(2, max_iter=3),
        # smaller batches than the data come in another order once data are repeated
        BernoulliRBM(2, n_iter=2, batch_size=1000),
        BernoulliRBM(2, n_iter=2, objective="persistent"),
        BinaryFactorAnalysis(2, max_iter=2, objective="wake_sleep", n_hidden=3),
    ],
    ids=["factors", "machine", "persistent", "wake_sleep"],
)
@pytest.mark.filterwarnings("ignore")  # of checks that call what scikit-learn is about to change
def test_check_estimator(estimator):
    expected = CANNOT_APPLY.get(estimator.objective, {})
    results = check_estimator(estimator, expected_failed_checks=expected, on_skip=None, on_fail=None)
    found = {result["check_name"]: result for result in results}
    failed = {name for name, result in found.items() if result["status"] == "failed"}
    assert not failed, {name: found[name]["exception"] for name in failed}
    # each that is excused does fail
    excused = {name for name, result in found.items() if result["status"] == "xfail"}
    assert excused == set(expected) & set(found)  # older versions have fewer checks
    assert len(found) > 40


# ---- numbers ----------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("data", [X, HOLES], ids=["whole", "holes"])
def test_scores_and_means_are_those_of_all_states(estimator, data):
    fitted = clone(estimator).fit(data)
    log_p, means = brute_force(fitted, data)
    # sums of some hundred terms below 100
    assert fitted.score_samples(data) == pytest.approx(log_p, abs=1e-11)
    assert fitted.transform(data) == pytest.approx(means, abs=1e-11)
    assert fitted.score(data) == fitted.score_samples(data).mean()
    assert np.array_equal(fitted.score_samples(data), fastvi.log_marginal(
        fitted.model_, np.nan_to_num(data), observed=~np.isnan(data)
    ))  # fmt: skip


@BOTH
def test_learning_raises_the_score(estimator):
    long = {"max_iter": 100} if estimator is FACTORS else {"n_iter": 100}
    fitted = clone(estimator).set_params(**long).fit(X)
    shares = X.mean(axis=0)
    independent = (X * np.log(shares) + (1 - X) * np.log1p(-shares)).sum(axis=1).mean()
    assert fitted.score(X) > independent + 0.3  # two pixels are one another's copy: log 2 nats are there


@BOTH
def test_draws_have_the_models_probabilities(estimator):
    fitted = clone(estimator).fit(X)
    draws = fitted.sample(4000, random_state=1)
    assert draws.shape == (4000, D)
    exact = np.exp(brute_force(fitted, states(D))[0]) @ states(D)
    # 6 standard deviations of a share of 4,000
    assert np.allclose(draws.mean(axis=0), exact, rtol=0, atol=6 * 0.5 / np.sqrt(4000))
    assert np.array_equal(draws, fitted.sample(4000, random_state=1))
    assert np.array_equal(fitted.sample(5), fitted.sample(5))  # of the estimator's own random_state


def test_inverse_transform_gives_the_probabilities_of_pixels():
    fitted = clone(FACTORS).fit(X)
    z = np.vstack([states(LATENTS), fitted.transform(X[:3])])
    logits = z @ fitted.components_ + fitted.intercept_
    assert fitted.inverse_transform(z) == pytest.approx(1 / (1 + np.exp(-logits)), rel=1e-13)
    assert fitted.inverse_transform(z[:0]).shape == (0, D)


@pytest.mark.parametrize("objective", ["elbo", "importance_weighted", "wake_sleep", "reweighted_wake_sleep"])
def test_every_objective_learns(objective):
    fitted = clone(FACTORS).set_params(objective=objective, max_iter=20, n_hidden=4).fit(X)
    assert fitted.score_history_.max() > fitted.score_history_[0]
    assert (fitted.encoder_ is None) == (objective == "elbo")
    assert fitted.n_iter_ == 20
    assert fitted.score(X) == pytest.approx(fitted.score_history_.max(), rel=1e-13)
    assert fitted.transform(HOLES) == pytest.approx(brute_force(fitted, HOLES)[1], abs=1e-11)


def test_early_stopping():
    fitted = clone(FACTORS).set_params(n_iter_no_change=1, max_iter=300, learning_rate=1.0).fit(X)
    assert fitted.n_iter_ < 300


# ---- weights ----------------------------------------------------------------------------------------------


def parameters(fitted):
    return {name: value for name, value in vars(fitted).items() if isinstance(value, np.ndarray)}


@BOTH
@pytest.mark.parametrize("data", [X, HOLES], ids=["whole", "holes"])
def test_a_weight_of_0_is_an_absent_datum(estimator, data):
    weighted = clone(estimator).fit(data, sample_weight=WEIGHTS)
    without = clone(estimator).fit(data[WEIGHTS > 0], sample_weight=WEIGHTS[WEIGHTS > 0])
    for name, value in parameters(weighted).items():
        assert np.array_equal(value, parameters(without)[name]), name
    weighted.fit(data, sample_weight=np.ones(24))
    assert np.array_equal(weighted.components_, clone(estimator).fit(data).components_)


@BOTH
@pytest.mark.parametrize("data", [X, HOLES], ids=["whole", "holes"])
def test_a_weight_of_2_is_a_datum_twice(estimator, data):
    whole = clone(estimator).set_params(batch_size=1000)
    repeated = clone(whole).fit(data.repeat(WEIGHTS, axis=0))
    weighted = whole.fit(data, sample_weight=WEIGHTS)
    # a rounding of a gradient g moves Adam's step by the rate times 2^-52 / |g|: 1e-9 where |g| > 1e-8
    assert np.allclose(weighted.components_, repeated.components_, rtol=0, atol=1e-8)
    assert weighted.score_samples(X) == pytest.approx(repeated.score_samples(X), abs=1e-7)


@BOTH
def test_huge_and_tiny_weights(estimator):
    for scale in (1e300, 1e-300):
        fitted = clone(estimator).fit(X, sample_weight=scale * WEIGHTS)
        assert np.isfinite(fitted.score(X))


# ---- tools ------------------------------------------------------------------------------------------------


@BOTH
def test_grid_search_over_the_number_of_components(estimator):
    grid = {"n_components": [1, 3]}
    with joblib.parallel_backend("threading"):
        search = GridSearchCV(clone(estimator), grid, cv=KFold(2), n_jobs=2).fit(X)
    first = clone(estimator).set_params(n_components=1)
    expected = [first.fit(X[a]).score(X[b]) for a, b in KFold(2).split(X)]
    assert search.cv_results_["mean_test_score"][0] == np.mean(expected)
    assert search.best_estimator_.components_.shape == (search.best_params_["n_components"], D)


@BOTH
def test_pipelines_names_and_frames(estimator):
    labels = X[:, 0].astype(int)
    frame = pandas.DataFrame(X, columns=list("abcdef"))
    pipeline = make_pipeline(clone(estimator), LogisticRegression()).fit(frame, labels)
    assert pipeline.predict(frame).shape == (24,)
    fitted = clone(estimator).set_output(transform="pandas").fit(frame)
    prefix = type(estimator).__name__.lower()
    assert fitted.get_feature_names_out().tolist() == [f"{prefix}{i}" for i in range(LATENTS)]
    assert fitted.transform(frame).columns.tolist() == fitted.get_feature_names_out().tolist()
    assert fitted.feature_names_in_.tolist() == list("abcdef")
    assert np.array_equal(fitted.score_samples(frame), clone(estimator).fit(X).score_samples(X))
    nullable = frame.astype("Int64").mask(np.isnan(HOLES))
    assert np.array_equal(fitted.score_samples(nullable), clone(estimator).fit(X).score_samples(HOLES))


@BOTH
def test_pickles_sparse_data_and_thresholds(estimator):
    fitted = clone(estimator).fit(X)
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.score_samples(HOLES), fitted.score_samples(HOLES))
    assert np.array_equal(fitted.transform(csr_matrix(X)), fitted.transform(X))
    shifted = clone(fitted).set_params(binarize=10.5).fit(X + 10)
    assert np.array_equal(shifted.components_, fitted.components_)
    strict = clone(fitted).set_params(binarize=None).fit(X)
    assert np.array_equal(strict.components_, fitted.components_)
    assert np.array_equal(fitted.fit(X.astype(bool)).components_, strict.components_)


# ---- refusals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: clone(FACTORS).set_params(binarize=None).fit(X / 2), ValueError, "^X must contain only 0"),
        (lambda: clone(FACTORS).set_params(binarize="0.5").fit(X), TypeError, "^binarize must be None or"),
        (lambda: clone(FACTORS).set_params(objective="em").fit(X), ValueError, "^objective must be one of"),
        (lambda: clone(FACTORS).set_params(n_components=0).fit(X), ValueError, "^n_components must be an"),
        (lambda: clone(FACTORS).set_params(max_iter=0).fit(X), ValueError, "^max_iter must be an int >= 1"),
        (lambda: clone(FACTORS).set_params(learning_rate=0).fit(X), ValueError, "^learning_rate must be"),
        (lambda: clone(FACTORS).set_params(n_iter_no_change=0).fit(X), ValueError, "^n_iter_no_change must"),
        (lambda: clone(FACTORS).set_params(objective="elbo").fit(HOLES), ValueError, "^X must have no NaN"),
        (lambda: FACTORS.fit(X, sample_weight=-WEIGHTS - 1), ValueError, "^sample_weight must be fin"),
        (lambda: FACTORS.fit(X, sample_weight=0 * WEIGHTS), ValueError, "^sample_weight must hold at least"),
        (lambda: FACTORS.fit(X, sample_weight=WEIGHTS[:3]), ValueError, r"^sample_weight must have shape"),
        (lambda: clone(FACTORS).fit(X).sample(0), ValueError, "^n_samples must be an int >= 1"),
        (lambda: clone(FACTORS).fit(X).inverse_transform(X), ValueError, r"^X must have shape"),
    ],
)  # fmt: skip
def test_wrong_input_is_named(call, error, text):
    with pytest.raises(error, match=text) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("fastvi.interop.sklearn")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(
        ImportError, match=r"pip install 'fastvi\[sklearn\]', or '\.\[sklearn\]' in a clone$"
    ) as caught:
        importlib.import_module("fastvi.interop.sklearn")
    assert "\n" not in str(caught.value)
