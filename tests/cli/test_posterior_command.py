"""``fastvi posterior``: what Python's exact_posterior gives, as text, JSON and files."""

from __future__ import annotations

import cases
import numpy as np
import pytest
from command_line import X, assert_facts, columns_of, facts, invoke, one_line

import fastvi

FIELDS = ("log_marginal", "mean", "entropy", "mode", "mode_log_prob")


def fields_of(found, names=FIELDS):
    return {name: getattr(found, name) for name in names}


def test_json_has_the_attributes_of_python(network):
    expected = fastvi.exact_posterior(network, X, top_k=2, pairwise=True)
    found = facts("posterior", "m.npz", "d.npy", "--top-k", 2, "--pairwise", "--draws", 3, "--seed", 5)
    assert_facts(found, fields_of(expected, (*FIELDS, "second_moment", "top_states", "top_log_probs")))
    assert_facts(found, {"draws": expected.sample(3, 5), "num_data": 3})
    assert (found["model"], found["normalized"]) == (repr(network), True)


def test_files_read_back_as_the_same_numbers(network):
    expected = fastvi.exact_posterior(network, X, top_k=1, pairwise=True)
    ask = ["posterior", "m.npz", "d.npy", "--top-k", 1, "--pairwise", "--draws", 2]
    result = invoke(*ask, "--csv", "p.csv", "--out", "p.npz")
    assert result.exit_code == 0, result.output
    assert "written: p.csv\n" in result.stdout
    assert "written: p.npz\n" in result.stdout
    with np.load("p.npz") as arrays:
        assert set(arrays) == {*FIELDS, "top_states", "top_log_probs", "second_moment", "draws"}
        for name in FIELDS:
            np.testing.assert_array_equal(arrays[name], getattr(expected, name))
        np.testing.assert_array_equal(arrays["draws"], expected.sample(2, 0))
    with open("p.csv", encoding="utf-8") as file:
        columns = columns_of(file.read())
    assert columns["index"] == [0, 1, 2]
    assert columns["log_marginal"] == expected.log_marginal.tolist()
    for i in range(3):
        assert columns[f"mean_{i}"] == expected.mean[:, i].tolist()
        assert columns[f"second_moment_{i}_0"] == expected.second_moment[:, i, 0].tolist()
        assert columns[f"top_states_0_{i}"] == expected.top_states[:, 0, i].tolist()
    assert "exists" in one_line(invoke(*ask, "--out", "p.npz"))
    assert invoke(*ask, "--csv", "p.csv", "--out", "p.npz", "--force").exit_code == 0


def test_latents_of_one_datum_are_listed_and_of_many_not(network):
    np.save("one.npy", X[:1])
    shown = invoke("posterior", "m.npz", "one.npy").stdout
    mean = fastvi.exact_posterior(network, X[:1]).mean[0]
    rows = [line.split() for line in shown.partition("latents\n")[2].splitlines()]
    assert rows[0] == ["z", "mean", "mode"]
    assert [row[1] for row in rows[1:]] == [f"{value:.4g}" for value in mean]
    assert "smallest" not in shown
    shown = invoke("posterior", "m.npz", "d.npy").stdout
    assert "latents\n" not in shown
    assert "smallest" in shown


def test_no_data_is_no_error(network):
    np.save("none.npy", X[:0])
    result = invoke("posterior", "m.npz", "none.npy", "--csv", "-", "-q")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "index,log_marginal,mean_0,mean_1,mean_2,entropy,mode_0,mode_1,mode_2,mode_log_prob"
    ]
    found = facts("posterior", "m.npz", "none.npy", "--draws", 1)
    assert (found["num_data"], found["mean"]) == (0, [])


