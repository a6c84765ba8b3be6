"""KL between q and the exact posterior, in both directions, of every model: the definition, the identity with
the ELBO, what is least, and the limits.
"""

from __future__ import annotations

import math
from functools import partial

import naive
import naive_divergences
import naive_models
import numpy as np
import pytest
from cases import MODELS, data_of, decoder, encoder, machine, network, parameters_of, restricted, states

import fastvi

RNG = np.random.default_rng(11)
INF = math.inf


def random(*shape):
    return RNG.normal(size=shape)


NETWORK = MODELS["network"]
SPARSE = MODELS["sparse coding"]
DECODER = MODELS["decoder"]
DEEP = network(5, 4, RNG, prior=network(4, 3, RNG))
MACHINE = machine(6, RNG)
RESTRICTED = restricted(4, 5, RNG)
ONE = network(3, 1, RNG)


def deep_log_joint(x, z, observed):
    prior = naive.sbn_log_marginal(*parameters_of(DEEP.prior), z)
    return naive.sbn_log_likelihood(DEEP.weights.tolist(), DEEP.bias.tolist(), x, z, observed) + prior


def decoder_log_joint(x, z, observed):
    parts = [(weight.tolist(), bias.tolist()) for weight, bias in DECODER.layers]
    likelihood = naive_models.decoder_log_likelihood(parts, "tanh", x, z, None, observed)
    return naive.bernoulli_log_prob(z, DECODER.prior.logits.tolist()) + likelihood


def network_log_joint(model):
    parameters = parameters_of(model)
    return lambda x, z, observed: naive.sbn_log_joint(*parameters, x, z, observed)


def sparse_log_joint(x, z, observed):
    parameters = SPARSE.weights.tolist(), SPARSE.bias.tolist(), SPARSE.noise_std, SPARSE.prior_logits.tolist()
    return naive.bsc_log_joint(*parameters, x, z, observed)


def restricted_log_joint(x, h, observed):
    parts = parameters_of(RESTRICTED)
    return naive.log_sum_exp(
        naive.rbm_log_joint(*parts, v, h) for v in naive.states(4) if naive.agrees(v, x, observed)
    )


def scalar(x_n, z):
    """d = 3; one state cannot be."""
    if z[0] + z[1] + z[2] == 3:
        return -np.inf
    return x_n[0] * z[0] - 0.3 * z[1] * z[2] + x_n[1] * z[2] * z[0]


USER = fastvi.LogJoint(scalar, 3)
BINARY = {
    "network": (NETWORK, network_log_joint(NETWORK)),
    "one latent": (ONE, network_log_joint(ONE)),
    "deep network": (DEEP, deep_log_joint),
    "sparse coding": (SPARSE, sparse_log_joint),
    "decoder": (DECODER, decoder_log_joint),
    "restricted machine": (RESTRICTED, restricted_log_joint),
}


def check(found, expected, scale=1.0):
    """1e-12 absolute, and relative to the divergence."""
    np.testing.assert_allclose(found, expected, rtol=1e-12 * scale, atol=1e-14 * scale)


def definitions(log_joint, logits, num_latents):
    """KL to and from the posterior, the chi-square bound, from log p(x, z) of all states."""
    every = naive.states(num_latents)
    logs = [log_joint(z) for z in every]
    log_q = naive_divergences.bernoulli_logs(every, logits)
    log_p = naive_divergences.posterior(logs)
    to, back = naive_divergences.kl(log_q, log_p), naive_divergences.kl(log_p, log_q)
    return to, back, naive_divergences.chi_square(logs, log_q)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("masked", [False, True])
