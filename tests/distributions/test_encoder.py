"""Encoders: the forward pass against its definition, equal bits, files, wrong input."""

# ruff: noqa: E501

from __future__ import annotations

import copy
import itertools
import math
import pickle
import subprocess
import sys

import naive_distributions
import numpy as np
import pytest
import strategies
from cases import encoder
from hypothesis import given
from hypothesis import strategies as st

import fastvi

ACTIVATIONS = ["relu", "tanh", "sigmoid", "softplus", "leaky_relu", "elu", "gelu", "silu", "identity"]
FAMILIES = ["bernoulli", "normal"]
ORDINARY = st.floats(-2, 2)
NAN, INF = math.nan, math.inf


ENCODERS = {
    "bernoulli": encoder(5, 4, 6),
    "normal": encoder(5, 4, 6, family="normal"),
    "one layer": encoder(3, 2, activation="relu"),
    "four layers": encoder(2, 3, 1, 4, 2, activation="softplus", family="normal"),
    "no pixels": encoder(0, 3, 2, activation="sigmoid"),
}
each_encoder = pytest.mark.parametrize("net", ENCODERS.values(), ids=ENCODERS.keys())


def parameters(q):
    """(logits,) or (mean, std)."""
    return (q.logits,) if isinstance(q, fastvi.Bernoulli) else (q.mean, q.std)


def expected_parameters(net, x):
    rows = [naive_distributions.encoder_parameters(net.layers, net.activation, net.family, row) for row in x]
    return [np.reshape(each, (len(x), net.num_latents)) for each in zip(*rows, strict=True)]


@st.composite
def encoders_with_data(draw):
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    family = draw(st.sampled_from(FAMILIES))
    d = draw(st.integers(1, 3))
    sizes.append(2 * d if family == "normal" else d)
    layers = [
        (draw(strategies.floats((above, below), ORDINARY)), draw(strategies.floats(above, ORDINARY)))
        for below, above in itertools.pairwise(sizes)
    ]
    x = draw(strategies.floats((draw(st.integers(1, 3)), sizes[0]), ORDINARY))
    return fastvi.Encoder(layers, draw(st.sampled_from(ACTIVATIONS)), family), x


# ---- values ----------------------------------------------------------------------------------------------


@given(encoders_with_data())
def test_the_parameters_are_their_definition(case):
    """At most three layers of three units, all within +-2: outputs below 518, sums right to 1e-12 of that."""
    net, x = case
    q = net(x)
    assert type(q) is {"bernoulli": fastvi.Bernoulli, "normal": fastvi.Normal}[net.family]
    assert (q.num_data, q.num_latents) == (len(x), net.num_latents)
    for got, expected in zip(parameters(q), expected_parameters(net, x), strict=True):
        np.testing.assert_allclose(got, expected, rtol=2e-12, atol=2e-12)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_sizes_that_are_no_multiple_of_a_tile(activation, family):
    net = encoder(37, 19, 14, activation=activation, family=family, scale=0.3, bias_scale=0.3)
    x = np.random.default_rng(1).standard_normal((11, 37))
    for got, expected in zip(parameters(net(x)), expected_parameters(net, x), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-13)


def test_a_normal_takes_means_first_and_log_standard_deviations_last():
    q = fastvi.Encoder([([[1.0], [0.0], [0.0], [1.0]], [0.0, 7.0, -1.0, 0.0])], "relu", "normal")([[2.0]])
    np.testing.assert_array_equal(q.mean, [[2.0, 7.0]])
    np.testing.assert_allclose(q.std, [[math.exp(-1.0), math.exp(2.0)]], rtol=1e-15)


def test_logits_may_be_as_large_as_they_like():
    net = fastvi.Encoder([([[1.0]], [0.0]), ([[1e3]], [0.0])], "relu")
    np.testing.assert_array_equal(net([[1e300], [1.0], [-1e300]]).logits, [[1e303], [1e3], [0.0]])


