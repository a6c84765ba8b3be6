"""log p(x) of decoders with normal priors against dense rules: steep, narrow, split and kinked posteriors."""

from __future__ import annotations

import pickle

import naive_quadrature
import numpy as np
import pytest
from cases import layers, standard_normal
from hypothesis import given, settings
from hypothesis import strategies as st

import fastvi
from fastvi.core.registry import rules_of
from fastvi.engine.decoder.network import network
from fastvi.engine.quadrature import normal_expectation, normal_joint, posterior_integral
from fastvi.engine.run import threads as pool_of_threads

pytestmark = pytest.mark.slow_without_jit


def decoder(sizes, activation, noise_std=None, scale=1.5, seed=0):
    own = layers(*sizes, seed=seed, scale=scale, bias_scale=0.3, divided=True)
    return with_layers(own, activation, noise_std)


def with_layers(layers, activation, noise_std=None):
    prior = standard_normal(len(layers[0][0][0]))
    likelihood = "bernoulli" if noise_std is None else "gaussian"
    return fastvi.NeuralDecoder(layers, activation, prior, likelihood, noise_std)


def dense(model, x, intervals, low=None, high=None):
    """(log p(x), mean, std, entropy) of each datum."""
    prior = model.prior
    return [
        naive_quadrature.posterior(
            model.layers, model.activation, prior.mean, prior.std, row, intervals, model.noise_std, low, high
        )
        for row in x
    ]


def assert_integrated(model, x, expected, atol):
    """All that is integrated, with nothing reported: pytest makes an error of a warning."""
    found = rules_of(model).integral(x, np.ones(model.num_pixels, bool))
    evidence, mean, std, entropy = (np.array(column) for column in zip(*expected, strict=True))
    np.testing.assert_allclose(found.log_marginal, evidence, rtol=0, atol=atol)
    # a moment's error is that of the integral times what is averaged, at most some tens where it counts
    for ours, theirs in ((found.mean, mean), (found.std, std), (found.entropy, entropy)):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=30 * atol)


# Tolerances are 2e-8: a value may move by 1e-8 at the last check, which sees half of the error at least.


@pytest.mark.parametrize(("scale", "seed"), [(1.5, 0), (3.0, 1)])
def test_two_latents_of_a_tanh_network(scale, seed):
    """2-7-9 networks whose last step but one is not yet small enough to judge the last by."""
    model = decoder((2, 7, 9), "tanh", scale=scale, seed=seed)
    _, x = model.sample(3, seed)
    # a step of 0.05, poles of tanh at pi / 2 over weights of 6 at most: e^-33
    assert_integrated(model, x, dense(model, x, 320, [-8.0, -8.0], [8.0, 8.0]), 2e-8)


def test_three_latents_of_a_tanh_network():
    model = decoder((3, 7, 9), "tanh")
    _, x = model.sample(1, 0)
    # a step of 0.17, poles at pi / 2 over weights of 2: e^-29
    assert_integrated(model, x, dense(model, x, 80, [-7.0] * 3, [7.0] * 3), 2e-8)


@pytest.mark.parametrize("seed", [0, 1])
def test_two_latents_of_a_relu_network(seed):
    """Kinks: the dense rule's error falls with the square of its step."""
    model = decoder((2, 6, 8), "relu", seed=seed)
    _, x = model.sample(1, seed)
    coarse, fine = (dense(model, x, n, [-7.0, -7.0], [7.0, 7.0])[0][0] for n in (400, 800))
    # the halved step takes three quarters of the error of the step, give or take where the kinks fall
    assert abs(fastvi.log_marginal(model, x)[0] - fine) < 1e-8 + abs(fine - coarse) < 1e-4


@pytest.mark.parametrize(
    ("sizes", "activation"),
    [
        ((1, 6, 8), "relu"),
        ((1, 5, 5, 8), "relu"),
        ((1, 5, 5, 8), "leaky_relu"),
        ((1, 5, 5, 8), "elu"),
        ((1, 5, 5, 8), "silu"),
    ],
)
def test_a_kinked_line(sizes, activation):
    model = decoder(sizes, activation)
    _, x = model.sample(2, 1)
    # the square of a step of 1e-4, 1e-8 / 12, times jumps of the slope of some units at each of the kinks
    assert_integrated(model, x, dense(model, x, 160_000, [-8.0], [8.0]), 2e-8)


