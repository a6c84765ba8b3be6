"""Weights of any size: log p(x), posteriors and gradients, right to a stated bound or refused."""

from __future__ import annotations

import itertools
import logging
import math

import mpmath
import naive_large_weights as naive
import numpy as np
import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st
from large_weights import CANCELLING, all_data, allowed, network, truth

import fastvi
from fastvi.core.functions import ACTIVATIONS
from fastvi.engine.decoder.large_logits import LargeLogits, are_large, largest_reach, reach
from fastvi.engine.run import slices
from fastvi.kernels.cpu.dense.exact_logits import exact_logits

# ---- log p(x) ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "bias", "expected"),
    [([[1e100]], [-5e99], math.log(0.5)), ([[1e20]], [-1e20], math.log(0.25))],
)
def test_one_pixel_and_one_latent(weights, bias, expected):
    assert fastvi.log_marginal(network(weights, bias), [[1]])[0] == pytest.approx(expected, rel=1e-15)


magnitudes = st.one_of(
    st.floats(-300, 300), st.floats(-2, 8), st.sampled_from([0.0, 4.0, 5.0, 6.0, 20.0, 299.0])
).map(lambda e: 10.0**e)
signed = st.builds(lambda size, sign: size * sign, magnitudes, st.sampled_from([-1.0, 0.0, 1.0]))


@st.composite
def networks_of_all_scales(draw):
    """Small networks of one scale or of many, of which some have logits that cancel."""
    num_pixels, d = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    one = draw(magnitudes)
    elements = draw(st.sampled_from([signed, st.floats(-3, 3).map(lambda value: value * one)]))
    weights = draw(strategies.floats((num_pixels, d), elements))
    bias = draw(
        st.one_of(
            strategies.floats(num_pixels, elements),
            st.sampled_from([-0.5, -1.0]).map(lambda share: share * weights.sum(axis=1)),
        )
    )
    prior = draw(strategies.floats(d, draw(st.sampled_from([signed, st.floats(-3, 3)]))))
    return network(weights, bias, prior)


@pytest.mark.slow_without_jit
@given(networks_of_all_scales())
def test_probabilities_of_all_scales(model):
    x = all_data(model.num_pixels)
    found, expected = fastvi.log_marginal(model, x), truth(model, x)
    assert (found <= 0).all()
    assert (np.abs(found - expected) <= allowed(model, expected)).all()
    # a sum of probabilities is off by no more than the logarithms of those that are not negligible
    assert abs(np.exp(found).sum() - 1.0) <= 2.0**model.num_pixels * allowed(model, np.zeros(1))[0]


@pytest.mark.parametrize("share", [0.9, 1.1])
@pytest.mark.parametrize("num_pixels", [1, 7])
def test_close_to_where_sums_with_a_linear_part_end(share, num_pixels, caplog):
    rng = np.random.default_rng(num_pixels)
    weights = rng.normal(size=(num_pixels, 3))
    bias = -weights.sum(axis=1) / 2
    scale = share * largest_reach(num_pixels) / (np.abs(weights).sum() + np.abs(bias).sum())
    model, x = network(scale * weights, scale * bias), rng.integers(0, 2, (6, num_pixels))
    with caplog.at_level(logging.INFO, logger="fastvi"):
        found = fastvi.log_marginal(model, x)
    assert ("weights are large" in caplog.text) == (share > 1)
    expected = truth(model, x)
    assert (np.abs(found - expected) <= allowed(model, expected)).all()
    assert (np.abs(found - expected) <= 1e-9 * np.maximum(1.0, np.abs(expected))).all()


def test_ordinary_networks_keep_the_fast_path():
    rng = np.random.default_rng(0)
    weights, bias = 4.0 * rng.normal(size=(784, 40)), 4.0 * rng.normal(size=784)
    assert reach([(weights, bias)], "relu", np.zeros(40)) > 1e5
    assert not are_large([(weights, bias)], "relu", np.zeros(40))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_logits_that_cancel(dtype):
    x = all_data(3)
    found = fastvi.log_marginal(CANCELLING, x, dtype=dtype)
    assert (np.abs(found - truth(CANCELLING, x)) <= allowed(CANCELLING, found)).all()


def test_unseen_pixels_do_not_make_a_network_large(caplog):
    seen, x = np.array([False, True, False]), all_data(3)
    model = network([[1e20, 1.0], [0.5, -1.0], [1e6, -1e6]], [0.0, 0.1, 1.0])
    with caplog.at_level(logging.INFO, logger="fastvi"):
        found = fastvi.log_marginal(model, x, observed=seen)
    assert "weights are large" not in caplog.text
    np.testing.assert_allclose(found, truth(model, x, seen), rtol=1e-14)
    seen = np.array([True, False, True])
    found = fastvi.log_marginal(model, x, observed=seen)
    np.testing.assert_allclose(found, truth(model, x, seen), rtol=1e-14)