def test_a_unit_that_overflows_into_saturation_is_no_error():
    net = fastvi.Encoder([([[1e200]], [0.0]), ([[2.0]], [1.0])], "tanh")
    np.testing.assert_array_equal(net([[1e200], [-1e200]]).logits, [[3.0], [-1.0]])


def test_every_kind_of_number_is_taken():
    net = encoder(5, 4, 6)
    bits = np.random.default_rng(0).integers(0, 2, (7, 5))
    expected = net(bits.astype(float)).logits
    for x in (bits, bits.tolist(), bits.astype(np.uint8), bits.astype(bool), np.asfortranarray(bits)):
        np.testing.assert_array_equal(net(x).logits, expected)


@each_encoder
def test_shapes(net):
    width, d = net.num_pixels, net.num_latents
    for num in (0, 1, 3):
        assert {each.shape for each in parameters(net(np.zeros((num, width))))} == {(num, d)}
    assert net(np.zeros((3, width))).sample(4, 0).shape == (4, 3, d)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_datum_has_the_same_bits_in_any_batch_and_for_any_threads(activation, family, same_bits):
    net = encoder(23, 18, 10, activation=activation, family=family, scale=0.5, bias_scale=0.5)
    x = np.random.default_rng(2).standard_normal((300, 23))
    whole = same_bits(lambda: parameters(net(x)))
    for where in (slice(17, 18), slice(100, 203), slice(None, None, -1)):
        for got, expected in zip(
            same_bits(lambda where=where: parameters(net(x[where]))), whole, strict=True
        ):
            np.testing.assert_array_equal(got, expected[where])


