"""Amortised inference: gradients against differences, what training reaches, the gap, wrong input."""

from __future__ import annotations

import numpy as np
import pytest
from cases import bits, decoder, encoder, linear_gaussian, network, sparse_coding

import fastvi
from fastvi.core.options import ACTIVATIONS
from fastvi.fitting.encoder_network import EncoderNetwork
from fastvi.fitting.encoder_trainers import ForwardKL, LinearReverseKL, NormalForwardKL, ReverseKL

RNG = np.random.default_rng(0)
MODEL = network(9, 4, RNG, 2.0, bias_scale=1.0)
X = MODEL.sample(60, 1)[1]
LINEAR = linear_gaussian(9, 4, RNG, 0.8)
OF_LAYERS = {"bias_scale": 0.1, "divided": True}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sizes", [(9, 4), (9, 6, 5, 4)])
def test_backpropagation(activation, sizes):
    network = EncoderNetwork(encoder(*sizes, activation=activation, **OF_LAYERS))
    x, pull = RNG.normal(size=(5, 9)), RNG.normal(size=(5, 4))
    inputs = network.forward(x)
    assert np.array_equal(inputs[-1], network.encoder()(x).logits)
    gradient = network.backward(inputs, pull)
    for name, value in network.values.items():
        flat = value.reshape(-1)
        for at in {0, flat.size // 2, flat.size - 1}:
            before, ends = flat[at], []
            for sign in (1, -1):
                flat[at] = before + sign * 1e-6
                ends.append((network.forward(x)[-1] * pull).sum())
            flat[at] = before
            assert gradient[name].reshape(-1)[at] == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-7)


@pytest.mark.parametrize("kind", [ReverseKL, ForwardKL])
def test_the_gradient_is_that_of_the_score(kind):
    learner = kind(MODEL, encoder(9, 5, 4, **OF_LAYERS), X, X)
    gradient = learner.gradient(np.arange(len(X)), 0)
    for name, value in learner.network.values.items():
        flat = value.reshape(-1)
        for at in {0, flat.size - 1}:
            before, ends = flat[at], []
            for sign in (1, -1):
                flat[at] = before + sign * 1e-5
                ends.append(learner.score())
            flat[at] = before
            assert gradient[name].reshape(-1)[at] == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=1e-8)


@pytest.mark.parametrize("kind", [LinearReverseKL, NormalForwardKL])
def test_the_gradient_of_a_normal_encoder_is_that_of_the_score(kind):
    x = LINEAR.sample(20, 1)[1]
    learner = kind(LINEAR, encoder(9, 5, 8, family="normal", **OF_LAYERS), x, x)
    gradient = learner.gradient(np.arange(len(x)), 0)
    for name, value in learner.network.values.items():
        flat = value.reshape(-1)
        for at in {0, flat.size - 1}:
            before, ends = flat[at], []
            for sign in (1, -1):
                flat[at] = before + sign * 1e-5
                ends.append(learner.score())
            flat[at] = before
            assert gradient[name].reshape(-1)[at] == pytest.approx(
                (ends[0] - ends[1]) / 2e-5, rel=1e-6, abs=1e-7
            )


