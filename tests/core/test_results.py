"""Results per datum: their data by index."""

from __future__ import annotations

import copy
import html
import pickle
import sys
from dataclasses import FrozenInstanceError, fields
from functools import cache

import numpy as np
import pytest

import fastvi
from fastvi.core import results

RNG = np.random.default_rng(0)
NETWORK = fastvi.SigmoidBeliefNetwork(RNG.normal(size=(5, 3)), RNG.normal(size=5), RNG.normal(size=3))
MACHINE = fastvi.BoltzmannMachine([[0.0, 1.0, -2.0], [1.0, 0.0, 0.5], [-2.0, 0.5, 0.0]], [0.0, 1.0, -1.0])
X = RNG.integers(0, 2, (7, 5))
SEEN = RNG.random((7, 5)) < 0.6
LOG_W = RNG.normal(size=(7, 40))
TABLE, ROWS = fastvi.JointTable([[0.25, 0.0, 0.125], [0.125, 0.25, 0.25]]), [0, 1, 1, 0, 1, 0, 0]

MADE = {
    "estimate": lambda: fastvi.diagnose(LOG_W),
    "estimate to a target": lambda: fastvi.estimate_log_marginal(
        NETWORK, X, num_samples=3000, target_std_error=0.04
    ),
    "elbo": lambda: fastvi.elbo(NETWORK, X, fastvi.Bernoulli([0.5, -0.5, 0.0])),
    "posterior": lambda: fastvi.exact_posterior(NETWORK, X),
    "posterior, masked": lambda: fastvi.exact_posterior(NETWORK, X, observed=SEEN),
    "posterior, states and pairs": lambda: fastvi.exact_posterior(NETWORK, X, top_k=3, pairwise=True),
    "posterior of a machine": lambda: fastvi.exact_posterior(
        MACHINE, X[:, :3], observed=SEEN[:, :3], top_k=1
    ),
    "posterior of a table": lambda: fastvi.exact_posterior(TABLE, ROWS, top_k=2),
    "interval": lambda: fastvi.log_marginal_bounds(NETWORK, X, observed=SEEN, max_bounds=1),
    "bracket": lambda: fastvi.bidirectional_monte_carlo(NETWORK, 7, num_temperatures=4, num_chains=3),
    "entry": lambda: calibration().entries[0],
    "calibration": lambda: calibration(),
    "fit": lambda: fastvi.fit_posterior(NETWORK, X),
    "fit of a table": lambda: fastvi.fit_posterior(TABLE, ROWS),
}


def calibration():
    return fastvi.calibrate(
        NETWORK, X, proposals={"prior": "prior", "even": "uniform"}, num_samples=[30, 20], num_repeats=3
    )


@cache
def made(name):
    return MADE[name]()


# what is asked for, and the data that this is
ASKED = [
    (3, [3]),
    (-1, [6]),
    (np.int64(2), [2]),
    (np.array(5), [5]),
    (slice(2, 5), [2, 3, 4]),
    (slice(None, None, -2), [6, 4, 2, 0]),
    (slice(9, None), []),
    ([1, -2], [1, 5]),
    ([4, 4, 0], [4, 4, 0]),
    ([], []),
    (np.array([6, 0], np.uint8), [6, 0]),
    ([True, False, False, True, False, False, True], [0, 3, 6]),
    (np.zeros(7, bool), []),
]

NAMES = {
    fastvi.Elbo: ["value", "reconstruction", "kl_to_prior", "expected_log_joint", "entropy", "std_error"],
    fastvi.ExactPosterior: [
        "log_marginal", "mean", "second_moment", "entropy", "mode", "mode_log_prob", "top_states",
        "top_log_probs",
    ],
    fastvi.TablePosterior: [
        "log_marginal", "log_probs", "probabilities", "entropy", "mode", "mode_log_prob", "top_states",
        "top_log_probs",
    ],
    fastvi.PosteriorFit: ["objective", "converged"],
    fastvi.Bounds: ["lower", "upper", "gap", "num_bounds", "converged"],
    fastvi.Bracket: ["x", "z", "gap"],
}  # fmt: skip