def test_building_one_and_importing_it_bring_in_no_numba():
    code = (
        "import sys, numpy, fastvi\n"
        "net = fastvi.Encoder([(numpy.ones((2, 3)), numpy.zeros(2))], 'tanh')\n"
        "fastvi.Mixture([net, 'prior', fastvi.Uniform(2)], [1, 2, 3])\n"
        "print([name for name in ('numba', 'scipy', 'llvmlite') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


# ---- files, copies, immutability -------------------------------------------------------------------------


def test_attributes_and_repr():
    net = encoder(5, 4, 3, 6, activation="softplus", family="normal")
    assert (net.num_pixels, net.num_latents, net.activation, net.family) == (5, 3, "softplus", "normal")
    assert [(weight.shape, bias.shape) for weight, bias in net.layers] == [
        ((4, 5), (4,)),
        ((3, 4), (3,)),
        ((6, 3), (6,)),
    ]
    assert repr(net) == (
        "Encoder(num_pixels=5, num_latents=3, widths=(4, 3), activation='softplus', family='normal')"
    )
    assert fastvi.Encoder(net.layers, "relu").family == "bernoulli"


@each_encoder
def test_an_encoder_comes_back_the_same(net, tmp_path):
    net.save(tmp_path / "net")
    for twin in (fastvi.load(tmp_path / "net"), pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        assert type(twin) is fastvi.Encoder
        assert repr(twin) == repr(net)
        assert len(twin.layers) == len(net.layers)
        for ours, theirs in zip(itertools.chain(*net.layers), itertools.chain(*twin.layers), strict=True):
            np.testing.assert_array_equal(theirs, ours, strict=True)
            assert not theirs.flags.writeable


def test_nothing_can_be_changed():
    net = encoder(5, 4, 6)
    for name in ("layers", "activation", "family", "num_pixels", "num_latents"):
        with pytest.raises(AttributeError, match="immutable"):
            setattr(net, name, None)
    with pytest.raises(ValueError, match="read-only"):
        net.layers[0][0][0, 0] = 1


def test_what_was_passed_is_copied():
    weight, bias = np.zeros((2, 3)), np.zeros(2)
    net = fastvi.Encoder([(weight, bias)], "relu")
    weight[:], bias[:] = 1, 1
    assert not net.layers[0][0].any()
    assert not net.layers[0][1].any()


WRONG_FILES = [
    ("no layers", {"layer_0_weight": None, "layer_0_bias": None, "layer_1_weight": None, "layer_1_bias": None}, "valid Encoder.*layers must be .* got none"),
    ("a missing bias", {"layer_1_bias": None}, "whole Encoder.*'layer_1_bias'"),
    ("no family", {"family": None}, "whole Encoder.*'family'"),
    ("unknown family", {"family": np.array("gamma")}, "valid Encoder.*family must be one of 'bernoulli', 'normal', got 'gamma'"),
    ("one array too many", {"extra": np.zeros(2)}, "whole Encoder.*'extra'"),
    ("a layer beyond a gap", {"layer_3_weight": np.zeros((2, 2))}, "whole Encoder.*'layer_3_weight'"),
    ("NaN", {"layer_1_bias": np.full(6, NAN)}, r"valid Encoder.*layers\[1\]\[1\] must be finite"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"), [c[1:] for c in WRONG_FILES], ids=[c[0] for c in WRONG_FILES]
)
def test_wrong_files(changes, message, tmp_path):
    path = tmp_path / "net"
    encoder(5, 4, 6).save(path)
    with np.load(path) as archive:
        arrays = {**archive, **changes}
    with open(path, "wb") as file:
        np.savez(file, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(ValueError, match=message) as caught:
        fastvi.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("hidden", "widths"), [(6, (6,)), ((5, 4), (5, 4)), ((), ())])
@pytest.mark.parametrize("family", ["bernoulli", "normal"])
def test_random_weights_have_the_scale_of_their_inputs(hidden, widths, family):
    """sum of w^2 in over all weights is chi-square of as many: six standard deviations of it."""
    found = fastvi.Encoder.random(300, hidden, 7, seed=3, activation="relu", family=family)
    outputs = 14 if family == "normal" else 7
    assert [weight.shape[0] for weight, _ in found.layers] == [*widths, outputs]
    assert (found.num_pixels, found.num_latents, found.family) == (300, 7, family)
    weight, bias = found.layers[0]
    assert not bias.any()
    assert abs(weight.size - (weight**2).sum() * 300) < 6 * math.sqrt(2 * weight.size)
    again = fastvi.Encoder.random(300, hidden, 7, seed=3, activation="relu", family=family)
    assert np.array_equal(found.layers[-1][0], again.layers[-1][0])
    other = fastvi.Encoder.random(300, hidden, 7, seed=4, activation="relu", family=family)
    assert not np.array_equal(weight, other.layers[0][0])


# ---- wrong input -----------------------------------------------------------------------------------------

LAYER = (np.zeros((4, 3)), np.zeros(4))
BINARY, REAL = encoder(5, 4, 6), encoder(5, 4, 6, family="normal")
# log standard deviations are x, means 0
SPREAD = fastvi.Encoder([([[0.0], [1.0]], [0.0, 0.0])], "relu", "normal")


def build(layers=(LAYER,), activation="relu", *rest):
    return fastvi.Encoder(layers, activation, *rest)


# fmt: off
WRONG_INPUT = [
    ("no layers", lambda: build([]), ValueError, r"^layers must be a sequence of at least one pair \(weight, bias\), got none$"),
    ("layers None", lambda: build(None), TypeError, r"^layers must be a sequence .* got None"),
    ("a layer of one", lambda: build([LAYER, (np.zeros((2, 4)),)]), TypeError, r"^layers must be .* pair \(weight, bias\), got .* at index 1$"),
    ("first weight flat", lambda: build([(np.zeros(3), np.zeros(3))]), ValueError, r"^layers\[0\]\[0\] must have 2 axes .* got shape \(3,\)$"),
    ("second layer too wide", lambda: build([LAYER, (np.zeros((4, 2)), np.zeros(4))]), ValueError, r"^layers\[1\]\[0\] must have shape \(any, 4\), got shape \(4, 2\)$"),
    ("bias too short", lambda: build([(np.zeros((4, 3)), np.zeros(3))]), ValueError, r"^layers\[0\]\[1\] must have shape \(4,\), got shape \(3,\)$"),
    ("NaN weight", lambda: build([(np.full((4, 3), NAN), np.zeros(4))]), ValueError, r"^layers\[0\]\[0\] must be finite, got nan at index \(0, 0\)$"),
    ("overflowing unit", lambda: build([(np.full((4, 3), 1e308), np.zeros(4))]), ValueError, r"^layers\[0\] must keep every unit finite, got inf at index 0$"),
    ("no latents", lambda: build([(np.zeros((0, 3)), [])]), ValueError, r"^layers must end in at least 1 latent, got none$"),
    ("no normal latents", lambda: build([(np.zeros((0, 3)), [])], "relu", "normal"), ValueError, r"^layers must end in at least 1 latent, got none$"),
    ("odd outputs", lambda: build([(np.zeros((5, 3)), np.zeros(5))], "relu", "normal"), ValueError, r"^layers must end in an even number of outputs for 'normal', got 5$"),
    ("unknown activation", lambda: build(activation="swish"), ValueError, r"^activation must be one of 'relu', 'tanh', 'sigmoid', 'softplus', 'leaky_relu', 'elu', 'gelu', 'silu', 'identity', got 'swish'"),
    ("unknown family", lambda: build((LAYER,), "relu", "gaussian"), ValueError, r"^family must be one of 'bernoulli', 'normal', got 'gaussian'"),
    ("family a class", lambda: build((LAYER,), "relu", fastvi.Normal), TypeError, r"^family must be one of 'bernoulli', 'normal', got <class"),
    ("x of one datum", lambda: BINARY(np.zeros(5)), ValueError, r"^x must have shape \(num_data, 5\), got shape \(5,\): pass x\[None\] for one datum$"),
    ("x too wide", lambda: BINARY(np.zeros((2, 6))), ValueError, r"^x must have shape \(num_data, 5\), got shape \(2, 6\)$"),
    ("x of three axes", lambda: BINARY(np.zeros((2, 2, 5))), ValueError, r"^x must have shape \(num_data, 5\), got shape \(2, 2, 5\)$"),
    ("x of NaN", lambda: BINARY([[0, 0, NAN, 0, 0]]), ValueError, r"^x must be finite, got nan at index \(0, 2\)$"),
    ("x of inf", lambda: REAL([[0, 0, 0, 0, INF]]), ValueError, r"^x must be finite, got inf at index \(0, 4\)$"),
    ("x of text", lambda: BINARY([["a"] * 5]), TypeError, r"^x must be an array of real numbers"),
    ("a logit that overflows", lambda: fastvi.Encoder([([[1e10]], [0])], "relu")([[0], [1], [1e300]]), ValueError, r"^x must keep the encoder's logits finite, got a datum that does not at index 2$"),
    ("inf - inf", lambda: fastvi.Encoder([([[1e10], [1e10]], [0, 0]), ([[1, -1]], [0])], "relu")([[1e300]]), ValueError, r"^x must keep the encoder's logits finite, got .* index 0$"),
    ("a mean that overflows", lambda: fastvi.Encoder([([[1e10], [0]], [0, 0])], "relu", "normal")([[1e300]]), ValueError, r"^x must keep the encoder's means and standard deviations finite, got .* index 0$"),
    ("std that overflows", lambda: SPREAD([[709.0], [710.0]]), ValueError, r"^x must keep the encoder's means and standard deviations finite, got .* index 0$"),
    ("infinite std", lambda: SPREAD([[700.0], [710.0]]), ValueError, r"^x must keep the encoder's means and standard deviations finite, got .* index 1$"),
    ("random without pixels", lambda: fastvi.Encoder.random(0, 3, 2), ValueError, r"^num_pixels must be .* got 0"),
    ("random width of 0", lambda: fastvi.Encoder.random(5, (3, 0), 2), ValueError, r"^hidden\[1\] must be .* got 0"),
    ("random width of text", lambda: fastvi.Encoder.random(5, "3", 2), TypeError, r"^hidden must be .* got '3'"),
    ("random family", lambda: fastvi.Encoder.random(5, 3, 2, family="gauss"), ValueError, r"^family must be one of"),
    ("std of 0", lambda: SPREAD([[-700.0], [-800.0]]), ValueError, r"^x must keep the encoder's standard deviations > 0, got a datum that does not at index 1$"),
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