@pytest.mark.slow_without_jit
@pytest.mark.parametrize(
    ("objective", "num_samples", "reached"),
    [
        ("reverse_kl", None, 2e-3),
        ("forward_kl", None, 0.02),
        ("reverse_kl", 8, 0.03),
        ("importance_weighted", 8, 0.02),
    ],
)
def test_a_linear_encoder_reaches_the_optimum_of_a_linear_model(objective, num_samples, reached):
    """The posterior's mean is linear in x and its covariance the same for all x: no gap is left."""
    x = LINEAR.sample(100, 1)[1]
    precision = np.eye(4) + LINEAR.weights.T @ LINEAR.weights / 0.64
    start = fastvi.Encoder([(np.zeros((8, 9)), np.zeros(8))], "tanh", "normal")
    fit = fastvi.fit_encoder(
        LINEAR, x, start, objective=objective, num_samples=num_samples, num_epochs=500, batch_size=50,
        learning_rate=0.1,
    )  # fmt: skip
    mean = np.linalg.solve(precision, LINEAR.weights.T @ (x - LINEAR.bias).T / 0.64).T
    if objective == "importance_weighted":  # its best q is wider than the posterior's factors
        z = fit.q.sample(800, 99)
        log_w = (LINEAR.log_joint(x, z) - fit.q.log_prob(z)).reshape(100, 8, 100)
        sets = (np.logaddexp.reduce(log_w, axis=1) - np.log(8)).mean(axis=1)
        # the score is one such set of draws, their mean has a tenth of its error
        error = sets.std(ddof=1)
        assert abs(fit.objective - sets.mean()) <= 4.5 * error * 1.01**0.5
        assert sets.mean() <= fastvi.log_marginal(LINEAR, x).mean() + 0.45 * error
        assert fastvi.elbo(LINEAR, x, fit.encoder).value.mean() < sets.mean() - 0.45 * error
        return
    own = np.diag(np.linalg.inv(precision)) if objective == "forward_kl" else 1 / np.diag(precision)
    best = fastvi.elbo(LINEAR, x, fastvi.Normal(mean, np.sqrt(own) + np.zeros_like(mean))).value.mean()
    bound = fastvi.elbo(LINEAR, x, fit.encoder).value.mean()
    assert bound == pytest.approx(best, abs=reached)
    if num_samples is None:  # exact gradients of a quadratic
        assert np.abs(fit.q.mean - mean).max() < 1e-6
    else:  # the bound falls by half the square in the precision of how far a mean is off
        least = np.linalg.eigvalsh(precision)[0]
        assert ((fit.q.mean - mean) ** 2).sum() <= 2 * len(x) * (best - bound) / least


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("estimator", ["leave_one_out", "disarm", "vimco", "reweighted"])
def test_sampled_training_comes_close_to_exact_training(estimator):
    objective = {"vimco": "importance_weighted", "reweighted": "forward_kl"}.get(estimator, "reverse_kl")
    options = {"num_epochs": 40, "batch_size": 20, "learning_rate": 0.03}
    start = encoder(9, 4, **OF_LAYERS)
    fit = fastvi.fit_encoder(
        MODEL, X, start, objective=objective, num_samples=32,
        estimator=None if estimator == "reweighted" else estimator, **options,
    )  # fmt: skip
    if estimator in ("leave_one_out", "disarm"):
        exact = fastvi.fit_encoder(MODEL, X, start, **options).encoder
        bound = [fastvi.elbo(MODEL, X, one).value for one in (exact, fit.encoder, start)]
        behind, gain = bound[0] - bound[1], bound[1] - bound[2]
        # no more than the data tell, 4.5 standard errors of a mean over them; the gain is beyond that
        assert behind.mean() <= 4.5 * behind.std(ddof=1) / 60**0.5
        assert gain.mean() > 4.5 * gain.std(ddof=1) / 60**0.5
    elif estimator == "reweighted":
        exact = fastvi.fit_encoder(MODEL, X, start, objective="forward_kl", **options).encoder
        gap = [fastvi.kl_from_posterior(MODEL, X, one(X)).mean() for one in (exact, fit.encoder, start)]
        assert gap[1] - gap[0] < 0.2 * (gap[2] - gap[0])  # of 32 weights: biased
    else:
        assert fit.history[-1] > fit.history[0]
        z = fit.q.sample(3200, 99)
        log_w = (MODEL.log_joint(X, z) - fit.q.log_prob(z)).reshape(100, 32, 60)
        sets = (np.logaddexp.reduce(log_w, axis=1) - np.log(32)).mean(axis=1)
        assert abs(fit.objective - sets.mean()) <= 4.5 * sets.std(ddof=1) * 1.01**0.5


