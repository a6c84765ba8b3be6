"""``fastvi bounds``: intervals as Python gives them, log Z, Ctrl-C."""

from __future__ import annotations

import json

import cases
import numpy as np
import pytest
from command_line import X, assert_facts, columns_of, facts, invoke, one_line

import fastvi
from fastvi.engine.subcubes import search

FIELDS = ("lower", "upper", "gap", "num_bounds", "converged")


def fields_of(found):
    return {name: getattr(found, name) for name in FIELDS}


@pytest.mark.parametrize(
    ("options", "arguments"),
    [([], {}), (["--tolerance", 0.5, "--max-bounds", 1], {"tolerance": 0.5, "max_bounds": 1})],
)
def test_intervals(network, options, arguments):
    expected = fastvi.log_marginal_bounds(network, X, **arguments)
    assert_facts(facts("bounds", "m.npz", "d.npy", *options), fields_of(expected))
    result = invoke("bounds", "m.npz", "d.npy", *options, "--csv", "b.csv")
    with open("b.csv", encoding="utf-8") as file:
        columns = columns_of(file.read())
    assert columns == {"index": [0, 1, 2]} | {n: v.tolist() for n, v in fields_of(expected).items()}
    tolerance = arguments.get("tolerance", 1e-3)
    assert f"3 of 3 are at most {tolerance:g} nats wide" in result.stdout


def test_both_ends_can_be_told_apart(network):
    np.save("one.npy", X[:1])
    shown = invoke("bounds", "m.npz", "one.npy", "--max-bounds", 1).stdout
    rows = dict(line.split() for line in shown.splitlines()[2:5])
    expected = fastvi.log_marginal_bounds(network, X[:1], max_bounds=1)
    for name in ("lower", "upper"):
        assert rows[name] == f"{getattr(expected, name)[0]:.7g}"


def test_the_upper_bound_alone(network):
    found = facts("bounds", "m.npz", "d.npy", "--upper")
    assert_facts(found, {"upper": fastvi.upper_bound(network, X)})
    assert "lower" not in found
    columns = columns_of(invoke("bounds", "m.npz", "d.npy", "--upper", "--csv", "-", "-q").stdout)
    assert columns["upper"] == fastvi.upper_bound(network, X).tolist()


def test_without_data_log_z(network):
    model = cases.machine(5)
    model.save("machine.npz")
    expected = fastvi.log_marginal_bounds(model, normalized=False)
    found = facts("bounds", "machine.npz")
    assert_facts(found, fields_of(expected))
    assert found["lower"][0] <= fastvi.log_partition(model) <= found["upper"][0]
    assert "intervals that hold log Z, nats" in invoke("bounds", "machine.npz").stdout


def test_a_machine_with_data(network):
    model = cases.machine(4)
    model.save("machine.npz")
    np.savetxt("mask.csv", [[1, 1, 0, 1]], fmt="%d", delimiter=",")
    seen = np.array([True, True, False, True])
    for normalized, options in ((True, []), (False, ["--unnormalized"])):
        ask = ["bounds", "machine.npz", "d.npy", "--observed", "mask.csv", *options]
        expected = fastvi.log_marginal_bounds(model, X, observed=seen, normalized=normalized)
        assert_facts(facts(*ask), fields_of(expected))
        assert ("log p(x) + log Z" in invoke(*ask).stdout) == (not normalized)
    restricted = cases.restricted(4, 3)
    restricted.save("rbm.npz")
    found = facts("bounds", "rbm.npz", "d.npy")
    assert_facts(found, fields_of(fastvi.log_marginal_bounds(restricted, X)))


def test_a_table_and_no_data(network):
    table = fastvi.JointTable([[0.5, 0.25], [0.0, 0.0], [0.25, 0.0]])
    table.save("table.npz")
    np.save("rows.npy", np.array([0, 1, 2]))
    found = facts("bounds", "table.npz", "rows.npy")
    assert_facts(found, fields_of(fastvi.log_marginal_bounds(table, [0, 1, 2])))
    assert found["upper"][1] == "-inf"
    np.save("none.npy", X[:0])
    assert facts("bounds", "m.npz", "none.npy")["lower"] == []
    assert invoke("bounds", "m.npz", "none.npy", "-q").stdout == ""


def test_ctrl_c_prints_what_was_found(network, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "_round", stop)
    expected = fastvi.log_marginal_bounds(network, X)
    assert not expected.converged.any()
    result = invoke("bounds", "m.npz", "d.npy", "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert_facts(found, fields_of(expected))
    exact = fastvi.log_marginal(network, X)
    assert (np.array(found["lower"]) <= exact).all()
    assert (exact <= np.array(found["upper"])).all()
    (line,) = result.stderr.splitlines()
    assert line.startswith("fastvi: log_marginal_bounds was interrupted: the intervals are certain")
    assert "0 of 3 are at most 0.001 nats wide" in invoke("bounds", "m.npz", "d.npy").stdout


@pytest.mark.slow_without_jit
def test_workers_and_checkpoints_give_the_same_values(network):
    alone = invoke("bounds", "m.npz", "d.npy", "--csv", "-", "-q").stdout
    for _ in range(2):
        assert invoke("bounds", "m.npz", "d.npy", "--csv", "-", "-q", "--checkpoint", "kept").stdout == alone
    spread = invoke("bounds", "m.npz", "d.npy", "--csv", "-", "-q", "--executor", "processes:1")
    assert spread.stdout == alone


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["m.npz"], "DATA must be given but for a BoltzmannMachine, got SigmoidBeliefNetwork"),
        (["m.npz", "--upper"], "--upper is for DATA, which is not given"),
        (["m.npz", "--unnormalized"], "--unnormalized is for DATA, which is not given"),
        (["m.npz", "d.npy", "--unnormalized"], "--unnormalized is for models with a log Z"),
        (
            ["m.npz", "d.npy", "--upper", "--tolerance", "0.001"],
            "--tolerance is for a search",
        ),
        (["m.npz", "d.npy", "--upper", "--max-bounds", "9"], "--max-bounds is for a search"),
        (["m.npz", "d.npy", "--upper", "--checkpoint", "c"], "--checkpoint is for a search"),
        (["m.npz", "d.npy", "--upper", "--unnormalized"], "--unnormalized is for a search"),
        (["m.npz", "d.npy", "--upper", "--executor", "processes:1"], "--executor is for a search"),
        (["m.npz", "d.npy", "--tolerance", "0"], "0.0 is not in the range x>0"),
        (["m.npz", "d.npy", "--checkpoint", "d.npy"], "--checkpoint must be another file than DATA"),
        (["m.npz", "d.npy", "--csv", "none/b.csv"], "--csv must name a file in a folder that exists"),
    ],
)
def test_wrong_use_is_one_line_before_the_work(network, monkeypatch, arguments, words):
    monkeypatch.setattr("fastvi.log_marginal_bounds", None)
    monkeypatch.setattr("fastvi.upper_bound", None)
    assert words in one_line(invoke("bounds", *arguments))


def test_what_has_no_bounds(network):
    cases.decoder((2, 3, 4), prior=cases.standard_normal(2)).save("decoder.npz")
    cases.machine(4).save("machine.npz")
    assert "can be bounded by tangents" in one_line(invoke("bounds", "decoder.npz", "d.npy"))
    line = one_line(invoke("bounds", "machine.npz", "d.npy", "--upper"))
    assert "model must be normalised, without a log Z" in line