def test_the_definition(name, masked):
    model, log_joint = BINARY[name]
    x = model.sample(3, 4)[1]
    mask = np.ones((3, model.num_pixels), bool)
    if masked:
        mask[0, 1:] = mask[1, :2] = False
        x = np.where(mask, x, -7 if x.dtype == np.uint8 else np.nan)
    q = fastvi.Bernoulli(random(3, model.num_latents))
    log_z = fastvi.log_partition(model) if name == "restricted machine" else 0.0
    rows = []
    for n, (row, seen) in enumerate(zip(x.tolist(), mask.tolist(), strict=True)):
        joint = partial(log_joint, row, observed=seen)
        rows.append(definitions(joint, q.logits[n].tolist(), model.num_latents))
    expected = np.array(rows)
    observed = mask if masked else None
    check(fastvi.kl_to_posterior(model, x, q, observed=observed), expected[:, 0])
    check(fastvi.kl_from_posterior(model, x, q, observed=observed), expected[:, 1])
    bound = fastvi.chi_square_bound(model, x, q, observed=observed)
    np.testing.assert_allclose(bound + log_z, expected[:, 2], rtol=1e-13, atol=1e-12)
    truth = fastvi.log_marginal(model, x, observed=observed)
    value = fastvi.elbo(model, x, q, observed=observed).value
    np.testing.assert_allclose(value + expected[:, 0], truth, rtol=0, atol=1e-10)
    assert (value <= truth).all()
    assert (truth <= bound).all()


def test_clamped_units_of_a_machine():
    x = RNG.integers(0, 2, (4, 6))
    mask = np.array([[True] * 6, [True, True, False, False, True, False], [False] * 6, [False] * 5 + [True]])
    q = fastvi.Bernoulli(random(6))
    to, back = (f(MACHINE, x, q, observed=mask) for f in (fastvi.kl_to_posterior, fastvi.kl_from_posterior))
    bound = fastvi.chi_square_bound(MACHINE, x, q, observed=mask)
    raw = fastvi.chi_square_bound(MACHINE, x, q, observed=mask, normalized=False)
    log_z = fastvi.log_partition(MACHINE)
    parts = MACHINE.couplings.tolist(), MACHINE.bias.tolist()
    for n in range(4):
        free = np.flatnonzero(~mask[n])

        def log_joint(part, n=n, free=free):
            z = x[n].copy()
            z[free] = part
            return naive.bm_log_joint(*parts, z.tolist())

        expected = definitions(log_joint, q.logits[free].tolist(), free.size)
        check([to[n], back[n]], expected[:2])
        assert raw[n] == pytest.approx(expected[2], abs=1e-12)
        assert bound[n] == pytest.approx(expected[2] - log_z, abs=1e-12)
    assert to[0] == back[0] == 0.0
    assert bound[0] == pytest.approx(fastvi.log_marginal(MACHINE, x, observed=mask)[0], abs=1e-12)
    without = fastvi.kl_from_posterior(MACHINE, None, q)
    assert without.shape == (1,)
    assert without[0] == pytest.approx(back[2], rel=1e-13)


