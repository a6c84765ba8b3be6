"""Neural decoders: log joints against the definition, draws, files, wrong input."""

# ruff: noqa: E501

from __future__ import annotations

import copy
import itertools
import pickle

import cases
import naive
import naive_models
import numpy as np
import pytest
import strategies
from cases import assert_same
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_frequencies

import fastvi
from fastvi.models import neural_decoder

ACTIVATIONS = ["relu", "tanh", "sigmoid", "softplus", "leaky_relu", "elu", "gelu", "silu", "identity"]
ORDINARY = st.floats(-2, 2)


def decoder(sizes=(3, 4, 5), activation="tanh", prior="bernoulli", likelihood="bernoulli", seed=0, scale=1.0):
    """Layers of the given sizes, latents first, and a prior drawn by ``seed``."""
    prior = getattr(cases, prior)(sizes[0], seed=seed)
    noise_std = 0.7 if likelihood == "gaussian" else None
    return cases.decoder(sizes, activation, prior, noise_std, seed, scale=scale, bias_scale=scale)


MODELS = {
    "binary, binary": decoder(),
    "binary latents, real pixels": decoder(activation="relu", likelihood="gaussian"),
    "real latents, binary pixels": decoder((2, 3, 3, 4), "softplus", "normal"),
    "real, real": decoder((2, 3, 4), "sigmoid", "normal", "gaussian"),
    "one layer": decoder((2, 3)),
    "no pixels": decoder((2, 3, 0)),
}
each_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())


def is_binary(model):
    return isinstance(model.prior, fastvi.Bernoulli)


def draws(model, *shape, seed=1):
    """Some x and z of leading axes ``shape`` each, not from the model."""
    rng = np.random.default_rng(seed)
    x, z = rng.standard_normal((*shape, model.num_pixels)), rng.standard_normal((*shape, model.num_latents))
    x = x if model.likelihood == "gaussian" else (x > 0).astype(float)
    return x, (z > 0).astype(float) if is_binary(model) else z


def naive_log_joint(model, x, z):
    if is_binary(model):
        prior = naive.bernoulli_log_prob(z, model.prior.logits)
    else:
        prior = naive_models.normal_log_prob(z, model.prior.mean, model.prior.std)
    likelihood = naive_models.decoder_log_likelihood(model.layers, model.activation, x, z, model.noise_std)
    return prior + likelihood


