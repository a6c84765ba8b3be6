"""Annealed importance sampling of log p(x) with continuous latents: chains in pure Python, exact log p(x)."""

from __future__ import annotations

import math

import naive_annealing
import naive_models
import numpy as np
import pytest
from cases import decoder, linear_gaussian, normal, quiet

import fastvi
from fastvi.core.registry import rules_of
from fastvi.engine.annealing import chains, hamiltonian, targets
from fastvi.engine.annealing.chains import Schedule
from fastvi.engine.decoder import row_network
from fastvi.engine.linalg.triangular import solve_rows
from fastvi.estimators.annealed_log_weights import checked_initial, log_weights

ais = fastvi.annealed_importance_sampling
RNG = np.random.default_rng(12)
MODELS = {
    "linear": linear_gaussian(5, 3, RNG),
    "linear, one latent": linear_gaussian(4, 1, RNG),
    "linear, no pixels": fastvi.LinearGaussian(np.empty((0, 2)), [], 0.7),
    "tanh": decoder((1, 5, 6), "tanh", normal(1, seed=1), seed=RNG, divided=True),
    "sigmoid": decoder((2, 4, 3, 5), "sigmoid", normal(2, seed=2), seed=RNG, divided=True),
    "softplus": decoder((2, 6, 5), "softplus", normal(2, seed=3), 0.8, RNG, divided=True),
    "relu": decoder((1, 6, 5), "relu", normal(1, seed=4), 0.8, RNG, divided=True),
    "gelu": decoder((2, 5, 4, 5), "gelu", normal(2, seed=6), 0.8, 6, divided=True),
    "silu": decoder((2, 5, 4, 5), "silu", normal(2, seed=6), seed=7, divided=True),
    "elu": decoder((2, 5, 4, 5), "elu", normal(2, seed=6), seed=8, divided=True),
    "one layer": decoder((2, 600), "relu", normal(2, seed=5), seed=RNG, scale=0.2, divided=True),
}


def network_of(model):
    return model._decoder if isinstance(model, fastvi.LinearGaussian) else model


def target(model, x):
    own = network_of(model)
    return targets.NetworkTarget(own.layers, own.activation, own.noise_std, x, lambda z: np.zeros(len(z)))


def weights_of(model, x, num_steps, num_chains, seed, *, initial="prior", num_leapfrog=10, states=None):
    clean = rules_of(model).check_data(x, None)[0]
    schedule = Schedule(num_steps, num_chains, seed, quiet, states)
    return log_weights(
        rules_of(model), clean, checked_initial(rules_of(model), initial, len(clean)), num_leapfrog, schedule
    )


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_of_finite_differences(name):
    """Central differences: an error of h^2 = 1e-10 and rounding of 1e-16 |log p| / h."""
    model = MODELS[name]
    z, x = model.sample(4, 1)
    found = target(model, x)
    owners = np.array([0, 0, 1, 3])
    value, gradient = found.likelihood_and_gradient(owners, z)
    expected = model.log_joint(x[owners], z) - model.prior.log_prob(z)
    assert np.allclose(value, expected, rtol=1e-12, atol=1e-12)
    for i in range(model.num_latents):
        h = 1e-5 * np.eye(model.num_latents)[i]
        up, down = (found.likelihood_and_gradient(owners, z + sign * h)[0] for sign in (1, -1))
        tolerance = 1e-6 * (1.0 + np.abs(value).max() / 100)
        assert np.allclose(gradient[:, i], (up - down) / 2e-5, rtol=1e-6, atol=tolerance)


