"""Values and vector-Jacobian products against derivatives by a complex step of sums over all states."""

from __future__ import annotations

import naive
import naive_gradients as oracle
import numpy as np
import pytest
from cases import NEVER, coin, far_off_data, masks_of, network, strong_network, strong_restricted
from tolerances import EPS

import fastvi
from fastvi.interop.differentiable import (
    importance_weighted_bound_backward,
    log_marginal_backward,
    log_marginal_forward,
    log_mean_exp_backward,
    parameters,
    saved_shape,
    with_parameters,
)
from fastvi.interop.differentiable_elbo import Sampling, elbo_backward, elbo_forward

pytestmark = pytest.mark.slow_without_jit  # the sums below are run there by tests/exact/test_gradient.py

D, H = 5, 3
WEIGHTS = np.array([1.0, -0.7, 0.0, 2.5])


def normals(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in shapes]


def couplings(size):
    upper = np.triu(normals((size, size), seed=9)[0], 1)
    return upper + upper.T


def layer(names=("weights", "bias"), num=D, d=H, seed=0):
    return dict(zip(names, normals((num, d), num, seed=seed), strict=True))


def decoder(activation, noise_std=None):
    p = layer(("layer_0_weight", "layer_0_bias"), 4) | layer(("layer_1_weight", "layer_1_bias"), D, 4, 1)
    p["prior_logits"] = normals(H, seed=2)[0]
    if noise_std is not None:
        p["noise_std"] = np.array(noise_std)

    def build(p):
        layers = [(p[f"layer_{i}_weight"], p[f"layer_{i}_bias"]) for i in range(2)]
        words = () if noise_std is None else ("gaussian", p["noise_std"])
        return fastvi.NeuralDecoder(layers, activation, fastvi.Bernoulli(p["prior_logits"]), *words)

    return activation, p, build


def below(p):
    return {f"prior_{name}": value for name, value in p.items()}


def case(kind, build, p):
    return kind, p, lambda p: build(*p.values())


PRIOR = {"prior_logits": normals(H, seed=2)[0]}
NOISE = {"noise_std": np.array(0.8)}
ABOVE = layer(num=H, d=2, seed=3) | {"prior_logits": normals(2, seed=4)[0]}
MACHINE = {"couplings": couplings(H), "bias": normals(H, seed=5)[0]}
CASES = {
    "network": case("network", fastvi.SigmoidBeliefNetwork, layer() | PRIOR),
    "one latent": case(
        "network", fastvi.SigmoidBeliefNetwork, layer(d=1) | {"prior_logits": np.array([0.3])}
    ),
    "network above": case(
        "network",
        lambda w, b, *above: fastvi.SigmoidBeliefNetwork(w, b, prior=fastvi.SigmoidBeliefNetwork(*above)),
        layer() | below(ABOVE),
    ),
    "machine above": case(
        "network",
        lambda w, b, *above: fastvi.SigmoidBeliefNetwork(w, b, prior=fastvi.BoltzmannMachine(*above)),
        layer() | below(MACHINE),
    ),
    "sparse coding": case("sparse coding", fastvi.BinarySparseCoding, layer() | NOISE | PRIOR),
    "restricted": case(
        "restricted",
        fastvi.RestrictedBoltzmannMachine,
        layer(("weights", "visible_bias")) | {"hidden_bias": PRIOR["prior_logits"]},
    ),
    "machine": case(
        "machine", fastvi.BoltzmannMachine, {"couplings": couplings(D), "bias": normals(D, seed=6)[0]}
    ),
    "decoder": decoder("tanh"),
    "gaussian decoder": decoder("softplus", 0.9),
    "linear": case("linear", fastvi.LinearGaussian, layer(d=2) | NOISE),
}
BITS = [name for name, (_, p, _) in CASES.items() if "noise_std" not in p]
RELAXED = [name for name in BITS if name != "machine"]
BOUNDED = [name for name in CASES if name != "machine"]
each = pytest.mark.parametrize("name", CASES)


