"""What a fit's ``converged`` and ``interrupted`` mean, and its kind."""

from __future__ import annotations

import numpy as np
import pytest
from cases import encoder, network

import fastvi
from fastvi.fitting.training import STANDSTILL, GradientTrainer

TRUTH = network(6, 2, seed=1)
X, HELD_OUT = TRUTH.sample(40, 1).x, TRUTH.sample(20, 2).x
START = fastvi.SigmoidBeliefNetwork(TRUTH.weights / 10 + 0.1, np.zeros(6), np.zeros(2))
LINEAR = fastvi.LinearGaussian(np.arange(8.0).reshape(4, 2) / 4, np.zeros(4), 0.7)
ENCODER = encoder(6, 2, seed=5, scale=0.1, bias_scale=0.0)
FITS = {
    "model": lambda **options: fastvi.fit_model(START, X, **options),
    "model by a bound": lambda **options: fastvi.fit_model(
        START, X, objective="importance_weighted", encoder=ENCODER, num_samples=3, **options
    ),
    "encoder": lambda **options: fastvi.fit_encoder(TRUTH, X, ENCODER, **options),
    "sampled encoder": lambda **options: fastvi.fit_encoder(TRUTH, X, ENCODER, num_samples=4, **options),
}


@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize("num_epochs", [0, 1, 3])
def test_epochs_that_ran_out_are_no_convergence(name, num_epochs):
    fit = FITS[name](num_epochs=num_epochs)
    assert fit.converged.shape == ()
    assert not fit.converged
    assert fit.interrupted is False


@pytest.mark.parametrize("name", FITS)
def test_patience_that_ran_out_is(name):
    """A rate this small moves no parameter by a bit, so that no epoch is better than the start."""
    fit = FITS[name](num_epochs=9, patience=3, learning_rate=1e-30)
    assert fit.history.size == 4
    assert fit.converged
    assert not fit.interrupted
    last = FITS[name](num_epochs=3, patience=3, learning_rate=1e-30)  # in the last epoch of all
    assert last.converged
    assert not FITS[name](num_epochs=2, patience=3, learning_rate=1e-30).converged


@pytest.mark.parametrize("name", FITS)
def test_what_was_interrupted_says_so(name, monkeypatch):
    run_epoch = GradientTrainer.run_epoch

    def interrupted(trainer, epoch, *rest):
        if epoch == 2:
            raise KeyboardInterrupt
        run_epoch(trainer, epoch, *rest)

    monkeypatch.setattr(GradientTrainer, "run_epoch", interrupted)
    fit = FITS[name](num_epochs=9)
    assert fit.history.size == 3
    assert fit.interrupted is True
    assert not fit.converged


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("held_out", [None, LINEAR.sample(20, 3).x])
def test_expectation_maximisation_that_stands_still(tmp_path, held_out):
    """The score moves by less than STANDSTILL in the last epoch, and by more before."""
    x, start = LINEAR.sample(30, 1).x, fastvi.LinearGaussian(LINEAR.weights + 0.1, np.ones(4), 1.0)
    options = {"objective": "em", "held_out": held_out}
    long = fastvi.fit_model(start, x, num_epochs=3000, **options)
    assert long.converged
    moved = np.abs(np.diff(long.history)) / np.maximum(1.0, np.abs(long.history[1:]))
    enough = int(np.argmax(moved <= STANDSTILL)) + 1
    assert 5 < enough < 3000
    path = tmp_path / "run"
    for num_epochs, settled in ((enough - 1, False), (enough, True)):
        fit = fastvi.fit_model(start, x, num_epochs=num_epochs, **options)
        assert bool(fit.converged) is settled
    for _ in range(2):  # also where a checkpoint has done it all
        assert fastvi.fit_model(start, x, num_epochs=enough, checkpoint=path, **options).converged


def test_posteriors_judge_every_datum():
    whole = fastvi.fit_posterior(TRUTH, X)
    assert whole.converged.shape == (40,)
    assert whole.converged.all()
    assert whole.interrupted is False
    assert not fastvi.fit_posterior(TRUTH, X, max_steps=1).converged.any()
    sampled = fastvi.fit_posterior(TRUTH, X[:3], num_samples=2, max_steps=5)
    assert sampled.converged.tolist() == [False] * 3
    x = LINEAR.sample(3, 1).x
    assert fastvi.fit_posterior(LINEAR, x).converged.tolist() == [True] * 3
    assert fastvi.fit_posterior(LINEAR, x, objective="forward_kl").converged.all()
    assert fastvi.fit_posterior(TRUTH, X[:3], objective="forward_kl").converged.all()


# ---- kinds of results ------------------------------------------------------------------------------------


def test_each_fit_has_what_it_is():
    posterior = fastvi.fit_posterior(TRUTH, X[:3])
    assert isinstance(posterior, fastvi.PosteriorFit)
    assert repr(posterior).startswith("PosteriorFit(num_data=3, converged=3 of 3, mean objective=-")
    model = FITS["model"](num_epochs=1)
    assert isinstance(model, fastvi.ModelFit)
    assert model.encoder is None
    assert repr(model).startswith(f"ModelFit({model.model!r}, objective=-")
    assert repr(model).endswith(f", best_epoch={model.best_epoch} of 1)")
    encoder_fit = FITS["encoder"](num_epochs=1)
    assert isinstance(encoder_fit, fastvi.EncoderFit)
    assert encoder_fit.amortization_gap is None
    assert repr(encoder_fit).startswith(f"EncoderFit({encoder_fit.encoder!r}, objective=-")
    names = {"q", "encoder", "model", "best_epoch", "amortization_gap"}
    for fit, own in (
        (posterior, {"q"}),
        (model, {"model", "encoder", "best_epoch"}),
        (encoder_fit, {"q", "encoder", "best_epoch", "amortization_gap"}),
    ):
        assert isinstance(fit, fastvi.Fit)
        assert {name for name in names if hasattr(fit, name)} == own
