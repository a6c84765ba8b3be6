"""Draws are (num, N, d) and log_prob takes them, whoever drew; a model's draws are named z and x."""

from __future__ import annotations

import math

import naive
import numpy as np
import pytest
from cases import bernoulli, network, normal, random_bits, restricted

import fastvi

RNG = np.random.default_rng(4)
N, D, K = 3, 2, 5


def factor(num):
    root = RNG.normal(size=(num, D, D))
    return root @ root.swapaxes(1, 2) + np.eye(D)


OF_EACH_DATUM = {
    "bernoulli": bernoulli(N, D, seed=RNG),
    "normal": normal(N, D, seed=RNG),
    "multivariate normal": fastvi.MultivariateNormal(RNG.normal(size=(N, D)), factor(N)),
    "mixture": fastvi.Mixture([bernoulli(N, D, seed=RNG), fastvi.Uniform(D)], [1, 2]),
    "mixture of the other order": fastvi.Mixture(
        [fastvi.Normal(np.zeros(D), np.ones(D)), fastvi.Normal(np.ones((N, D)), np.ones((N, D)))], [1, 2]
    ),
    "categorical": fastvi.Categorical(RNG.normal(size=(N, 4))),
    "posterior": fastvi.exact_posterior(network(4, D), random_bits(N, 4)),
}


def last(name):
    return () if name == "categorical" else (D,)


@pytest.mark.parametrize("name", OF_EACH_DATUM)
def test_every_log_prob_takes_every_draw(name):
    q = OF_EACH_DATUM[name]
    z = q.sample(K, 1)
    assert z.shape == (K, N, *last(name))
    found = q.log_prob(z)
    assert found.shape == (K, N)
    assert found.flags.c_contiguous
    for n in range(N):  # a z of all data, and more leading axes than one
        np.testing.assert_array_equal(q.log_prob(z[:, n : n + 1])[:, n], found[:, n])
        np.testing.assert_array_equal(q.log_prob(z[0, n])[n], found[0, n])
    np.testing.assert_array_equal(q.log_prob(z[None, :, None]), found[None, :, None])
    assert q.log_prob(z[:0]).shape == (0, N)


@pytest.mark.parametrize("name", OF_EACH_DATUM)
@pytest.mark.parametrize("axis", [2, 4, 0])
def test_what_does_not_fit_is_refused(name, axis):
    wrong = np.zeros((K, axis, *last(name)), int)
    with pytest.raises(ValueError, match=r"^z must have shape \(\.\.\., 3.* for all data, got shape \(5, \d"):
        OF_EACH_DATUM[name].log_prob(wrong)
    with pytest.raises(ValueError, match=r"^z must have shape"):
        OF_EACH_DATUM[name].log_prob(np.zeros((N, K, *last(name)), int))


@pytest.mark.parametrize("name", ["bernoulli", "normal", "multivariate normal", "posterior"])
def test_one_datum_takes_draws_of_one(name):
    """An axis of data is one where there is one datum as well."""
    one = {
        "bernoulli": lambda: fastvi.Bernoulli([[0.5, -1.0]]),
        "normal": lambda: fastvi.Normal([[0.5, -1.0]], [[1.0, 2.0]]),
        "multivariate normal": lambda: fastvi.MultivariateNormal([[0.5, -1.0]], [[2.0, 0.0], [0.0, 1.0]]),
        "posterior": lambda: fastvi.exact_posterior(network(4, D), random_bits(1, 4)),
    }[name]()
    assert one.log_prob(one.sample(K, 1)).shape == (K, 1)
    with pytest.raises(ValueError, match=r"^z must have shape \(\.\.\., 1, 2\)"):
        one.log_prob(np.zeros((K, N, D), int))


def test_draws_from_q_meet_the_posterior_of_their_own_datum():
    """As many draws as data: with the axes exchanged, nothing but the numbers would tell."""
    model, x = network(6, 3, seed=2), random_bits(4, 6)
    q = fastvi.fit_posterior(model, x).q
    posterior, z = fastvi.exact_posterior(model, x), q.sample(4, 7)
    parameters = model.weights.tolist(), model.bias.tolist(), model.prior_logits.tolist()
    of_states = np.array([naive.sbn_log_posterior(*parameters, row, None) for row in x])
    numbers = {tuple(state): s for s, state in enumerate(naive.states(3))}
    expected = [[of_states[n, numbers[tuple(z[k, n].tolist())]] for n in range(4)] for k in range(4)]
    # sums of some 20 terms of size 10 at most
    assert np.abs(posterior.log_prob(z) - expected).max() <= 1e-12
    # KL(q || p) of every datum, from all states
    states = np.array(naive.states(3))[:, None]
    log_q, log_p = q.log_prob(states), posterior.log_prob(states)
    gap = (np.exp(log_q) * (log_q - log_p)).sum(axis=0)
    assert np.abs(gap - fastvi.kl_to_posterior(model, x, q)).max() <= 1e-12


def test_posterior_draws_follow_their_own_datum():
    """Two data whose posteriors are opposite: frequencies within five standard errors."""
    model = fastvi.SigmoidBeliefNetwork([[8.0], [8.0]], [-4.0, -4.0], [0.0])
    draws = fastvi.exact_posterior(model, [[1, 1], [0, 0]]).sample(2000, 3)
    assert draws.shape == (2000, 2, 1)
    rare = math.exp(naive.sbn_log_posterior([[8.0], [8.0]], [-4.0, -4.0], [0.0], [0, 0], None)[1])
    share = draws.mean(axis=0)[:, 0]
    assert abs(share[0] - (1 - rare)) <= 5 * math.sqrt(rare / 2000)
    assert abs(share[1] - rare) <= 5 * math.sqrt(rare / 2000)


LAYERS = [(RNG.normal(size=(4, 2)), np.zeros(4))]
DRAWN = {
    "network": (network(4, 2), (2,), (4,)),
    "deep network": (
        fastvi.SigmoidBeliefNetwork(np.ones((4, 2)), np.zeros(4), prior=network(2, 3)), (2,), (4,),
    ),
    "restricted machine": (
        restricted(4, 2), (2,), (4,),
    ),
    "restricted machine of few pixels": (
        restricted(2, 4), (4,), (2,),
    ),
    "machine": (fastvi.BoltzmannMachine([[0.0, 1.0], [1.0, 0.0]], [0.0, 1.0]), (2,), (2,)),
    "sparse coding": (fastvi.BinarySparseCoding(np.ones((4, 2)), np.zeros(4), 1.0, np.zeros(2)), (2,), (4,)),
    "decoder": (fastvi.NeuralDecoder(LAYERS, "relu", fastvi.Bernoulli([0.0, 1.0])), (2,), (4,)),
    "linear": (fastvi.LinearGaussian(np.ones((4, 2)), np.zeros(4), 0.5), (2,), (4,)),
    "table": (fastvi.JointTable([[0.1, 0.2, 0.3], [0.2, 0.1, 0.1]]), (), ()),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWN)
def test_a_models_draws_have_names(name):
    model, z_axes, x_axes = DRAWN[name]
    drawn = model.sample(6, 1)
    assert drawn._fields == ("z", "x")
    assert drawn.z.shape == (6, *z_axes)
    assert drawn.x.shape == (6, *x_axes)
    z, x = drawn
    assert z is drawn.z
    assert x is drawn.x
    assert np.isfinite(model.log_joint(drawn.x, drawn.z)).all()
    if name == "machine":
        np.testing.assert_array_equal(drawn.x, drawn.z)
