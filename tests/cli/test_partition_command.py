"""``fastvi partition``: log Z by each way, and estimated."""

from __future__ import annotations

import cases
import pytest
from command_line import facts, invoke, one_line

import fastvi

UAI = "MARKOV\n2\n2 2\n2\n1 0\n2 0 1\n\n2\n 1.0 3.0\n\n4\n 2.0 1.0\n 1.0 4.0\n"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = cases.machine(5)
    model.save("machine.npz")
    return model


@pytest.mark.parametrize("method", ["auto", "enumeration", "independent_set", "elimination"])
def test_each_way(machine, method):
    expected = fastvi.log_partition(machine, method=method)
    found = facts("partition", "machine.npz", "--method", method)
    assert (found["log_partition"], found["model"]) == (expected, repr(machine))
    shown = invoke("partition", "machine.npz", "--method", method, "--quiet").stdout
    assert shown == f"log Z, nats  {expected!r}\n"


def test_a_restricted_machine_in_float32(machine):
    model = cases.restricted(4, 3)
    model.save("rbm.npz")
    found = facts("partition", "rbm.npz", "--dtype", "float32")
    assert found["log_partition"] == fastvi.log_partition(model, dtype="float32")


def test_a_file_of_another_program(machine, tmp_path):
    """Factors of a Markov network: 1 or 3 for the first bit, 2, 1, 1, 4 for both: Z = 2 + 1 + 3 + 12."""
    (tmp_path / "pair.UAI").write_text(UAI)
    found = facts("partition", "pair.UAI")
    assert found["log_partition"] == fastvi.log_partition(fastvi.BoltzmannMachine.from_uai("pair.UAI"))
    assert found["log_partition"] == pytest.approx(2.8903717578961645, abs=1e-14)  # log 18
    (tmp_path / "wrong.uai").write_text("no network")
    assert "wrong.uai" in one_line(invoke("partition", "wrong.uai"))


def test_an_estimate(machine):
    expected = fastvi.annealed_importance_sampling(machine, num_temperatures=6, num_chains=30, seed=2)
    ask = ["partition", "machine.npz", "--num-temperatures", 6, "--num-chains", 30, "--seed", 2]
    found = facts(*ask)
    assert found["log_partition"] == expected.log_marginal[0]
    for name in ("std_error", "ess", "pareto_k"):
        assert float(found[name]) == getattr(expected, name)[0]
    assert [found["low"], found["high"]] == [end[0] for end in expected.interval()]
    assert "log Z, estimated, nats" in invoke(*ask).stdout


@pytest.mark.slow_without_jit
def test_workers_and_checkpoints_give_the_same_value(machine):
    alone = facts("partition", "machine.npz")
    for options in (["--executor", "processes:1"], *[["--checkpoint", "kept"]] * 2):
        assert facts("partition", "machine.npz", *options) == alone


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--num-chains", 3], "--num-chains comes with --num-temperatures, which is not given"),
        (["--num-temperatures", 3, "--method", "elimination"], "--method is for exact log Z"),
        (["--num-temperatures", 3, "--executor", "processes:1"], "--executor is for exact log Z"),
        (["--num-temperatures", 3, "--checkpoint", "kept"], "--checkpoint is for exact log Z"),
        (["--method", "sum"], "'sum' is not one of 'auto'"),
        (["--checkpoint", "machine.npz"], "--checkpoint must be another file than MODEL"),
    ],
)
def test_wrong_use_is_one_line_before_the_work(machine, monkeypatch, options, words):
    monkeypatch.setattr("fastvi.load", None)
    assert words in one_line(invoke("partition", "machine.npz", *options))


def test_models_without_log_z_and_ways_that_they_have_not(machine):
    cases.network(4, 3).save("m.npz")
    cases.restricted(4, 3).save("rbm.npz")
    assert "MODEL must have a log Z (a Boltzmann machine, rest" in one_line(invoke("partition", "m.npz"))
    line = one_line(invoke("partition", "rbm.npz", "--method", "elimination"))
    assert "method must be 'auto' or 'enumeration' for a RestrictedBoltzmannMachine" in line