def model_of(name):
    return CASES[name][2](CASES[name][1])


def data_for(name, relaxed=False, num=4):
    rng = np.random.default_rng(7)
    if name not in BITS:
        return 2.0 * rng.normal(size=(num, D))
    return rng.random((num, D)) if relaxed else (rng.random((num, D)) < 0.5).astype(np.float64)


def seen(observed, x):
    return np.broadcast_to(np.ones(D, bool) if observed is None else observed, x.shape)


def close(found, expected):
    """Gradients here are sums of some 2^5 N D terms of a size up to 1e2, each rounded a few times by both."""
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=2e-11)


def check_parameters(function, p, found):
    """Gradients by name; of couplings both halves are moved by a symmetric change, which gets their sum."""
    assert {name: array.shape for name, array in found.items()} == {
        name: array.shape for name, array in p.items()
    }
    assert list(found) == list(p)
    for name, value in p.items():
        expected = oracle.derivative(lambda a, name=name: function({**p, name: a}), value)
        if name.endswith("couplings"):
            np.testing.assert_array_equal(found[name], found[name].T)
            expected = np.where(np.eye(len(value), dtype=bool), 0.0, expected)
            expected = 0.5 * (expected + expected.T)
        close(found[name], expected)


def check_log_marginal(name, x, observed):
    kind, p, build = CASES[name]
    model, mask = build(p), seen(observed, x)
    value, saved = log_marginal_forward(model, x, observed)
    assert saved.shape == saved_shape(model, len(x))
    assert saved.dtype == np.float64
    close(value, np.real(oracle.log_marginal(kind, p, x, mask)))
    asks = name != "machine"
    found, pixels = log_marginal_backward(model, x, observed, saved, WEIGHTS, x_gradient=asks)
    check_parameters(lambda p: WEIGHTS @ oracle.log_marginal(kind, p, x, mask), p, found)
    if asks:
        close(pixels, oracle.derivative(lambda a: WEIGHTS @ oracle.log_marginal(kind, p, a, mask), x))
        assert not pixels[~mask].any()


@each
@pytest.mark.parametrize("mask", ["none", "shared", "each"])
def test_exact_log_marginal(name, mask):
    check_log_marginal(name, data_for(name), masks_of(model_of(name), 4)[mask])


@pytest.mark.parametrize("name", RELAXED)
@pytest.mark.parametrize("mask", ["none", "shared"])
def test_relaxed_pixels(name, mask):
    model, x = model_of(name), data_for(name, relaxed=True)
    observed = masks_of(model, 4)[mask]
    if name == "restricted" and observed is not None:
        with pytest.raises(ValueError, match="x must contain only 0 and 1 where it is observed"):
            log_marginal_forward(model, x, observed)
    else:
        check_log_marginal(name, x, observed)


@each
@pytest.mark.parametrize("mask", ["none", "each"])
def test_the_bits_of_the_public_functions(name, mask):
    model, x = model_of(name), data_for(name)
    observed = masks_of(model, 4)[mask]
    value, saved = log_marginal_forward(model, x, observed)
    np.testing.assert_array_equal(value, fastvi.log_marginal(model, x, observed=observed))
    found, none = log_marginal_backward(model, x, observed, saved, WEIGHTS)
    expected = fastvi.log_marginal_gradient(model, x, observed=observed, data_weights=WEIGHTS)
    assert none is None
    for key, array in expected.items():
        np.testing.assert_array_equal(found[key], array)


@pytest.mark.parametrize("make", [strong_network, strong_restricted])
def test_data_that_are_summed_in_log_space(make):
    """Some data are certain by products, others are summed again: both halves agree on which."""
    model, x, observed = make()
    value, saved = log_marginal_forward(model, x, observed)
    found, _ = log_marginal_backward(model, x, observed, saved, np.ones(len(x)), x_gradient=True)
    np.testing.assert_array_equal(value, fastvi.log_marginal(model, x, observed=observed))
    expected = fastvi.log_marginal_gradient(model, x, observed=observed)
    for key, array in expected.items():
        np.testing.assert_array_equal(found[key], array)


