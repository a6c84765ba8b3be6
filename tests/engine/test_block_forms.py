"""Neural decoders and log joints that the caller wrote: sums over states, posteriors, gradients."""

# ruff: noqa: E501

from __future__ import annotations

import itertools
import math
import pickle
from concurrent.futures import ThreadPoolExecutor

import naive
import naive_models
import numba
import numpy as np
import optional
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastvi
from fastvi.engine.decoder import block_form
from fastvi.engine.states import user_form
from fastvi.kernels.cpu.simd.host import COLUMNS

ACTIVATIONS = ("relu", "tanh", "sigmoid", "softplus")


def decoder(sizes, activation="relu", noise_std=None, scale=1.0, seed=0):
    """Widths from the latents to the pixels."""
    rng = np.random.default_rng(seed)
    layers = [
        (scale * rng.normal(size=(out, width)) / math.sqrt(max(1, width)), 0.5 * rng.normal(size=out))
        for width, out in itertools.pairwise(sizes)
    ]
    likelihood = "bernoulli" if noise_std is None else "gaussian"
    return fastvi.NeuralDecoder(
        layers, activation, fastvi.Bernoulli(rng.normal(size=sizes[0])), likelihood, noise_std
    )


def all_states(d):
    return (np.arange(1 << d)[:, None] >> np.arange(d)) & 1


class Enumerated:
    """Everything about the posterior from the model's own log joint, state by state."""

    def __init__(self, model, x):
        self.states = all_states(model.num_latents)
        logs = model.log_joint(x[:, None], self.states)
        largest = logs.max(axis=1, keepdims=True)
        self.log_marginal = (largest + np.log(np.exp(logs - largest).sum(axis=1, keepdims=True)))[:, 0]
        self.log_probs = logs - self.log_marginal[:, None]
        self.probabilities = np.exp(self.log_probs)
        self.mean = self.probabilities @ self.states
        self.entropy = -(self.probabilities * np.maximum(self.log_probs, -1e300)).sum(axis=1)
        self.pairs = np.einsum("ns,si,sj->nij", self.probabilities, self.states, self.states)


def check_posterior(model, x, atol=1e-10):
    expected, top_k = Enumerated(model, x), min(3, 1 << model.num_latents)
    found = fastvi.exact_posterior(model, x, top_k=top_k, pairwise=True)
    np.testing.assert_allclose(found.log_marginal, expected.log_marginal, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(found.log_marginal, fastvi.log_marginal(model, x))
    np.testing.assert_allclose(found.mean, expected.mean, rtol=0, atol=atol)
    np.testing.assert_allclose(found.second_moment, expected.pairs, rtol=0, atol=atol)
    np.testing.assert_allclose(found.entropy, expected.entropy, rtol=0, atol=atol)
    ordered = np.sort(expected.log_probs, axis=1)[:, ::-1]
    np.testing.assert_allclose(found.top_log_probs, ordered[:, :top_k], rtol=1e-11, atol=1e-10)
    top = found.log_prob(found.top_states.swapaxes(0, 1)).T
    np.testing.assert_allclose(top, found.top_log_probs, rtol=1e-11, atol=1e-10)
    np.testing.assert_array_equal(found.mode, found.top_states[:, 0])


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
    check_posterior(model, model.sample(COLUMNS + 1, 1)[1])


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_posterior_over_several_tiles_and_waves(activation, monkeypatch):
    monkeypatch.setattr(block_form, "_WAVE_BITS", 11)
    model = decoder((13, 30, 33), activation)
    check_posterior(model, model.sample(20, 1)[1])


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
@pytest.mark.parametrize("activation", ["relu", "tanh"])
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
def test_same_bits_for_any_threads_and_company(set_threads, noise_std, monkeypatch):
    monkeypatch.setattr(block_form, "_WAVE_BITS", 11)
    model = decoder((12, 20, 17), noise_std=noise_std)
    _, x = model.sample(70, 0)
    weights = np.random.default_rng(0).normal(size=70)
    found = []
    for threads in (1, 2, 3):
        set_threads(threads)
        posterior = fastvi.exact_posterior(model, x, top_k=2, pairwise=True)
        gradient = fastvi.log_marginal_gradient(model, x, data_weights=weights)
        found.append(
            [
                posterior.log_marginal,
                posterior.mean,
                posterior.second_moment,
                posterior.entropy,
                posterior.top_log_probs,
                posterior.sample(5, 1),
                *gradient.values(),
            ]
        )
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
    for part in (slice(0, 1), slice(5, 14), slice(60, 70)):
        posterior = fastvi.exact_posterior(model, x[part], pairwise=True)
        np.testing.assert_array_equal(posterior.log_marginal, found[0][0][part])
        np.testing.assert_array_equal(posterior.mean, found[0][1][part])
        np.testing.assert_array_equal(posterior.second_moment, found[0][2][part])


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
    form = model._form(np.ones(9, bool), "float64")
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


@settings(max_examples=15)
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
    arrays = model._arrays()
    out = np.empty_like(arrays[name])
    for index in np.ndindex(out.shape):
        ends = []
        for sign in (1, -1):
            moved = arrays[name].copy()
            moved[index] += sign * step
            twin = fastvi.NeuralDecoder._from_arrays({**arrays, name: moved})
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
    ],
)
def test_gradient_against_finite_differences(sizes, activation, noise_std):
    model = decoder(sizes, activation, noise_std)
    _, x = model.sample(5, 1)
    weights = np.array([1.0, -0.5, 0.0, 2.0, 0.3])
    observed = np.random.default_rng(0).random((5, sizes[-1])) < 0.7
    gradient = fastvi.log_marginal_gradient(model, x, data_weights=weights, observed=observed)
    names = [name for name in model._arrays() if name not in ("activation", "likelihood")]
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
    every = all_states(3)
    weights = np.exp(fastvi.log_marginal(model, every))
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-12)
    for value in fastvi.log_marginal_gradient(model, every, data_weights=weights).values():
        np.testing.assert_allclose(value, 0.0, atol=1e-13)


