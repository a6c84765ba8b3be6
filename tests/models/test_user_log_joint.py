"""Log joints that the caller wrote: both forms against a model that fastvi has, and what goes wrong."""

# ruff: noqa: E501

from __future__ import annotations

import functools
import math
import pickle

import numba
import numpy as np
import optional
import pytest

import fastvi

WEIGHTS = np.random.default_rng(0).standard_normal((4, 3))
BIAS, PRIOR_LOGITS = np.array([0.5, -0.5, 1.0, 0.0]), np.array([0.2, -1.0, 0.4])
NETWORK = fastvi.SigmoidBeliefNetwork(WEIGHTS, BIAS, PRIOR_LOGITS)


def plain(x_n, z):
    total = 0.0
    for i in range(z.size):
        total += z[i] * PRIOR_LOGITS[i] - math.log(1.0 + math.exp(PRIOR_LOGITS[i]))
    for j in range(x_n.size):
        eta = BIAS[j]
        for i in range(z.size):
            eta += WEIGHTS[j, i] * z[i]
        total += x_n[j] * eta - math.log(1.0 + math.exp(eta))
    return total


compiled = numba.njit(plain)


def of_arrays(x, z):
    eta = z @ WEIGHTS.T + BIAS
    prior = z @ PRIOR_LOGITS - np.log1p(np.exp(PRIOR_LOGITS)).sum()
    return x @ eta.T - np.log1p(np.exp(eta)).sum(axis=1) + prior


def fixed(value):
    """A scalar function and one of arrays that return ``value`` everywhere."""
    return numba.njit(lambda x_n, z: value), lambda x, z: np.full((len(x), len(z)), value)


MODELS = {
    "plain function": fastvi.LogJoint(plain, 3),
    "compiled function": fastvi.LogJoint(compiled, 3, vectorized=False),
    "function of arrays": fastvi.LogJoint(of_arrays, 3, vectorized=True),
    "lists of lists": fastvi.LogJoint(lambda x, z: of_arrays(x, z).tolist(), 3, vectorized=True),
}
each_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())

RNG = np.random.default_rng(1)
SHAPES = [
    ((), ()),
    ((5,), ()),
    ((), (5,)),
    ((5,), (5,)),
    ((5, 1), (1, 6)),
    ((5, 1), (6,)),
    ((5,), (4, 1)),
    ((2, 1, 3), (2, 5, 1)),
    ((1, 3), (7, 3)),
    ((2, 3, 1, 2), (3, 4, 2)),
    ((0,), ()),
    ((0, 1), (1, 3)),
    ((1,), (1, 1)),
]


# ---- values ----------------------------------------------------------------------------------------------


@each_model
@pytest.mark.parametrize(("of_x", "of_z"), SHAPES)
def test_leading_axes_broadcast_as_those_of_a_network(model, of_x, of_z):
    x, z = RNG.integers(0, 2, (*of_x, 4)), RNG.integers(0, 2, (*of_z, 3))
    got, expected = model.log_joint(x, z), NETWORK.log_joint(x, z)
    assert (got.shape, got.dtype) == (expected.shape, np.float64)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@each_model
def test_a_table_of_all_pairs(model):
    x, z = RNG.integers(0, 2, (6, 4)), RNG.integers(0, 2, (5, 3), dtype=np.uint8)
    got = model.table(model.clean_data(x), z)
    np.testing.assert_allclose(got, NETWORK.log_joint(x[:, None], z), rtol=1e-12)
    assert model.table(model.clean_data(x[:0]), z).shape == (0, 5)
    assert model.table(model.clean_data(x), z[:0]).shape == (6, 0)


def test_pairs_take_one_call_of_a_vectorized_function():
    calls = []

    def counted(x, z):
        calls.append((x.shape, z.shape, x.dtype, z.dtype))
        return of_arrays(x, z)

    model = fastvi.LogJoint(counted, 3, True)
    model.log_joint(np.zeros((6, 1, 4), int), np.zeros((1, 7, 3), int))
    assert calls == [((6, 4), (7, 3), np.float64, np.float64)]


def test_a_datum_of_any_shape_reaches_a_scalar_function():
    scalar = fastvi.LogJoint(lambda x_n, z: x_n * z[0], 1)
    np.testing.assert_array_equal(
        scalar.table(scalar.clean_data([1.0, 2.0]), np.array([[0], [1]])), [[0, 1], [0, 2]]
    )
    image = fastvi.LogJoint(lambda x_n, z: x_n[1, 0] * z[0], 1)
    images = np.arange(8.0).reshape(2, 2, 2)
    np.testing.assert_array_equal(image.table(image.clean_data(images), np.array([[1]])), [[2], [6]])