def test_sparse_coding_far_from_every_state():
    model, x, observed = far_off_data()
    _, saved = log_marginal_forward(model, x, observed)
    found, pixels = log_marginal_backward(model, x, observed, saved, np.ones(len(x)), x_gradient=True)
    for key, array in fastvi.log_marginal_gradient(model, x, observed=observed).items():
        np.testing.assert_array_equal(found[key], array)
    assert np.isfinite(pixels).all()


def test_a_network_of_certain_pixels():
    """Logits of 1e3 and of 1e6: one state is all of the posterior, and its logits are the slope."""
    for scale in (1e3, 1e6):
        weights, bias = (
            scale * np.array([[1.0, -2.0], [3.0, 1.0], [-1.0, 2.0]]),
            scale * np.array([1.3, -0.5, -0.2]),
        )
        model = fastvi.SigmoidBeliefNetwork(weights, bias, [0.0, 0.0])
        x = np.array([[0, 1, 1]])
        value, saved = log_marginal_forward(model, x)
        found, pixels = log_marginal_backward(model, x, None, saved, np.ones(1), x_gradient=True)
        state = np.array([0.0, 1.0])  # its logits have the signs of the data, those of no other state do
        close(value, [-2 * np.log(2.0)])
        np.testing.assert_allclose(pixels, [weights @ state + bias], rtol=1e-12)
        np.testing.assert_allclose(found["prior_logits"], state - 0.5, rtol=1e-12)


def test_the_first_pass_is_not_made_twice(monkeypatch):
    from fastvi.engine.posterior import state_moments

    calls = []

    def counted(*arguments):
        calls.append(1)
        return inner(*arguments)

    inner = state_moments.log_sums_and_means_of
    monkeypatch.setattr(state_moments, "log_sums_and_means_of", counted)
    model, x = network(6, 4), data_for("network")[:, :1].repeat(6, axis=1)
    _, saved = log_marginal_forward(model, x)
    assert len(calls) == 1
    log_marginal_backward(model, x, None, saved, WEIGHTS, x_gradient=True)
    assert len(calls) == 1


def test_forward_passes_of_other_masks_between():
    """What waits for a second pass is of the last first pass; a backward of another one makes its own."""
    model, x, saved = network(6, 4), np.eye(6)[:4], {}
    masks = masks_of(model, 4)
    for _ in range(2):
        for key, observed in masks.items():
            saved[key] = log_marginal_forward(model, x, observed)[1]
        for key, observed in masks.items():
            found, _ = log_marginal_backward(model, x, observed, saved[key], WEIGHTS)
            expected = fastvi.log_marginal_gradient(model, x, observed=observed, data_weights=WEIGHTS)
            for name, array in expected.items():
                np.testing.assert_array_equal(found[name], array)


def test_rules_of_your_own_need_no_first_pass():
    """Rules whose gradients take no first pass, as they did before there was one."""
    from fastvi.rules.restricted_boltzmann_machine import RestrictedBoltzmannMachineRules as Known

    class Own:
        def __init__(self, inner):
            self.inner = inner

        def arrays(self):
            return self.inner.arrays()

    class OwnRules(Known):
        pass_numbers = 0
        partition_pass = None

        def __init__(self, model):
            super().__init__(model.inner)

        def first_pass(self, x, observed, run):
            return None

        def gradient(self, x, data_weights, observed, run):
            return super().gradient(x, data_weights, observed, run)

        def pixel_gradient(self, x, data_weights, observed, run):
            return super().pixel_gradient(x, data_weights, observed, run)

        def partition_gradient(self, run):
            return super().partition_gradient(run)

    fastvi.register(Own, OwnRules)
    model, x = model_of("restricted"), data_for("restricted")
    observed = masks_of(model, 4)["each"]
    expected_value, expected_saved = log_marginal_forward(model, x, observed)
    value, saved = log_marginal_forward(Own(model), x, observed)
    assert saved.shape == (4, 0)
    np.testing.assert_array_equal(value, expected_value)
    expected = log_marginal_backward(model, x, observed, expected_saved, WEIGHTS, x_gradient=True)
    found = log_marginal_backward(Own(model), x, observed, saved, WEIGHTS, x_gradient=True)
    for key, array in expected[0].items():
        np.testing.assert_array_equal(found[0][key], array)
    np.testing.assert_array_equal(found[1], expected[1])