def test_users_log_joint_with_a_state_that_cannot_be():
    x = random(3, 2)
    everywhere = fastvi.Bernoulli(random(3, 3))
    never = fastvi.Bernoulli(np.array([[0.3, -1.0, -INF], [-1e3, 0.2, 0.4], [0.0, 0.0, -INF]]))
    assert (fastvi.kl_to_posterior(USER, x, everywhere) == INF).all()
    found = fastvi.kl_to_posterior(USER, x, never)
    assert found[1] == INF  # a mass of e^-1000 on a state that cannot be
    back, bound = fastvi.kl_from_posterior(USER, x, everywhere), fastvi.chi_square_bound(USER, x, everywhere)
    for n in range(3):
        expected = definitions(
            lambda z, n=n: float(scalar(x[n], np.array(z))), everywhere.logits[n].tolist(), 3
        )
        check(back[n], expected[1])
        assert bound[n] == pytest.approx(expected[2], abs=1e-12)
        if n != 1:
            expected = definitions(
                lambda z, n=n: float(scalar(x[n], np.array(z))), never.logits[n].tolist(), 3
            )
            check(found[n], expected[0])
    assert (fastvi.kl_from_posterior(USER, x, never)[[0, 2]] == INF).all()  # q rules out what is possible
    assert (fastvi.chi_square_bound(USER, x, never)[[0, 2]] == INF).all()
    impossible = fastvi.LogJoint(lambda x, z: np.full((len(x), len(z)), -np.inf), 2, vectorized=True)
    q = fastvi.Bernoulli([0.0, 1.0])
    for function in (fastvi.kl_to_posterior, fastvi.kl_from_posterior):
        assert np.isnan(function(impossible, [[0.0]], q)).all()
    assert (fastvi.chi_square_bound(impossible, [[0.0]], q) == -INF).all()


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("name", ["several tiles", "pairs", "decoder", "log joint of arrays"])
def test_several_tiles_against_numpy(name):
    d = 13
    model = {
        "several tiles": fastvi.SigmoidBeliefNetwork(random(9, 15), random(9), random(15)),
        "pairs": fastvi.BinarySparseCoding(random(5, d), random(5), 1.5, random(d)),
        "decoder": decoder((d, 6, 4), seed=RNG),
        "log joint of arrays": fastvi.LogJoint(
            lambda x, z: x[:, :1] * z.sum(axis=1) + z[:, 0] * z[:, 3], d, vectorized=True
        ),
    }[name]
    d = model.num_latents
    x, q = data_of(model, 2), fastvi.Bernoulli(0.5 * random(2, d))
    z = states(d)
    log_joint = model.log_joint(x[:, None], z[None])
    log_q = q.log_prob(z[:, None]).T
    truth = np.logaddexp.reduce(log_joint, axis=1)
    log_p = log_joint - truth[:, None]
    to, back = ((np.exp(a) * (a - b)).sum(axis=1) for a, b in ((log_q, log_p), (log_p, log_q)))
    np.testing.assert_allclose(fastvi.kl_to_posterior(model, x, q), to, rtol=1e-11)
    np.testing.assert_allclose(fastvi.kl_from_posterior(model, x, q), back, rtol=1e-11)
    square = np.logaddexp.reduce(2 * log_joint - log_q, axis=1) / 2
    np.testing.assert_allclose(fastvi.chi_square_bound(model, x, q), square, rtol=1e-12, atol=1e-12)


INDEPENDENT = fastvi.SigmoidBeliefNetwork(np.diag([1.0, -2.0, 0.5]), np.zeros(3), [0.3, -0.7, 0.0])


def factorised_posterior():
    """Independent pixels leave the posterior factorised."""
    x = np.array([[1, 0, 1]])
    signed = (2 * x[0] - 1) * np.diag(INDEPENDENT.weights)
    return x, INDEPENDENT.prior_logits + np.log(1 / (1 + np.exp(-signed))) - np.log(0.5)


def test_small_divergences_keep_their_digits():
    x, on = factorised_posterior()
    posterior = fastvi.Bernoulli(on)
    assert fastvi.kl_from_posterior(INDEPENDENT, x, posterior)[0] <= 1e-30
    assert fastvi.kl_to_posterior(INDEPENDENT, x, posterior)[0] <= 1e-30
    for step in (1e-2, 1e-5, 1e-7):
        q = fastvi.Bernoulli(on + step)
        # an error of eps in log p(x, z) enters as step * eps, the divergence is about step^2 / 8 a latent
        check = {"rtol": 1e-13 / step + 1e-13, "atol": 0}
        expected = fastvi.kl_divergence(posterior, q)
        np.testing.assert_allclose(fastvi.kl_from_posterior(INDEPENDENT, x, q), expected, **check)
    truth = fastvi.log_marginal(INDEPENDENT, x)
    np.testing.assert_allclose(fastvi.chi_square_bound(INDEPENDENT, x, posterior), truth, rtol=0, atol=1e-14)