@st.composite
def decoders_with_data(draw):
    """A model, x (2, D) and z (3, d)."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=2, max_size=4))
    layers = [
        (draw(strategies.floats((above, below), ORDINARY)), draw(strategies.floats(above, ORDINARY)))
        for below, above in itertools.pairwise(sizes)
    ]
    d, num_pixels = sizes[0], sizes[-1]
    if draw(st.booleans()):
        prior, z = fastvi.Bernoulli(draw(strategies.floats(d, ORDINARY))), draw(strategies.bits((3, d)))
    else:
        std = draw(strategies.floats(d, st.floats(0.1, 3)))
        prior = fastvi.Normal(draw(strategies.floats(d, ORDINARY)), std)
        z = draw(strategies.floats((3, d), ORDINARY))
    activation = draw(st.sampled_from(ACTIVATIONS))
    if draw(st.booleans()):
        x = draw(strategies.bits((2, num_pixels)))
        return fastvi.NeuralDecoder(layers, activation, prior), x, z
    x = draw(strategies.floats((2, num_pixels), ORDINARY))
    noise_std = draw(st.floats(0.1, 3))
    return fastvi.NeuralDecoder(layers, activation, prior, "gaussian", noise_std), x, z


# ---- values ----------------------------------------------------------------------------------------------


@given(decoders_with_data())
def test_the_log_joint_is_its_definition(case):
    model, x, z = case
    expected = [[naive_log_joint(model, a, b) for b in z] for a in x]
    got = model.log_joint(x[:, None], z[None])
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_each_activation(activation):
    model = decoder((2, 4, 3), activation, scale=2.0)
    x, z = np.array(naive.states(3)), np.array(naive.states(2))
    expected = [[naive_log_joint(model, a, b) for b in z] for a in x]
    np.testing.assert_allclose(model.log_joint(x[:, None], z), expected, rtol=1e-13)


def test_one_layer_is_a_sigmoid_belief_network():
    model = decoder((3, 5))
    (weights, bias), prior_logits = model.layers[0], model.prior.logits
    network = fastvi.SigmoidBeliefNetwork(weights, bias, prior_logits)
    x, z = draws(model, 6)
    np.testing.assert_array_equal(model.log_joint(x[:, None], z), network.log_joint(x[:, None], z))


def test_probabilities_of_all_pairs_sum_to_one():
    model = decoder((3, 4, 4))
    x, z = np.array(naive.states(4)), np.array(naive.states(3))
    assert np.exp(model.log_joint(x[:, None], z[None])).sum() == pytest.approx(1, rel=1e-14)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_log_joints_of_binary_latents_sum_to_the_log_marginal(likelihood):
    model = decoder((3, 4, 5), "relu", likelihood=likelihood)
    x, _ = draws(model, 4)
    joint = model.log_joint(x[:, None], np.array(naive.states(3)))
    expected = [
        naive_models.decoder_log_marginal(model.layers, "relu", model.prior.logits, row, model.noise_std)
        for row in x
    ]
    np.testing.assert_allclose([naive.log_sum_exp(row) for row in joint], expected, rtol=1e-13)


def test_log_joints_on_a_grid_integrate_to_the_log_marginal():
    """The normal prior's density on Gauss-Hermite nodes against the rule's weights."""
    model = decoder((2, 3, 4), "tanh", "normal")
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    weights = weights / weights.sum()
    x, _ = draws(model, 3)
    grid = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 2)
    log_weight = np.log(weights[:, None] * weights).reshape(-1)
    z = model.prior.mean + model.prior.std * grid
    terms = model.log_joint(x[:, None], z) - model.prior.log_prob(z) + log_weight
    expected = [
        naive_models.decoder_log_marginal_by_quadrature(
            model.layers, "tanh", model.prior.mean, model.prior.std, row, nodes, weights
        )
        for row in x
    ]
    np.testing.assert_allclose([naive.log_sum_exp(row) for row in terms], expected, rtol=1e-12)


def test_saturated_units_keep_their_relative_accuracy():
    layers = [([[30.0]], [0.0]), ([[1.0]], [0.0])]
    model = fastvi.NeuralDecoder(layers, "softplus", fastvi.Bernoulli([1000.0]))
    assert float(model.log_joint([1], [1])) == pytest.approx(-np.log1p(np.exp(-30.0)), rel=1e-12)
    large = fastvi.NeuralDecoder([([[1e200]], [0.0]), ([[1e100]], [0.0])], "relu", fastvi.Bernoulli([1000.0]))
    np.testing.assert_array_equal(large.log_joint([[0], [1]], [1]), [-1e300, 0.0])


@each_model
def test_leading_axes_broadcast(model):
    x, z = draws(model, 4)
    pairs = model.log_joint(x[:, None], z[None])
    assert pairs.shape == (4, 4)
    for n, k in np.ndindex(4, 4):
        assert model.log_joint(x[n], z[k]) == pairs[n, k]
    np.testing.assert_array_equal(model.log_joint(x, z), np.diagonal(pairs))
    np.testing.assert_array_equal(model.log_joint(x[0], z), pairs[0])
    np.testing.assert_array_equal(model.log_joint(x, z[0]), pairs[:, 0])
    assert model.log_joint(x[:0, None], z).shape == (0, 4)
    assert model.log_joint(x[:, None], z[:0]).shape == (4, 0)


@each_model
def test_dividing_the_work_changes_nothing(model, monkeypatch):
    x, z = draws(model, 4, 1, 6)[0], draws(model, 7, 1, seed=2)[1]
    whole, drawn = model.log_joint(x, z), model.sample(50, 7)
    monkeypatch.setattr(neural_decoder, "BLOCK", 12)
    assert whole.shape == (4, 7, 6)
    np.testing.assert_array_equal(model.log_joint(x, z), whole)
    for a, b in zip(model.sample(50, 7), drawn, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_uniform_prior_is_kept_as_a_bernoulli():
    model = fastvi.NeuralDecoder([(np.eye(2), np.zeros(2))], "relu", fastvi.Uniform(2))
    assert type(model.prior) is fastvi.Bernoulli
    assert model.num_latents == 2


def test_reprs_are_one_line():
    assert repr(decoder()) == (
        "NeuralDecoder(num_pixels=5, num_latents=3, widths=(4,), activation='tanh', prior=Bernoulli, "
        "likelihood='bernoulli')"
    )


# ---- draws -----------------------------------------------------------------------------------------------


def test_binary_draws_follow_the_joint_distribution():
    model, num = decoder((2, 3, 2)), 40_000
    z, x = model.sample(num, seed=3)
    assert (z.shape, z.dtype, x.shape, x.dtype) == ((num, 2), np.uint8, (num, 2), np.uint8)
    states = np.array(naive.states(2))
    expected = np.exp(model.log_joint(states[:, None], states[None]))
    counts = np.zeros((4, 4))
    np.add.at(counts, (x @ [2, 1], z @ [2, 1]), 1)
    assert_frequencies(counts, expected, num)


@pytest.mark.slow_without_jit
def test_real_draws_have_the_moments_of_the_model():
    model, num = decoder((2, 3, 4), "relu", "normal", "gaussian"), 40_000
    z, x = model.sample(num, seed=3)
    assert (z.shape, z.dtype, x.shape, x.dtype) == ((num, 2), np.float64, (num, 4), np.float64)
    error = 5 / np.sqrt(num)
    standard = (z - model.prior.mean) / model.prior.std
    noise = (x - [naive_models.decoder_outputs(model.layers, "relu", row) for row in z]) / model.noise_std
    numbers = np.concatenate([standard, noise], axis=1)
    assert np.abs(numbers.mean(axis=0)).max() < error
    assert np.abs(np.cov(numbers.T) - np.eye(6)).max() < 1.5 * error


@each_model
def test_a_sample_is_a_pure_function_of_the_seed(model):
    first, again, other = model.sample(50, 2**64 - 1), model.sample(50, 2**64 - 1), model.sample(50, 0)
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a != c).any() or not a.size
    z, x = model.sample(0, 0)
    assert (z.shape, x.shape) == ((0, model.num_latents), (0, model.num_pixels))


# ---- files, copies, immutability -------------------------------------------------------------------------


@each_model
def test_a_decoder_comes_back_the_same(model, tmp_path):
    model.save(tmp_path / "model")
    for twin in (fastvi.load(tmp_path / "model"), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert_same(twin, model)
        assert not any(array.flags.writeable for layer in twin.layers for array in layer)


def test_nothing_can_be_changed():
    model = decoder()
    for name in ("layers", "activation", "prior", "likelihood", "noise_std", "num_pixels"):
        with pytest.raises(AttributeError, match="immutable"):
            setattr(model, name, None)
    with pytest.raises(ValueError, match="read-only"):
        model.layers[0][0][0, 0] = 1


def test_what_was_passed_is_copied():
    weight, bias = np.zeros((2, 3)), np.zeros(2)
    model = fastvi.NeuralDecoder([(weight, bias)], "relu", fastvi.Uniform(3))
    weight[:], bias[:] = 1, 1
    assert not model.layers[0][0].any()
    assert not model.layers[0][1].any()


WRONG_FILES = [
    ("no layers", {"layer_0_weight": None}, "whole NeuralDecoder.*'layer_0_weight'"),
    ("a missing bias", {"layer_1_bias": None}, "whole NeuralDecoder.*'layer_1_bias'"),
    ("no prior", {"prior_logits": None}, "whole NeuralDecoder.*'prior_mean'"),
    ("no activation", {"activation": None}, "whole NeuralDecoder.*'activation'"),
    (
        "unknown activation",
        {"activation": np.array("swish")},
        "valid NeuralDecoder.*activation must be one of",
    ),
    ("one array too many", {"extra": np.zeros(2)}, "whole NeuralDecoder.*'extra'"),
    ("a layer beyond a gap", {"layer_3_weight": np.zeros((2, 2))}, "whole NeuralDecoder.*'layer_3_weight'"),
    ("noise of nobody", {"noise_std": np.array(1.0)}, "whole NeuralDecoder.*noise_std must be None"),
    ("NaN", {"layer_1_bias": np.full(5, np.nan)}, r"valid NeuralDecoder.*layers\[1\]\[1\] must be finite"),
]


@pytest.mark.parametrize(
    ("changes", "message"), [c[1:] for c in WRONG_FILES], ids=[c[0] for c in WRONG_FILES]
)
def test_wrong_files(changes, message, tmp_path):
    path = tmp_path / "model"
    decoder().save(path)
    with np.load(path) as archive:
        arrays = {**archive, **changes}
    with open(path, "wb") as file:
        np.savez(file, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(ValueError, match=message) as caught:
        fastvi.load(path)
    assert "\n" not in str(caught.value)


# ---- wrong input -----------------------------------------------------------------------------------------

NAN, INF = float("nan"), float("inf")
LAYER = (np.zeros((4, 3)), np.zeros(4))
PRIOR = fastvi.Bernoulli(np.zeros(3))
BINARY, REAL = decoder(), decoder((3, 4, 5), "tanh", "normal", "gaussian")


def build(layers=(LAYER,), activation="relu", prior=PRIOR, *rest):
    return fastvi.NeuralDecoder(layers, activation, prior, *rest)


# fmt: off
WRONG_INPUT = [
    ("no layers", lambda: build([]), ValueError, r"^layers must be a sequence of at least one pair \(weight, bias\), got none$"),
    ("layers None", lambda: build(None), TypeError, r"^layers must be a sequence .* got None"),
    ("layers an array", lambda: build(np.zeros((1, 2, 3))), TypeError, r"^layers must be a sequence .* got an array of shape"),
    ("a layer of one", lambda: build([LAYER, (np.zeros((2, 4)),)]), TypeError, r"^layers must be .* pair \(weight, bias\), got .* at index 1$"),
    ("first layer too wide", lambda: build([(np.zeros((4, 2)), np.zeros(4))]), ValueError, r"^layers\[0\]\[0\] must have shape \(any, 3\), got shape \(4, 2\)$"),
    ("second layer too wide", lambda: build([LAYER, (np.zeros((4, 2)), np.zeros(4))]), ValueError, r"^layers\[1\]\[0\] must have shape \(any, 4\), got shape \(4, 2\)$"),
    ("bias too short", lambda: build([(np.zeros((4, 3)), np.zeros(3))]), ValueError, r"^layers\[0\]\[1\] must have shape \(4,\), got shape \(3,\)$"),
    ("NaN weight", lambda: build([(np.full((4, 3), NAN), np.zeros(4))]), ValueError, r"^layers\[0\]\[0\] must be finite, got nan at index \(0, 0\)$"),
    ("text bias", lambda: build([(np.zeros((4, 3)), list("abcd"))]), TypeError, r"^layers\[0\]\[1\] must be an array of real numbers, got dtype <U1"),
    ("overflowing unit", lambda: build([(np.full((4, 3), 1e308), np.zeros(4))]), ValueError, r"^layers\[0\] must keep every unit finite, got inf at index 0$"),
    ("overflow in two steps", lambda: build([(np.full((4, 3), 1e200), np.zeros(4)), (np.full((1, 4), 1e200), [0])]), ValueError, r"^layers\[1\] must keep every unit finite"),
    ("unknown activation", lambda: build(activation="swish"), ValueError, r"^activation must be one of 'relu', 'tanh', 'sigmoid', 'softplus', 'leaky_relu', 'elu', 'gelu', 'silu', 'identity', got 'swish'"),
    ("activation a function", lambda: build(activation=np.tanh), TypeError, r"^activation must be one of .* got <ufunc 'tanh'>"),
    ("prior an array", lambda: build(prior=np.zeros(3)), TypeError, r"^prior must be a Bernoulli or Normal, got an array"),
    ("prior of data", lambda: build(prior=fastvi.Bernoulli(np.zeros((2, 3)))), ValueError, r"^prior must have parameters of shape \(num_latents,\), got shape \(2, 3\)$"),
    ("normal prior of data", lambda: build(prior=fastvi.Normal(np.zeros((2, 3)), np.ones((2, 3)))), ValueError, r"^prior must have parameters of shape \(num_latents,\), got shape \(2, 3\)$"),
    ("infinite prior", lambda: build(prior=fastvi.Bernoulli([0, INF, 0])), ValueError, r"^prior must have finite logits, got inf at index 1$"),
    ("unknown likelihood", lambda: build((LAYER,), "relu", PRIOR, "poisson"), ValueError, r"^likelihood must be one of 'bernoulli', 'gaussian', got 'poisson'"),
    ("no noise", lambda: build((LAYER,), "relu", PRIOR, "gaussian"), TypeError, r"^noise_std must be a finite number > 0, got None"),
    ("noise of 0", lambda: build((LAYER,), "relu", PRIOR, "gaussian", 0.0), ValueError, r"^noise_std must be a finite number > 0, got 0.0"),
    ("noise of bits", lambda: build((LAYER,), "relu", PRIOR, "bernoulli", 1.0), TypeError, r"^noise_std must be None where the likelihood is 'bernoulli', got 1.0 \(float\)$"),
    ("x of 2", lambda: BINARY.log_joint([0, 0, 2, 0, 0], [0] * 3), ValueError, r"^x must contain only 0 and 1, got 2 at index 2"),
    ("real x of NaN", lambda: REAL.log_joint([0, 0, NAN, 0, 0], [0] * 3), ValueError, r"^x must be finite, got nan at index 2"),
    ("x of another length", lambda: REAL.log_joint([0.0] * 4, [0] * 3), ValueError, r"^x must have shape \(\.\.\., 5\), got shape \(4,\)"),
    ("z of 0.5", lambda: BINARY.log_joint([0] * 5, [0, 0.5, 0]), ValueError, r"^z must contain only 0 and 1, got 0.5 at index 1"),
    ("real z of inf", lambda: REAL.log_joint([0] * 5, [0, INF, 0]), ValueError, r"^z must be finite, got inf at index 1"),
    ("z of another length", lambda: BINARY.log_joint([0] * 5, [0] * 4), ValueError, r"^z must have shape \(\.\.\., 3\)"),
    ("x and z do not fit", lambda: BINARY.log_joint(np.zeros((2, 5)), np.zeros((4, 3))), ValueError, r"^x.* and z.* broadcast, got shapes \(2,\) and \(4,\)"),
    ("z that overflows", lambda: decoder((1, 2), "relu", "normal", scale=1e10).log_joint([0, 0], [1e308]), ValueError, r"^z must keep the decoder's outputs finite, got"),
    ("negative num", lambda: BINARY.sample(-1, 0), ValueError, r"^num must be an int >= 0, got -1"),
    ("seed of 0.5", lambda: BINARY.sample(1, 0.5), TypeError, r"^seed must be an int"),
]
# fmt: on


@pytest.mark.parametrize(
    ("call", "exception", "message"), [c[1:] for c in WRONG_INPUT], ids=[c[0] for c in WRONG_INPUT]
)
def test_wrong_input(call, exception, message):
    with pytest.raises(exception, match=message) as caught:
        call()
    assert type(caught.value) is exception
    assert "\n" not in str(caught.value)
