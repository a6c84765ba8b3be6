"""Real pixels whose noise is small beside their means: never worse than ten times a direct sum in float64."""

import logging
from fractions import Fraction

import naive_small_noise as naive
import numpy as np
import pytest
from interpreted import few_without_jit
from small_noise import KINDS, NOISES, check, coding_case, error, weights_and_bias
from tolerances import EPS

import fastvi
from fastvi.fitting.expectation_maximization import ExpectationMaximization
from fastvi.kernels.cpu.states import pair_words

pytestmark = pytest.mark.usefixtures("many_bits")


def answers(model, x, logits):
    q = fastvi.Bernoulli(logits)
    found = {"log_marginal": fastvi.log_marginal(model, x), **fastvi.log_marginal_gradient(model, x)}
    found["mean"] = fastvi.exact_posterior(model, x).mean
    for name in ("reconstruction", "joint", "log_ratio"):
        found[f"elbo as {name}"] = fastvi.elbo(model, x, q, decomposition=name).value
    return found


@pytest.mark.parametrize("noise_std", few_without_jit(NOISES, NOISES[1::4]))
def test_sparse_coding_is_as_exact_as_a_direct_sum(noise_std):
    for kind in KINDS:
        model, near, far, logits = coding_case(kind, noise_std)
        for x in (near, far):
            case = model.weights, model.bias, noise_std, model.prior_logits, x, logits
            truth = naive.sparse_coding(naive.Exact(), *case)
            check(answers(model, x, logits), naive.sparse_coding(naive.Doubles(), *case), truth)


@pytest.mark.parametrize("noise_std", NOISES[::5])
@pytest.mark.parametrize("num_pixels", [7, 2], ids=["turned", "fewer pixels than units"])
def test_a_decoder_is_as_exact_as_a_direct_sum(noise_std, num_pixels):
    for kind in (-3, 0, 5, "alike"):
        rng = np.random.default_rng(7)
        first = rng.normal(size=(3, 3)), rng.normal(size=3)
        layers = [first, weights_and_bias(kind, num_pixels, 3, rng)]
        prior = rng.normal(size=3)
        model = fastvi.NeuralDecoder(layers, "relu", fastvi.Bernoulli(prior), "gaussian", noise_std)
        x, logits = model.sample(3, 3)[1], rng.normal(size=(3, 3))
        for data in (x, x + np.abs(layers[1][0]).max() * rng.normal(size=x.shape)):
            case = layers, noise_std, prior, data, logits
            found = answers(model, data, logits)
            found.pop("prior_logits")
            check(
                found, naive.decoder(naive.Doubles(), *case), naive.decoder(naive.Exact(), *case)
            )  # fmt: skip


def test_one_pixel_and_one_latent():
    model = fastvi.BinarySparseCoding([[1.0]], [0.0], 1e-9, [0.0])
    # only z = 1 is near: log(1/2) - log(1e-9) - log(2 pi) / 2
    truth = -np.log(2.0) + 9.0 * np.log(10.0) - 0.5 * np.log(2.0 * np.pi)
    np.testing.assert_allclose(fastvi.log_marginal(model, [[1.0]]), [truth], rtol=4 * EPS)


@pytest.mark.parametrize("noise_std", [1e-6, 1e-3, 0.1])
@pytest.mark.parametrize("kind", [0, "alike"])
def test_pixels_that_were_not_seen_and_single_states(noise_std, kind):
    model, x, _, logits = coding_case(kind, noise_std)
    seen = np.array([True, True, False, True, True, False])
    case = model.weights[seen], model.bias[seen], noise_std, model.prior_logits, x[:, seen], logits
    truth = naive.sparse_coding(naive.Exact(), *case)
    direct = naive.sparse_coding(naive.Doubles(), *case)
    posterior = fastvi.exact_posterior(model, x, observed=seen, top_k=8, pairwise=True)
    check({"log_marginal": posterior.log_marginal, "mean": posterior.mean}, direct, truth)
    z, p = naive.states(3), np.asarray(truth["posterior"], np.float64)
    slack = 10.0 * error(direct["posterior"], truth["posterior"]) + 8 * EPS
    second = np.einsum("ns,si,sj->nij", p, z, z)
    np.testing.assert_allclose(posterior.second_moment, second, rtol=0, atol=8 * slack)
    entropy = -np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0)), 0.0).sum(axis=1)
    np.testing.assert_allclose(posterior.entropy, entropy, rtol=0, atol=100 * slack)
    np.testing.assert_array_equal(posterior.mode, z[p.argmax(axis=1)])
    certain = p.max(axis=1) > 1.0 - 1e-12
    drawn = posterior.sample(5, 0)
    assert (drawn == posterior.mode)[:, certain].all()