def test_no_pixels_under_a_strong_prior():
    found = fastvi.log_marginal(network(np.empty((0, 2)), [], [1e20, 0.3]), np.empty((2, 0)))
    assert ((found >= -1e-15) & (found <= 0)).all()


def test_a_strong_prior_of_weak_pixels():
    model, x = network([[0.5, -1.0]], [0.2], [1e20, 0.3]), all_data(1)
    np.testing.assert_allclose(fastvi.log_marginal(model, x), truth(model, x), rtol=1e-15)


def test_deep_networks():
    """A large layer below an ordinary one, and an ordinary one below a large one."""
    ordinary = network([[0.5, -1.0], [2.0, 0.1], [0.3, 0.3]], [0.2, -0.3, 0.0], [0.1, -0.4])
    for below, prior in [
        ((CANCELLING.weights, CANCELLING.bias), ordinary),
        (([[0.5, 1.0, -2.0]], [0.1]), CANCELLING),
    ]:
        model, x = fastvi.SigmoidBeliefNetwork(*below, prior=prior), all_data(len(below[1]))
        with mpmath.workdps(naive.DIGITS):
            logs = {
                z: mpmath.mpf(naive.log_marginal(prior.weights, prior.bias, prior.prior_logits, z))
                for z in naive.states(3)
            }
            expected = [float(naive.log_sum_exp(naive.log_joints(*below, logs.get, row))) for row in x]
        found = fastvi.log_marginal(model, x)
        np.testing.assert_allclose(found, expected, rtol=1e-14)
        assert (found <= 0).all()
        posterior = fastvi.exact_posterior(model, x[:2])
        np.testing.assert_allclose(np.exp(posterior.log_prob(all_data(3)[:, None])).sum(axis=0), 1.0)


@pytest.mark.slow_without_jit
def test_same_bits_for_threads_batches_and_chunks(same_bits, monkeypatch):
    rng = np.random.default_rng(2)
    model, x = network(1e6 * rng.normal(size=(5, 11)), 1e6 * rng.normal(size=5)), rng.integers(0, 2, (9, 5))
    whole = same_bits(lambda: fastvi.log_marginal(model, x))
    alone = np.concatenate([fastvi.log_marginal(model, row[None]) for row in x])
    assert alone.tobytes() == whole.tobytes()
    monkeypatch.setattr(slices, "CHUNK_DATA", 4)
    assert fastvi.log_marginal(model, x).tobytes() == whole.tobytes()


# ---- decoders ---------------------------------------------------------------------------------------------


def test_decoders_of_one_layer_are_networks():
    layers = [(CANCELLING.weights, CANCELLING.bias)]
    decoder = fastvi.NeuralDecoder(layers, "relu", fastvi.Bernoulli(CANCELLING.prior_logits))
    x = all_data(3)
    assert fastvi.log_marginal(decoder, x).tobytes() == fastvi.log_marginal(CANCELLING, x).tobytes()


LAYERS = [([[1e8, -1e8], [2.0, 1.0]], [1.0, 0.0]), ([[1e8, 1.0], [-3e7, 1e8]], [2.0, -1e8])]


def test_decoders_of_two_layers():
    decoder, x = fastvi.NeuralDecoder(LAYERS, "relu", fastvi.Bernoulli([0.3, -0.5])), all_data(2)
    expected = [naive.relu_decoder_log_marginal(LAYERS, [0.3, -0.5], row) for row in x]
    found = fastvi.log_marginal(decoder, x)
    # each logit is right to 1e-6, or the decoder is refused; these have integers in every unit
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    assert (found <= 0).all()


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "softplus"])
def test_decoders_whose_logits_are_lost_are_refused(activation):
    layers = [([[0.3], [0.7]], [0.1, 0.2]), ([[1e14, -1e14]], [0.0])]
    weights = np.array(layers[1][0])
    hidden = {"relu": (0.4, 0.9), "tanh": np.tanh([0.4, 0.9])}.get(activation, (1.0, 2.0))
    weights[0, 1] = -weights[0, 0] * hidden[0] / hidden[1]  # about 0 where the latent is 1
    if activation in ("sigmoid", "softplus"):
        values = ACTIVATIONS[activation](np.array([0.4, 0.9]))
        weights[0, 1] = -weights[0, 0] * values[0] / values[1]
    decoder = fastvi.NeuralDecoder([layers[0], (weights, [0.0])], activation, fastvi.Bernoulli([0.0]))
    line = r"^layers must leave every logit right to 1e-06, .* got a logit of .* that is right to [^\n]*$"
    with pytest.raises(ValueError, match=line):
        fastvi.log_marginal(decoder, [[1]])
    with pytest.raises(ValueError, match=line):
        fastvi.estimate_log_marginal(decoder, [[1]], num_samples=10)


