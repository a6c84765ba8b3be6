"""Exact EM: steps against the definitions, never downhill, fixed points, closed forms, degenerate data."""

from __future__ import annotations

import logging
import math

import naive_learning
import numpy as np
import pytest
from cases import bits, linear_gaussian, sparse_coding
from hypothesis import given
from hypothesis import strategies as st
from interpreted import few_without_jit

import fastvi
from fastvi.fitting.expectation_maximization import LEAST_NOISE, ExpectationMaximization


def coding(num_pixels, d, seed=0, scale=1.5):
    return sparse_coding(num_pixels, d, seed, 0.6, scale)


def linear(num_pixels, d, seed=0):
    return linear_gaussian(num_pixels, d, seed, 0.6)


KINDS = {"coding": coding, "linear": linear}


def lists(model):
    arrays = model.arrays()
    kept = [arrays["weights"].tolist(), arrays["bias"].tolist(), model.noise_std]
    return [*kept, arrays["prior_logits"].tolist()] if "prior_logits" in arrays else kept


def one_step(model, x):
    return fastvi.fit_model(model, x, objective="em", num_epochs=1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("num_pixels", "d", "num_data"), [(4, 1, 5), (5, 3, 9), (2, 3, 11)])
def test_a_step_is_that_of_the_definition(kind, num_pixels, d, num_data):
    """Errors are roundings times the condition of E[z~ z~^T], below 1e4 here."""
    start, x = KINDS[kind](num_pixels, d), KINDS[kind](num_pixels, d, 1).sample(num_data, 2)[1]
    before, expected = naive_learning.em_step(lists(start), x.tolist())
    fit = one_step(start, x)
    assert fit.history[0] == pytest.approx(before, rel=1e-12)
    assert fit.best_epoch == 1
    for name, want in zip(("weights", "bias", "noise_std", "prior_logits"), expected, strict=False):
        assert np.allclose(getattr(fit.model, name), want, rtol=1e-10, atol=1e-10), name
    after, _ = naive_learning.em_step(lists(fit.model), x.tolist())
    assert fit.objective == pytest.approx(after, rel=1e-11)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 10**6), num_pixels=st.integers(1, 6), d=st.integers(1, 4), num=st.integers(1, 12))
def test_no_step_goes_down(kind, seed, num_pixels, d, num):
    """Without the check that takes back a step: roundings only."""
    x = np.random.default_rng(seed).normal(size=(num, num_pixels)) * 2.0
    learner = ExpectationMaximization(KINDS[kind](num_pixels, d, seed), x, x)
    value = learner.score()
    for _ in range(6):
        learner._maximize(learner._expected())
        learner._moments = None
        if learner.values["noise_std"] < 0.03:  # exponents of 1e4 and more round to 1e-12 each
            break
        found = learner.score()
        assert found >= value - 1e-9
        value = found


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("kind", KINDS)
def test_it_ends_where_the_gradient_is_0_and_stays(kind):
    """Of the mean log p(x): EM closes a fixed share of the distance a step, here to less than 1e-6."""
    x = KINDS[kind](6, 2, 3).sample(200, 1)[1]
    fit = fastvi.fit_model(KINDS[kind](6, 2, 4), x, objective="em", num_epochs=800)
    assert np.all(np.diff(fit.history) >= 0)
    for name, value in fastvi.log_marginal_gradient(fit.model, x).items():
        assert np.abs(value).max() < 1e-6 * len(x), name
    assert fit.objective == pytest.approx(fastvi.log_marginal(fit.model, x).mean(), rel=1e-13)
    again = one_step(fit.model, x)
    for name, value in fit.model.arrays().items():
        assert np.allclose(getattr(again.model, name), value, atol=1e-5), name


@pytest.mark.slow_without_jit
def test_linear_models_reach_the_closed_form():
    """Tipping and Bishop (1999), eq. 8: the variance left out is the mean of the smallest eigenvalues."""
    x = linear(7, 2, 5).sample(300, 1)[1]
    values = np.linalg.eigvalsh(np.cov(x.T, bias=True))[::-1]
    variance = values[2:].mean()
    log_det = np.log(values[:2]).sum() + 5 * math.log(variance)
    best = -0.5 * (7 * math.log(2 * math.pi) + log_det + 7)
    fit = fastvi.fit_model(linear(7, 2, 6), x, objective="em", num_epochs=600)
    assert fit.objective == pytest.approx(best, abs=1e-9)
    assert fit.model.noise_std**2 == pytest.approx(variance, rel=1e-6)
    assert np.allclose(fit.model.bias, x.mean(axis=0), atol=1e-6)