# ---- log joints that the caller wrote --------------------------------------------------------------------

WEIGHTS = np.random.default_rng(0).standard_normal((5, 4))
BIAS, LOGITS = np.array([0.5, -0.5, 1.0, 0.0, -1.5]), np.array([0.2, -1.0, 0.4, 0.0])
NETWORK = fastvi.SigmoidBeliefNetwork(WEIGHTS, BIAS, LOGITS)


def scalar(x_n, z):
    total = 0.0
    for i in range(z.size):
        total += z[i] * LOGITS[i] - math.log(1.0 + math.exp(LOGITS[i]))
    for j in range(x_n.size):
        eta = BIAS[j]
        for i in range(z.size):
            eta += WEIGHTS[j, i] * z[i]
        total += x_n[j] * eta - math.log(1.0 + math.exp(eta))
    return total


def of_arrays(x, z):
    eta = z @ WEIGHTS.T + BIAS
    return x @ eta.T - np.logaddexp(0, eta).sum(axis=1) + z @ LOGITS - np.logaddexp(0, LOGITS).sum()


def of_tensors(x, z):
    torch = optional.package("torch")
    x, z, w, b, c = (torch.from_numpy(np.asarray(a, float)) for a in (x, z, WEIGHTS, BIAS, LOGITS))
    eta, soft = z @ w.T + b, torch.nn.functional.softplus
    return x @ eta.T - soft(eta).sum(dim=1) + z @ c - soft(c).sum()


JOINTS = {
    "scalar": fastvi.LogJoint(scalar, 4),
    "compiled": fastvi.LogJoint(numba.njit(scalar), 4),
    "arrays": fastvi.LogJoint(of_arrays, 4, True),
    "torch": fastvi.LogJoint(of_tensors, 4, True),
}


@pytest.mark.parametrize(
    "name", ["scalar", "compiled", "arrays", pytest.param("torch", marks=pytest.mark.peers)]
)
def test_a_network_written_as_a_log_joint(name):
    model = JOINTS[name]
    _, x = NETWORK.sample(6, 0)
    check_posterior(model, x)
    expected, found = (fastvi.exact_posterior(m, x, top_k=2) for m in (NETWORK, model))
    np.testing.assert_allclose(found.log_marginal, expected.log_marginal, rtol=1e-12)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-10)
    np.testing.assert_allclose(found.mode_log_prob, expected.mode_log_prob, rtol=1e-9)
    assert found.sample(7, 0).shape == (7, 6, 4)
    assert fastvi.log_marginal(model, x[:0]).shape == (0,)


