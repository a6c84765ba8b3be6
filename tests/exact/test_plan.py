"""Plans: counts that follow from the sizes and are those of the run; how close the seconds come is a
benchmark's matter.
"""

from __future__ import annotations

import itertools
from concurrent.futures import Executor, Future
from types import SimpleNamespace

import numpy as np
import pytest
from cases import machine, network

import fastvi
from fastvi.core.registry import rules_of
from fastvi.engine.run import slices
from fastvi.engine.states import form as forms
from fastvi.exact.plan import duration
from fastvi.rules.sigmoid_belief_network import SigmoidBeliefNetworkRules


@pytest.fixture
def each_piece_takes_a_second(monkeypatch):
    """By the plan's clock, whatever is measured."""
    clock = itertools.count()
    counted = SimpleNamespace(perf_counter=lambda: float(next(clock)))
    monkeypatch.setattr("fastvi.exact.rehearsal.time", counted)


@pytest.mark.usefixtures("each_piece_takes_a_second")
@pytest.mark.parametrize("question", ["log_marginal", "exact_posterior", "log_marginal_gradient"])
def test_counts(question):
    found = fastvi.plan(network(5, 9), 40, question=question)
    assert (found.question, found.num_data, found.states) == (question, 40, 512)
    assert found.operations >= 2 * 512 * (5 + 40)
    assert found.shards == (2 if question == "log_marginal_gradient" else 1)
    assert 1.0 <= found.predicted_seconds < 100.0  # a few pieces: the form, each pass over the states
    assert found.bytes > 0


@pytest.mark.slow_without_jit
def test_shards_are_waves_times_chunks(monkeypatch):
    monkeypatch.setattr(forms, "WAVE_TILES", 3)
    monkeypatch.setattr(slices, "CHUNK_DATA", 10)
    model = network(5, 13)
    tiles = rules_of(model).form(np.ones(5, bool), "float64").tiling.num_tiles
    assert fastvi.plan(model, 25).shards == 3 * -(-tiles // 3)


@pytest.mark.slow_without_jit
@pytest.mark.usefixtures("each_piece_takes_a_second")
def test_out_of_reach_is_planned_all_the_same():
    found = fastvi.plan(machine(64), question="log_partition")
    assert found.states == 2**64
    waves = 2**64 / rules_of(machine(64)).partition_form().wave_states(0)
    assert found.predicted_seconds >= waves > 86400
    assert "2^64" in str(found)
    assert found.bytes < 2**30


@pytest.mark.slow_without_jit
def test_what_is_observed_costs_no_states():
    half = np.arange(20) < 8
    assert fastvi.plan(machine(20), 3, observed=half, normalized=False).states == 2**12
    assert fastvi.plan(machine(20), 3, normalized=False).states == 2**20


@pytest.mark.slow_without_jit
def test_log_z_is_part_of_the_plan():
    assert fastvi.plan(machine(12), 3, observed=np.arange(12) < 8).states == 2**4 + 2**12
    rbm = fastvi.RestrictedBoltzmannMachine(np.zeros((6, 4)), np.zeros(6), np.zeros(4))
    closed = fastvi.plan(rbm, 3, normalized=False)
    assert (closed.states, closed.shards) == (0, 0)
    whole = fastvi.plan(rbm, 3)
    assert (whole.states, whole.shards) == (2**4, 1)
    assert whole.predicted_seconds > 0
    assert whole.bytes > closed.bytes > 0
    assert fastvi.plan(rbm, 3, observed=np.arange(6) < 2).states == 2 * 2**4
    out_of_reach = fastvi.RestrictedBoltzmannMachine(np.zeros((64, 64)), np.zeros(64), np.zeros(64))
    assert fastvi.plan(out_of_reach).states == 2**64
    assert fastvi.plan(out_of_reach).predicted_seconds > 86400


class Counting(Executor):
    """Runs each task at once and counts them."""

    def __init__(self):
        self.tasks = 0

    def submit(self, function, /, *args, **kwargs):
        self.tasks += 1
        future = Future()
        future.set_result(function(*args, **kwargs))
        return future


def _decoder():
    rng = np.random.default_rng(0)
    layers = [(rng.normal(size=(3, 4)), np.zeros(3)), (rng.normal(size=(5, 3)), np.zeros(5))]
    return fastvi.NeuralDecoder(layers, "tanh", fastvi.Bernoulli(np.zeros(4)))


_RBM = fastvi.RestrictedBoltzmannMachine(np.full((5, 4), 0.1), np.zeros(5), np.zeros(4))
_MACHINE = fastvi.BoltzmannMachine(0.1 * (1 - np.eye(5)), np.zeros(5))


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("model", "question", "more"),
    [
        (network(5, 13), "log_marginal", {}),
        (network(5, 13), "exact_posterior", {}),
        (network(5, 12), "exact_posterior", {"top_k": 2, "pairwise": True}),
        (network(5, 12), "log_marginal_gradient", {}),
        (_RBM, "log_marginal", {}),
        (_RBM, "exact_posterior", {"normalized": False, "top_k": 1}),
        (_RBM, "log_marginal_gradient", {}),
        (_MACHINE, "log_marginal", {}),
        (_MACHINE, "log_marginal_gradient", {}),
        (_decoder(), "log_marginal_gradient", {}),
    ],
)
def test_shards_are_the_tasks_of_the_run(model, question, more, masked, monkeypatch):
    """Waves, chunks, passes, masks and log Z: as many tasks as an executor then gets."""
    from fastvi.engine.decoder import network_gradient

    monkeypatch.setattr(forms, "WAVE_TILES", 3)
    monkeypatch.setattr(slices, "CHUNK_DATA", 10)
    monkeypatch.setattr(network_gradient, "CHUNK_DATA", 4)
    rng = np.random.default_rng(1)
    x = rng.integers(0, 2, (25, 5)).astype(np.uint8)
    observed = (rng.random((6, 5)) < 0.6)[np.arange(25) % 6] if masked else np.ones(5, bool)
    executor = Counting()
    getattr(fastvi, question)(model, x, observed=observed, executor=executor, **more)
    assert fastvi.plan(model, 25, question=question, observed=observed, **more).shards == executor.tasks