@each
def test_no_data(name):
    model, x = model_of(name), data_for(name, num=0)
    value, saved = log_marginal_forward(model, x)
    assert value.shape == (0,)
    assert saved.shape == saved_shape(model, 0)
    found, pixels = log_marginal_backward(model, x, None, saved, np.empty(0), x_gradient=name != "machine")
    assert all(not array.any() for array in found.values())
    assert pixels is None or pixels.shape == (0, D)


# ---- bounds ----------------------------------------------------------------------------------------------


def q_for(name, seed=8, num=4):
    d = oracle.num_latents(*CASES[name][:2])
    return normals((num, 2 * d if name == "linear" else d), seed=seed)[0]


@pytest.mark.parametrize("name", BOUNDED)
def test_exact_bounds(name):
    kind, p, build = CASES[name]
    model, x, q = build(p), data_for(name), q_for(name)
    close(elbo_forward(model, x, q), oracle.elbo(kind, p, x, q))
    found, of_q, pixels = elbo_backward(model, x, q, WEIGHTS, x_gradient=True)
    check_parameters(lambda p: WEIGHTS @ oracle.elbo(kind, p, x, q), p, found)
    close(of_q, oracle.derivative(lambda a: WEIGHTS @ oracle.elbo(kind, p, x, a), q))
    close(pixels, oracle.derivative(lambda a: WEIGHTS @ oracle.elbo(kind, p, a, q), x))


def test_exact_bounds_of_large_logits():
    """A network of logits up to 1e7 has no tiles; its bound is a sum of terms of that size."""
    kind, p, build = CASES["network"]
    p = p | {"weights": 1e6 * p["weights"]}
    x, q = data_for("network"), q_for("network")
    found, of_q, pixels = elbo_backward(build(p), x, q, WEIGHTS, x_gradient=True)
    expected = oracle.derivative(lambda a: WEIGHTS @ oracle.elbo(kind, p, x, a), q)
    np.testing.assert_allclose(of_q, expected, rtol=1e-12, atol=2**10 * EPS * 1e7)
    expected = oracle.derivative(lambda a: WEIGHTS @ oracle.elbo(kind, p, a, q), x)
    np.testing.assert_allclose(pixels, expected, rtol=1e-12, atol=2**10 * EPS * 1e7)
    check_parameters(lambda p: WEIGHTS @ oracle.elbo(kind, p, x, q), p, found)


NUM, SEED = 4, 11


def drawn(q, real):
    """The draws (N, K, d) of a seed, by the definition of the stream; of real latents the noise."""
    d = q.shape[1] // 2 if real else q.shape[1]
    return np.array(
        [
            [
                naive.standard_normal_draw(d, SEED, n, k) if real else naive.bernoulli_draw(row, SEED, n, k)
                for k in range(NUM)
            ]
            for n, row in enumerate(q)
        ],
        dtype=np.float64,
    )


def log_q(q, z):
    return (z * q[:, None] - oracle.softplus(q)[:, None]).sum(axis=2)