@pytest.mark.slow_without_jit
def test_encoders_of_decoders():
    rng = np.random.default_rng(1)
    for prior, family, width in (
        (fastvi.Bernoulli([0.0, 0.0, 0.0]), "bernoulli", 3),
        (fastvi.Normal([0.0, 0.0], [1.0, 1.0]), "normal", 4),
    ):
        model = decoder((prior.num_latents, 6, 9), prior=prior, seed=2, **OF_LAYERS)
        x = model.sample(80, 3)[1]
        start = fastvi.Encoder([(0.1 * rng.normal(size=(width, 9)), np.zeros(width))], "tanh", family)
        fit = fastvi.fit_encoder(
            model, x, start, num_samples=8, num_epochs=30, batch_size=20, learning_rate=0.05
        )
        before, after = (fastvi.elbo(model, x, one).value.mean() for one in (start, fit.encoder))
        assert before < after < fastvi.log_marginal(model, x).mean()
        again = fastvi.fit_encoder(
            model, x, start, num_samples=8, num_epochs=30, batch_size=20, learning_rate=0.05
        )
        assert bits(again) == bits(fit)


def test_scores_are_the_elbo_and_the_cross_entropy():
    net = encoder(9, 5, 4, **OF_LAYERS)
    assert ReverseKL(MODEL, net, X, X).score() == pytest.approx(
        fastvi.elbo(MODEL, X, net(X)).value.mean(), abs=1e-12
    )
    posterior = fastvi.exact_posterior(MODEL, X)
    means, q = posterior.mean, net(X).mean
    expected = (means * np.log(q) + (1 - means) * np.log1p(-q)).sum(axis=1).mean()
    assert ForwardKL(MODEL, net, X, X).score() == pytest.approx(expected, abs=1e-12)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("objective", ["reverse_kl", "forward_kl"])
def test_training_and_the_gap(objective):
    start = encoder(9, 30, 4, **OF_LAYERS)
    fit = fastvi.fit_encoder(
        MODEL, X, start, objective=objective, num_epochs=60, batch_size=20, learning_rate=0.03,
        amortization_gap=True,
    )  # fmt: skip
    assert fit.history[-1] > fit.history[0]
    assert fit.objective == fit.history.max()
    assert np.array_equal(fit.q.logits, fit.encoder(X).logits)
    elbo = fastvi.elbo(MODEL, X, fit.q).value
    own = fastvi.fit_posterior(MODEL, X)
    assert np.allclose(fit.amortization_gap, own.objective - elbo, atol=1e-11)
    if objective == "reverse_kl":
        # a hundredth of what the start leaves
        assert fit.amortization_gap.mean() < 0.01 * (own.objective.mean() - fit.history[0])
        assert (fit.amortization_gap > -1e-6).all()
    assert "Encoder" in repr(fit)


def test_same_bits_and_checkpoints(same_bits, tmp_path):
    start = encoder(9, 4, **OF_LAYERS)
    options = {"num_epochs": 3, "batch_size": 25}
    whole = same_bits(lambda: fastvi.fit_encoder(MODEL, X, start, **options))
    for _ in range(2):  # written, and read
        path = tmp_path / "encoder.npz"
        assert bits(fastvi.fit_encoder(MODEL, X, start, checkpoint=path, **options)) == bits(whole)
    held = fastvi.fit_encoder(MODEL, X[:30], start, held_out=X[30:], **options)
    assert held.objective == pytest.approx(fastvi.elbo(MODEL, X[30:], held.encoder(X[30:])).value.mean())


@pytest.mark.slow_without_jit
def test_forward_kl_has_the_means_of_the_posterior():
    for model in (
        MODEL,
        decoder((4, 6, 9), seed=RNG, **OF_LAYERS),
        sparse_coding(9, 4, RNG),
    ):
        x = model.sample(6, 2)[1]
        fit, posterior = (
            fastvi.fit_posterior(model, x, objective="forward_kl"),
            fastvi.exact_posterior(model, x),
        )
        assert np.allclose(fit.q.mean, posterior.mean, rtol=1e-12, atol=1e-15)
        z = ((np.arange(16)[:, None] >> np.arange(4)) & 1).astype(np.uint8)
        log_p = model.log_joint(x, z[:, None]) - posterior.log_marginal
        divergence = (np.exp(log_p) * (log_p - fit.q.log_prob(z[:, None]))).sum(axis=0)
        assert np.allclose(fit.objective, divergence, atol=1e-10)
        for step in (-0.05, 0.05):  # no other factorised q is closer
            moved = fastvi.Bernoulli(fit.q.logits + step)
            other = (np.exp(log_p) * (log_p - moved.log_prob(z[:, None]))).sum(axis=0)
            assert (other >= fit.objective - 1e-12).all()
    assert fastvi.fit_posterior(MODEL, X[:0], objective="forward_kl").q.logits.shape == (0, 4)
    certain = fastvi.SigmoidBeliefNetwork(200 * np.eye(2), [-100, -100], [0, 0])
    q = fastvi.fit_posterior(certain, [[1, 0]], objective="forward_kl").q
    assert np.isfinite(q.logits[0, 0])
    assert q.mean[0, 0] >= 1 - 2.0**-52


