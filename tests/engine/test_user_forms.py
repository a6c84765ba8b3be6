"""Log joints that the caller wrote: enumerated, in calls of bounded size; what block forms refuse."""

# ruff: noqa: E501

from __future__ import annotations

import math
import pickle

import naive
import numba
import numpy as np
import optional
import pytest
from cases import decoder
from references import check_enumerated

import fastvi
from fastvi.engine.states import user_form

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
each_joint = pytest.mark.parametrize(
    "name", ["scalar", "compiled", "arrays", pytest.param("torch", marks=pytest.mark.peers)]
)


@each_joint
def test_a_network_written_as_a_log_joint(name):
    model = JOINTS[name]
    _, x = NETWORK.sample(6, 0)
    check_enumerated(model, x)
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
def test_many_states(fn, vectorized, same_bits, monkeypatch):
    """log sum_z exp<w, z> = sum_i softplus(w_i), over several waves, calls and parts of data."""
    monkeypatch.setattr(user_form, "_WAVE_BITS", 13)
    monkeypatch.setattr(user_form, "CALL_NUMBERS", 1 << 14)
    d = 15
    model, x = fastvi.LogJoint(fn, d, vectorized), np.random.default_rng(0).normal(size=(11, 4))
    w = x[:, np.arange(d) % 4] * (1.0 + 0.1 * np.arange(d))

    def ask():
        found = fastvi.exact_posterior(model, x, top_k=1, pairwise=True)
        return found.log_marginal, found.mean, found.second_moment, found.mode

    log_marginal, found_mean, second_moment, mode = same_bits(ask)
    np.testing.assert_allclose(log_marginal, np.logaddexp(0, w).sum(axis=1), rtol=1e-12)
    mean = 1 / (1 + np.exp(-w))
    np.testing.assert_allclose(found_mean, mean, rtol=1e-10)
    pairs = mean[:, :, None] * mean[:, None]
    pairs[:, np.arange(d), np.arange(d)] = mean
    np.testing.assert_allclose(second_moment, pairs, rtol=1e-9)
    np.testing.assert_array_equal(mode, w > 0)
    np.testing.assert_array_equal(fastvi.log_marginal(model, x[3:5]), log_marginal[3:5])


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
    ("real x of a binary decoder", lambda: fastvi.log_marginal(decoder((2, 3), "relu"), [[0.5, 0, 0]]), ValueError, r"^x must contain only 0 and 1"),
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