@pytest.mark.parametrize("name", [n for n in BOUNDED if n not in ("restricted", "linear")])
def test_sampled_bounds(name):
    kind, p, build = CASES[name]
    model, x, q = build(p), data_for(name), q_for(name)
    sampling, z, everything = Sampling(NUM, SEED), drawn(q, False), np.ones(x.shape, bool)

    def bound(p, x):
        return (oracle.log_joint(kind, p, x, everything, z) - log_q(q, z)).mean(axis=1)

    close(elbo_forward(model, x, q, sampling), bound(p, x))
    found, of_q, pixels = elbo_backward(model, x, q, WEIGHTS, sampling, x_gradient=True)
    check_parameters(lambda p: WEIGHTS @ bound(p, x), p, found)
    close(pixels, oracle.derivative(lambda a: WEIGHTS @ bound(p, a), x))
    log_w = oracle.log_joint(kind, p, x, everything, z) - log_q(q, z)
    control = (log_w - log_w.mean(axis=1, keepdims=True)) / (NUM - 1)
    score = z - 1 / (1 + np.exp(-q))[:, None]
    close(of_q, WEIGHTS[:, None] * np.einsum("nk,nki->ni", control, score))


@pytest.mark.parametrize("name", ["linear", "real decoder"])
def test_sampled_bounds_of_real_latents(name, monkeypatch):
    import naive_models

    monkeypatch.setattr(naive, "standard_normal_draw", naive_models.standard_normal_draw, raising=False)
    kind, p, build = CASES["linear" if name == "linear" else "gaussian decoder"]
    if name == "linear":
        model = build(p)
    else:
        p = {key: value for key, value in p.items() if key != "prior_logits"}
        layers = [(p[f"layer_{i}_weight"], p[f"layer_{i}_bias"]) for i in range(2)]
        prior = fastvi.Normal(np.zeros(H), np.ones(H))
        model = fastvi.NeuralDecoder(layers, kind, prior, "gaussian", p["noise_std"])
    x, d = data_for("linear"), model.num_latents
    q = normals((4, 2 * d), seed=8)[0]
    sampling, noise, everything = Sampling(NUM, SEED), drawn(q, True), np.ones(x.shape, bool)
    mean, std = q[:, :d], np.exp(q[:, d:])

    def joint(p, x, z):
        return oracle.log_likelihood(kind, p, x, everything, z) + oracle.standard_normal(z)

    z = mean[:, None] + std[:, None] * noise
    entropy = (noise**2 / 2 + np.log(2 * np.pi) / 2).sum(axis=2) + q[:, None, d:].sum(axis=2)
    close(elbo_forward(model, x, q, sampling), (joint(p, x, z) + entropy).mean(axis=1))
    found, of_q, pixels = elbo_backward(model, x, q, WEIGHTS, sampling, x_gradient=True)
    check_parameters(lambda p: WEIGHTS @ joint(p, x, z).mean(axis=1), p, found)
    close(pixels, oracle.derivative(lambda a: WEIGHTS @ joint(p, a, z).mean(axis=1), x))
    # each sample's pull along its own draw, q held fixed: d log p / dz + noise / std
    pull = oracle.derivative(lambda a: joint(p, x, a).sum(), z) + noise / std[:, None]
    expected = np.concatenate([pull.mean(axis=1), (pull * noise).mean(axis=1) * std], axis=1)
    close(of_q, WEIGHTS[:, None] * expected)


def test_disarm_is_another_estimator_of_the_same_gradient():
    """With 2^14 pairs both estimates lie within 6 standard errors, bounded by the largest of a term."""
    kind, p, build = CASES["network"]
    model, x, q = build(p), data_for("network", num=1), q_for("network", num=1)
    expected = elbo_backward(model, x, q, np.ones(1))[1]
    for estimator in ("disarm", "leave_one_out"):
        found = elbo_backward(model, x, q, np.ones(1), Sampling(1 << 15, 3, estimator))[1]
        terms = np.real(oracle.log_joint(kind, p, x, np.ones(x.shape, bool), oracle.states(H)))
        assert np.abs(found - expected).max() < 6 * np.ptp(terms) / 2**7


