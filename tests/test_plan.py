"""Plans: counts that follow from the sizes; how close the seconds come is a benchmark's matter."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from test_log_marginal import random_network

import fastvi
from fastvi.engine import form as forms
from fastvi.exact.plan import duration


def machine(num_units):
    return fastvi.BoltzmannMachine(np.zeros((num_units, num_units)), np.zeros(num_units))


@pytest.fixture
def each_piece_takes_a_second(monkeypatch):
    """By the plan's clock, whatever is measured."""
    clock = itertools.count()
    monkeypatch.setattr("fastvi.exact.plan.time", SimpleNamespace(perf_counter=lambda: float(next(clock))))


@pytest.mark.usefixtures("each_piece_takes_a_second")
@pytest.mark.parametrize("question", ["log_marginal", "exact_posterior", "log_marginal_gradient"])
def test_counts(question):
    found = fastvi.plan(random_network(5, 9), 40, question=question)
    assert (found.question, found.num_data, found.states) == (question, 40, 512)
    assert found.operations >= 2 * 512 * (5 + 40)
    assert found.shards == (2 if question == "log_marginal_gradient" else 1)
    assert found.predicted_seconds == 2.0  # the form, and one wave
    assert found.bytes > 0


@pytest.mark.slow_without_jit
def test_shards_are_waves_times_chunks(monkeypatch):
    monkeypatch.setattr(forms.Form, "wave_tiles", 3)
    monkeypatch.setattr(forms, "CHUNK_DATA", 10)
    model = random_network(5, 13)
    tiles = model._form(np.ones(5, bool), "float64").tiling.num_tiles
    assert fastvi.plan(model, 25).shards == 3 * -(-tiles // 3)


@pytest.mark.slow_without_jit
@pytest.mark.usefixtures("each_piece_takes_a_second")
def test_out_of_reach_is_planned_all_the_same():
    found = fastvi.plan(machine(64), question="log_partition")
    assert found.states == 2**64
    waves = 2**64 / machine(64)._partition_form().wave_states(0)
    assert found.predicted_seconds == 1.0 + waves > 86400
    assert "2^64" in str(found)
    assert found.bytes < 2**30


@pytest.mark.slow_without_jit
def test_what_is_observed_costs_no_states():
    half = np.arange(20) < 8
    assert fastvi.plan(machine(20), 3, observed=half).states == 2**12
    assert fastvi.plan(machine(20), 3).states == 2**20
    rbm = fastvi.RestrictedBoltzmannMachine(np.zeros((6, 4)), np.zeros(6), np.zeros(4))
    assert fastvi.plan(rbm, 3).states == 0  # closed form
    assert fastvi.plan(rbm, 3, observed=np.arange(6) < 2).states == 16


def test_a_deep_network_counts_both_layers():
    upper = random_network(4, 5)
    deep = fastvi.SigmoidBeliefNetwork(np.zeros((3, 4)), np.zeros(3), prior=upper)
    assert fastvi.plan(deep, 7).states == 2**5 + 2**4


def test_the_table_names_everything():
    text = str(fastvi.plan(random_network(5, 9), 40))
    for word in ("question", "data", "states", "operations", "peak memory", "shards", "predicted time"):
        assert word in text
    assert "512 (2^9)" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0015, "1.5 ms"),
        (0.5, "0.5 s"),
        (119, "119 s"),
        (600, "10 minutes"),
        (1e5, "27.8 hours"),
        (1e10, "317 years"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"num_data": -1}, ValueError, "^num_data must be an int >= 0"),
        ({"question": "meaning"}, ValueError, "^question must be one of 'log_marginal'"),
        ({"question": "log_partition"}, TypeError, "^model must have a log Z"),
        ({"observed": [True]}, ValueError, "^observed must have shape"),
        ({"dtype": "float16"}, ValueError, "^dtype must be one of"),
    ],
)
def test_wrong_input(arguments, error, text):
    with pytest.raises(error, match=text):
        fastvi.plan(random_network(5, 4), **arguments)
    with pytest.raises(TypeError, match=r"^model must be one with latents to sum out, got JointTable"):
        fastvi.plan(fastvi.JointTable([[1.0]]))