def arrays_of(result):
    """Arrays by name, the first axis the data's."""
    if isinstance(result, fastvi.Calibration):
        found = {"truth": result.truth}
        for i, entry in enumerate(result.entries):
            found |= {f"{i} {name}": array for name, array in arrays_of(entry).items()}
        return found
    names = NAMES.get(type(result)) or [each.name for each in fields(result)]
    if isinstance(result, fastvi.CalibrationEntry):
        names = [*names, "error_ratio", "efficiency"]
    found = {name: getattr(result, name) for name in names}
    if isinstance(result, fastvi.PosteriorFit):
        found |= {"logits": result.q.logits, "mean": result.q.mean}
    if isinstance(result, fastvi.Bracket):
        for side in ("lower", "upper"):
            own = arrays_of(getattr(result, side))
            found |= {f"{side} {name}": array for name, array in own.items()}
    return {name: value for name, value in found.items() if isinstance(value, np.ndarray)}


@pytest.mark.parametrize("name", MADE)
def test_some_of_the_data(name):
    result = made(name)
    whole = arrays_of(result)
    assert len(whole) >= 2
    assert len(result) == 7
    for which, data in ASKED:
        some = result[which]
        assert type(some) is type(result)
        assert len(some) == len(data)
        found = arrays_of(some)
        assert found.keys() == whole.keys()
        for key, array in found.items():
            np.testing.assert_array_equal(array, whole[key][data], err_msg=key)
            assert array.dtype == whole[key].dtype
        assert type(result).__name__ in repr(some)


@pytest.mark.parametrize("name", MADE)
def test_loops(name):
    result = made(name)
    parts = list(result)
    assert len(parts) == 7
    whole = arrays_of(result)
    for n, part in enumerate(parts):
        for key, array in arrays_of(part).items():
            np.testing.assert_array_equal(array, whole[key][n : n + 1])


@pytest.mark.parametrize("name", [name for name in MADE if name.startswith("posterior")])
def test_some_of_a_posterior(name):
    """The probabilities of states and the draws of those data, in any order and of a part of a part."""
    posterior = made(name)
    z = posterior.sample(11, seed=5)
    log_prob = posterior.log_prob(z)
    for which, data in ASKED:
        some = posterior[which]
        np.testing.assert_array_equal(some.sample(11, seed=5), z[:, data])
        np.testing.assert_array_equal(some.log_prob(z[:, data]), log_prob[:, data])
    twice = posterior[[5, 2, 3]][1:]
    np.testing.assert_array_equal(twice.sample(11, seed=5), z[:, [2, 3]])
    again = pickle.loads(pickle.dumps(twice))
    np.testing.assert_array_equal(again.sample(11, seed=5), z[:, [2, 3]])


def test_a_second_pass_is_not_made_again(monkeypatch):
    posterior = fastvi.exact_posterior(NETWORK, X)
    entropy = posterior.entropy
    monkeypatch.setattr("fastvi.exact.exact_posterior._sum_states", None)
    np.testing.assert_array_equal(posterior[[3, 1]].entropy, entropy[[3, 1]])


def test_a_table_begins_no_second_pass(monkeypatch):
    posterior = fastvi.exact_posterior(NETWORK, X)
    monkeypatch.setattr("fastvi.exact.exact_posterior._sum_states", None)
    assert "log_marginal" in posterior._repr_html_()
    assert "entropy" not in posterior._repr_html_()


@pytest.mark.parametrize("name", MADE)
def test_results_are_true_and_frozen_and_no_arrays(name):
    result = made(name)
    assert result
    assert result[[]]
    with pytest.raises(FrozenInstanceError):
        result.log_marginal = 0.0
    with pytest.raises(TypeError, match=rf"^{type(result).__name__} is no array: take one of its fields"):
        np.asarray(result)
    assert copy.copy(result) != result  # results are compared by their arrays, not as a whole


def test_calibrations_are_indexed_by_name_too():
    result = calibration()
    assert result["prior", 20] is result.entries[1]
    np.testing.assert_array_equal(result[2:4]["prior", 20].bias, result["prior", 20].bias[2:4])
    with pytest.raises(KeyError):
        result["another"]