@pytest.mark.parametrize(
    ("sizes", "activation"),
    [
        ((2, 4), "tanh"),
        ((2, 3, 4), "relu"),
        ((2, 3, 3, 3), "relu"),
        ((3, 4, 3), "tanh"),
        ((2, 3, 3), "elu"),
        ((2, 3, 3), "gelu"),
    ],
)
def test_probabilities_of_all_images_sum_to_one(sizes, activation):
    model = decoder(sizes, activation, scale=2.0)
    found = fastvi.log_marginal(model, naive_quadrature.all_images(sizes[-1]))
    assert np.exp(found).sum() == pytest.approx(1.0, abs=2e-8)


@pytest.mark.parametrize(("num_latents", "intervals"), [(1, 20_000), (2, 500)])
def test_modes_that_nothing_connects(num_latents, intervals):
    """Of an even decoder, each mode twice: nothing is missed and nothing counted twice."""
    layers = naive_quadrature.even_decoder(np.random.default_rng(1), num_latents)
    model = with_layers(layers, "tanh", 0.1)
    _, x = model.sample(2, 3)
    # steps of 0.001 and 0.02, modes about 0.1 / 3 wide: e^-50
    assert_integrated(model, x, dense(model, x, intervals, [-5.0] * num_latents, [5.0] * num_latents), 2e-8)


def test_three_latents_in_a_needle():
    """Posteriors of 1 : 100 in widths, turned against the axes: coordinates of their own hold them."""
    rng = np.random.default_rng(5)
    weights = rng.normal(size=(6, 3)) * [3.0, 0.3, 0.03]
    closed = fastvi.LinearGaussian(weights, rng.normal(size=6), 0.02)
    model = with_layers([(weights, closed.bias)], "tanh", 0.02)
    _, x = closed.sample(2, 0)
    np.testing.assert_allclose(
        fastvi.log_marginal(model, x), fastvi.log_marginal(closed, x), rtol=0, atol=2e-8
    )


@settings(max_examples=5)
@given(
    st.sampled_from(["tanh", "sigmoid", "softplus"]),
    st.floats(0.3, 3.0),
    st.integers(0, 2**32),
    st.booleans(),
)
def test_any_network_of_two_latents(activation, scale, seed, gaussian):
    model = decoder((2, 4, 5), activation, 0.5 if gaussian else None, scale, seed)
    _, x = model.sample(1, seed)
    # a step of 0.04, poles pi / 2 over weights of 9 at most away: e^-27
    assert_integrated(model, x, dense(model, x, 400, [-8.0, -8.0], [8.0, 8.0]), 2e-8)


def test_narrow_posteriors_of_many_pixels():
    """300 pixels leave posteriors a tenth of the prior wide in one direction, turned against the axes."""
    model = decoder((2, 20, 300), "tanh", scale=2.0)
    z, x = model.sample(1, 0)
    assert_integrated(model, x, dense(model, x, 240, z[0] - 4.0, z[0] + 4.0), 2e-8)


@pytest.mark.parametrize(
    ("sizes", "activation"),
    [
        ((2, 4, 5), "tanh"),
        ((2, 4, 5), "relu"),
        ((1, 4, 5), "relu"),
        ((1, 4, 5), "leaky_relu"),
        ((2, 4, 5), "elu"),
    ],
)
def test_expectations_under_a_normal(sizes, activation):
    model = decoder(sizes, activation)
    z, x = model.sample(1, 2)
    std = np.linspace(0.3, 0.6, sizes[0])
    q = fastvi.Normal(z, std[None])
    coarse, fine = (
        naive_quadrature.expected_log_likelihood(model.layers, activation, x[0], z[0], std, n)
        for n in (300, 600)
    )
    # of a smooth one the two are alike; at kinks the halved step takes three quarters of the error
    assert abs(fastvi.elbo(model, x, q).reconstruction[0] - fine) < 2e-8 + abs(fine - coarse) < 1e-4


# ---- what cannot be certified ----------------------------------------------------------------------------


@pytest.fixture
def few_nodes(monkeypatch):
    """A limit that a steep network needs more than, and a tame one does not."""
    monkeypatch.setattr(posterior_integral, "_FEWEST_NODES", 1 << 13)
    monkeypatch.setattr(posterior_integral, "_MOST_NODES", 1 << 13)