def weighted(x_n, z):
    total = 0.0
    for i in range(z.size):
        total += z[i] * x_n[i % x_n.size] * (1.0 + 0.1 * i)
    return total


def of_weights(x, z):
    d = z.shape[1]
    return np.einsum("ni,si->ns", x[:, np.arange(d) % x.shape[1]] * (1.0 + 0.1 * np.arange(d)), z)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize(("fn", "vectorized"), [(weighted, False), (of_weights, True)])
def test_many_states(fn, vectorized, set_threads, monkeypatch):
    """log sum_z exp<w, z> = sum_i softplus(w_i), over several waves, calls and parts of data."""
    monkeypatch.setattr(user_form, "_WAVE_BITS", 13)
    monkeypatch.setattr(user_form, "CALL_NUMBERS", 1 << 14)
    d = 15
    model, x = fastvi.LogJoint(fn, d, vectorized), np.random.default_rng(0).normal(size=(11, 4))
    w = x[:, np.arange(d) % 4] * (1.0 + 0.1 * np.arange(d))
    found = []
    for threads in (1, 2, 3):
        set_threads(threads)
        found.append(fastvi.exact_posterior(model, x, top_k=1, pairwise=True))
        np.testing.assert_array_equal(found[0].log_marginal, found[-1].log_marginal)
        np.testing.assert_array_equal(found[0].mean, found[-1].mean)
        np.testing.assert_array_equal(found[0].second_moment, found[-1].second_moment)
    np.testing.assert_allclose(found[0].log_marginal, np.logaddexp(0, w).sum(axis=1), rtol=1e-12)
    mean = 1 / (1 + np.exp(-w))
    np.testing.assert_allclose(found[0].mean, mean, rtol=1e-10)
    pairs = mean[:, :, None] * mean[:, None]
    pairs[:, np.arange(d), np.arange(d)] = mean
    np.testing.assert_allclose(found[0].second_moment, pairs, rtol=1e-9)
    np.testing.assert_array_equal(found[0].mode, w > 0)
    np.testing.assert_array_equal(fastvi.log_marginal(model, x[3:5]), found[0].log_marginal[3:5])


@pytest.mark.parametrize("vectorized", [False, True])
def test_states_of_probability_0(vectorized):
    def one_only(x_n, z):
        return 0.5 * x_n[0] if z.sum() == 1.0 else -math.inf

    def of_all(x, z):
        return np.where(z.sum(axis=1) == 1, 0.5 * x[:, :1], -np.inf)

    model = fastvi.LogJoint(of_all if vectorized else one_only, 3, vectorized)
    posterior = fastvi.exact_posterior(model, [[1.0], [2.0]], top_k=5)
    np.testing.assert_allclose(posterior.log_marginal, np.log(3) + np.array([0.5, 1.0]))
    np.testing.assert_allclose(posterior.mean, np.full((2, 3), 1 / 3))
    np.testing.assert_allclose(posterior.entropy, np.log([3, 3]))
    assert (posterior.top_log_probs[:, 3:] == -np.inf).all()


def test_data_of_probability_0():
    model = fastvi.LogJoint(lambda x_n, z: -math.inf if x_n[0] == 0 else z[0], 2)
    posterior = fastvi.exact_posterior(model, [[0.0], [1.0]])
    assert posterior.log_marginal[0] == -math.inf
    assert np.isnan(posterior.mean[0]).all()
    np.testing.assert_allclose(posterior.log_marginal[1], math.log(2 + 2 * math.e))


def test_data_of_any_shape():
    flat = fastvi.LogJoint(lambda x_n, z: x_n * z[0], 1)
    np.testing.assert_allclose(fastvi.log_marginal(flat, [1.0, -2.0]), np.logaddexp(0, [1.0, -2.0]))
    image = fastvi.LogJoint(lambda x_n, z: x_n[1, 0] * z[0], 1)
    images = np.arange(8.0).reshape(2, 2, 2)
    np.testing.assert_allclose(fastvi.log_marginal(image, images), np.logaddexp(0, images[:, 1, 0]))


@pytest.mark.slow_without_jit
def test_calls_of_a_function_of_arrays_are_bounded():
    shapes = []

    def watched(x, z):
        shapes.append((len(x), len(z)))
        return np.zeros((len(x), len(z)))

    fastvi.log_marginal(fastvi.LogJoint(watched, 13, True), np.zeros((1500, 2)))
    assert {states for _, states in shapes} == {4096}
    assert max(data * states for data, states in shapes) <= 1 << 22
    assert sum(data * states for data, states in shapes) == 1500 << 13


