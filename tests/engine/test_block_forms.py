"""Decoders of binary latents: posteriors and gradients against enumeration in NumPy."""

from __future__ import annotations

import math
import pickle
from concurrent.futures import ThreadPoolExecutor

import cases
import naive_models
import numpy as np
import pytest
from cases import states
from hypothesis import given
from hypothesis import strategies as st
from references import Enumerated, check_enumerated

import fastvi
from fastvi.core.registry import rules_of
from fastvi.engine.decoder import block_form
from fastvi.kernels.host import COLUMNS

ACTIVATIONS = ("relu", "tanh", "sigmoid", "softplus", "leaky_relu", "elu", "gelu", "silu", "identity")


def decoder(sizes, activation="relu", noise_std=None, scale=1.0, seed=0):
    of_layers = {"scale": scale, "bias_scale": 0.5, "divided": True}
    return cases.decoder(sizes, activation, noise_std=noise_std, seed=seed, **of_layers)


# ---- decoders --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise_std", [None, 0.4])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_log_marginal_is_the_definition(activation, noise_std):
    model = decoder((3, 4, 5), activation, noise_std)
    _, x = model.sample(3, 0)
    layers = [(w.tolist(), b.tolist()) for w, b in model.layers]
    expected = [
        naive_models.decoder_log_marginal(layers, activation, model.prior.logits.tolist(), row, noise_std)
        for row in x.tolist()
    ]
    np.testing.assert_allclose(fastvi.log_marginal(model, x), expected, rtol=1e-13)


@pytest.mark.parametrize("sizes", [(1, 3), (1, 2, 3), (2, 5), (4, 7, 6), (5, 3, 4, 2), (8, 20, 9), (3, 4, 0)])
@pytest.mark.parametrize("noise_std", [None, 0.4])
def test_posterior_is_that_of_the_log_joint(sizes, noise_std):
    model = decoder(sizes, "tanh" if len(sizes) == 4 else "relu", noise_std)
    check_enumerated(model, model.sample(COLUMNS + 1, 1)[1])


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_posterior_over_several_tiles_and_waves(activation, monkeypatch):
    monkeypatch.setattr(block_form, "_WAVE_BITS", 11)
    model = decoder((13, 30, 33), activation)
    check_enumerated(model, model.sample(20, 1)[1])


@pytest.mark.parametrize("noise_std", [None, 0.4])
def test_masks(noise_std):
    model = decoder((3, 4, 6), "softplus", noise_std)
    _, x = model.sample(5, 2)
    masks = np.random.default_rng(3).random((5, 6)) < 0.6
    masks[1], masks[2] = masks[0], False
    layers = [(w.tolist(), b.tolist()) for w, b in model.layers]
    expected = [
        naive_models.decoder_log_marginal(
            layers, "softplus", model.prior.logits.tolist(), row, noise_std, mask
        )
        for row, mask in zip(x.tolist(), masks.tolist(), strict=True)
    ]
    found = fastvi.log_marginal(model, np.where(masks, x, np.nan), observed=masks)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
    alone = fastvi.exact_posterior(model, x[3:4], observed=masks[3])
    everyone = fastvi.exact_posterior(model, x, observed=masks)
    np.testing.assert_array_equal(everyone.mean[3:4], alone.mean)


def test_no_data():
    model = decoder((3, 4, 5))
    x = np.empty((0, 5), np.uint8)
    assert fastvi.log_marginal(model, x).shape == (0,)
    posterior = fastvi.exact_posterior(model, x, top_k=2, pairwise=True)
    assert (posterior.mean.shape, posterior.top_states.shape) == ((0, 3), (0, 2, 3))
    assert all((value == 0).all() for value in fastvi.log_marginal_gradient(model, x).values())


def test_one_layer_is_a_sigmoid_belief_network():
    model = decoder((6, 9))
    (weight, bias), *_ = model.layers
    network = fastvi.SigmoidBeliefNetwork(weight, bias, model.prior.logits)
    _, x = model.sample(7, 0)
    np.testing.assert_allclose(fastvi.log_marginal(model, x), fastvi.log_marginal(network, x), rtol=1e-13)


def test_one_layer_is_sparse_coding():
    model = decoder((6, 9), noise_std=0.2)
    (weight, bias), *_ = model.layers
    coding = fastvi.BinarySparseCoding(weight, bias, 0.2, model.prior.logits)
    _, x = model.sample(7, 0)
    np.testing.assert_allclose(fastvi.log_marginal(model, x), fastvi.log_marginal(coding, x), rtol=1e-12)