@pytest.mark.parametrize("noise_std", [1e-6, 1e-3, 0.1, 1.0])
def test_the_noise_of_expectation_maximisation(noise_std):
    model, x, _, _ = coding_case(0, noise_std, num_data=12)
    trainer = ExpectationMaximization(model, x, x)
    trainer.run_epoch(0, len(x), None)
    values = {name: trainer.values[name] for name in ("weights", "bias", "noise_std")}

    def noise(numbers):
        rest = model.weights, model.bias, noise_std, model.prior_logits, x, np.zeros((12, 3))
        p = naive.sparse_coding(numbers, *rest)["posterior"]
        w, b = numbers.array(values["weights"]), numbers.array(values["bias"])
        means = (naive.states(3)[:, None, :] * w[None]).sum(axis=-1) + b
        return (p * (naive.residuals(numbers, means, x) ** 2).sum(axis=-1)).sum() / x.size

    truth = noise(naive.Exact())
    direct = abs(float(naive.to_mp(noise(naive.Doubles())) - truth))
    # of a square: the square root of it is rounded twice
    found = naive.to_mp(values["noise_std"]) ** 2
    assert abs(float(found - truth)) <= 10.0 * direct + 8 * EPS * float(truth)


@pytest.mark.parametrize("noise_std", [1e-6, 1e-2, 1.0])
def test_the_elbo_of_a_mean_field_fit(noise_std):
    model, x, _, _ = coding_case(0, noise_std)
    fit = fastvi.fit_posterior(model, x, num_restarts=1)
    logits = np.clip(fit.q.logits, -700.0, 700.0)
    case = model.weights, model.bias, noise_std, model.prior_logits, x, logits
    truth = naive.sparse_coding(naive.Exact(), *case)
    check({"elbo": fit.objective}, naive.sparse_coding(naive.Doubles(), *case), truth)
    # the best logit given the others is that of the two values of the ELBO
    assert fit.converged.all()


@pytest.mark.parametrize("noise_std", [1e-5, 0.1, 1.0])
def test_a_datum_has_the_same_bits_in_any_batch(noise_std):
    rng = np.random.default_rng(5)
    model = fastvi.BinarySparseCoding(rng.normal(size=(9, 11)), rng.normal(size=9), noise_std, np.zeros(11))
    x = model.sample(9, 1)[1]
    together = fastvi.exact_posterior(model, x, pairwise=True)
    for n in (0, 4, 8):
        alone = fastvi.exact_posterior(model, x[n : n + 1], pairwise=True)
        for name in ("log_marginal", "mean", "entropy", "second_moment"):
            np.testing.assert_array_equal(getattr(alone, name)[0], getattr(together, name)[n])


def test_two_words_hold_106_bits():
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(50, 4)) * 10.0 ** rng.uniform(-3, 3, size=(50, 4))
    gram, low = np.zeros((2, 4, 4))
    third = Fraction(1, 3)
    high = float(third)
    pair_words.gram_words(weights, high, float(third - Fraction(high)), gram, low)
    for i in range(4):
        for k in range(4):
            products = [Fraction(a) * Fraction(b) for a, b in zip(weights[:, i], weights[:, k], strict=True)]
            # each of 50 sums and products loses 2^-104 of the sum of sizes at most
            slack = 100 * Fraction(1, 2**104) * sum(map(abs, products))
            assert abs(Fraction(gram[i, k]) + Fraction(low[i, k]) - sum(products) * third) <= slack


def test_data_whose_square_overflows_have_no_density():
    model = fastvi.BinarySparseCoding([[1.0, 2.0]], [0.0], 1e-9, [0.0, 0.0])
    found = fastvi.log_marginal(model, [[1e200], [1.0]])
    assert found[0] == -np.inf
    assert found[1] == fastvi.log_marginal(model, [[1.0]])[0]


def test_data_that_are_summed_again_say_why(caplog):
    model, x, _, _ = coding_case(0, 1e-7)
    with caplog.at_level(logging.INFO, "fastvi"):
        fastvi.log_marginal(model, x)
    assert "3 of 3 data are summed again in log space: their terms are too large for products" in caplog.text
    assert "underflow" not in caplog.text
    caplog.clear()
    model, _, far, _ = coding_case(0, 1e-3)
    with caplog.at_level(logging.INFO, "fastvi"):
        fastvi.log_marginal(model, far)
    assert "data are summed again in log space: products underflow" in caplog.text
    assert "too large" not in caplog.text