def test_data_that_are_not_certified_are_named(few_nodes):
    """Masked data come in groups; the warning has the numbers that they have in the call, once for all."""
    model = decoder((2, 7, 9), "tanh", scale=4.0)
    _, x = model.sample(4, 0)
    masks = np.ones((4, 9), bool)
    masks[:2] = False  # log p of nothing is 0
    masks[3, 0] = False
    with pytest.warns(
        fastvi.AccuracyWarning, match=r"^log p\(x\) of 2 data is not certified, .*: 2 \(by "
    ) as caught:
        found = fastvi.log_marginal(model, x, observed=masks)
    (warning,) = caught
    assert warning.filename == __file__
    assert "\n" not in str(warning.message)
    np.testing.assert_array_equal(warning.message.index, [2, 3])
    assert (warning.message.moved > 1e-8).all()
    np.testing.assert_allclose(found[:2], 0.0, atol=2e-8)
    again = pickle.loads(pickle.dumps(warning.message))
    np.testing.assert_array_equal(again.moved, warning.message.moved)
    assert str(again) == str(warning.message)


def test_their_values_are_the_best_found(few_nodes, monkeypatch):
    model = decoder((2, 7, 9), "tanh", scale=4.0)
    _, x = model.sample(2, 0)
    with pytest.warns(fastvi.AccuracyWarning) as caught:
        found = fastvi.log_marginal(model, x)
    moved = np.zeros(2)
    moved[caught[0].message.index] = caught[0].message.moved
    monkeypatch.undo()
    assert (np.abs(found - fastvi.log_marginal(model, x)) <= moved + 2e-8).all()


def test_an_expectation_that_is_not_certified(monkeypatch):
    monkeypatch.setattr(normal_expectation, "_MOST_NODES", 1)
    model = decoder((2, 7, 9), "tanh", scale=4.0)
    z, x = model.sample(2, 0)
    q = fastvi.Normal(z, np.ones((2, 2)))
    with pytest.warns(fastvi.AccuracyWarning, match=r"^E_q\[log p\(x \| z\)\] of 2 data") as caught:
        fastvi.elbo(model, x, q)
    np.testing.assert_array_equal(caught[0].message.index, [0, 1])
    with pytest.warns(fastvi.AccuracyWarning):
        fastvi.fit_posterior(model, x[:1], max_steps=1, num_restarts=0)


# ---- interruptions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_is_heard_between_short_steps(threads, set_threads, monkeypatch):
    """Ctrl-C at some step of a datum's integral ends the call, and no step has more nodes than a block."""
    set_threads(threads)
    monkeypatch.setattr(pool_of_threads, "_SLICE", 0.0)
    steps, logs = [], normal_joint.NormalJoint.logs

    def counted(self, v, linear, axes=None):
        if axes is not None:
            steps.append(len(v))
            if len(steps) == 20:
                raise KeyboardInterrupt
        return logs(self, v, linear, axes)

    monkeypatch.setattr(normal_joint.NormalJoint, "logs", counted)
    model = decoder((2, 7, 9), "tanh", scale=4.0)
    _, x = model.sample(8, 0)
    with pytest.raises(KeyboardInterrupt):
        fastvi.log_marginal(model, x)
    assert max(steps) <= normal_joint.BLOCK_NODES
    assert len(steps) < 20 + 2 * threads  # what was running, and nothing that had not begun


def test_steps_are_shorter_where_a_state_takes_more():
    layers = [(np.zeros((2000, 1)), np.zeros(2000)), (np.zeros((1000, 2000)), np.zeros(1000))]
    net, _ = network(layers, "tanh", None, np.ones(1000, bool))
    joint = normal_joint.NormalJoint(net, np.zeros(1), np.ones(1))
    assert joint.step_nodes * net.operations <= 1 << 28


# ---- a sample of a survey: nothing is reported, which would be an error here -----------------------------


@pytest.mark.parametrize(
    ("sizes", "activation", "nets", "num"), [((2, 7, 9), "tanh", 3, 20), ((2, 6, 8), "relu", 6, 1)]
)
def test_all_data_of_small_networks_are_certified(sizes, activation, nets, num):
    for seed in range(nets):
        model = decoder(sizes, activation, seed=seed)
        _, x = model.sample(num, seed)
        assert np.isfinite(fastvi.log_marginal(model, x)).all()
