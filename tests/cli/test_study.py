"""Studies of one's own model, and runs that were interrupted."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import cases
import numpy as np
import pytest
from command_line import X, invoke, one_line

import fastvi
from fastvi.cli.commands import study as study_command
from fastvi.studies.common import digits
from fastvi.studies.common.result import StudyResult


def made_up(name):
    """A module of a study that takes no time."""

    def run(settings, progress, *, own=None, kept=None):
        seen.append((name, own, kept))
        if name in failing:
            raise failing[name]
        progress("looking", 1, 2)
        table = {"value": [1.5]}
        return StudyResult(name, {"values": table}, (), lambda _: {}, {"values": table}, {}, {}, {})

    seen, failing = [], {}
    return SimpleNamespace(run=run, refusal=lambda own: None, seen=seen, failing=failing)


@pytest.fixture
def made_up_studies(monkeypatch):
    """Studies by name that take no time; what else is imported stays."""
    studies = {name: made_up(name) for name in ("model", *study_command._STUDIES)}
    monkeypatch.setattr(study_command, "module_of", studies.__getitem__)
    return studies


@pytest.fixture
def ask(tmp_path):
    """Arguments of a study of one's own model and data."""
    cases.network(4, 3).save(tmp_path / "m.npz")
    np.save(tmp_path / "d.npy", X.reshape(3, 2, 2) * 9)
    own = ["--model", tmp_path / "m.npz", "--data", tmp_path / "d.npy", "--threshold", 5]
    return ["study", "--out", tmp_path / "out", *own]


# ---- models and data of one's own --------------------------------------------------------------------------


def test_ones_own_model_and_data_go_to_the_studies_and_into_the_results(tmp_path, ask, made_up_studies):
    made_up_studies["sampling"].refusal = lambda own: "it cannot"
    result = invoke(*ask, "--limit", 2)
    assert result.exit_code == 0, result.output
    assert "not sampling: it cannot\n" in result.stdout
    assert not made_up_studies["sampling"].seen
    assert not made_up_studies["model"].seen
    for name in study_command._STUDIES:
        if name != "sampling":
            (_, own, _), *_ = made_up_studies[name].seen
            np.testing.assert_array_equal(own.x, X[:2])
            assert own.image_shape == (2, 2)
            assert own.title == "d.npy"
            np.testing.assert_array_equal(own.model.weights, cases.network(4, 3).weights)
    source = json.loads((tmp_path / "out" / "bounds" / "result.json").read_text())["source"]
    assert source["data_file"] == str(tmp_path / "d.npy")
    assert (source["threshold"], source["limit"]) == (5.0, 2)
    assert len(source["data_file_sha256"]) == 64


def test_a_study_that_was_named_and_refuses_is_one_line_before_the_work(tmp_path, ask, made_up_studies):
    made_up_studies["sampling"].refusal = lambda own: "it cannot"
    line = one_line(invoke(*ask, "bounds", "sampling"))
    assert line == "fastvi: sampling cannot look at --model and --data: it cannot"
    assert not made_up_studies["bounds"].seen
    assert not (tmp_path / "out").exists()
    for study in made_up_studies.values():
        study.refusal = lambda own: "it cannot"
    result = invoke(*ask)
    assert result.exit_code == 2
    assert result.stderr == "fastvi: no study can look at --model and --data: it cannot\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "m.npz"], "--model and --data come together"),
        (["--data", "d.npy"], "--model and --data come together"),
        (["--limit", "1"], "--key, --threshold and --limit say how --data is read, got no --data"),
        (["--model", "-", "--data", "-"], "only one argument may be - (standard input)"),
        (["--model", "m.npz", "--data", "d.npy", "--beyond-images", "i"], "--beyond-images is for"),
        (["--model", "m.npz", "--data", "grey.npy"], "x must contain only 0 and 1, got 9"),
        (["--model", "m.npz", "--data", "none.npy"], "--data must hold at least 1 datum"),
        (["--model", "q.npz", "--data", "d.npy"], "--model must hold a model"),
    ],
)
def test_wrong_models_and_data_of_ones_own_are_one_line(
    tmp_path, monkeypatch, made_up_studies, options, words
):
    monkeypatch.chdir(tmp_path)
    cases.network(4, 3).save("m.npz")
    fastvi.Uniform(3).save("q.npz")
    for name, array in (("d", X), ("grey", X * 9), ("none", X[:0])):
        np.save(f"{name}.npy", array)
    assert words in one_line(invoke("study", *options))
    assert not any(study.seen for study in made_up_studies.values())
    assert not os.path.exists("results")


# ---- unfinished work ---------------------------------------------------------------------------------------


def test_parts_that_are_finished_are_not_done_again(tmp_path, ask, made_up_studies):
    made_up_studies["bounds"].failing["bounds"] = RuntimeError("a defect")
    result = invoke(*ask, "table", "bounds")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "to go on: the same command",
        "fastvi: study failed: RuntimeError: a defect",
    ]
    made_up_studies["bounds"].failing.clear()
    result = invoke(*ask, "bounds", "table")
    assert result.exit_code == 0, result.output
    assert "table: finished before\n" in result.stdout
    assert [len(made_up_studies[name].seen) for name in ("table", "bounds")] == [1, 2]
    assert not (tmp_path / "out" / ".unfinished").exists()
    assert invoke(*ask, "table", "bounds").exit_code == 0  # a run that is whole begins anew
    assert [len(made_up_studies[name].seen) for name in ("table", "bounds")] == [2, 3]