@pytest.mark.parametrize("scale", [30.0, 1e4, 1e8])
@pytest.mark.parametrize("activation", ["relu", "tanh", "elu", "gelu", "silu"])
def test_extreme_weights(activation, scale):
    model = decoder((4, 6, 8), activation, scale=scale)
    x = np.random.default_rng(0).integers(0, 2, (6, 8))
    found, expected = fastvi.log_marginal(model, x), Enumerated(model, x).log_marginal
    size = scale**2 * 50  # of what is added up
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15 * size)


def test_strong_priors_and_small_noise():
    layers = decoder((5, 4, 30), noise_std=1e-3).layers
    model = fastvi.NeuralDecoder(
        layers, "tanh", fastvi.Bernoulli([40.0, -40.0, 300.0, 0.0, -900.0]), "gaussian", 1e-3
    )
    _, x = model.sample(6, 0)
    np.testing.assert_allclose(fastvi.log_marginal(model, x), Enumerated(model, x).log_marginal, rtol=1e-9)
    far = x + 3.0
    np.testing.assert_allclose(
        fastvi.log_marginal(model, far), Enumerated(model, far).log_marginal, rtol=1e-9
    )


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("noise_std", [None, 0.3])
def test_same_bits_for_any_threads_and_company(same_bits, noise_std, monkeypatch):
    monkeypatch.setattr(block_form, "_WAVE_BITS", 11)
    model = decoder((12, 20, 17), noise_std=noise_std)
    _, x = model.sample(70, 0)
    weights = np.random.default_rng(0).normal(size=70)

    def ask():
        found = fastvi.exact_posterior(model, x, top_k=2, pairwise=True)
        arrays = found.log_marginal, found.mean, found.second_moment, found.entropy, found.top_log_probs
        gradient = fastvi.log_marginal_gradient(model, x, data_weights=weights)
        return *arrays, found.sample(5, 1), *gradient.values()

    whole = same_bits(ask)
    for part in (slice(0, 1), slice(5, 14), slice(60, 70)):
        posterior = fastvi.exact_posterior(model, x[part], pairwise=True)
        np.testing.assert_array_equal(posterior.log_marginal, whole[0][part])
        np.testing.assert_array_equal(posterior.mean, whole[1][part])
        np.testing.assert_array_equal(posterior.second_moment, whole[2][part])


