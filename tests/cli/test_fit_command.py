"""``fastvi fit`` of each class and objective: the model is that of the same call in Python, bit for bit."""

from __future__ import annotations

import json

import numpy as np
import pytest
from command_line import invoke, one_line

import fastvi
from fastvi.core.options import MODEL_OBJECTIVES
from fastvi.core.registry import find_rules
from fastvi.fitting.starting_models import STARTS, Sizes, starting_model

RNG = np.random.default_rng(5)
BITS = (RNG.random((20, 4)) < 0.4).astype(np.uint8)
REALS = RNG.normal(size=(20, 3)) + 2.0
ORDER = np.random.Generator(np.random.Philox(key=3)).permutation(20)
EPOCHS = ["--epochs", "2", "--seed", "3"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("bits.npy", BITS)
    np.save("reals.npy", REALS)
    return tmp_path


def fitted(data, *options):
    """The JSON object of a fit, and its model."""
    result = invoke("fit", data, "out.npz", *EPOCHS, *options, "--json", "--force")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout), fastvi.load("out.npz")


def same(model, other):
    assert type(model) is type(other)
    for name, value in model.arrays().items():
        assert np.array_equal(value, other.arrays()[name])


def options_of(sizes):
    latents = ["--latents", str(sizes.num_latents)]
    if not sizes.hidden:
        return latents
    return [
        *latents, "--hidden", ",".join(map(str, sizes.hidden)), "--activation", sizes.activation,
        "--prior", sizes.prior, "--likelihood", sizes.likelihood,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "data", "sizes"),
    [
        ("SigmoidBeliefNetwork", "bits", Sizes(2)),
        ("RestrictedBoltzmannMachine", "bits", Sizes(2)),
        ("BoltzmannMachine", "bits", None),
        ("BinarySparseCoding", "reals", Sizes(2)),
        ("LinearGaussian", "reals", Sizes(2)),
        ("NeuralDecoder", "bits", Sizes(2, (3, 2), "relu", "bernoulli", "bernoulli")),
        ("NeuralDecoder", "reals", Sizes(1, (3,), "tanh", "bernoulli", "gaussian")),
    ],
)
@pytest.mark.slow_without_jit
def test_each_class_by_exact_likelihood(name, data, sizes):
    x = {"bits": BITS, "reals": REALS}[data][ORDER]
    facts, model = fitted(
        f"{data}.npy", "--model-class", name, *(options_of(sizes) if sizes else []), "--held-out", "0.2"
    )
    start = starting_model(name, x[4:], sizes or Sizes(), 3)
    wanted = fastvi.fit_model(
        start, x[4:], held_out=x[:4], num_epochs=2, batch_size=100, learning_rate=0.05, seed=3
    )
    same(model, wanted.model)
    assert facts["history"] == wanted.history.tolist()
    assert facts["best_epoch"] == wanted.best_epoch


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("objective", ["elbo", "importance_weighted", "wake_sleep", "reweighted_wake_sleep"])
def test_bounds_with_an_encoder(objective):
    options = ["--latents", "2", "--objective", objective, "--num-samples", "3", "--held-out", "0"]
    facts, model = fitted("bits.npy", *options, "--encoder-hidden", "4", "--save-encoder", "q.npz")
    start = starting_model("SigmoidBeliefNetwork", BITS[ORDER], Sizes(2), 3)
    encoder = fastvi.Encoder.random(4, 4, 2, 3)
    arguments = {"num_epochs": 2, "batch_size": 100, "learning_rate": 0.05, "seed": 3, "num_samples": 3}
    wanted = fastvi.fit_model(start, BITS[ORDER], objective=objective, encoder=encoder, **arguments)
    same(model, wanted.model)
    same(fastvi.load("q.npz"), wanted.encoder)
    assert facts["encoder_written"] == "q.npz"

    encoder.save("begin.npz")
    bound = ["--encoder", "begin.npz", "--score", "bound", "--dtype", "float32"]
    facts, model = fitted("bits.npy", *options, *bound)
    wanted = fastvi.fit_model(
        start, BITS[ORDER], objective=objective, encoder=encoder, score="bound", dtype="float32", **arguments
    )
    same(model, wanted.model)
    assert facts["history"] == wanted.history.tolist()


@pytest.mark.slow_without_jit
def test_em_and_the_exact_elbo():
    facts, model = fitted(
        "reals.npy",
        "--model-class",
        "LinearGaussian",
        "--latents",
        "1",
        "--objective",
        "em",
        "--held-out",
        "0",
    )
    start = starting_model("LinearGaussian", REALS[ORDER], Sizes(1), 3)
    same(model, fastvi.fit_model(start, REALS[ORDER], objective="em", num_epochs=2, seed=3).model)
    assert facts["history"] == sorted(facts["history"])  # EM never falls
    _, model = fitted("bits.npy", "--latents", "2", "--objective", "elbo", "--held-out", "0")
    start = starting_model("SigmoidBeliefNetwork", BITS[ORDER], Sizes(2), 3)
    arguments = {"num_epochs": 2, "batch_size": 100, "learning_rate": 0.05, "seed": 3}
    same(model, fastvi.fit_model(start, BITS[ORDER], objective="elbo", **arguments).model)