@given(
    st.integers(0, 2**32),
    st.sampled_from(["relu", "tanh", "sigmoid", "softplus", "leaky_relu", "elu", "gelu", "silu", "identity"]),
    st.floats(0, 9),
)
def test_logits_are_within_their_bound(seed, activation, exponent):
    """Against the same layers in 60 digits."""
    rng = np.random.default_rng(seed)
    scale, sizes = 10.0**exponent, (3, 4, 3, 2)
    layers = [
        (scale * rng.normal(size=(out, into)), scale * rng.normal(size=out))
        for into, out in itertools.pairwise(sizes)
    ]
    functions = {
        "relu": lambda t: max(t, mpmath.mpf(0)),
        "tanh": mpmath.tanh,
        "sigmoid": lambda t: mpmath.exp(naive.log_sigmoid(t)),
        "softplus": lambda t: -naive.log_sigmoid(-t),
        "leaky_relu": lambda t: t if t > 0 else naive.number(0.01) * t,
        "elu": lambda t: t if t > 0 else mpmath.expm1(max(t, mpmath.mpf(-1000))),
        "gelu": lambda t: t * mpmath.ncdf(t) if t > -100 else mpmath.mpf(0),
        "silu": lambda t: t * mpmath.exp(naive.log_sigmoid(t)),
        "identity": lambda t: t,
    }
    states = all_data(3).astype(float)
    try:
        found = LargeLogits(layers, activation)(states)
    except ValueError:
        return
    with mpmath.workdps(60):
        for row, z in zip(found, states, strict=True):
            values = [naive.number(bit) for bit in z]
            for i, (weight, bias) in enumerate(layers):
                values = [functions[activation](v) for v in values] if i else values
                values = [
                    naive.number(b)
                    + mpmath.fsum(naive.number(w) * v for w, v in zip(line, values, strict=True))
                    for line, b in zip(weight, bias, strict=True)
                ]
            for eta, exact in zip(row, values, strict=True):
                assert abs(naive.number(eta) - exact) <= 1e-6 * max(1, abs(exact))


@pytest.mark.parametrize(
    ("activation", "function"),
    [
        ("gelu", lambda t: t * math.erfc(-t / math.sqrt(2)) / 2),
        ("silu", lambda t: t / (1 + math.exp(-t))),
        ("tanh", math.tanh),
    ],
)
@pytest.mark.parametrize("size", [0.01, 0.6, 3.0])
def test_bounds_on_units_that_fall_and_rise(activation, function, size):
    """The largest change of f within the bounds, found on a dense grid, whose steps hide 1e-6 of it."""
    value, error = np.linspace(-4.0, 2.0, 25)[None], np.full((1, 25), size)
    layers = [(np.ones((25, 1)), np.zeros(25)), (np.ones((1, 25)), [0.0])]
    found, bound = LargeLogits(layers, activation)._activated(value.copy(), error)
    for t, f, most in zip(value[0], found[0], bound[0], strict=True):
        assert f == pytest.approx(function(t), rel=1e-13)
        change = max(abs(function(s) - f) for s in np.linspace(t - size, t + size, 4001))
        assert change <= most + 1e-15
        assert most <= change * (1 + 1e-5) + 1e-14


def test_normal_latents():
    """x = 1 where z > 1/2: its probability is that of a normal tail."""
    decoder = fastvi.NeuralDecoder([([[2e7]], [-1e7])], "relu", fastvi.Normal([0.0], [1.0]))
    found = fastvi.elbo(decoder, [[1], [0]], fastvi.Normal([5.0], [0.1])).reconstruction
    # 45 standard deviations from the other side
    assert found[0] == 0.0
    assert found[1] == pytest.approx(-9e7, rel=1e-9)


@given(
    st.lists(signed, min_size=1, max_size=12),
    st.integers(0, 2**12 - 1),
    signed,
)
def test_logits_are_exact_sums(row, state, bias):
    bits = [float((state >> i) & 1) for i in range(len(row))]
    out = np.empty((1, 1))
    exact_logits(np.array([bits]), np.array([row]), np.array([bias]), out)
    exact = math.fsum([bias, *(w for w, bit in zip(row, bits, strict=True) if bit)])
    assert abs(out[0, 0] - exact) <= math.ulp(exact)


# ---- posteriors and gradients -----------------------------------------------------------------------------