@pytest.mark.slow_without_jit
def test_it_is_no_worse_than_adam():
    x = coding(8, 4, 7).sample(150, 1)[1]
    start = coding(8, 4, 8, 0.1)
    em = fastvi.fit_model(start, x, objective="em", num_epochs=60)
    adam = fastvi.fit_model(start, x, num_epochs=60, batch_size=len(x), learning_rate=0.05)
    assert em.objective > adam.objective


@pytest.mark.parametrize("kind", few_without_jit(KINDS, ["linear"]))
def test_same_bits_for_any_number_of_threads(same_bits, kind):
    x, start = KINDS[kind](9, 7, 1).sample(50, 1)[1], KINDS[kind](9, 7)
    same_bits(lambda: fastvi.fit_model(start, x, objective="em", num_epochs=3))


class Stop(BaseException):
    """Ends the process, as far as training knows."""


@pytest.mark.usefixtures("each_report")
@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_is_gone_on_from(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("fastvi.engine.run.checkpoints.SAVE_SECONDS", 0.0)
    x, start = KINDS[kind](5, 2, 1).sample(40, 1)[1], KINDS[kind](5, 2)
    whole = fastvi.fit_model(start, x, objective="em", num_epochs=5)

    def stop(done, total):
        if done == 3:
            raise Stop

    epochs, run = [], ExpectationMaximization.run_epoch
    monkeypatch.setattr(ExpectationMaximization, "run_epoch", lambda *rest: (epochs.append(1), run(*rest)))
    path = tmp_path / "em.npz"
    with pytest.raises(Stop):
        fastvi.fit_model(start, x, objective="em", num_epochs=5, checkpoint=path, progress=stop)
    again = fastvi.fit_model(start, x, objective="em", num_epochs=5, checkpoint=path)
    assert bits(again) == bits(whole)
    assert len(epochs) <= 5 + 1
    with pytest.raises(ValueError, match="same model, data and options"):
        fastvi.fit_model(start, x[:7], objective="em", num_epochs=5, checkpoint=path)


@pytest.mark.usefixtures("each_report")
def test_ctrl_c_and_early_stopping(caplog):
    x, start = linear(5, 2, 1).sample(40, 1)[1], linear(5, 2)
    held_out = linear(5, 2, 1).sample(30, 2)[1]

    def interrupt(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with caplog.at_level(logging.WARNING, logger="fastvi"):
        fit = fastvi.fit_model(start, x, objective="em", num_epochs=50, progress=interrupt)
    assert not fit.converged
    assert fit.interrupted
    assert fit.history.size == 4
    assert fastvi.log_marginal(fit.model, x).mean() == pytest.approx(fit.objective, rel=1e-13)
    few = fastvi.fit_model(start, x[:8], objective="em", held_out=held_out, num_epochs=500, patience=2)
    assert few.history.size - 1 == few.best_epoch + 2 < 500
    assert fastvi.log_marginal(few.model, held_out).mean() == few.objective


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("data", [[[1.0, 2.0, -3.0, 0.5]], [[0.0] * 4] * 3, [[1e3, -1e3, 0.0, 5.0]] * 2])
def test_data_that_are_fitted_without_error(caplog, kind, data):
    """One datum, or many alike: the noise ends at its floor, the mean at the datum."""
    start = KINDS[kind](4, 2)
    with caplog.at_level(logging.WARNING, logger="fastvi"):
        fit = fastvi.fit_model(start, data, objective="em", num_epochs=60)
    assert np.all(np.diff(fit.history) >= 0)
    assert fit.model.noise_std == LEAST_NOISE * start.noise_std
    assert caplog.text.count("noise_std is kept at 6e-05, 0.0001 times the start's") == 1
    mean = fit.model.bias
    if kind == "coding":
        z = fastvi.exact_posterior(fit.model, data).mode[0]
        mean = mean + fit.model.weights @ z
    # the noise, which is at most the floor, is the root mean square of what is left in 4 pixels
    assert np.linalg.norm(mean - data[0]) <= 2 * fit.model.noise_std


def test_latents_that_are_never_and_always_on():
    """Their log odds stop at 36; the column of one that is never on stays as it is."""
    weights = np.zeros((3, 3))
    weights[:, 0], weights[0, 1], weights[1, 2] = 60.0, 60.0, 1.0
    start = fastvi.BinarySparseCoding(weights, np.zeros(3), 1.0, np.zeros(3))
    x = np.array([[60.0, 0.0, 0.3], [60.0, 1.0, 0.0], [60.0, 2.0, -0.3]])
    fit = one_step(start, x)
    assert fit.model.prior_logits[0] == -36.0
    # exponents of 60^2 round by 1e-12, so that 1 - mean, of 1e-780, is found to be less than that
    assert 27.0 < fit.model.prior_logits[1] <= 36.0
    assert abs(fit.model.prior_logits[2]) < 36.0
    assert np.array_equal(fit.model.weights[:, 0], weights[:, 0])
    # the one that is always on and the bias share what they change: the shortest change
    moved = fit.model.weights - weights
    assert np.allclose(moved[:, 1], fit.model.bias, atol=1e-8)
    assert fit.history[1] > fit.history[0]
    beyond = fastvi.BinarySparseCoding(weights, np.zeros(3), 1.0, [-50.0, 0.0, 0.0])
    assert one_step(beyond, x).model.prior_logits[0] == -50.0


def test_equal_columns_stay_equal():
    weights = np.array([[1.0, 1.0], [0.5, 0.5], [-1.0, -1.0]])
    x = coding(3, 2, 2).sample(30, 1)[1]
    for start in (
        fastvi.BinarySparseCoding(weights, np.zeros(3), 0.5, np.zeros(2)),
        fastvi.LinearGaussian(weights, np.zeros(3), 0.5),
    ):
        fit = fastvi.fit_model(start, x, objective="em", num_epochs=4)
        assert np.allclose(fit.model.weights[:, 0], fit.model.weights[:, 1], atol=1e-12)
        assert np.all(np.diff(fit.history) > 0)


def test_sizes_without_anything_to_fit():
    model = fastvi.BinarySparseCoding(np.zeros((0, 2)), np.zeros(0), 0.5, [0.3, -1.0])
    fit = one_step(model, np.zeros((3, 0)))
    assert fit.model.noise_std == 0.5
    assert np.allclose(fit.model.prior_logits, [0.3, -1.0], atol=1e-14)  # no data: the posterior is the prior
    start = linear(3, 2)
    none = fastvi.fit_model(start, np.zeros((2, 3)), objective="em", num_epochs=0)
    assert np.array_equal(none.model.weights, start.weights)
    assert none.best_epoch == 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"model": fastvi.RestrictedBoltzmannMachine(np.ones((3, 2)), np.zeros(3), np.zeros(2))},
            "model must be a BinarySparseCoding, a LinearGaussian or a JointTable, which have an exact M "
            "step, for objective='em', got RestrictedBoltzmannMachine",
        ),
        ({"batch_size": 100}, r"batch_size must be None for objective='em', got 100 \(int\)"),
        ({"learning_rate": 0.1}, r"learning_rate must be None for objective='em', got 0.1 \(float\)"),
        ({"encoder": 3}, r"encoder must be None for objective='em', got 3 \(int\)"),
        ({"x": np.zeros((0, 3))}, "x must hold at least 1 datum"),
        ({"x": [[np.nan, 0.0, 0.0]]}, "x must be finite"),
        ({"model": coding(3, 2), "x": [[1e200, 0.0, 0.0]]}, r"x must keep \|x\| / noise_std at most 2\^200"),
    ],
)
def test_wrong_input(options, text):
    arguments = {"model": linear(3, 2), "x": np.zeros((2, 3)), "objective": "em", "num_epochs": 1}
    with pytest.raises((ValueError, TypeError), match=f"^{text}"):
        fastvi.fit_model(**{**arguments, **options})
