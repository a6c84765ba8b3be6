"""Learning: steps against Adam in pure Python, exact gradients, checkpoints, early stopping, Ctrl-C."""

from __future__ import annotations

import copy
import hashlib
import logging
import math
import pickle

import numpy as np
import pytest
from cases import bits, decoder, linear_gaussian, network, restricted, sparse_coding
from interpreted import few_without_jit

import fastvi
from fastvi.fitting import training
from fastvi.fitting.adam import Adam, cosine
from fastvi.fitting.free_parameters import FreeParameters
from fastvi.fitting.training import GradientTrainer

RNG = np.random.default_rng(0)
TRUTH = network(8, 3, RNG, 2.0, bias_scale=1.0)
START = network(8, 3, RNG, 0.1, bias_scale=0.0, prior_scale=0.0)
X = TRUTH.sample(120, 1)[1]
HELD_OUT = TRUTH.sample(60, 2)[1]


MODELS = {
    "network": START,
    "deep": network(6, 8, RNG, prior=START),
    "sparse coding": sparse_coding(5, 3, RNG, 0.5),
    "restricted": restricted(6, 3, RNG),
    "linear": linear_gaussian(5, 2, RNG, 2.0),
    "decoder": decoder((3, 4, 6), noise_std=1.5, seed=RNG),
}