def test_a_part_whose_files_are_gone_is_done_again(tmp_path, ask, made_up_studies):
    made_up_studies["bounds"].failing["bounds"] = KeyboardInterrupt()
    assert invoke(*ask, "table", "bounds").exit_code == 130
    os.unlink(tmp_path / "out" / "table" / "result.json")
    made_up_studies["bounds"].failing.clear()
    assert "finished before" not in invoke(*ask, "table", "bounds").output


def test_other_data_in_a_file_of_the_same_name_are_another_command(tmp_path, ask, made_up_studies):
    made_up_studies["bounds"].failing["bounds"] = KeyboardInterrupt()
    assert invoke(*ask, "table", "bounds").exit_code == 130
    np.save(tmp_path / "d.npy", 9 - X.reshape(3, 2, 2) * 9)
    line = one_line(invoke(*ask, "table", "bounds"))
    assert "no unfinished work of another command, got" in line
    assert "of the studies table, bounds: give that command again" in line
    made_up_studies["bounds"].failing.clear()
    result = invoke(*ask, "table", "bounds", "--force")
    assert result.exit_code == 0
    assert "finished before" not in result.output


def test_where_nothing_was_finished_nothing_is_left(tmp_path, ask, made_up_studies):
    made_up_studies["table"].failing["table"] = KeyboardInterrupt()
    result = invoke(*ask, "table")
    assert result.exit_code == 130
    assert result.stderr.strip() == "fastvi: interrupted"
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"identity": {}, "finished": 1}'])
def test_what_stands_in_the_way_is_refused_and_kept(tmp_path, ask, made_up_studies, content):
    """A file, or a folder with a list that is damaged and something else."""
    unfinished = tmp_path / "out" / ".unfinished"
    if content is None:
        unfinished.parent.mkdir()
        unfinished.write_text("mine")
        assert "--out must hold no .unfinished that is not a folder" in one_line(invoke(*ask, "table"))
        assert unfinished.read_text() == "mine"
        return
    unfinished.mkdir(parents=True)
    (unfinished / "run.json").write_text(content)
    (unfinished / "fit.npz").write_text("mine")
    for force in ((), ("--force",)):  # nobody's to discard
        assert "--out must hold no .unfinished but of a study" in one_line(invoke(*ask, "table", *force))
    assert (unfinished / "fit.npz").read_text() == "mine"
    assert not made_up_studies["table"].seen


def results(folder):
    """All files that a run leaves but the page, which tells when it was made."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if path.suffix != ".html"}


def fits(study):
    """Let a study fit a network, and keep its parameters."""

    def run(settings, progress, *, own=None, kept=None):
        model = digits.fitted(settings, 4, progress, kept).model
        return replace(study(settings, progress, own=own, kept=kept), models={"model": model})

    return run


@pytest.mark.slow_without_jit
def test_an_interrupted_run_goes_on_and_ends_with_the_same_bytes(tmp_path, monkeypatch, made_up_studies):
    """Interrupted in the fit of the first study, and again in the second study."""
    table, bounds = made_up_studies["table"], made_up_studies["bounds"]
    table.run = fits(table.run)
    ask = ["study", "table", "bounds", "--quick", "--out"]
    out, whole = tmp_path / "out", tmp_path / "whole"
    monkeypatch.setattr(digits, "_FITTED", {})  # each process fits anew
    assert invoke(*ask, whole).exit_code == 0

    # a second between any two looks at the clock: each epoch is reported
    monkeypatch.setattr("fastvi.engine.run.progress.time", SimpleNamespace(monotonic=count().__next__))
    fit_model, epochs, stops = fastvi.fit_model, [], [True]

    def interrupted(*rest, progress, **options):
        def tell(done, total):
            epochs.append((done, total))
            progress(done, total)
            if stops and 2 <= done < total:
                raise KeyboardInterrupt

        return fit_model(*rest, progress=tell, **options)

    monkeypatch.setattr(fastvi, "fit_model", interrupted)
    monkeypatch.setattr(digits, "_FITTED", {})
    result = invoke(*ask, out)
    assert result.exit_code == 130
    assert result.stderr.split("\n\n") == ["to go on: the same command", "fastvi: interrupted\n"]
    assert sorted(path.name for path in (out / ".unfinished").iterdir()) == ["fit_4_latents.npz", "run.json"]

    stops.clear()
    epochs.clear()
    bounds.failing["bounds"] = KeyboardInterrupt()
    monkeypatch.setattr(digits, "_FITTED", {})
    assert invoke(*ask, out).exit_code == 130
    assert epochs[0][0] >= 2  # not from the beginning
    assert epochs[-1][0] == epochs[-1][1]

    for other in (["study", "bounds", "--quick"], [*ask[:-1], "--seed", 1], ["study"]):
        line = one_line(invoke(*other, "--out", out))
        assert "give that command again to go on, or --force to discard it" in line

    bounds.failing.clear()
    result = invoke(*ask, out, "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)["studies"]
    assert list(facts) == ["table", "bounds"]
    assert all(os.path.exists(file) for study in facts.values() for file in study["files"])
    assert results(out) == results(whole)