def test_posteriors_of_logits_that_cancel():
    x = np.array([row for row in all_data(3) if truth(CANCELLING, row[None])[0] > -1e6])
    assert len(x) >= 2
    posterior, states = fastvi.exact_posterior(CANCELLING, x, top_k=3, pairwise=True), all_data(3)
    for n, row in enumerate(x):
        exact = np.array(
            [
                float(p)
                for p in naive.posterior(CANCELLING.weights, CANCELLING.bias, CANCELLING.prior_logits, row)
            ]
        )
        np.testing.assert_allclose(posterior.mean[n], exact @ states, rtol=1e-12, atol=1e-15)
        entropy = -sum(p * math.log(p) for p in exact if p > 0)
        assert posterior.entropy[n] == pytest.approx(entropy, rel=1e-12)
        np.testing.assert_allclose(np.exp(posterior.top_log_probs[n]), np.sort(exact)[::-1][:3], rtol=1e-12)
        pairs = np.einsum("s,si,sj->ij", exact, states, states)
        np.testing.assert_allclose(posterior.second_moment[n], pairs, rtol=1e-12, atol=1e-15)
        found = np.exp(posterior.log_prob(states[:, None])[:, n])
        np.testing.assert_allclose(found, exact, rtol=1e-12, atol=1e-15)
    drawn = posterior.sample(2000, 0).mean(axis=0)
    # four standard errors of a mean of 2,000 bits
    assert (np.abs(drawn - posterior.mean) <= 4 * 0.5 / math.sqrt(2000)).all()


def test_posteriors_that_digits_cannot_hold_are_refused():
    model = network([[1e20, 1e20]], [1e20])
    line = r"^x must have log p\(x\) >= -1e\+07 for its posterior to be right to 1e-6 .*, got -1e\+20$"
    asked = [
        lambda: fastvi.exact_posterior(model, [[0]]),
        lambda: fastvi.log_marginal_gradient(model, [[0]]),
        lambda: fastvi.kl_to_posterior(model, [[0]], fastvi.Bernoulli([0.0, 0.0])),
        lambda: fastvi.kl_from_posterior(model, [[0]], fastvi.Bernoulli([0.0, 0.0])),
    ]
    for ask in asked:
        with pytest.raises(ValueError, match=line):
            ask()
    assert fastvi.log_marginal(model, [[0]])[0] == pytest.approx(-1e20, rel=1e-15)
    # what counts for nothing may be as improbable as it likes
    found = fastvi.log_marginal_gradient(model, [[0], [1]], data_weights=[0.0, 1.0])
    assert all(np.isfinite(value).all() for value in found.values())


@pytest.mark.parametrize("observed", [None, np.array([True, False, True])])
def test_gradients_of_logits_that_cancel(observed):
    x = np.array([row for row in all_data(3) if truth(CANCELLING, row[None])[0] > -1e6])
    weights = np.linspace(0.5, 2.0, len(x))
    found = fastvi.log_marginal_gradient(CANCELLING, x, data_weights=weights, observed=observed)
    seen = np.ones(3, bool) if observed is None else observed
    expected = [np.zeros((3, 3)), np.zeros(3), np.zeros(3)]
    for row, weight in zip(x, weights, strict=True):
        one = naive.gradient(
            CANCELLING.weights[seen], CANCELLING.bias[seen], CANCELLING.prior_logits, row[seen]
        )
        for total, value, rows in zip(expected, one, (seen, seen, slice(None)), strict=True):
            total[rows] += weight * np.array(value)
    for name, value in zip(("weights", "bias", "prior_logits"), expected, strict=True):
        np.testing.assert_allclose(found[name], value, rtol=1e-12, atol=1e-14)


def test_gradients_of_decoders_and_deep_networks_are_those_of_ordinary_ones(monkeypatch):
    """Ordinary weights, summed as if they were large."""
    monkeypatch.setattr("fastvi.rules.kept.MOST_BYTES", -1)  # no form is kept
    rng = np.random.default_rng(1)
    x, data_weights = rng.integers(0, 2, (5, 4)), rng.normal(size=5)
    above = network(rng.normal(size=(3, 2)), rng.normal(size=3), rng.normal(size=2))
    prior = fastvi.Bernoulli(rng.normal(size=3))
    layers = [(rng.normal(size=(6, 3)), rng.normal(size=6)), (rng.normal(size=(4, 6)), rng.normal(size=4))]
    models = [
        fastvi.SigmoidBeliefNetwork(rng.normal(size=(4, 3)), rng.normal(size=4), prior=above),
        *(fastvi.NeuralDecoder(layers, name, prior) for name in ("relu", "tanh", "softplus", "gelu")),
    ]
    for model in models:
        expected = fastvi.log_marginal_gradient(model, x, data_weights=data_weights)
        with monkeypatch.context() as patch:
            patch.setattr("fastvi.engine.decoder.large_logits.largest_reach", lambda num_pixels: 0.0)
            found = fastvi.log_marginal_gradient(model, x, data_weights=data_weights)
        assert set(found) == set(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-11, atol=1e-12)
            assert not np.array_equal(found[name], value) or not value.any()
