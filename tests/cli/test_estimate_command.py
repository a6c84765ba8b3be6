"""``fastvi estimate``: importance sampling and annealing, and what is said of k-hat."""

from __future__ import annotations

import cases
import numpy as np
import pytest
from command_line import X, assert_facts, columns_of, facts, invoke, one_line

import fastvi
from fastvi.cli.commands import estimate as command

FIELDS = ("log_marginal", "std_error", "ess", "pareto_k", "max_weight_share", "num_samples")


def fields_of(found):
    return {name: np.broadcast_to(getattr(found, name), len(found)) for name in FIELDS}


@pytest.mark.parametrize("proposal", ["uniform", "prior", "fit", "encoder.npz"])
def test_proposals(network, proposal):
    encoder = cases.encoder(4, 3, 3)
    encoder.save("encoder.npz")
    q = {"fit": lambda: fastvi.fit_posterior(network, X, seed=4).q, "encoder.npz": lambda: encoder}
    expected = fastvi.estimate_log_marginal(
        network, X, proposal=q.get(proposal, lambda: proposal)(), num_samples=40, seed=4
    )
    ask = ["estimate", "m.npz", "d.npy", "--proposal", proposal, "--num-samples", 40, "--seed", 4]
    assert_facts(facts(*ask), fields_of(expected))
    columns = columns_of(invoke(*ask, "--csv", "-", "-q").stdout)
    np.testing.assert_array_equal([columns[name] for name in FIELDS], [*fields_of(expected).values()])


def test_targets(network):
    expected = fastvi.estimate_log_marginal(network, X, num_samples=3000, target_ess=900.0)
    assert len(set(expected.num_samples.tolist())) > 1
    found = facts("estimate", "m.npz", "d.npy", "--num-samples", 3000, "--target-ess", 900)
    assert_facts(found, fields_of(expected))
    expected = fastvi.estimate_log_marginal(network, X, num_samples=3000, target_std_error=0.02)
    found = facts("estimate", "m.npz", "d.npy", "--num-samples", 3000, "--target-std-error", 0.02)
    assert_facts(found, fields_of(expected))


def test_annealing(network):
    expected = fastvi.annealed_importance_sampling(network, X, num_temperatures=5, num_chains=20, seed=1)
    ask = ["estimate", "m.npz", "d.npy", "--num-temperatures", 5, "--num-samples", 20, "--seed", 1]
    assert_facts(facts(*ask), fields_of(expected))


def test_other_models(network):
    machine = cases.machine(4)
    machine.save("machine.npz")
    np.savetxt("mask.csv", [[1, 1, 0, 1]], fmt="%d", delimiter=",")
    seen = np.array([True, True, False, True])
    for normalized, options in ((True, []), (False, ["--unnormalized"])):
        found = facts(
            "estimate", "machine.npz", "d.npy", "--observed", "mask.csv", "--num-samples", 20, *options
        )
        expected = fastvi.estimate_log_marginal(
            machine, X, observed=seen, num_samples=20, normalized=normalized
        )
        assert_facts(found, fields_of(expected))
    decoder, q = cases.decoder((2, 3, 4), prior=cases.standard_normal(2)), cases.normal(2)
    decoder.save("decoder.npz")
    q.save("q.npz")
    found = facts("estimate", "decoder.npz", "d.npy", "--proposal", "q.npz", "--num-samples", 20)
    assert_facts(found, fields_of(fastvi.estimate_log_marginal(decoder, X, proposal=q, num_samples=20)))


def test_a_table_and_no_data(network):
    table = fastvi.JointTable([[0.5, 0.25], [0.0, 0.0], [0.25, 0.0]])
    table.save("table.npz")
    np.save("rows.npy", np.array([0, 1, 2]))
    found = facts("estimate", "table.npz", "rows.npy", "--num-samples", 30)
    assert_facts(found, fields_of(fastvi.estimate_log_marginal(table, [0, 1, 2], num_samples=30)))
    assert found["log_marginal"][1] == "-inf"
    np.save("none.npy", X[:0])
    assert facts("estimate", "m.npz", "none.npy")["log_marginal"] == []
    assert invoke("estimate", "m.npz", "none.npy", "-q").stdout == ""


