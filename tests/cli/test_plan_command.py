"""``fastvi plan``: the counts are those of the same call in Python."""

from __future__ import annotations

import json

import numpy as np
import pytest
from command_line import invoke, one_line

import fastvi

COUPLINGS = np.diag(np.ones(7), 1) + np.diag(np.ones(7), -1)  # a chain of 8 units
MODELS = {
    "network": fastvi.SigmoidBeliefNetwork(np.eye(4), np.zeros(4), np.zeros(4)),
    "machine": fastvi.BoltzmannMachine(COUPLINGS, np.zeros(8)),
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, model in MODELS.items():
        model.save(f"{name}.npz")


@pytest.mark.slow_without_jit
@pytest.mark.parametrize(
    ("name", "options", "arguments"),
    [
        ("network", [], {}),
        ("network", ["--dtype", "float32"], {"dtype": "float32"}),
        (
            "network",
            ["--question", "exact_posterior", "--top-k", "3", "--pairwise"],
            {"question": "exact_posterior", "top_k": 3, "pairwise": True},
        ),
        ("machine", ["--unnormalized"], {"normalized": False}),
        (
            "machine",
            ["--question", "log_partition", "--method", "elimination"],
            {"question": "log_partition", "method": "elimination"},
        ),
        (
            "network",
            ["--question", "fit", "--epochs", "3", "--batch-size", "2"],
            {"question": "fit", "num_epochs": 3, "batch_size": 2},
        ),
    ],
)
def test_counts_are_those_of_python(name, options, arguments):
    result = invoke("plan", f"{name}.npz", "--num-data", "5", *options, "--json")
    assert result.exit_code == 0, result.stderr
    facts = json.loads(result.stdout)
    wanted = fastvi.plan(MODELS[name], 5, **arguments)
    for key in ("question", "num_data", "states", "operations", "bytes", "shards"):
        assert facts[key] == getattr(wanted, key)
    assert facts["predicted_seconds"] > 0


def test_wrong_use_is_one_line():
    for options, said in (
        (["--top-k", "2"], "top_k must be left out where question is 'log_marginal', got 2"),
        (["--epochs", "2"], "num_epochs must be left out where question is 'log_marginal', got 2"),
        (["--question", "fit", "--pairwise"], "pairwise must be left out where question is 'fit', got True"),
        (["--question", "fit", "--num-data", "0"], "num_data must be an int >= 1"),
        (["--question", "log_partition"], "model must have a log Z"),
    ):
        assert said in one_line(invoke("plan", "network.npz", *options))