@pytest.mark.parametrize("name", BOUNDED)
def test_bounds_of_no_data(name):
    model, x, q = model_of(name), data_for(name, num=0), q_for(name, num=0)
    samplings = [Sampling()] if name == "restricted" else [Sampling(), Sampling(2)]
    for sampling in samplings:
        assert elbo_forward(model, x, q, sampling).shape == (0,)
        found, of_q, pixels = elbo_backward(model, x, q, np.empty(0), sampling, x_gradient=True)
        assert {key: array.shape for key, array in found.items()} == {
            key: array.shape for key, array in CASES[name][1].items()
        }
        assert of_q.shape == q.shape
        assert pixels.shape == (0, D)


# ---- functions of log weights ----------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_log_mean_exp(axis):
    log_w = 30.0 * normals((3, 4, 5), seed=1)[0]
    weights = normals(np.delete(log_w.shape, axis), seed=2)[0]

    def value(a):
        moved = np.moveaxis(a, axis, -1)
        return (weights * (oracle.log_sum_exp(moved) - np.log(moved.shape[-1]))).sum()

    close(log_mean_exp_backward(log_w, weights, axis), oracle.derivative(value, log_w))


def test_weights_of_nothing():
    log_w = np.array([[0.0, NEVER, 0.0], [NEVER] * 3, [1e308, -1e308, NEVER]])
    found = log_mean_exp_backward(log_w, np.array([2.0, 5.0, -1.0]))
    np.testing.assert_array_equal(found, [[1.0, 0.0, 1.0], [0.0] * 3, [-1.0, 0.0, 0.0]])
    found = importance_weighted_bound_backward(log_w[:2], 1, np.array([3.0, 1.0]))
    np.testing.assert_allclose(found, [[1.0, 0.0, 1.0], [0.0] * 3], rtol=4 * EPS)
    assert log_mean_exp_backward(np.empty((0, 3)), np.empty(0)).shape == (0, 3)


@pytest.mark.parametrize("num_samples", [1, 2, 3, 7])
def test_importance_weighted_bound(num_samples):
    log_w, weights = 10.0 * normals((3, 7), seed=1)[0], normals(3, seed=2)[0]
    blocks = 7 // num_samples

    def value(a):
        used = a[:, : blocks * num_samples].reshape(3, blocks, num_samples)
        return weights @ (oracle.log_sum_exp(used) - np.log(num_samples)).mean(axis=1)

    close(value(log_w), weights @ fastvi.importance_weighted_bound(log_w, num_samples))
    found = importance_weighted_bound_backward(log_w, num_samples, weights)
    close(found, oracle.derivative(value, log_w))


# ---- parameters, tables and refusals ---------------------------------------------------------------------


@each
def test_parameters_go_out_and_come_back(name):
    p, model = CASES[name][1], model_of(name)
    found = parameters(model)
    assert list(found) == list(p)
    for key, array in found.items():
        np.testing.assert_array_equal(array, p[key])
    other = with_parameters(model, {"bias": p["bias"] + 1.0} if "bias" in p else {})
    assert type(other) is type(model)
    if "bias" in p:
        np.testing.assert_array_equal(other.bias, p["bias"] + 1.0)