@pytest.mark.slow_without_jit
def test_reverse_kl_of_other_models():
    deep = network(6, 4, RNG, prior=network(4, 2, RNG))
    coding = sparse_coding(9, 4, RNG)
    for model in (deep, coding):
        x = model.sample(5, 3)[1]
        fit = fastvi.fit_posterior(model, x, tolerance=1e-12)
        z = ((np.arange(16)[:, None] >> np.arange(4)) & 1).astype(np.uint8)
        log_joint = model.log_joint(x, z[:, None])

        def elbo(logits, z=z, log_joint=log_joint):
            log_q = fastvi.Bernoulli(logits).log_prob(z[:, None])
            return (np.exp(log_q) * (log_joint - log_q)).sum(axis=0)

        assert np.allclose(elbo(fit.q.logits), fit.objective, atol=1e-9)
        for i in range(4):
            for step in (-0.1, 0.1):
                logits = np.clip(fit.q.logits, -500, 500)
                logits[:, i] += step
                assert (elbo(logits) <= fit.objective + 1e-9).all()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"encoder": 3}, "encoder must be an? Encoder"),
        (
            {"encoder": encoder(9, 8, family="normal")},
            "encoder must be of family 'bernoulli'",
        ),
        ({"estimator": "disarm"}, "estimator must be None without num_samples, got 'disarm'"),
        ({"objective": "importance_weighted"}, "num_samples must be a number for objective="),
        ({"num_samples": 4, "estimator": "vimco"}, "estimator must be one of 'leave_one_out', 'disarm'"),
        ({"num_samples": 1}, "num_samples must be at least 2"),
        ({"num_samples": 0}, "num_samples must be"),
        (
            {"objective": "forward_kl", "num_samples": 4, "estimator": "disarm"},
            "estimator must be None for objective='forward_kl', got 'disarm'",
        ),
        ({"model": LINEAR}, "encoder must be of family 'normal' for a model of real latents"),
        ({"encoder": encoder(8, 4)}, "encoder must go from 9 pixels to 4 latents"),
        ({"objective": "elbo"}, "objective must be"),
        ({"x": np.zeros((0, 9))}, "x must hold at least 1 datum"),
        ({"amortization_gap": 1}, "amortization_gap must be"),
        ({"model": None}, "model must be"),
        (
            {"model": fastvi.BoltzmannMachine(np.zeros((4, 4)), np.zeros(4))},
            "model must have a prior p",
        ),
        (
            {"model": decoder((4, 9))},
            "num_samples must be a number for a model whose ELBO has no exact gradient here, got None",
        ),
        ({"num_epochs": 1.5}, "num_epochs must be"),
    ],
)
def test_wrong_input(options, text):
    arguments = {"model": MODEL, "x": X, "encoder": encoder(9, 4, **OF_LAYERS), **options}
    with pytest.raises((ValueError, TypeError), match=f"^{text}"):
        fastvi.fit_encoder(**arguments)


@pytest.mark.parametrize(
    "model",
    [
        fastvi.BoltzmannMachine(np.zeros((9, 9)), np.zeros(9)),
        fastvi.RestrictedBoltzmannMachine(np.zeros((9, 2)), np.zeros(9), np.zeros(2)),
    ],
)
def test_reverse_kl_fits_are_refused_for_other_models(model):
    """A machine without a prior has no ELBO without log Z."""
    text = r"^model must be a SigmoidBeliefNetwork or BinarySparseCoding or NeuralDecoder, got"
    with pytest.raises(TypeError, match=text):
        fastvi.fit_posterior(model, X)