@pytest.mark.slow_without_jit
def test_executors_and_checkpoints(tmp_path, monkeypatch):
    monkeypatch.setattr(block_form, "_WAVE_BITS", 10)
    model = decoder((12, 6, 9))
    _, x = model.sample(3, 0)
    expected, seen = fastvi.log_marginal(model, x), []
    with ThreadPoolExecutor(2) as executor:
        np.testing.assert_array_equal(fastvi.log_marginal(model, x, executor=executor), expected)
    path = tmp_path / "run"
    found = fastvi.log_marginal(
        model, x, checkpoint=path, progress=lambda done, total: seen.append((done, total))
    )
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(fastvi.log_marginal(model, x, checkpoint=path), expected)
    assert seen[-1] == (4096, 4096)
    form = rules_of(model).form(np.ones(9, bool), "float64")
    batch = form.batch(form.data.terms(x))
    twin = pickle.loads(pickle.dumps(batch))
    for mine, other in zip(batch.moments(1), twin.moments(1), strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.slow_without_jit
def test_samples_follow_the_posterior():
    model = decoder((4, 5, 6), scale=2.0)
    _, x = model.sample(2, 0)
    posterior, num = fastvi.exact_posterior(model, x), 20000
    draws = posterior.sample(num, 0)
    numbers = draws.astype(int) @ (1 << np.arange(4))
    shares = np.array([np.bincount(own, minlength=16) / num for own in numbers.T])
    assert np.abs(shares - Enumerated(model, x).probabilities).max() < 4 * 0.5 / math.sqrt(num)


@given(st.data())
def test_random_decoders(data):
    sizes = data.draw(st.lists(st.integers(1, 6), min_size=2, max_size=4))
    seed, noisy = data.draw(st.integers(0, 99)), data.draw(st.booleans())
    scale = data.draw(st.sampled_from([0.1, 1.0, 10.0]))
    model = decoder(sizes, data.draw(st.sampled_from(ACTIVATIONS)), 0.5 if noisy else None, scale, seed)
    _, x = model.sample(2, seed)
    # |x - eta|^2 is expanded, so that its parts cancel: roundings of the largest of them
    z = (np.arange(1 << sizes[0])[:, None] >> np.arange(sizes[0])) & 1
    parts = (np.square(model._decode(z)).sum(axis=1).max() + np.square(x).sum(axis=1).max()) / 0.5
    slack = 1e-11 + (2.0**-53 * 20 * parts if noisy else 0.0)
    np.testing.assert_allclose(
        fastvi.log_marginal(model, x), Enumerated(model, x).log_marginal, rtol=1e-10, atol=slack
    )


# ---- gradients -------------------------------------------------------------------------------------------


def finite_differences(model, x, weights, observed, name, step=1e-5):
    arrays = model.arrays()
    out = np.empty_like(arrays[name])
    for index in np.ndindex(out.shape):
        ends = []
        for sign in (1, -1):
            moved = arrays[name].copy()
            moved[index] += sign * step
            twin = fastvi.NeuralDecoder.from_arrays({**arrays, name: moved})
            ends.append(weights @ fastvi.log_marginal(twin, x, observed=observed))
        out[index] = (ends[0] - ends[1]) / (2 * step)
    return out


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("noise_std", [None, 0.6])
@pytest.mark.parametrize(
    ("sizes", "activation"),
    [
        ((1, 2), "relu"),
        ((3, 4), "relu"),
        ((3, 4, 5), "relu"),
        ((3, 4, 5), "tanh"),
        ((2, 3, 4, 3), "softplus"),
        ((2, 3, 4, 3), "sigmoid"),
        ((2, 3, 4, 3), "leaky_relu"),
        ((2, 3, 4, 3), "elu"),
        ((2, 3, 4, 3), "gelu"),
        ((2, 3, 4, 3), "silu"),
        ((2, 3, 4, 3), "identity"),
    ],
)
def test_gradient_against_finite_differences(sizes, activation, noise_std):
    model = decoder(sizes, activation, noise_std)
    _, x = model.sample(5, 1)
    weights = np.array([1.0, -0.5, 0.0, 2.0, 0.3])
    observed = np.random.default_rng(0).random((5, sizes[-1])) < 0.7
    gradient = fastvi.log_marginal_gradient(model, x, data_weights=weights, observed=observed)
    names = [name for name in model.arrays() if name not in ("activation", "likelihood")]
    assert list(gradient) == names
    for name in names:
        expected = finite_differences(model, x, weights, observed, name)
        np.testing.assert_allclose(gradient[name], expected, rtol=1e-6, atol=1e-7, err_msg=name)


def test_gradient_in_pixels_that_nobody_saw_is_0():
    model = decoder((3, 4, 5))
    seen = np.array([True, False, True, True, False])
    gradient = fastvi.log_marginal_gradient(model, model.sample(3, 0)[1], observed=seen)
    assert (gradient["layer_1_weight"][~seen] == 0).all()
    assert (gradient["layer_1_weight"][seen] != 0).any()
    assert (gradient["layer_1_bias"][~seen] == 0).all()


@pytest.mark.slow_without_jit
def test_gradient_of_chunks_and_waves_is_the_sum(monkeypatch):
    from fastvi.engine.decoder import network_gradient

    model = decoder((12, 8, 9), "tanh")
    _, x = model.sample(30, 0)
    whole = fastvi.log_marginal_gradient(model, x)
    monkeypatch.setattr(network_gradient, "CHUNK_DATA", 7)
    monkeypatch.setattr(block_form, "_WAVE_BITS", 10)
    for name, value in fastvi.log_marginal_gradient(model, x).items():
        np.testing.assert_allclose(value, whole[name], rtol=1e-9, atol=1e-11)


@pytest.mark.slow_without_jit
def test_gradient_is_zero_on_average_over_the_model():
    model = decoder((3, 4, 3), "sigmoid")
    every = states(3)
    weights = np.exp(fastvi.log_marginal(model, every))
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-12)
    for value in fastvi.log_marginal_gradient(model, every, data_weights=weights).values():
        np.testing.assert_allclose(value, 0.0, atol=1e-13)