def naive_adam(theta, gradients, rates):
    mean = square = 0.0
    for step, (g, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        mean = 0.9 * mean + 0.1 * g
        square = 0.999 * square + 0.001 * g * g
        theta += rate * (mean / (1 - 0.9**step)) / (math.sqrt(square / (1 - 0.999**step)) + 1e-8)
    return theta


def test_adam_is_the_published_one():
    gradients, rates = RNG.normal(size=(20, 3)), RNG.uniform(0.01, 0.1, 20)
    values = {"theta": np.array([0.3, -2.0, 5.0])}
    adam = Adam(values)
    for g, rate in zip(gradients, rates, strict=True):
        adam.ascend({"theta": g}, rate)
    for i, start in enumerate((0.3, -2.0, 5.0)):
        expected = naive_adam(start, gradients[:, i].tolist(), rates.tolist())
        assert values["theta"][i] == pytest.approx(expected, rel=1e-12)
    assert adam.num_steps == 20
    assert cosine(0.2, 0, 10) == 0.2
    assert cosine(0.2, 5, 10) == pytest.approx(0.1, rel=1e-15)
    assert cosine(0.2, 10, 10) == pytest.approx(0.0, abs=1e-16)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("name", MODELS)
def test_the_free_gradient_is_that_of_the_free_parameters(name):
    """Central differences with two steps: their errors are as 4 to 1, so that the difference is above the
    smaller one; and rounding, divided by the step.
    """
    model = MODELS[name]
    x = (
        RNG.normal(size=(7, model.num_pixels))
        if name in ("sparse coding", "linear", "decoder")
        else RNG.integers(0, 2, (7, model.num_pixels))
    )
    parameters = FreeParameters(model)
    gradient = parameters.free(fastvi.log_marginal_gradient(model, x))
    assert set(gradient) == set(parameters.values)
    for key, value in parameters.values.items():
        flat = value.reshape(-1)
        for at in {0, flat.size - 1}:
            before, slopes = flat[at], []
            for step in (1e-4, 2e-4):
                ends = []
                for sign in (1, -1):
                    flat[at] = before + sign * step
                    ends.append(fastvi.log_marginal(parameters.model(), x).sum())
                slopes.append((ends[0] - ends[1]) / (2 * step))
            flat[at] = before
            # each log p(x) is off by some hundred roundings of its exponents
            rounding = 256 * 2.0**-53 * np.abs(fastvi.log_marginal(model, x)).sum() / 1e-4
            allowed = abs(slopes[0] - slopes[1]) + rounding
            assert abs(np.ravel(gradient[key])[at] - slopes[0]) <= allowed, (key, at)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("num_units", [5, 15])  # 15: with outer states
def test_couplings_stay_symmetric_and_excluded(num_units):
    rng = np.random.default_rng(num_units)
    couplings = np.triu(rng.normal(size=(num_units, num_units)), 1)
    couplings[0, 1] = -np.inf
    machine = fastvi.BoltzmannMachine(couplings + couplings.T, rng.normal(size=num_units))
    x = machine.sample(50, 1)[1]
    fit = fastvi.fit_model(machine, x, num_epochs=3, batch_size=20, learning_rate=0.05)
    assert np.array_equal(fit.model.couplings, fit.model.couplings.T)
    assert np.isneginf(fit.model.couplings).sum() == 2
    assert fit.history[-1] > fit.history[0]


@pytest.mark.slow_without_jit
def test_learning_finds_what_made_the_data():
    fit = fastvi.fit_model(START, X, num_epochs=30, batch_size=20, learning_rate=0.1)
    assert fastvi.log_marginal(fit.model, X).mean() > fastvi.log_marginal(TRUTH, X).mean()
    assert fit.history.shape == (31,)
    assert fit.objective == fit.history.max()
    assert fit.objective == fastvi.log_marginal(fit.model, X).mean()
    assert fit.history[0] == fastvi.log_marginal(START, X).mean()
    assert not fit.converged
    assert not fit.interrupted
    assert "objective=" in repr(fit)
    assert f"best_epoch={fit.best_epoch} of 30" in repr(fit)


def test_the_first_step_goes_up_the_mean_gradient_of_its_batch():
    fit = fastvi.fit_model(START, X, num_epochs=1, batch_size=len(X), learning_rate=1e-3)
    gradient = fastvi.log_marginal_gradient(START, X)
    # Adam's first step is the rate times g / (|g| + 1e-8), here within 1e-8 / 1e-3 of its sign
    for name in ("weights", "bias", "prior_logits"):
        moved = getattr(fit.model, name) - getattr(START, name)
        large = np.abs(gradient[name]) / len(X) > 1e-3
        assert large.any()
        assert np.allclose(moved[large], 1e-3 * np.sign(gradient[name][large]), rtol=1.01e-5)


@pytest.mark.slow_without_jit
def test_same_bits_for_any_number_of_threads(same_bits):
    found = same_bits(lambda: fastvi.fit_model(START, X, num_epochs=2, batch_size=33, seed=5))
    assert bits(fastvi.fit_model(START, X, num_epochs=2, batch_size=33, seed=6)) != bits(found)


def test_early_stopping_keeps_the_best_on_held_out_data():
    few = X[:15]
    options = {"held_out": HELD_OUT, "num_epochs": 200, "batch_size": 15, "learning_rate": 0.3}
    fit = fastvi.fit_model(START, few, patience=4, **options)
    assert fit.history.size < 201
    assert fit.best_epoch == np.argmax(fit.history)
    assert fit.history.size - 1 == fit.best_epoch + 4
    assert fastvi.log_marginal(fit.model, HELD_OUT).mean() == fit.objective


class Stop(BaseException):
    """Ends the process, as far as training knows."""


@pytest.mark.parametrize("after", [1, 3])
@pytest.mark.usefixtures("each_report")
def test_a_checkpoint_is_gone_on_from(tmp_path, monkeypatch, after):
    monkeypatch.setattr("fastvi.engine.run.checkpoints.SAVE_SECONDS", 0.0)
    options = {"num_epochs": 5, "batch_size": 50, "learning_rate": 0.1}
    whole = fastvi.fit_model(START, X, **options)
    path = tmp_path / "training.npz"

    def stop(done, total):
        if done == after:
            raise Stop

    epochs, run = [], GradientTrainer.run_epoch
    monkeypatch.setattr(GradientTrainer, "run_epoch", lambda *rest: (epochs.append(1), run(*rest)))
    with pytest.raises(Stop):
        fastvi.fit_model(START, X, checkpoint=path, progress=stop, **options)
    again = fastvi.fit_model(START, X, checkpoint=path, **options)
    assert bits(again) == bits(whole)
    assert len(epochs) <= 5 + 1  # the epoch that was lost is the only one that was done twice
    finished = path.read_bytes()
    with pytest.raises(ValueError, match="same model, data and options"):
        fastvi.fit_model(START, X[:50], checkpoint=path, **options)
    assert path.read_bytes() == finished


@pytest.mark.usefixtures("each_report")
def test_ctrl_c_keeps_the_best_so_far(caplog):
    def interrupt(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with caplog.at_level(logging.WARNING, logger="fastvi"):
        fit = fastvi.fit_model(START, X, num_epochs=50, batch_size=50, learning_rate=0.1, progress=interrupt)
    assert not fit.converged
    assert fit.interrupted
    assert fit.history.size == 4
    assert fastvi.log_marginal(fit.model, X).mean() == fit.objective
    assert "training was interrupted" in caplog.text


@pytest.mark.parametrize("error", few_without_jit([Stop, SystemExit, MemoryError], [Stop]))
def test_whatever_ends_training_what_was_finished_is_saved(tmp_path, monkeypatch, error):
    """In the middle of the fourth epoch, with seconds to go before a save is due."""
    options = {"num_epochs": 5, "batch_size": 50, "learning_rate": 0.1}
    whole, path = fastvi.fit_model(START, X, **options), tmp_path / "training.npz"
    epochs, run, ascend = [], GradientTrainer.run_epoch, Adam.ascend

    def stop(adam, *rest):
        ascend(adam, *rest)
        if adam.num_steps == 3 * 3 + 2:  # 3 steps an epoch
            raise error

    monkeypatch.setattr(GradientTrainer, "run_epoch", lambda *rest: (epochs.append(1), run(*rest)))
    monkeypatch.setattr(Adam, "ascend", stop)
    with pytest.raises(error):
        fastvi.fit_model(START, X, checkpoint=path, **options)
    assert len(epochs) == 4
    monkeypatch.setattr(Adam, "ascend", ascend)
    epochs.clear()
    assert bits(fastvi.fit_model(START, X, checkpoint=path, **options)) == bits(whole)
    assert len(epochs) == 2


def test_ctrl_c_saves_the_checkpoint_too(tmp_path, monkeypatch, caplog):
    options = {"num_epochs": 5, "batch_size": 50, "learning_rate": 0.1}
    whole, path = fastvi.fit_model(START, X, **options), tmp_path / "training.npz"
    score, calls = training._score, []

    def interrupt(*rest):
        score(*rest)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "_score", interrupt)
    assert not fastvi.fit_model(START, X, checkpoint=path, **options).converged
    assert bits(fastvi.fit_model(START, X, checkpoint=path, **options)) == bits(whole)
    assert len(calls) == 2 + 4  # the second epoch, which was cut short, is done again
    path.unlink()
    calls.clear()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fastvi.engine.run.checkpoints.write_whole", full)
    fit = fastvi.fit_model(
        START, X, checkpoint=path, **options
    )  # the model is worth more than the checkpoint
    assert not fit.converged
    assert "could not be saved: [Errno 28] No space left on device" in caplog.text


def test_ctrl_c_before_the_first_score_is_one():
    """Nothing is best yet."""

    class Interrupted(GradientTrainer):
        def gradient(self, batch, step):
            raise AssertionError

        def score(self):
            raise KeyboardInterrupt

    trainer = Interrupted({"theta": np.zeros(1)})
    with pytest.raises(KeyboardInterrupt):
        training.train(trainer, 1, training.Schedule(5, 1, 0.1, None, 0), None, False)


def test_a_fit_that_ends_early_is_saved_whole(tmp_path):
    options = {"num_epochs": 50, "batch_size": 50, "learning_rate": 3.0, "patience": 2, "held_out": HELD_OUT}
    path = tmp_path / "training.npz"
    whole = fastvi.fit_model(START, X, checkpoint=path, **options)
    seen = []
    again = fastvi.fit_model(
        START, X, checkpoint=path, progress=lambda *counts: seen.append(counts), **options
    )
    assert bits(again) == bits(whole)
    assert seen == [(whole.history.size - 1, 50)]  # read, and nothing more to do


def test_a_checkpoint_of_another_version_or_machine_is_refused(tmp_path, monkeypatch):
    path, options = tmp_path / "training.npz", {"num_epochs": 1, "batch_size": 50}
    encoder = fastvi.Encoder([(np.zeros((3, 8)), np.zeros(3))], "tanh")
    fits = {
        "model": lambda: fastvi.fit_model(START, X, checkpoint=path, **options),
        "encoder": lambda: fastvi.fit_encoder(START, X, encoder, checkpoint=path, **options),
    }
    changes = {"fastvi.__version__": "0.1.0", "fastvi.inputs.question.caches": lambda: (1 << 14, 1 << 17)}
    for fit in fits.values():
        path.unlink(missing_ok=True)
        fit()
        content = path.read_bytes()
        for name, value in changes.items():
            with monkeypatch.context() as patch:
                patch.setattr(name, value)
                with pytest.raises(ValueError, match=r"or of another version than .* or another machine"):
                    fit()
            assert path.read_bytes() == content
        fit()


def test_what_is_fitted_says_how_it_was_made(tmp_path):
    encoder = fastvi.Encoder([(np.zeros((3, 8)), np.zeros(3))], "tanh")
    fit = fastvi.fit_model(START, X, objective="elbo", encoder=encoder, num_epochs=2, seed=5)
    expected = {
        "fastvi": fastvi.__version__, "function": "fit_model", "objective": "elbo", "seed": 5,
        "num_epochs": 2, "epochs_done": 2, "best_epoch": fit.best_epoch, "num_data": 120,
        "data_sha256": hashlib.sha256(X.astype(np.uint8).tobytes()).hexdigest(),
    }  # fmt: skip
    assert fit.model.made == fit.encoder.made == expected
    found = fastvi.fit_encoder(START, X.astype(float), encoder, num_epochs=2, seed=5)
    changed = {"function": "fit_encoder", "objective": "reverse_kl", "best_epoch": found.best_epoch}
    assert found.encoder.made == {**expected, **changed}
    for made in (fit.model, copy.deepcopy(fit.model), pickle.loads(pickle.dumps(fit.model))):
        made.save(tmp_path / "model.npz")
        assert fastvi.load(tmp_path / "model.npz").made == expected
    assert START.made == {}


def test_nothing_to_do():
    fit = fastvi.fit_model(START, X, num_epochs=0)
    assert np.array_equal(fit.model.weights, START.weights)
    assert fit.best_epoch == 0
    one = fastvi.fit_model(START, X[:1], num_epochs=1)
    assert np.isfinite(one.objective)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"x": np.zeros((0, 8))}, "x must hold at least 1 datum"),
        ({"x": np.full((2, 8), 2)}, "x must"),
        ({"x": None}, "x must be an array of data, got None"),
        ({"held_out": np.zeros((3, 7))}, "held_out must"),
        ({"num_epochs": -1}, "num_epochs must"),
        ({"batch_size": 0}, "batch_size must"),
        ({"learning_rate": 0.0}, "learning_rate must"),
        ({"patience": 0}, "patience must"),
        ({"seed": -1}, "seed must"),
        ({"objective": "best"}, "objective must"),
        ({"progress": 3}, "progress must"),
        ({"model": fastvi.Uniform(3)}, "model must"),
        ({"model": fastvi.LogJoint(lambda x, z: 0.0, 2)}, "model must have parameters to be differentiated"),
    ],
)
def test_wrong_input(options, text):
    with pytest.raises((ValueError, TypeError), match=f"^{text}"):
        fastvi.fit_model(**{"model": START, "x": X, "num_epochs": 1, **options})


def test_a_machine_of_many_units_that_are_not_coupled_yet_is_refused_before_the_first_step():
    """Its own log Z is a product of 60 sums, but one step couples all pairs of units."""
    start = fastvi.BoltzmannMachine(np.zeros((60, 60)), np.zeros(60))
    assert fastvi.log_partition(start) == pytest.approx(60 * np.log(2), rel=1e-14)
    with pytest.raises(ValueError, match=r"the model has 2\^60"):
        fastvi.fit_model(start, np.eye(60, dtype=np.uint8), num_epochs=1)