@pytest.mark.slow_without_jit
def test_pixels_that_were_not_seen_are_summed_out():
    x = BITS.astype(float)
    x[0, 1] = x[7, 2] = np.nan
    np.save("holes.npy", x)
    facts, model = fitted("holes.npy", "--latents", "2", "--observed", "auto")
    rows, seen = x[ORDER], ~np.isnan(x)[ORDER]
    start = starting_model("SigmoidBeliefNetwork", rows, Sizes(2), 3, seen)
    arguments = {"num_epochs": 2, "batch_size": 100, "learning_rate": 0.05, "seed": 3}
    wanted = fastvi.fit_model(start, rows, observed=seen, **arguments)
    same(model, wanted.model)
    assert facts["history"] == wanted.history.tolist()
    held = one_line(
        invoke("fit", "holes.npy", "new", "--latents", "2", "--observed", "auto", "--held-out", ".1")
    )
    assert "--held-out must be 0 with --observed" in held


def test_wrong_use_is_one_line_before_the_work(folder, monkeypatch):
    def never(*_, **__):
        pytest.fail("the work has begun")

    monkeypatch.setattr("fastvi.fit_model", never)
    fastvi.SigmoidBeliefNetwork(np.eye(4), np.zeros(4), np.zeros(4)).save("m.npz")
    new, decoder = ["--latents", "2"], ["--model-class", "NeuralDecoder"]
    for arguments, said in (
        ([], "exactly one of --start and --latents"),
        (["--start", "m.npz", *new], "exactly one of --start and --latents"),
        (["--start", "m.npz", "--hidden", "3"], "--hidden is for a new model, got --start, too"),
        (["--start", "m.npz", *decoder], "--model-class is for a new model"),
        (["--model-class", "BoltzmannMachine", *new], "--latents must be left out for a BoltzmannMachine"),
        ([*new, "--prior", "normal"], "--prior is for --model-class NeuralDecoder, got SigmoidBeliefNetwork"),
        ([*new, *decoder], "--hidden must come with --model-class NeuralDecoder"),
        ([*new, *decoder, "--hidden", "3,0"], "'--hidden': must be whole numbers of at least 1"),
        (["--latents", "31"], "--latents must be at most 30 where log p(x) is summed, got 31"),
        ([*new, "--objective", "wake_sleep"], "must come with --encoder or --encoder-hidden"),
        ([*new, "--objective", "elbo", "--num-samples", "2"], "must come with --encoder or --encoder-hidden"),
        ([*new, "--encoder-hidden", "3"], "--encoder is for bounds, got --objective exact"),
        ([*new, "--save-encoder", "q.npz"], "--save-encoder must come with --encoder or --encoder-hidden"),
        (["--objective", "elbo", *new, "--encoder", "m.npz"], "--encoder must hold an encoder, got Sigmoid"),
        (
            ["--objective", "elbo", *new, "--encoder", "m.npz", "--encoder-hidden", "3"],
            "at most one of --encoder and --encoder-hidden",
        ),
        ([*new, "--objective", "em"], "--objective must be exact or elbo or"),
        (
            ["--model-class", "LinearGaussian", *new, "--objective", "wake_sleep", "--encoder", "m.npz"],
            "hold an",
        ),
    ):
        assert said in one_line(invoke("fit", "bits.npy", "new.npz", *arguments))
    x = REALS.copy()
    x[6, 1] = np.nan
    np.save("nan.npy", x)
    line = one_line(invoke("fit", "nan.npy", "new.npz", "--model-class", "LinearGaussian", *new))
    assert "DATA must be finite, got nan at index (6, 1)" in line  # of the file, however rows are shuffled
    np.save("wide.npy", np.zeros((5, 31)))
    line = one_line(invoke("fit", "wide.npy", "new.npz", "--model-class", "BoltzmannMachine"))
    assert "DATA must have at most 30 pixels for a BoltzmannMachine" in line
    assert "DATA must have shape (num_data, 4)" in one_line(
        invoke("fit", "reals.npy", "new.npz", "--start", "m.npz")
    )
    assert "DATA must hold 0 and 1 for a new" in one_line(invoke("fit", "reals.npy", "new.npz", *new))
    assert not (folder / "new.npz").exists()


@pytest.mark.parametrize("name", STARTS)
def test_an_objective_is_refused_where_the_model_has_none(name, monkeypatch):
    """Allowed are those that Python takes: what comes from there is no refusal of the objective."""
    monkeypatch.setattr("fastvi.fit_model", lambda *_, **options: (_ for _ in ()).throw(ValueError("taken")))
    sizes = [] if name == "BoltzmannMachine" else ["--latents", "2"]
    sizes += ["--hidden", "3"] if name == "NeuralDecoder" else []
    rules = find_rules(starting_model(name, BITS, Sizes(2, (3,)), 0))
    for objective in MODEL_OBJECTIVES:
        encoder = [] if objective in ("exact", "em") else ["--encoder-hidden", "3"]
        line = one_line(
            invoke(
                "fit", "bits.npy", "new", "--model-class", name, *sizes, "--objective", objective, *encoder
            )
        )
        asked = {"exact": "fit_model", "reweighted_wake_sleep": "fit_model(objective='wake_sleep')"}
        question = asked.get(objective, f"fit_model(objective='{objective}')")
        assert ("taken" in line) == (question in rules.questions)
        assert ("--objective must be" in line) == (question not in rules.questions)