@pytest.mark.slow_without_jit
def test_states_are_those_that_progress_is_told_of():
    """Of one chunk, states are what a run goes through."""
    model, rng = fastvi.BoltzmannMachine(np.zeros((9, 9)), np.zeros(9)), np.random.default_rng(2)
    x, observed, told = np.zeros((40, 9), np.uint8), rng.random((40, 9)) < 0.5, []
    fastvi.log_marginal(model, x, observed=observed, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (fastvi.plan(model, 40, observed=observed).states,) * 2


@pytest.mark.slow_without_jit
def test_of_many_masks_a_few_are_measured(monkeypatch):
    """2,000 masks of 40 sizes: all are counted, and forms of a few are made."""
    model, rng = network(60, 6), np.random.default_rng(3)
    observed = np.unique(rng.random((2000, 60)) < rng.random((2000, 1)), axis=0)
    made = []
    make = SigmoidBeliefNetworkRules.form
    monkeypatch.setattr(SigmoidBeliefNetworkRules, "form", lambda *args: made.append(1) or make(*args))
    found = fastvi.plan(model, len(observed), observed=observed)
    assert (found.states, found.shards) == (len(observed) * 64, len(observed))
    assert len(made) <= 20
    one = fastvi.plan(model, 1, observed=observed[0])
    assert found.bytes > one.bytes


@pytest.mark.slow_without_jit
def test_a_mask_for_each_datum_is_the_sum_of_its_groups():
    """Counts add up over masks; of equal masks there is one group."""
    model = fastvi.BoltzmannMachine(np.zeros((8, 8)), np.zeros(8))
    first, second = np.arange(8) < 3, np.arange(8) < 5
    both = np.stack([first, second, first])
    parts = [fastvi.plan(model, n, observed=m, normalized=False) for n, m in ((2, first), (1, second))]
    found = fastvi.plan(model, 3, observed=both, normalized=False)
    for name in ("states", "operations", "shards"):
        assert getattr(found, name) == sum(getattr(part, name) for part in parts)


def test_of_no_data_no_states_are_summed():
    found = fastvi.plan(network(5, 4), 0)
    assert (found.states, found.shards) == (0, 0)


def test_a_deep_network_counts_both_layers():
    upper = network(4, 5)
    deep = fastvi.SigmoidBeliefNetwork(np.zeros((3, 4)), np.zeros(3), prior=upper)
    assert fastvi.plan(deep, 7).states == 2**5 + 2**4
    # the prior's evidence for the table of states, and its gradient
    assert fastvi.plan(deep, 7, question="log_marginal_gradient").states == 2**5 + 2**5 + 2**4


def test_the_table_names_everything():
    text = str(fastvi.plan(network(5, 9), 40))
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
        ({"observed": np.ones((2, 5), bool)}, ValueError, "^observed must have shape"),
        ({"dtype": "float16"}, ValueError, "^dtype must be one of"),
        ({"top_k": 1}, ValueError, "^top_k must be left out where question is 'log_marginal', got 1"),
        ({"pairwise": True}, ValueError, "^pairwise must be left out where question is 'log_marginal'"),
        ({"normalized": None}, TypeError, "^normalized must be True or False"),
        ({"question": "exact_posterior", "top_k": -1}, ValueError, "^top_k must be an int >= 0"),
    ],
)
def test_wrong_input(arguments, error, text):
    with pytest.raises(error, match=text):
        fastvi.plan(network(5, 4), **arguments)
    with pytest.raises(TypeError, match=r"^model must be one whose latents are bits or real numbers, got J"):
        fastvi.plan(fastvi.JointTable([[1.0]]))


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("vectorized", [False, True])
def test_of_a_log_joint(vectorized):
    """It is run on zeros and ones, as many as it has latents."""
    shapes = []

    def of_arrays(x, z):
        shapes.append(x.shape)
        return np.zeros((len(x), len(z)))

    model = fastvi.LogJoint(of_arrays if vectorized else (lambda x_n, z: x_n[4] * z[0]), 5, vectorized)
    assert fastvi.plan(model, 3).states == 32
    assert all(shape[1] == 5 for shape in shapes)