@pytest.mark.parametrize("far", [40.0, 1e3, INF])
def test_extreme_logits_of_q(far):
    x, on = factorised_posterior()
    signs = np.array([far, -far, on[2]])
    q, posterior = fastvi.Bernoulli(signs), fastvi.Bernoulli(on)
    for found, expected in (
        (fastvi.kl_to_posterior(INDEPENDENT, x, q), fastvi.kl_divergence(q, posterior)),
        (fastvi.kl_from_posterior(INDEPENDENT, x, q), fastvi.kl_divergence(posterior, q)),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-13)
    # latents are independent: 1 + chi^2 is a product over them of the sum of p^2 / q over two values
    log_p, log_q = (np.array([-np.logaddexp(0.0, -s * t) for s in (1, -1)]) for t in (on, signs))
    truth = naive.sbn_log_marginal(
        INDEPENDENT.weights.tolist(), [0.0] * 3, INDEPENDENT.prior_logits.tolist(), x[0].tolist()
    )
    expected = truth + 0.5 * np.logaddexp(*(2 * log_p - log_q)).sum()
    assert fastvi.chi_square_bound(INDEPENDENT, x, q)[0] == pytest.approx(expected, rel=1e-13)


def test_extreme_weights():
    """Posteriors that are almost or exactly one state."""
    model = fastvi.SigmoidBeliefNetwork([[1e3, -1e3], [500.0, 900.0]], [0.0, -300.0], [-700.0, 1e3])
    x, log_joint = np.array([[0, 1], [1, 0], [1, 1]]), network_log_joint(model)
    for logits in ([-20.0, 30.0], [-1e3, 1e3], [0.0, 0.0]):
        q = fastvi.Bernoulli(logits)
        for n in range(3):
            expected = definitions(lambda z, n=n: log_joint(x[n].tolist(), z, None), logits, 2)
            one = x[n : n + 1]
            np.testing.assert_allclose(
                fastvi.kl_to_posterior(model, one, q), expected[0], rtol=1e-12, atol=1e-12
            )
            np.testing.assert_allclose(
                fastvi.kl_from_posterior(model, one, q), expected[1], rtol=1e-12, atol=1e-12
            )
            np.testing.assert_allclose(
                fastvi.chi_square_bound(model, one, q), expected[2], rtol=1e-13, atol=1e-13
            )


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("name", ["network", "deep network", "sparse coding", "decoder"])
def test_posterior_means_are_least(name):
    model = MODELS[name]
    x = data_of(model)
    posterior = fastvi.exact_posterior(model, x)
    best = np.log(posterior.mean) - np.log1p(-posterior.mean)
    least = fastvi.kl_from_posterior(model, x, fastvi.Bernoulli(best))
    # there it is the total correlation
    gap = fastvi.Bernoulli(best).entropy() - posterior.entropy
    np.testing.assert_allclose(least, gap, rtol=0, atol=1e-11)
    for i in range(model.num_latents):
        for step in (-0.1, 1e-3):
            moved = best.copy()
            moved[:, i] += step
            other = fastvi.kl_from_posterior(model, x, fastvi.Bernoulli(moved))
            assert (other > least).all()
            # by what the two q are apart: the difference is KL(Bernoulli(mean_i) || Bernoulli(moved_i))
            apart = fastvi.kl_divergence(fastvi.Bernoulli(best), fastvi.Bernoulli(moved))
            np.testing.assert_allclose(other - least, apart, rtol=0, atol=1e-11)


