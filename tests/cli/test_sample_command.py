"""``fastvi sample``: the draws of Python, in each format."""

from __future__ import annotations

import io
import os

import cases
import numpy as np
import pytest
from click.testing import CliRunner
from command_line import facts, invoke, one_line

import fastvi
from fastvi.cli.group import cli


@pytest.fixture
def network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = cases.network(4, 3)
    model.save("m.npz")
    return model


def test_each_format(network):
    drawn = network.sample(5, 3)
    for name in ("s.npz", "s.npy", "s.csv"):
        assert facts("sample", "m.npz", 5, name, "--seed", 3)["written"] == name
    with np.load("s.npz") as arrays:
        assert set(arrays) == {"x", "z"}
        np.testing.assert_array_equal(arrays["x"], drawn.x)
        np.testing.assert_array_equal(arrays["z"], drawn.z)
    np.testing.assert_array_equal(np.load("s.npy"), drawn.x)
    np.testing.assert_array_equal(np.loadtxt("s.csv", delimiter=","), drawn.x)
    assert invoke("sample", "m.npz", 5, "z.csv", "--latents", "--seed", 3).exit_code == 0
    np.testing.assert_array_equal(np.loadtxt("z.csv", delimiter=","), drawn.z)


def test_what_is_drawn_can_be_evaluated(network):
    for name in ("s.npz", "s.npy", "s.csv"):
        assert invoke("sample", "m.npz", 4, name).exit_code == 0
        found = facts("evaluate", "m.npz", name)
        assert found["log_marginal"] == fastvi.log_marginal(network, network.sample(4, 0).x).tolist()


def test_standard_output(network):
    result = invoke("sample", "m.npz", 3, "-", "--latents")
    assert result.stderr == ""
    np.testing.assert_array_equal(
        np.loadtxt(io.StringIO(result.stdout), delimiter=","), network.sample(3, 0).z
    )
    assert invoke("sample", "m.npz", 0, "-").stdout == ""
    found = CliRunner().invoke(cli, ["sample", "m.npz", "3", "-", "--format", "npz"]).stdout_bytes
    with np.load(io.BytesIO(found)) as arrays:
        np.testing.assert_array_equal(arrays["x"], network.sample(3, 0).x)


@pytest.mark.parametrize(
    "model",
    [
        cases.linear_gaussian(4, 2),
        cases.decoder((2, 3, 4), prior=cases.standard_normal(2)),
        cases.machine(4),
        cases.restricted(4, 3),
        fastvi.JointTable([[0.5, 0.125], [0.25, 0.125]]),
    ],
)
def test_text_of_each_model_reads_back_as_the_same_numbers(network, model):
    model.save("other.npz")
    drawn = model.sample(3, 7)
    for part, options in ((drawn.x, []), (drawn.z, ["--latents"])):
        text = invoke("sample", "other.npz", 3, "-", "--seed", 7, *options).stdout
        found = np.loadtxt(io.StringIO(text), delimiter=",", ndmin=2)
        np.testing.assert_array_equal(found, np.asarray(part, float).reshape(3, -1))


def test_files_are_replaced_by_force_alone(network):
    assert invoke("sample", "m.npz", 2, "s.csv").exit_code == 0
    with open("s.csv", encoding="utf-8") as file:
        before = file.read()
    line = one_line(invoke("sample", "m.npz", 3, "s.csv"))
    assert line == "fastvi: OUT must be a new file or come with --force, got 's.csv', which exists"
    with open("s.csv", encoding="utf-8") as file:
        assert file.read() == before
    assert invoke("sample", "m.npz", 3, "s.csv", "--force").exit_code == 0
    assert np.loadtxt("s.csv", delimiter=",").shape == (3, 4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["m.npz", "3", "m.npz", "--force"], "OUT must be another file than MODEL, got 'm.npz'"),
        (["m.npz", "3", "none/s.npy"], "OUT must name a file in a folder that exists, got 'none/s.npy'"),
        (["m.npz", "3", "s.txt"], "OUT must end in .npz or .npy or .csv for draws, got 's.txt'"),
        (["m.npz", "3", "s.npz", "--latents"], "--latents is for .npy and CSV files"),
        (["m.npz", "3", "s", "--format", "png"], "'png' is not one of 'npz', 'npy', 'csv'"),
        (["m.npz", "-1", "s.npy"], "No such option"),
        (["m.npz", "--", "-1", "s.npy"], "-1 is not in the range x>=0"),
        (["m.npz", "many", "s.npy"], "'many' is not a valid integer range"),
        (["m.npz", "3"], "Missing argument 'OUT'"),
    ],
)
def test_wrong_use_is_one_line_before_the_work(network, monkeypatch, arguments, words):
    monkeypatch.setattr("fastvi.load", None)
    assert words in one_line(invoke("sample", *arguments))
    assert os.listdir() == ["m.npz"]