def test_no_pixels():
    model = fastvi.LogJoint(lambda x_n, z: x_n.size + z[0], 1)
    np.testing.assert_array_equal(model.log_joint(np.zeros((2, 1, 0)), [[0], [1]]), [[0, 1], [0, 1]])


@pytest.mark.parametrize("form", [0, 1], ids=["scalar", "arrays"])
def test_a_probability_of_zero(form):
    model = fastvi.LogJoint(fixed(-math.inf)[form], 2, bool(form))
    np.testing.assert_array_equal(model.log_joint(np.zeros((3, 4)), [0, 1]), [-math.inf] * 3)


def test_integers_are_real_numbers():
    assert fastvi.LogJoint(lambda x_n, z: -3, 1).log_joint([0.0], [1]) == -3.0
    got = fastvi.LogJoint(lambda x, z: np.zeros((1, 1), np.int8), 1, True).log_joint([0.0], [1])
    assert got.dtype == np.float64


@pytest.mark.peers
def test_tensors_on_the_cpu():
    torch = optional.package("torch")
    weights, bias, logits = (torch.from_numpy(a) for a in (WEIGHTS, BIAS, PRIOR_LOGITS))

    def of_tensors(x, z):
        x, z = torch.from_numpy(x), torch.from_numpy(z)
        eta = z @ weights.T + bias
        prior = z @ logits - torch.log1p(torch.exp(logits)).sum()
        return x @ eta.T - torch.log1p(torch.exp(eta)).sum(dim=1) + prior

    x, z = RNG.integers(0, 2, (6, 4)), RNG.integers(0, 2, (5, 3))
    got = fastvi.LogJoint(of_tensors, 3, True).log_joint(x[:, None], z)
    np.testing.assert_allclose(got, NETWORK.log_joint(x[:, None], z), rtol=1e-12)


# ---- copies, immutability --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plain function", "compiled function", "function of arrays"])
def test_pickling(name):
    model = MODELS[name]
    twin = pickle.loads(pickle.dumps(model))
    assert (type(twin), twin.num_latents, twin.vectorized) == (fastvi.LogJoint, 3, model.vectorized)
    assert twin.log_joint([0, 1, 1, 0], [1, 0, 1]) == model.log_joint([0, 1, 1, 0], [1, 0, 1])


def test_attributes():
    model = MODELS["plain function"]
    assert model.fn is plain
    assert (model.num_latents, model.vectorized) == (3, False)
    assert repr(model) == "LogJoint(fn=plain, num_latents=3, vectorized=False)"
    for name in ("fn", "num_latents", "vectorized"):
        with pytest.raises(AttributeError, match="immutable"):
            setattr(model, name, None)


# ---- wrong input -----------------------------------------------------------------------------------------


def scalar(fn, d=1):
    return fastvi.LogJoint(fn, d).log_joint(np.zeros((2, 1)), np.zeros(d))


def arrays(fn, d=1):
    return fastvi.LogJoint(fn, d, True).log_joint(np.zeros((2, 1)), np.zeros(d))