def test_a_restricted_machine_of_any_width():
    """All pixels seen, its posterior is a product: nothing is enumerated."""
    machine = fastvi.RestrictedBoltzmannMachine(random(3, 80), random(3), random(80))
    x, q = RNG.integers(0, 2, (2, 3)), fastvi.Bernoulli(random(80))
    posterior = fastvi.Bernoulli(x @ machine.weights + machine.hidden_bias)
    check(fastvi.kl_to_posterior(machine, x, q), fastvi.kl_divergence(q, posterior))
    check(fastvi.kl_from_posterior(machine, x, q), fastvi.kl_divergence(posterior, q))
    truth = fastvi.log_marginal(machine, x)
    np.testing.assert_allclose(fastvi.chi_square_bound(machine, x, posterior), truth, rtol=0, atol=1e-11)
    assert (fastvi.chi_square_bound(machine, x, q) >= truth).all()


# ---- linear Gaussian models ------------------------------------------------------------------------------

LINEAR = fastvi.LinearGaussian(random(7, 3), random(7), 0.8)


def linear_posterior(seen):
    """Means of two data and the covariance, by NumPy's inverse."""
    weights = LINEAR.weights[seen] / LINEAR.noise_std
    covariance = np.linalg.inv(np.eye(3) + weights.T @ weights)
    return (LINEAR_X[:, seen] - LINEAR.bias[seen]) / LINEAR.noise_std @ weights @ covariance, covariance


LINEAR_X = LINEAR.sample(2, 5)[1]


@pytest.mark.parametrize("kind", ["factorised", "full", "shared"])
@pytest.mark.parametrize("seen", [[True] * 7, [True, False] * 3 + [True], [False] * 7])
def test_linear_models_in_closed_form(kind, seen):
    seen = np.array(seen)
    root = random(2, 3, 5)
    q = {
        "factorised": fastvi.Normal(random(2, 3), np.exp(random(2, 3))),
        "full": fastvi.MultivariateNormal(random(2, 3), root @ root.swapaxes(1, 2)),
        "shared": fastvi.Normal(random(3), np.exp(random(3))),
    }[kind]
    posterior = fastvi.MultivariateNormal(*linear_posterior(seen))
    to, back = (
        f(LINEAR, LINEAR_X, q, observed=seen) for f in (fastvi.kl_to_posterior, fastvi.kl_from_posterior)
    )
    np.testing.assert_allclose(to, fastvi.kl_divergence(q, posterior), rtol=1e-11)
    np.testing.assert_allclose(back, fastvi.kl_divergence(posterior, q), rtol=1e-11)
    gap = (
        fastvi.log_marginal(LINEAR, LINEAR_X, observed=seen)
        - fastvi.elbo(LINEAR, LINEAR_X, q, observed=seen).value
    )
    np.testing.assert_allclose(to, gap, rtol=1e-12, atol=1e-10)
    for function in (fastvi.kl_to_posterior, fastvi.kl_from_posterior):
        assert (function(LINEAR, LINEAR_X, posterior, observed=seen) <= 1e-14).all()


def test_forward_optimum_of_a_linear_model_has_the_posteriors_margins():
    mean, covariance = linear_posterior(np.ones(7, bool))
    std = np.broadcast_to(np.sqrt(np.diagonal(covariance)), mean.shape)
    least = fastvi.kl_from_posterior(LINEAR, LINEAR_X, fastvi.Normal(mean, std))
    for other in (
        fastvi.Normal(mean + 0.01, std),
        fastvi.Normal(mean, 1.02 * std),
        fastvi.Normal(mean, 0.98 * std),
    ):
        assert (fastvi.kl_from_posterior(LINEAR, LINEAR_X, other) > least).all()


# ---- shapes, threads, wrong input ------------------------------------------------------------------------