@pytest.mark.parametrize(
    ("which", "error", "message"),
    [
        (7, IndexError, r"^index must lie in -7 \.\.\. 6, got 7"),
        (-8, IndexError, r"^index must lie in -7 \.\.\. 6, got -8"),
        ([0, 9], IndexError, r"^index must lie in -7 \.\.\. 6, got 9"),
        ([True, False], IndexError, r"^index must be a mask of 7 data, got one of 2"),
        (True, TypeError, r"^index must be an int, a slice, a boolean mask or a sequence of ints, got True"),
        (1.0, TypeError, r"^index must be an int, a slice, a boolean mask or a sequence of ints, got 1\.0"),
        ([0.5], TypeError, r"^index must be an int, a slice, a boolean mask or a sequence of ints, got"),
        ([[0]], TypeError, r"^index must be an int, a slice, a boolean mask or a sequence of ints, got"),
        (None, TypeError, r"^index must be an int, a slice, a boolean mask or a sequence of ints, got"),
        ("ess", TypeError, r"^index must be an int, a slice, a boolean mask or a sequence of ints, got"),
        ((0, 1), TypeError, r"^index must be an int, a slice, a boolean mask or a sequence of ints, got \("),
        (slice("a", None), TypeError, r"^index must be a slice of ints, got slice"),
        (slice(None, None, 0), ValueError, r"^index must be a slice of a step other than 0, got slice"),
    ],
)
def test_wrong_indices(which, error, message):
    with pytest.raises(error, match=message) as raised:
        fastvi.diagnose(LOG_W)[which]
    assert "\n" not in str(raised.value)


def test_weights_of_more_axes():
    log_w = np.random.default_rng(1).normal(size=(3, 4, 2, 25))
    estimate = fastvi.diagnose(log_w, axis=(0, 3))
    assert estimate.ess.shape == (4, 2)
    assert len(estimate) == 4
    np.testing.assert_array_equal(estimate[[3, 1]].ess, estimate.ess[[3, 1]])
    assert "num_data=8" in repr(estimate)


# ---- notebooks -------------------------------------------------------------------------------------------


def test_small_tables_for_notebooks():
    text = fastvi.diagnose(LOG_W * 30)._repr_html_()
    assert text.count("<tr>") == 1 + 5 + 1  # the head, five data, dots
    assert "<td>...</td>" in text
    assert "<strong>WARNING: ess &lt; 10 for 7 of 7</strong>" in text
    assert "<strong>WARNING: pareto_k &gt; 0.376 for 7 of 7</strong>" in text  # 1 - 1 / log10(40)
    quiet = fastvi.diagnose(np.zeros((2, 40)))._repr_html_()
    assert "WARNING" not in quiet
    assert "<td>...</td>" not in quiet


def test_names_are_escaped():
    name = "<b>&\"'"
    found = fastvi.calibrate(NETWORK, X, proposals={name: "prior"}, num_samples=5, num_repeats=2)
    assert html.escape(name) in found._repr_html_()
    assert name not in found._repr_html_()


@pytest.mark.parametrize("name", MADE)
def test_every_result_has_a_table(name):
    result = made(name)
    for each in (result, result[:2], result[[]]):
        text = each._repr_html_()
        assert text.count("<table>") == text.count("</table>") == 1
        assert f"num_data={len(each)}" in text


# ---- without other programs ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MADE)
def test_missing_packages_are_named_with_their_extra(name, monkeypatch):
    result = made(name)
    for package in ("pandas", "xarray"):
        monkeypatch.setitem(sys.modules, package, None)
    for method, package in (("to_dataframe", "pandas"), ("to_xarray", "xarray"), ("to_datatree", "xarray")):
        line = rf"^{package} is needed here: pip install 'fastvi\[{package}\]', or '\.\[{package}\]' in"
        with pytest.raises(ImportError, match=line):
            getattr(result, method)()


def test_the_threshold_of_k():
    """Min(1 - 1 / log10(S), 0.7), as ArviZ has it; they meet at S = 10^(10/3) = 2154.4."""
    from fastvi.weights.estimate import reliable_k

    assert reliable_k(10) == 0.0
    assert reliable_k(100) == 0.5
    assert reliable_k(2154) < 0.7
    assert reliable_k(2155) == 0.7
    assert reliable_k(1) == reliable_k(0) == 0.7
    np.testing.assert_array_equal(reliable_k(np.array([1, 100, 10**9])), [0.7, 0.5, 0.7])


def test_all_results_per_datum_are_here():
    per_datum = {
        name
        for name in fastvi.__all__
        if isinstance(each := getattr(fastvi, name), type) and issubclass(each, results.PerDatum)
    }
    assert {type(made(name)).__name__ for name in MADE} == per_datum