@pytest.mark.slow_without_jit
@pytest.mark.usefixtures("each_piece_takes_a_second")
@pytest.mark.parametrize("model", [network(5, 6), machine(6)])
def test_a_fit_is_its_gradients_and_its_scores(model):
    found = fastvi.plan(model, 250, question="fit", num_epochs=3, batch_size=100)
    # an epoch has three batches; the data are scored four times. All units are seen: log Z is left
    assert (found.question, found.num_data, found.shards) == ("fit", 250, 3)
    assert found.states == (3 * 3 + 4) * 64
    seen = np.ones(model.num_pixels, bool)
    gradients = [
        fastvi.plan(model, num, question="log_marginal_gradient", observed=seen) for num in (100, 50)
    ]
    score = fastvi.plan(model, 250, observed=seen)
    whole, rest = gradients
    assert found.operations == 3 * (2 * whole.operations + rest.operations) + 4 * score.operations
    assert found.bytes == max(whole.bytes, score.bytes)
    # by a clock that goes on a second a look, whatever is measured
    wanted = 3 * (2 * whole.predicted_seconds + rest.predicted_seconds) + 4 * score.predicted_seconds
    assert found.predicted_seconds == pytest.approx(wanted)
    small = fastvi.plan(model, 7, question="fit", num_epochs=2)
    assert small.states == (2 + 3) * 64
    assert fastvi.plan(model, 7, question="fit", num_epochs=0).states == 64


def test_arguments_of_a_fit_and_of_other_questions():
    model = network(3, 2)
    for wrong in ({"top_k": 1}, {"observed": [1, 1, 0]}, {"dtype": "float32"}, {"method": "enumeration"}):
        (name,) = wrong
        with pytest.raises(ValueError, match=f"^{name} must be left out where question is 'fit', got"):
            fastvi.plan(model, 3, question="fit", **wrong)
    for name in ("num_epochs", "batch_size"):
        with pytest.raises(ValueError, match=f"^{name} must be left out where question is 'log_marginal'"):
            fastvi.plan(model, 3, **{name: 2})
    with pytest.raises(TypeError, match=r"^model must"):
        fastvi.plan(fastvi.LogJoint(lambda x, z: 0.0, 2), 3, question="fit")