@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize("num_steps", [1, 2, 5])
@pytest.mark.parametrize("name", ["linear", "linear, one latent", "linear, no pixels"])
def test_every_chain_is_that_of_the_definition(monkeypatch, name, num_steps, is_reversed):
    """With step sizes that are given: 0.3, 0.5, 0.7 from the first temperatures on."""
    model, seed, d = MODELS[name], 2**63 + 5, MODELS[name].num_latents
    x = model.sample(2, 1)[1]
    q = fastvi.Normal(0.1 * np.arange(d), 0.8 + 0.1 * np.arange(d))
    parts = np.array([[0.7, 0.5, 0.3]] * 2)
    monkeypatch.setattr(hamiltonian, "step_sizes", lambda problem, schedule: parts)
    states = RNG.normal(size=(2 * 3, d)) if is_reversed else None
    found = weights_of(model, x, num_steps, 3, seed, initial=q, num_leapfrog=3, states=states)
    w, b, s = model.weights.tolist(), model.bias.tolist(), model.noise_std
    sizes = [parts[0, hamiltonian.part_of(step, num_steps)] if step else 0.0 for step in range(num_steps)]
    for n, x_n in enumerate(x.tolist()):

        def joint(z, x_n=x_n):
            return naive_models.linear_gaussian_log_joint(w, b, s, x_n, z)

        def gradient(z, x_n=x_n):
            mean = naive_models.decoder_outputs([(w, b)], None, z)
            return [
                math.fsum((x_n[j] - mean[j]) * w[j][i] for j in range(len(b))) / s**2 - z[i] for i in range(d)
            ]

        for chain in range(3):
            start = states[3 * n + chain].tolist() if is_reversed else None
            expected = naive_annealing.hamiltonian_log_weight(
                joint, gradient, q.mean.tolist(), q.std.tolist(), sizes, 3, num_steps, seed, n, chain, start
            )
            value = -found[n, chain] if is_reversed else found[n, chain]
            assert abs(value - expected) <= 1e-9 * max(1.0, abs(expected))


def test_parts_halve_the_temperatures():
    """num_steps / 2^(p + 1) < step <= num_steps / 2^p, and every part exists."""
    for num_steps in (2, 3, 7, 8, 100):
        for step in range(1, num_steps):
            part = hamiltonian.part_of(step, num_steps)
            assert num_steps >> (part + 1) < step <= num_steps >> part
            assert part < hamiltonian.num_parts(num_steps)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("num_steps", [1, 2, 30])
@pytest.mark.parametrize("name", MODELS)
def test_the_mean_weight_is_p_of_x(name, num_steps):
    model = MODELS[name]
    x = model.sample(2, 1)[1]
    initial = fastvi.Normal(RNG.normal(size=(2, model.num_latents)), np.full((2, model.num_latents), 1.3))
    for q in ("prior", initial):
        estimate = ais(model, x, num_temperatures=num_steps, num_chains=200, seed=6, initial=q)
        ratio = np.exp(estimate.log_marginal - fastvi.log_marginal(model, x))
        if num_steps == 30:
            assert (estimate.std_error < 0.3).all()
        if (estimate.ess > 50).all():  # else the spread says nothing
            assert (np.abs(ratio - 1.0) <= 4.5 * ratio * estimate.std_error + 1e-7).all()


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("name", ["linear", "linear, one latent", "linear, no pixels"])
def test_reversed_chains_from_the_posterior_have_a_mean_of_one_over_p_of_x(name):
    model, num_chains = MODELS[name], 1500
    x = model.sample(3, 1)[1]
    _, factor, mean, _ = rules_of(model).solved(x, None)
    noise = solve_rows(factor, RNG.normal(size=(3 * num_chains, model.num_latents)))
    latents = mean + noise.reshape(num_chains, 3, -1)
    above = ais(model, x, num_temperatures=40, num_chains=num_chains, seed=5, latents=latents)
    ratio = np.exp(fastvi.log_marginal(model, x) - above.log_marginal)
    assert (np.abs(ratio - 1.0) <= 4.5 * ratio * above.std_error + 1e-10).all()
    assert (above.std_error < 0.2).all()


def acceptance(monkeypatch, model, x, num_steps):
    """Mean chance of acceptance of chains that are weighed."""
    seen, move = [], hamiltonian._Walkers.move

    def noted(self, *rest):
        chances = move(self, *rest)
        if self._tag == naive_annealing.DATA:
            seen.append(chances.mean())
        return chances

    monkeypatch.setattr(hamiltonian._Walkers, "move", noted)
    ais(model, x, num_temperatures=num_steps, num_chains=50)
    return np.mean(seen)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("name", ["linear", "sigmoid", "softplus", "one layer"])
def test_step_sizes_are_tuned(monkeypatch, name):
    model = MODELS[name]
    assert 0.55 < acceptance(monkeypatch, model, model.sample(2, 2)[1], 32) < 0.95