def test_no_data_and_shared_parameters():
    functions = fastvi.kl_to_posterior, fastvi.kl_from_posterior, fastvi.chi_square_bound
    q, x = fastvi.Bernoulli(random(4)), data_of(NETWORK)
    wide = fastvi.Bernoulli(np.stack([q.logits] * 3))
    net = encoder(6, 4)
    for function in functions:
        assert function(NETWORK, np.empty((0, 6)), q).shape == (0,)
        assert np.array_equal(function(NETWORK, x, q), function(NETWORK, x, wide))
        assert np.array_equal(function(NETWORK, x, net), function(NETWORK, x, net(x)))
        # a datum has the same bits in any batch
        assert np.array_equal(function(NETWORK, x[1:2], q), function(NETWORK, x, q)[1:2])
        assert function(RESTRICTED, np.empty((0, 4)), fastvi.Bernoulli(random(5))).shape == (0,)
    for function in functions[:2]:
        assert function(LINEAR, np.empty((0, 7)), fastvi.Normal(np.zeros(3), np.ones(3))).shape == (0,)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("name", ["network", "sparse coding", "decoder", "log joint of arrays"])
def test_same_bits_for_any_number_of_threads(same_bits, name):
    model = MODELS[name]
    x, q = data_of(model, 40), fastvi.Bernoulli(random(40, model.num_latents))
    functions = fastvi.kl_to_posterior, fastvi.kl_from_posterior, fastvi.chi_square_bound
    same_bits(lambda: [function(model, x, q) for function in functions])


TABLE = fastvi.JointTable([[0.5, 0.5]])
X, Q = np.zeros((2, 6)), fastvi.Bernoulli(np.zeros(4))
NORMAL = fastvi.Normal(np.zeros(2), np.ones(2))


@pytest.mark.parametrize(
    "function", [fastvi.kl_to_posterior, fastvi.kl_from_posterior, fastvi.chi_square_bound]
)
@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((TABLE, [0], Q), {}, TypeError, r"^q must be a Categorical for a JointTable, got Bernoulli"),
        (
            (MODELS["normal decoder"], np.zeros((2, 11)), NORMAL),
            {},
            TypeError,
            r"^model must have binary latents",
        ),
        ((NETWORK, X, NORMAL), {}, TypeError, r"^q must be a Bernoulli, got Normal"),
        (
            (NETWORK, X, fastvi.Bernoulli(np.zeros(3))),
            {},
            ValueError,
            r"^q must have logits of shape \(4,\) or \(2, 4\)",
        ),
        ((NETWORK, X + 2, Q), {}, ValueError, r"^x must contain only 0 and 1"),
        ((NETWORK, None, Q), {}, TypeError, r"^x must be an array of shape"),
        ((NETWORK, X, Q), {"observed": np.ones(5, bool)}, ValueError, r"^observed must have shape"),
        ((NETWORK, X, Q), {"device": "cuda"}, RuntimeError, r"^device='cuda' is not available"),
        ((NETWORK, X, Q), {"max_states": 8}, ValueError, r"^max_states is 8"),
        ((NETWORK, X, Q), {"memory_limit": 10}, ValueError, r"^memory_limit is 10 bytes"),
        ((DEEP, X[:, :5], Q), {"max_states": 4}, ValueError, r"^max_states is 4"),
        (
            (MODELS["wide sparse coding"], np.zeros((1, 7)), fastvi.Bernoulli(np.zeros(35))),
            {"max_states": 2**30},
            ValueError,
            r"^max_states is 1073741824",
        ),
    ],
)
def test_wrong_input(function, arguments, options, error, message):
    with pytest.raises(error, match=message):
        function(*arguments, **options)


def test_chi_square_needs_binary_latents():
    with pytest.raises(TypeError, match=r"^model must have binary latents or be a JointTable, got Linear"):
        fastvi.chi_square_bound(LINEAR, LINEAR_X, fastvi.Normal(np.zeros(3), np.ones(3)))
    with pytest.raises(TypeError, match=r"^normalized must be True or False"):
        fastvi.chi_square_bound(NETWORK, X, Q, normalized=1)
    with pytest.raises(TypeError, match=r"^q must be a normal distribution"):
        fastvi.kl_from_posterior(LINEAR, LINEAR_X, fastvi.Bernoulli(np.zeros(3)))