def test_joint_table():
    table = fastvi.JointTable([[0.1, 0.3], [0.6, 0.0], [0.0, 0.0]])
    value, saved = log_marginal_forward(table, [0, 1, 0])
    np.testing.assert_allclose(value, np.log([0.4, 0.6, 0.4]), rtol=4 * EPS)
    found, none = log_marginal_backward(table, [0, 1, 0], None, saved, [1.0, 2.0, -3.0])
    expected = np.array([[-2.0 / 0.4] * 2, [2.0 / 0.6] * 2, [0.0] * 2])
    np.testing.assert_allclose(found["probabilities"], expected, rtol=8 * EPS)
    assert none is None
    # of an x that was not seen p is the total, 1: every entry's derivative is its weight
    mask = np.array([[True], [False]])
    found, _ = log_marginal_backward(table, [0, 1], mask, saved, [1.0, 2.0])
    np.testing.assert_allclose(
        found["probabilities"], [[1.0 / 0.4 + 2.0] * 2, [2.0] * 2, [2.0] * 2], rtol=8 * EPS
    )
    with pytest.raises(ValueError, match="x must have a positive probability for the gradient to exist"):
        log_marginal_backward(table, [2], None, np.empty((1, 0)), [1.0])
    with pytest.raises(TypeError, match="x must not need a gradient for a JointTable"):
        log_marginal_backward(table, [0], None, np.empty((1, 0)), [1.0], x_gradient=True)


def test_probability_0():
    model = fastvi.BoltzmannMachine([[0.0, NEVER], [NEVER, 0.0]], [0.0, 0.0])
    x = [[1, 1], [1, 0]]
    value, saved = log_marginal_forward(model, x)
    assert value[0] == NEVER
    with pytest.raises(ValueError, match="x must have a positive probability for the gradient to exist"):
        log_marginal_backward(model, x, None, saved, [1.0, 1.0])
    found, _ = log_marginal_backward(model, x, None, saved, [0.0, 1.0])
    close(found["bias"], [1.0 - 1 / 3, -1 / 3])


def test_refusals():
    model, x = network(D, H), data_for("network")
    user, machine = fastvi.LogJoint(coin, 4), model_of("machine")
    real = fastvi.NeuralDecoder([(np.ones((2, 1)), [0.0, 0.0])], "relu", fastvi.Normal([0.0], [1.0]))
    saved = log_marginal_forward(model, x)[1]
    q = np.zeros((4, H))
    for expected, words, call in [
        (TypeError, "model must have parameters to be differentiated", lambda: parameters(user)),
        (TypeError, "model must have parameters to be differentiated", lambda: log_marginal_forward(user, x)),
        (TypeError, "model must have a Bernoulli prior", lambda: log_marginal_forward(real, x[:, :2])),
        (TypeError, "named weights, bias, prior_logits, got 'b'", lambda: with_parameters(model, {"b": 1})),
        (ValueError, r"bias must have shape \(5,\), got", lambda: with_parameters(model, {"bias": [1.0]})),
        (ValueError, "bias must be finite", lambda: with_parameters(model, {"bias": [np.nan] * D})),
        (ValueError, r"x must lie in \[0, 1\]", lambda: log_marginal_forward(model, 1.5 * np.ones((1, D)))),
        (
            ValueError,
            "weights must be finite",
            lambda: log_marginal_backward(model, x, None, saved, [np.inf] * 4),
        ),
        (
            ValueError,
            r"weights must have shape \(4,\)",
            lambda: log_marginal_backward(model, x, None, saved, [1.0]),
        ),
        (
            TypeError,
            "x must not need a gradient for a BoltzmannMachine",
            lambda: log_marginal_backward(machine, x, None, np.empty((4, 0)), WEIGHTS, x_gradient=True),
        ),
        (TypeError, "model must have latents beside its pixels", lambda: elbo_forward(machine, x, x)),
        (TypeError, "num_samples must be a number for a decoder", lambda: elbo_forward(real, x[:, :2], q)),
        (ValueError, r"logits must have shape \(4, 3\)", lambda: elbo_forward(model, x, q[:, :2])),
        (ValueError, "logits must be finite", lambda: elbo_forward(model, x, q + np.inf)),
        (TypeError, "estimator must be None", lambda: elbo_forward(model, x, q, Sampling(None, 0, "disarm"))),
        (ValueError, "num_samples must be at least 2", lambda: elbo_forward(model, x, q, Sampling(1))),
    ]:
        with pytest.raises(expected, match=words) as refused:
            call()
        assert "\n" not in str(refused.value)