@pytest.mark.slow_without_jit
def test_a_posterior_fifty_times_narrower_than_the_prior():
    model = fastvi.LinearGaussian([[1.0], [2.0]], [0.0, 0.0], 0.045)
    x = model.sample(3, 1)[1]
    estimate = ais(model, x, num_temperatures=300, num_chains=200)
    assert (estimate.std_error < 0.3).all()
    assert (np.abs(estimate.log_marginal - fastvi.log_marginal(model, x)) <= 4.5 * estimate.std_error).all()


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("noise_std", [1e-6, 1e6])
def test_step_sizes_follow_the_posterior_over_many_scales(monkeypatch, noise_std):
    """Tuned from 0.5 to 1e-6 of the prior's standard deviation, or left as wide as the prior."""
    model = fastvi.LinearGaussian([[1.0], [2.0]], [0.0, 0.0], noise_std)
    assert 0.4 < acceptance(monkeypatch, model, model.sample(2, 2)[1], 32) <= 1.0


@pytest.mark.slow_without_jit
def test_equal_distributions_have_no_error():
    """No pixels: p(x, z) is the prior."""
    model = MODELS["linear, no pixels"]
    estimate = ais(model, np.empty((2, 0)), num_temperatures=5, num_chains=10)
    assert np.allclose(estimate.log_marginal, 0.0, rtol=0, atol=1e-13)
    assert (estimate.std_error == 0.0).all()


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("name", ["linear", "tanh"])
def test_same_bits_for_any_number_of_threads_and_cuts(set_threads, monkeypatch, name):
    model, seen = MODELS[name], set()
    z, x = model.sample(3, 1)
    for threads, numbers, per_thread, operations in ((1, 1 << 16, 8, 3e8), (2, 50, 1, 1.0), (3, 100, 2, 1e4)):
        set_threads(threads)
        monkeypatch.setattr(row_network, "_BLOCK_NUMBERS", numbers)
        monkeypatch.setattr(chains, "_GROUPS_PER_THREAD", per_thread)
        monkeypatch.setattr(chains, "_TASK_OPERATIONS", operations)
        for latents in (None, z):
            kept = None if latents is None else np.repeat(latents, 7, axis=0)
            seen.add(weights_of(model, x, 6, 7, 3, num_leapfrog=2, states=kept).tobytes())
    assert len(seen) == 2


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("name", ["linear", "tanh"])
def test_a_chain_depends_on_seed_datum_and_number_alone(name):
    model = MODELS[name]
    x = model.sample(4, 1)[1]
    many = weights_of(model, x, 4, 20, 7, num_leapfrog=2)
    assert weights_of(model, x[:2], 4, 3, 7, num_leapfrog=2).tobytes() == many[:2, :3].tobytes()
    assert not np.isin(weights_of(model, x, 4, 20, 8, num_leapfrog=2), many).any()
    twice = weights_of(model, np.repeat(x[:1], 2, axis=0), 4, 20, 7, num_leapfrog=2)
    assert not np.isin(twice[0], twice[1]).any()


def test_no_data():
    estimate = ais(MODELS["linear"], np.empty((0, 5)), num_temperatures=3, num_chains=2)
    assert estimate.log_marginal.shape == (0,)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": [[math.nan] * 5]}, ValueError, r"^x must be finite, got nan"),
        (
            {"initial": fastvi.Uniform(3)},
            TypeError,
            r"^initial must be 'prior' or a Normal, got Uniform",
        ),
        (
            {"initial": fastvi.Normal([0.0], [1.0])},
            ValueError,
            r"^initial must have parameters of shape \(3,\) or \(2, 3\), got shape \(1,\)",
        ),
        ({"latents": [[0.0, math.inf, 0.0]] * 2}, ValueError, r"^latents must be finite, got inf"),
        (
            {"latents": [[0.0, 1.0, 0.0]]},
            ValueError,
            r"^latents must have shape \(2, 3\) or \(4, 2, 3\), got shape \(1, 3\)",
        ),
        ({"num_leapfrog": 1.5}, TypeError, r"^num_leapfrog must be an int >= 1, got 1\.5"),
    ],
)
def test_wrong_input(change, error, message):
    arguments = {"x": np.zeros((2, 5)), "num_temperatures": 2, "num_chains": 4, **change}
    with pytest.raises(error, match=message) as caught:
        ais(MODELS["linear"], arguments.pop("x"), **arguments)
    assert "\n" not in str(caught.value)