@pytest.mark.slow_without_jit
def test_extreme_log_joints_and_oracle():
    def steep(x_n, z):
        return x_n[0] * (z[0] + 2 * z[1] - 700.0 * z[2]) + 1e5

    model, x = fastvi.LogJoint(steep, 3), np.array([[1.0], [-3.0], [500.0]])
    expected = [naive.log_sum_exp(steep(row, z) for z in naive.states(3)) for row in x]
    np.testing.assert_allclose(fastvi.log_marginal(model, x), expected, rtol=1e-14)


# ---- what is refused -------------------------------------------------------------------------------------


def log_joint(value, vectorized=False):
    fn = (lambda x, z: np.full((len(x), len(z)), value)) if vectorized else (lambda x_n, z: value)
    return fastvi.LogJoint(fn, 2, vectorized)


NORMAL = fastvi.NeuralDecoder([([[1.0]], [0.0])], "relu", fastvi.Normal([0.0], [1.0]))
LINEAR = fastvi.LinearGaussian([[1.0]], [0.0], 1.0)
# fmt: off
WRONG_INPUT = [
    ("NaN", lambda: fastvi.log_marginal(log_joint(math.nan), [[0.0]]), ValueError, r"^fn\(x_n, z\) must not return NaN for any \(datum, state\), got nan at index \(0, 0\)$"),
    ("+inf", lambda: fastvi.log_marginal(log_joint(math.inf), [[0.0]]), ValueError, r"^fn\(x_n, z\) must not return \+inf for any"),
    ("NaN of arrays", lambda: fastvi.log_marginal(log_joint(math.nan, True), [[0.0]]), ValueError, r"^fn\(X, Z\) must not contain NaN"),
    ("+inf of arrays", lambda: fastvi.exact_posterior(log_joint(math.inf, True), [[0.0]]), ValueError, r"^fn\(X, Z\) must not return \+inf"),
    ("another shape", lambda: fastvi.log_marginal(fastvi.LogJoint(lambda x, z: np.zeros(3), 2, True), [[0.0]]), ValueError, r"^fn\(X, Z\) must have 2 axes of shape \(1, 4\), got shape \(3,\)$"),
    ("observed", lambda: fastvi.log_marginal(log_joint(0.0), [[0.0]], observed=[True]), TypeError, r"^observed must be None where model is a LogJoint"),
    ("checkpoint", lambda: fastvi.log_marginal(log_joint(0.0), [[0.0]], checkpoint="never written"), TypeError, r"^checkpoint must be None where model is a LogJoint"),
    ("gradient", lambda: fastvi.log_marginal_gradient(log_joint(0.0), [[0.0]]), TypeError, r"^model must have parameters to be differentiated, got LogJoint"),
    ("real x of a binary decoder", lambda: fastvi.log_marginal(decoder((2, 3)), [[0.5, 0, 0]]), ValueError, r"^x must contain only 0 and 1"),
    ("posterior of real latents", lambda: fastvi.exact_posterior(NORMAL, [[0]]), TypeError, r"^model must have a Bernoulli prior for its states to be enumerated"),
    ("gradient of real latents", lambda: fastvi.log_marginal_gradient(NORMAL, [[0]]), TypeError, r"^model must have a Bernoulli prior to be differentiated"),
    ("posterior of a linear model", lambda: fastvi.exact_posterior(LINEAR, [[0.0]]), TypeError, r"^model must have binary latents for its states to be enumerated"),
]
# fmt: on


@pytest.mark.parametrize(
    ("call", "exception", "message"), [c[1:] for c in WRONG_INPUT], ids=[c[0] for c in WRONG_INPUT]
)
def test_wrong_input(call, exception, message):
    with pytest.raises(exception, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.needs_jit
def test_what_cannot_be_compiled_is_said_in_one_line():
    model = fastvi.LogJoint(lambda x_n, z: pickle.dumps(z), 2)
    with pytest.raises(
        TypeError, match=r"^fn must be a function fn\(x_n, z\) -> float that Numba can compile"
    ) as caught:
        fastvi.log_marginal(model, [[0.0]])
    assert "\n" not in str(caught.value)