def estimate_with(k, num_samples):
    """Estimates that differ in their k-hat alone."""
    k = np.array(k)
    same = np.ones(len(k))
    return fastvi.Estimate(-same, same, same, k, same, num_samples)


@pytest.mark.parametrize(
    ("k", "num_samples", "high", "unjudged", "words"),
    [
        ([0.6, 0.9, -np.inf], 1000, 1, 0, "1 of 3 have a k-hat above 0.667: their standard errors cannot"),
        ([0.6, 0.5, 0.1], 1000, 0, 0, "0 of 3 have a k-hat above 0.667"),
        ([0.9, np.inf, np.nan], 1000, 1, 2, "2 of 3 have too few samples, or too few different weights"),
        ([0.3, -0.2, -np.inf], 10, 0, 3, "3 of 3 have too few samples"),
        ([-np.inf, -np.inf, -np.inf], 1, 0, 3, "3 of 3 have too few samples"),
        ([0.6, 0.6, 0.6], np.array([100, 10_000, 100]), 2, 0, "2 of 3 have a k-hat above 0.5 ... 0.7, by"),
    ],
)
def test_what_is_said_of_k_hat(network, monkeypatch, k, num_samples, high, unjudged, words):
    made = estimate_with(k, num_samples)
    monkeypatch.setattr("fastvi.estimate_log_marginal", lambda *_, **__: made)
    shown = " ".join(invoke("estimate", "m.npz", "d.npy").stdout.split())
    assert f"* {words}" in shown
    assert ("k-hat above" in shown) == (unjudged < 3)
    assert ("cannot be relied on" in shown) == (high > 0)
    found = facts("estimate", "m.npz", "d.npy")
    assert (found["num_high_k"], found["num_unjudged_k"]) == (high, unjudged)


def test_the_fewest_samples_that_can_be_judged():
    limits = command.reliable_k(np.array([command._FEW - 1, command._FEW]))
    assert limits[0] <= 0.0 < limits[1]


@pytest.mark.slow_without_jit
def test_workers_give_the_same_values(network):
    ask = ["estimate", "m.npz", "d.npy", "--csv", "-", "-q"]
    assert invoke(*ask, "--executor", "processes:1").stdout == invoke(*ask).stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--proposal", "none.npz"], "none.npz: No such file or directory"),
        (["--proposal", "m.npz"], "--proposal must hold a distribution or an encoder, got Sigm"),
        (["--proposal", "fit", "--observed", "mask.csv"], "--proposal fit is for data that were seen whole"),
        (
            ["--num-temperatures", 5, "--proposal", "prior"],
            "--proposal is for importance sampling",
        ),
        (["--num-temperatures", 5, "--target-ess", 5], "--target-ess is for importance sampling"),
        (["--num-temperatures", 5, "--target-std-error", 5], "--target-std-error is for importance"),
        (["--num-temperatures", 5, "--observed", "mask.csv"], "--observed is for importance sampling"),
        (["--num-temperatures", 5, "--executor", "processes:1"], "--executor is for importance sampling"),
        (["--num-temperatures", 5, "--unnormalized"], "--unnormalized is for importance sampling"),
        (["--unnormalized"], "--unnormalized is for models with a log Z"),
        (["--num-samples", 0], "0 is not in the range x>=1"),
        (["--csv", "d.npy"], "--csv must be another file than DATA"),
        (["--csv", "none/e.csv"], "--csv must name a file in a folder that exists"),
    ],
)
def test_wrong_use_is_one_line_before_the_work(network, monkeypatch, options, words):
    np.savetxt("mask.csv", [[1, 1, 0, 1]], fmt="%d", delimiter=",")
    for name in ("estimate_log_marginal", "annealed_importance_sampling", "fit_posterior"):
        monkeypatch.setattr(f"fastvi.{name}", None)
    assert words in one_line(invoke("estimate", "m.npz", "d.npy", *options))


def test_standard_input_is_read_once(network):
    line = one_line(invoke("estimate", "m.npz", "-", "--proposal", "-"))
    assert line == "fastvi: only one argument may be - (standard input), got DATA and --proposal"