def test_a_machine_has_marginals_without_data(network):
    model = cases.machine(4)
    model.save("machine.npz")
    for normalized, options in ((True, []), (False, ["--unnormalized"])):
        found = facts("posterior", "machine.npz", *options)
        assert_facts(found, fields_of(fastvi.exact_posterior(model, normalized=normalized)))
        assert found["normalized"] is normalized
    assert "log_marginal + log Z" in invoke("posterior", "machine.npz", "--unnormalized").stdout
    np.savetxt("mask.csv", [[1, 1, 0, 1]], fmt="%d", delimiter=",")
    seen = np.array([True, True, False, True])
    found = facts("posterior", "machine.npz", "d.npy", "--observed", "mask.csv")
    assert_facts(found, fields_of(fastvi.exact_posterior(model, X, observed=seen)))


def test_a_restricted_machine(network):
    model = cases.restricted(4, 3)
    model.save("rbm.npz")
    assert_facts(facts("posterior", "rbm.npz", "d.npy"), fields_of(fastvi.exact_posterior(model, X)))
    line = one_line(invoke("posterior", "rbm.npz"))
    assert line.startswith("fastvi: DATA must be given but for a BoltzmannMachine or a JointTable, got Restr")


def test_a_table_has_probabilities_and_an_impossible_row(network):
    model = fastvi.JointTable([[0.5, 0.25], [0.0, 0.0], [0.25, 0.0]])
    model.save("table.npz")
    np.save("rows.npy", np.array([2, 1, 0]))
    expected = fastvi.exact_posterior(model, [2, 1, 0])
    names = ("log_marginal", "probabilities", "entropy", "mode", "mode_log_prob")
    found = facts("posterior", "table.npz", "rows.npy")
    assert_facts(found, fields_of(expected, names))
    assert found["log_marginal"][1] == "-inf"
    assert_facts(facts("posterior", "table.npz"), fields_of(fastvi.exact_posterior(model), names))


@pytest.mark.slow_without_jit
def test_workers_and_checkpoints_give_the_same_values(network):
    alone = invoke("posterior", "m.npz", "d.npy", "--csv", "-", "-q").stdout
    for _ in range(2):
        ask = ["posterior", "m.npz", "d.npy", "--csv", "-", "-q", "--checkpoint", "kept"]
        assert invoke(*ask).stdout == alone
    np.save("other.npy", 1 - X)
    assert "checkpoint" in one_line(invoke("posterior", "m.npz", "other.npy", "--checkpoint", "kept"))
    spread = invoke("posterior", "m.npz", "d.npy", "--csv", "-", "-q", "--executor", "processes:1")
    assert spread.stdout == alone


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--csv", "d.npy"], "--csv must be another file than DATA, got 'd.npy'"),
        (["--out", "m.npz", "--force"], "--out must be another file than MODEL, got 'm.npz'"),
        (["--csv", "same", "--out", "same"], "--out must be another file than --csv, got 'same'"),
        (["--csv", "-", "--out", "-"], "only one file may be - (standard output), got --csv and --out"),
        (["--out", "none/p.npz"], "--out must name a file in a folder that exists, got 'none/p.npz'"),
        (["--unnormalized"], "--unnormalized is for models with a log Z, got SigmoidBeliefNetwork"),
        (["--top-k", "-1"], "-1 is not in the range x>=0"),
        (["--draws", "x"], "'x' is not a valid integer range"),
    ],
)
def test_wrong_use_is_one_line_before_the_work(network, monkeypatch, options, words):
    monkeypatch.setattr("fastvi.exact_posterior", None)
    assert words in one_line(invoke("posterior", "m.npz", "d.npy", *options))


def test_options_of_data_that_are_not_given(network):
    line = one_line(invoke("posterior", "m.npz", "--limit", 2))
    assert "--limit is for DATA, which is not given." in line


@pytest.mark.parametrize(
    "model",
    [cases.linear_gaussian(4, 2), cases.decoder((2, 3, 4), prior=cases.standard_normal(2))],
)
def test_real_latents_have_no_states(network, model):
    model.save("real.npz")
    line = one_line(invoke("posterior", "real.npz", "d.npy"))
    assert "for its states to be enumerated" in line
