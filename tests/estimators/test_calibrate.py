"""Calibration of estimators: the definitions in a loop, the theory of importance sampling, coverage."""

from __future__ import annotations

import math
from dataclasses import fields

import cases
import numpy as np
import pytest
from cases import linear_gaussian, parameters_of
from naive import bernoulli_log_prob, sbn_log_joint, sbn_log_marginal, states

import fastvi
from fastvi.estimators import calibrate as calibrate_module
from fastvi.estimators.calibration import COLUMNS, entry

ARRAYS = (
    "bias", "std", "rms_error", "relative_variance", "std_error", "coverage", "low_k_share",
    "low_k_coverage", "high_k_share", "pareto_k", "ess",
)  # fmt: skip


def network(num_pixels=6, num_latents=4, num_data=3, seed=0):
    """A model and data of it."""
    model = cases.network(num_pixels, num_latents, seed)
    return model, model.sample(num_data, seed)[1]


def posterior_means(model, x, widest=3.0):
    """The factorised q with the posterior's means, its logits bounded."""
    mean = fastvi.exact_posterior(model, x).mean
    return fastvi.Bernoulli(np.clip(np.log(mean / (1 - mean)), -widest, widest))


def by_definition(estimates, truth, level=0.95):
    """What an entry holds, value by value, from estimates of N data each."""
    out = {name: [] for name in ARRAYS}
    for n, log_p in enumerate(truth):
        error = [float(e.log_marginal[n]) - log_p for e in estimates]
        mean, num = math.fsum(error) / len(error), len(error)
        ends = [tuple(end[n] for end in e.interval(level)) for e in estimates]
        held = [low <= log_p <= high for low, high in ends]
        k = [float(e.pareto_k[n]) for e in estimates]
        low = [h for h, value in zip(held, k, strict=True) if value < 0.5]
        out["bias"].append(mean)
        out["std"].append(math.sqrt(math.fsum((e - mean) ** 2 for e in error) / (num - 1)))
        out["rms_error"].append(math.sqrt(math.fsum(e * e for e in error) / num))
        out["relative_variance"].append(math.fsum((math.exp(e) - 1) ** 2 for e in error) / num)
        out["std_error"].append(math.fsum(float(e.std_error[n]) for e in estimates) / num)
        out["coverage"].append(sum(held) / num)
        out["low_k_share"].append(len(low) / num)
        out["low_k_coverage"].append(sum(low) / len(low) if low else math.nan)
        spent = estimates[0].num_samples
        out["high_k_share"].append(sum(not value <= min(1 - 1 / math.log10(spent), 0.7) for value in k) / num)
        out["pareto_k"].append(sorted(k)[(num - 1) // 2])
        out["ess"].append(math.fsum(float(e.ess[n]) for e in estimates) / num)
    return out


def assert_entry_is(found, wanted):
    for name in ARRAYS:
        np.testing.assert_allclose(getattr(found, name), wanted[name], rtol=1e-9, atol=1e-12, err_msg=name)


# ---- values ----------------------------------------------------------------------------------------------


@pytest.mark.slow_without_jit
def test_entries_are_a_loop_over_the_estimator():
    model, x = network()
    q = posterior_means(model, x)
    truth = [sbn_log_marginal(*parameters_of(model), datum) for datum in x.tolist()]
    seeds = np.random.SeedSequence(5).generate_state(7, np.uint64).tolist()
    found = fastvi.calibrate(
        model, x, proposals={"q": q, "p": "prior"}, num_samples=[60, 20], num_repeats=7, level=0.8, seed=5
    )
    np.testing.assert_allclose(found.truth, truth, rtol=1e-12)
    assert [(e.proposal, e.num_samples) for e in found.entries] == [
        ("q", 60),
        ("q", 20),
        ("p", 60),
        ("p", 20),
    ]
    repeats = math.ceil(7 / 5)  # of one call: the fewest that leave five calls
    for each in found.entries:
        estimates = []
        for seed in seeds:
            proposal = fastvi.Bernoulli(np.tile(q.logits, (repeats, 1))) if each.proposal == "q" else "prior"
            whole = fastvi.estimate_log_marginal(
                model, np.tile(x, (repeats, 1)), proposal=proposal, num_samples=each.num_samples, seed=seed
            )
            estimates += [whole[np.arange(3) + 3 * r] for r in range(repeats)]
        assert_entry_is(each, by_definition(estimates[:7], truth, level=0.8))
        assert each.num_repeats == 7
        assert each.seconds > 0


def test_one_repeat_a_call_is_a_plain_loop(monkeypatch):
    monkeypatch.setattr(calibrate_module, "_WEIGHTS", 1)
    model, x = network()
    q = posterior_means(model, x)
    seen = []

    def own(model, x, seed):
        seen.append(seed)
        return fastvi.estimate_log_marginal(model, x, proposal=q, num_samples=50, seed=seed)

    found = fastvi.calibrate(
        model, x, proposals={"q": q, "own": own, "uniform": "uniform"}, num_samples=50, num_repeats=6, seed=2
    )
    assert len(set(seen)) == 6
    estimates = [own(model, x, seed) for seed in seen[:6]]
    assert_entry_is(found["own"], by_definition(estimates, found.truth))
    assert found["own", 50].num_samples == 50
    for name in ARRAYS:
        assert np.array_equal(getattr(found["q"], name), getattr(found["own"], name), equal_nan=True)


def normal_proposal():
    """A model with real latents, data, and a q of each datum's own means."""
    generator = np.random.default_rng(0)
    model = linear_gaussian(5, 2, generator, 0.5)
    x = model.sample(3, 0)[1]
    covariance = np.linalg.inv(np.eye(2) + model.weights.T @ model.weights / 0.25)
    mean = (x - model.bias) @ model.weights @ covariance / 0.25
    return model, x, fastvi.Normal(mean, np.tile(1.2 * np.sqrt(np.diag(covariance)), (3, 1)))


@pytest.mark.parametrize("kind", ["mixture", "encoder", "normal", "shared", "table"])
def test_repeats_in_one_call_have_the_proposals_of_their_data(kind):
    model, x = network()
    if kind == "normal":
        model, x, q = normal_proposal()
        twice = fastvi.Normal(np.tile(q.mean, (2, 1)), np.tile(q.std, (2, 1)))
    elif kind == "table":
        model, x, q = fastvi.JointTable([[0.1, 0.2], [0.3, 0.1], [0.2, 0.1]]), np.array([0, 2, 1]), "prior"
        twice = q
    elif kind == "encoder":
        q = fastvi.Encoder([(np.random.default_rng(1).normal(size=(4, 6)), np.zeros(4))], "tanh")
        twice = q
    elif kind == "shared":
        twice = q = fastvi.Bernoulli([0.5, -0.5, 0.0, 1.0])
    else:
        means = posterior_means(model, x)
        q = fastvi.Mixture([means, "prior"], [0.9, 0.1])
        twice = fastvi.Mixture([fastvi.Bernoulli(np.tile(means.logits, (2, 1))), "prior"], [0.9, 0.1])
    options = {"num_samples": 40, "seed": 3}
    found = fastvi.calibrate(model, x, proposals={"q": q}, num_repeats=10, **options)  # 5 calls of 2
    estimates = []
    for seed in np.random.SeedSequence(3).generate_state(5, np.uint64).tolist():
        whole = fastvi.estimate_log_marginal(
            model, np.concatenate([x, x]), proposal=twice, num_samples=40, seed=seed
        )
        estimates += [whole[0:3], whole[3:6]]
    assert_entry_is(found["q"], by_definition(estimates, fastvi.log_marginal(model, x)))


@pytest.mark.slow_without_jit
def test_the_caller_s_own_estimator_and_the_truth_it_is_given():
    machine = fastvi.RestrictedBoltzmannMachine(
        [[2.0, 0.0], [0.0, -1.0], [1.0, 1.0]], [0.0, 0.5, 0.0], [0, 0]
    )
    log_z = fastvi.log_partition(machine)

    def annealed(model, x, seed):
        assert x is None
        return fastvi.annealed_importance_sampling(model, num_temperatures=10, num_chains=20, seed=seed)

    found = fastvi.calibrate(machine, proposals={"AIS": annealed}, num_repeats=30, truth=[log_z], seed=1)
    seeds = np.random.SeedSequence(1).generate_state(30, np.uint64).tolist()
    assert_entry_is(found["AIS"], by_definition([annealed(machine, None, s) for s in seeds], [log_z]))
    assert found["AIS"].num_samples == 20
    assert np.array_equal(found.truth, [log_z])


@pytest.mark.slow_without_jit
def test_results_repeat_and_seeds_differ(same_bits):
    model, x = network()
    options = {"proposals": {"prior": "prior"}, "num_samples": 30, "num_repeats": 20}

    def ask(seed=1):
        found = fastvi.calibrate(model, x, seed=seed, **options)["prior"]
        return {name: getattr(found, name) for name in ARRAYS}

    first, other = same_bits(ask), ask(2)
    assert not np.array_equal(first["bias"], other["bias"])
    more = {**options["proposals"], "uniform": "uniform"}
    both = fastvi.calibrate(model, x, seed=1, **{**options, "proposals": more})
    assert np.array_equal(both["prior"].bias, first["bias"])  # another proposal changes no entry


# ---- theory ----------------------------------------------------------------------------------------------


@pytest.mark.slow_without_jit
def test_relative_variance_is_chi_square():
    model, x = network(num_latents=5, seed=4)
    q = posterior_means(model, x, widest=2.0)
    repeats, num_samples = 2000, 50
    found = fastvi.calibrate(model, x, proposals={"q": q}, num_samples=num_samples, num_repeats=repeats)["q"]
    everything = states(5)
    for n, datum in enumerate(x.tolist()):
        log_p = sbn_log_marginal(*parameters_of(model), datum)
        log_q = [bernoulli_log_prob(z, q.logits[n].tolist()) for z in everything]
        log_w = [
            sbn_log_joint(*parameters_of(model), datum, z) - t - log_p
            for z, t in zip(everything, log_q, strict=True)
        ]
        moments = [
            math.fsum(math.exp(t) * (math.exp(w) - 1) ** power for t, w in zip(log_q, log_w, strict=True))
            for power in (2, 3, 4)
        ]
        theory = moments[0] / num_samples
        # variance of the square of a mean of num_samples weights, by its fourth moment
        fourth = 3 * theory**2 + (moments[2] - 3 * moments[0] ** 2) / num_samples**3
        error = math.sqrt((fourth - theory**2) / repeats)
        assert found.relative_variance[n] == pytest.approx(theory, abs=5 * error)
        assert 5 * error < 0.4 * theory  # the check can fail
        # log p_hat is about p_hat / p - 1 - (p_hat / p - 1)^2 / 2; what is left out is of order theory^2
        spread = math.sqrt(theory / repeats)
        assert abs(found.bias[n] + theory / 2) < 5 * spread + 5 * theory**2
        # its variance is theory less the third moment of p_hat / p, and terms of order theory^2
        third = moments[1] / num_samples**2
        assert found.std[n] ** 2 == pytest.approx(theory - third, abs=5 * error + 5 * theory**2)


@pytest.mark.slow_without_jit
def test_intervals_of_95_percent_hold_in_92_to_97_where_k_is_low():
    model, x = network(num_pixels=10, num_latents=8, num_data=10)
    means = posterior_means(model, x)
    proposals = {"means": means, "defensive": fastvi.Mixture([means, "prior"], [0.9, 0.1])}
    found = fastvi.calibrate(model, x, proposals=proposals, num_samples=1000, num_repeats=1000)
    for each in found.entries:
        row = each.row()
        assert row["low_k_share"] > 0.8
        # 10,000 intervals: a standard error of 0.2 points
        assert 0.92 < row["low_k_coverage"] < 0.97
        assert 0.92 < row["coverage"] < 0.97
        assert 0.95 < row["error_ratio"] < 1.05
        # each datum has 1,000 intervals at most: 0.7 points, 4.5 of them
        many = each.low_k_share > 0.5
        assert (np.abs(each.low_k_coverage[many] - 0.95) < 4.5 * 0.0069 + 0.005).all()


# ---- corners ---------------------------------------------------------------------------------------------


def parts(value, std_error, pareto_k=0.0, ess=1.0):
    """Arrays as a call hands them to ``entry``, with intervals of 2 standard errors."""
    value, std_error = (np.array(each, dtype=float) for each in (value, std_error))
    with np.errstate(invalid="ignore"):
        ends = value - 2 * std_error, value + 2 * std_error
    return (value, std_error, *ends, np.full(value.shape, pareto_k), np.full(value.shape, ess))


def test_estimates_of_minus_infinity():
    found = entry("q", 10, np.array([-1.0]), [parts([[-np.inf], [-1.0]], [[np.nan], [0.5]], np.nan)], [1.0])
    assert found.bias == -np.inf
    assert found.rms_error == np.inf
    assert np.isnan(found.std)
    assert found.std_error == np.inf
    assert found.coverage == 0.5
    assert found.relative_variance == 0.5
    assert found.high_k_share == 1.0
    assert found.low_k_share == 0.0
    assert np.isnan(found.low_k_coverage)
    assert found.pareto_k == np.inf
    assert found.efficiency == 0.0
    row = found.row()
    assert row["bias"] == -np.inf
    assert math.isnan(row["low_k_coverage"])


def test_truth_of_minus_infinity():
    """p(x) = 0: weights that are all 0 are right, and nothing else is."""
    truth = np.array([-np.inf, -np.inf])
    found = entry("q", 10, truth, [parts([[-np.inf, -3.0]] * 2, [[np.nan, 0.1]] * 2)], [1.0])
    assert found.bias.tolist() == [0.0, np.inf]
    assert found.coverage.tolist() == [1.0, 0.0]
    assert found.relative_variance.tolist() == [0.0, np.inf]


def test_an_interval_of_no_width_allows_for_rounding():
    truth = np.array([-100.0])
    found = entry("q", 10, truth, [parts([[-100.0 + 1e-12]], [[0.0]], -np.inf)], [1.0])
    assert found.coverage == 1.0
    assert found.low_k_share == 1.0
    assert entry("q", 10, truth, [parts([[-100.0 + 1e-7]], [[0.0]])], [1.0]).coverage == 0.0


def test_an_infinite_standard_error_covers_and_says_so():
    found = entry("q", 1, np.array([-2.0]), [parts([[-9.0]], [[np.inf]])], [1.0])
    assert found.coverage == 1.0
    assert found.std_error == np.inf
    assert np.isnan(found.std)  # of one repeat


def test_equal_weights_have_no_error():
    # the latent changes no pixel, and the prior is q: every weight is p(x)
    model = fastvi.SigmoidBeliefNetwork([[0.0], [0.0]], [0.3, -1.0], [0.7])
    found = fastvi.calibrate(model, [[1, 0]], proposals={"prior": "prior"}, num_repeats=4)["prior"]
    assert found.rms_error < 1e-12
    assert found.coverage == found.low_k_share == found.low_k_coverage == 1.0


def test_no_data():
    model, _ = network()
    found = fastvi.calibrate(model, np.empty((0, 6)), proposals={"prior": "prior"}, num_repeats=2)
    assert all(getattr(found["prior"], name).shape == (0,) for name in ARRAYS)
    assert math.isnan(found.table()["bias"][0])
    assert "num_data=0" in repr(found)


# ---- what is shown ---------------------------------------------------------------------------------------


def test_table_and_text():
    truth = np.array([-1.0, -2.0])
    values = parts([[-1.5, -2.0], [-1.0, -1.0], [-0.5, -2.0]], [[0.3, 0.1], [0.3, 0.1], [0.1, 0.1]], 0.0, 4.0)
    values[4][2] = 0.6  # pareto_k of the last repeat
    found = entry(
        "some q", 1234, truth, [tuple(v[:2] for v in values), tuple(v[2:] for v in values)], [3, 1, 2]
    )
    calibration = fastvi.Calibration((found,), truth, 3, 0.95, 0)
    table = calibration.table()
    assert list(table) == list(COLUMNS)
    assert all(len(values) == 1 for values in table.values())
    row = {name: values[0] for name, values in table.items()}
    assert row["bias"] == pytest.approx((0 + 1 / 3) / 2)
    assert row["rms_error"] == pytest.approx(math.sqrt((0.5 / 3 + 1 / 3) / 2))
    assert row["std"] == pytest.approx((0.5 + math.sqrt(1 / 3)) / 2)
    assert row["std_error"] == pytest.approx((0.7 / 3 + 0.1) / 2)
    assert row["error_ratio"] == pytest.approx(row["std_error"] / row["std"])
    assert row["coverage"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert row["low_k_share"] == pytest.approx(4 / 6)
    assert row["low_k_coverage"] == pytest.approx(3 / 4)
    assert row["high_k_share"] == 0.0
    assert row["ess"] == 4.0
    assert row["seconds"] == 2.0
    assert row["efficiency"] == pytest.approx(1 / (2 * (0.5 / 3 + 1 / 3) / 2))
    np.testing.assert_allclose(found.efficiency, [1 / (2 * 0.5 / 3), 1 / (2 / 3)])
    lines = repr(calibration).split("\n")
    assert lines[0] == "Calibration(num_data=2, num_repeats=3, level=0.95, seed=0)"
    assert len(lines) == 3
    assert len(lines[1]) == len(lines[2])
    assert lines[2].startswith("some q      1,234")
    assert repr(found).startswith("CalibrationEntry(proposal=some q, num_samples=1,234, bias=0.167")
    assert {field.name for field in fields(found)} == {
        "proposal", "num_samples", "num_repeats", "seconds", *ARRAYS,
    }  # fmt: skip
    with pytest.raises(KeyError, match=r"key must name one of \('some q', 1234\), got 'q'"):
        calibration["q"]


def test_progress_counts_repeats():
    model, x = network()
    seen = []
    fastvi.calibrate(
        model, x, proposals={"a": "prior", "b": "uniform"}, num_samples=[5, 6], num_repeats=10,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert seen[-1] == (40, 40)


# ---- wrong input -----------------------------------------------------------------------------------------

WRONG = [
    ({"proposals": "prior"}, TypeError, "proposals must be a mapping of names to proposals .* got 'prior'"),
    ({"proposals": {}}, ValueError, "proposals must be a mapping .* got none"),
    ({"proposals": {3: "prior"}}, TypeError, "proposals must be a mapping .* got the name 3"),
    ({"proposals": {"a": "posterior"}}, ValueError, r"proposals\['a'\] must be one of 'uniform', 'prior'"),
    ({"proposals": {"a": 7}}, TypeError, r"proposals\['a'\] must be 'uniform', 'prior', a Bernoulli.* got 7"),
    (
        {"proposals": {"a": fastvi.Bernoulli(np.zeros((2, 4)))}},
        ValueError,
        r"proposals\['a'\] must have parameters for 3 data, those of x, got 2",
    ),
    ({"proposals": {"a": lambda m, x, s: 3}}, TypeError, r"proposals\['a'\] must return an Estimate, got 3"),
    ({"num_samples": 0}, ValueError, "num_samples must be an int >= 1, got 0"),
    ({"num_samples": "many"}, TypeError, "num_samples must be an int >= 1, got 'many'"),
    ({"num_samples": [10, 0]}, ValueError, r"num_samples\[1\] must be an int >= 1, got 0"),
    ({"num_samples": [10, 10]}, ValueError, "num_samples must be an int or ints that differ"),
    ({"num_samples": b"ab"}, TypeError, r"num_samples must be an int >= 1, got b'ab' \(bytes\)"),
    ({"num_samples": bytearray(b"ab")}, TypeError, "num_samples must be an int >= 1, got bytearray"),
    ({"num_samples": memoryview(b"ab")}, TypeError, "num_samples must be an int >= 1, got <memory"),
    ({"num_samples": 2**63}, ValueError, r"num_samples must be an int <= 2\*\*40, got 9223372036854775808"),
    ({"num_samples": [5, 2**63]}, ValueError, r"num_samples\[1\] must be an int <= 2\*\*40, got 92233"),
    ({"num_samples": np.array([[5]])}, TypeError, r"num_samples\[0\] must be an int >= 1, got an array"),
    ({"num_repeats": 2**63}, ValueError, r"num_repeats must be an int <= 2\*\*40, got 92233"),
    ({"model": 3}, TypeError, "model must be one with latents to sum out or a JointTable, got 3"),
    ({"model": 3, "truth": [0.0] * 3}, TypeError, "model must be one with latents to sum out or a Joint"),
    ({"model": fastvi.Uniform(4)}, TypeError, "model must be one with latents to sum out or a JointTable"),
    ({"truth": [0.0, np.inf, 0.0]}, ValueError, "truth must be finite or -inf, got inf at index 1"),
    ({"num_samples": []}, ValueError, "num_samples must be an int or ints that differ"),
    ({"num_repeats": 0}, ValueError, "num_repeats must be an int >= 1, got 0"),
    ({"level": 1.0}, ValueError, "level must satisfy 0 < level < 1, got 1.0"),
    ({"seed": -1}, ValueError, "seed must be an int with 0 <= seed"),
    ({"truth": [0.0]}, ValueError, r"truth must have shape \(3,\), one for each datum, got shape \(1,\)"),
    ({"truth": [0.0, np.nan, 0.0]}, ValueError, "truth must not contain NaN"),
    ({"progress": 1}, TypeError, "progress must be True or False"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "kind", "text"), WRONG)
def test_wrong_input(change, kind, text):
    model, x = network()
    options = {"model": model, "proposals": {"a": "prior"}, "num_samples": 10, "num_repeats": 2, **change}
    with pytest.raises(kind, match=text) as caught:
        fastvi.calibrate(x=x, **options)
    assert "\n" not in str(caught.value)


def test_counts_of_numpy():
    model, x = network()
    for given, want in ((np.array(5), [5]), (np.array([5, 7]), [5, 7]), (range(2, 4), [2, 3])):
        found = fastvi.calibrate(model, x, proposals={"a": "prior"}, num_samples=given, num_repeats=2)
        assert [each.num_samples for each in found.entries] == want


def test_any_model_where_the_estimators_are_the_callers():
    one = fastvi.Estimate(*(np.zeros(1) for _ in range(5)), 7)
    found = fastvi.calibrate(
        "mine", proposals={"own": lambda model, x, seed: one}, truth=[0.0], num_repeats=2
    )
    assert found["own"].num_samples == 7


def test_an_estimator_of_other_data_is_refused():
    model, x = network()

    def first(model, x, seed):
        return fastvi.estimate_log_marginal(model, x[:1], proposal="prior", seed=seed)

    with pytest.raises(ValueError, match=r"must return an Estimate of 3 data, got shape \(1,\)"):
        fastvi.calibrate(model, x, proposals={"first": first}, num_repeats=1)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("vectorized", [False, True])
def test_a_log_joint_of_several_numbers_a_datum(vectorized):
    """Its data were checked twice, the second time with an axis too many."""

    def scalar(x_n, z):
        return x_n[0] * z[0] - x_n[1] * z[1]

    def of_arrays(x, z):
        return np.einsum("ni,si->ns", x * [1.0, -1.0], z)

    model = fastvi.LogJoint(of_arrays if vectorized else scalar, 2, vectorized)
    x = np.array([[0.5, 1.0], [-1.0, 0.2], [0.0, 0.0]])
    found = fastvi.calibrate(model, x, proposals={"uniform": "uniform"}, num_samples=[8], num_repeats=3)
    truth = np.logaddexp(0, x[:, 0]) + np.logaddexp(0, -x[:, 1])  # each latent is summed on its own
    np.testing.assert_allclose(found.truth, truth, rtol=0, atol=1e-14)