# fmt: off
WRONG_INPUT = [
    ("fn None", lambda: fastvi.LogJoint(None, 3), TypeError, r"^fn must be a function, got None"),
    ("fn a class", lambda: fastvi.LogJoint(int, 3), TypeError, r"^fn must be a Python function or a numba.njit function where vectorized is False, got <class 'int'>"),
    ("fn a partial", lambda: fastvi.LogJoint(functools.partial(plain, [0.0]), 3), TypeError, r"^fn must be a Python function or a numba.njit function"),
    ("no latents", lambda: fastvi.LogJoint(plain, 0), ValueError, r"^num_latents must be an int >= 1, got 0"),
    ("latents of 2.0", lambda: fastvi.LogJoint(plain, 2.0), TypeError, r"^num_latents must be an int >= 1, got 2.0"),
    ("vectorized of 1", lambda: fastvi.LogJoint(plain, 3, 1), TypeError, r"^vectorized must be True or False, got 1"),
    ("x without axes", lambda: MODELS["plain function"].log_joint(1.0, [0] * 3), ValueError, r"^x must have shape \(\.\.\., num_pixels\), got shape \(\)$"),
    ("x of NaN", lambda: MODELS["plain function"].log_joint([math.nan], [0] * 3), ValueError, r"^x must be finite, got nan at index 0"),
    ("x as text", lambda: MODELS["plain function"].log_joint(["a"], [0] * 3), TypeError, r"^x must be an array of real numbers"),
    ("z of 2", lambda: MODELS["plain function"].log_joint([0.0] * 4, [0, 2, 0]), ValueError, r"^z must contain only 0 and 1, got 2 at index 1"),
    ("z of another length", lambda: MODELS["plain function"].log_joint([0.0] * 4, [0, 1]), ValueError, r"^z must have shape \(\.\.\., 3\), got shape \(2,\)"),
    ("x and z do not fit", lambda: MODELS["plain function"].log_joint(np.zeros((2, 4)), np.zeros((5, 3))), ValueError, r"^x.* and z.* broadcast, got shapes \(2,\) and \(5,\)"),
    ("NaN of one pair", lambda: scalar(fixed(math.nan)[0]), ValueError, r"^fn\(x_n, z\) must not return NaN for any \(datum, state\), got nan at index \(0, 0\)$"),
    ("+inf of one pair", lambda: scalar(fixed(math.inf)[0]), ValueError, r"^fn\(x_n, z\) must not return \+inf for any \(datum, state\), got inf at index \(0, 0\)$"),
    ("NaN of arrays", lambda: arrays(fixed(math.nan)[1]), ValueError, r"^fn\(X, Z\) must not contain NaN, got nan at index \(0, 0\)$"),
    ("+inf of arrays", lambda: arrays(fixed(math.inf)[1]), ValueError, r"^fn\(X, Z\) must not return \+inf .* got inf at index \(0, 0\)$"),
    ("states before data", lambda: arrays(lambda x, z: np.zeros((len(z), len(x)))), ValueError, r"^fn\(X, Z\) must have shape \(2, 1\), got shape \(1, 2\)$"),
    ("one axis", lambda: arrays(lambda x, z: np.zeros(2)), ValueError, r"^fn\(X, Z\) must have 2 axes of shape \(2, 1\), got shape \(2,\)$"),
    ("nothing returned", lambda: arrays(lambda x, z: None), TypeError, r"^fn\(X, Z\) must be an array of real numbers, got dtype object"),
    ("complex", lambda: arrays(lambda x, z: np.zeros((2, 1), complex)), TypeError, r"^fn\(X, Z\) must be an array of real numbers, got dtype complex128"),
    ("data of one axis", lambda: MODELS["function of arrays"].clean_data([0.0]), ValueError, r"^x must have shape \(num_data, num_pixels\), got shape \(1,\)$"),
    ("data without axes", lambda: MODELS["plain function"].clean_data(0.0), ValueError, r"^x must have shape \(num_data, \.\.\.\), got shape \(\)$"),
    ("sample", lambda: MODELS["plain function"].sample(1, 0), TypeError, r"^a LogJoint cannot be sampled from"),
    ("save", lambda: MODELS["plain function"].save("never written"), TypeError, r"^model must be one of .* got a LogJoint"),
    ("arrays", lambda: MODELS["plain function"].arrays(), TypeError, r"^a LogJoint cannot be saved"),
]
NOT_COMPILED = [
    ("a dictionary of objects", lambda: scalar(lambda x_n, z: {"a": object()}["a"]), r"^fn must be a function fn\(x_n, z\) -> float that Numba can compile, x_n with 1 axes, got <function"),
    ("an unknown name", lambda: scalar(lambda x_n, z: pickle.dumps(z)), r"^fn must be .*: Unknown attribute 'dumps' of type Module"),
    ("three arguments", lambda: scalar(lambda x_n, z, more: 0.0), r"^fn must be a function fn\(x_n, z\) -> float"),
    ("no return", lambda: scalar(numba.njit(lambda x_n, z: None)), r"^fn must be a function fn\(x_n, z\) -> float"),
    ("an array", lambda: scalar(lambda x_n, z: z), r"^fn must be a function fn\(x_n, z\) -> float"),
    ("text", lambda: scalar(lambda x_n, z: "one"), r"^fn must be a function fn\(x_n, z\) -> float"),
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


@pytest.mark.needs_jit
@pytest.mark.parametrize(("call", "message"), [c[1:] for c in NOT_COMPILED], ids=[c[0] for c in NOT_COMPILED])
def test_what_cannot_be_compiled_is_said_in_one_line(call, message):
    with pytest.raises(TypeError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 450


@pytest.mark.needs_jit
def test_an_error_that_the_function_raises_is_the_callers():
    def picky(x_n, z):
        if z[0] == 0.0:
            raise ZeroDivisionError("not this state")
        return 0.0

    with pytest.raises(ZeroDivisionError, match="not this state"):
        scalar(picky)
