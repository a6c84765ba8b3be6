"""Annealed importance sampling of log p(x) with binary latents: chains in pure Python, exact log p(x)."""

from __future__ import annotations

import math

import naive
import naive_annealing
import naive_models
import numpy as np
import pytest
from cases import decoder, network, quiet, random_bits, sparse_coding

import fastvi
from fastvi.core.registry import rules_of
from fastvi.engine.annealing import chains
from fastvi.engine.annealing.chains import Schedule
from fastvi.engine.decoder import row_network
from fastvi.estimators.annealed_log_weights import checked_initial, log_weights

ais = fastvi.annealed_importance_sampling
RNG = np.random.default_rng(11)


def together(x_n, z):
    """-inf where latents 0 and 1 differ."""
    if z[0] != z[1]:
        return -math.inf
    return -((x_n[0] - z[0] - 0.5 * z[2]) ** 2) - 0.3 * z[2]


def of_arrays(x, z):
    return -np.square(x[:, None, :] - z[None, :, : x.shape[1]]).sum(axis=-1) - 0.4 * z.sum(axis=-1) * z[:, 0]


MACHINE = fastvi.BoltzmannMachine([[0, 1, 0], [1, 0, -2], [0, -2, 0]], [0.3, 0, -1])
MODELS = {
    "network": network(7, 4, RNG),
    "network without pixels": network(0, 3, RNG),
    "network of one latent": network(5, 1, RNG),
    "network of 20 latents": network(3, 20, RNG, 0.3, bias_scale=1.0),
    "network of many pixels": network(1100, 2, RNG, 0.05, bias_scale=1.0),
    "large weights": network(6, 4, RNG, 40.0, bias_scale=1.0),  # products are cut, odds leave the doubles
    "larger weights": network(6, 4, RNG, 250.0, bias_scale=1.0),
    "overflowing weights": network(5, 3, RNG, 800.0, bias_scale=1.0),  # no factor fits
    "sparse coding": sparse_coding(6, 4, RNG, 0.8),
    "sparse coding, little noise": sparse_coding(3, 2, RNG, 0.01),
    "decoder": decoder((3, 5, 6), seed=RNG),
    "decoder of real pixels": decoder((3, 4, 4, 5), "softplus", noise_std=0.7, seed=RNG),
    "deep network": network(5, 3, RNG, prior=network(3, 2, RNG)),
    "deep machine": network(5, 3, RNG, prior=MACHINE),
    "scalar log joint": fastvi.LogJoint(together, 3),
    "log joint of arrays": fastvi.LogJoint(of_arrays, 4, True),
}  # fmt: skip
NEEDS_INITIAL = [name for name in MODELS if name.startswith("deep") or "log joint" in name]
STEEP = ["large weights", "larger weights", "overflowing weights", "sparse coding, little noise"]
SLOW = ["network of 20 latents", "network of many pixels"]
MILD = [name for name in MODELS if name not in STEEP]


def data(name, num=3):
    model = MODELS[name]
    if "log joint" in name:
        return np.random.default_rng(1).normal(size=(num, 3))
    return model.sample(num, 1)[1]


def first(name, num_data=3):
    """A Bernoulli distribution for each datum, or the prior."""
    if name in NEEDS_INITIAL or name == "network":
        return fastvi.Bernoulli(np.random.default_rng(2).normal(size=(num_data, MODELS[name].num_latents)))
    return "prior"


def first_logits(name):
    """Its log odds (3, d)."""
    initial = first(name)
    return np.broadcast_to(
        (MODELS[name].prior if initial == "prior" else initial).logits, (3, MODELS[name].num_latents)
    )


def weights_of(name, num_steps, num_chains, seed, states=None, num_data=3):
    model, x = MODELS[name], rules_of(MODELS[name]).check_data(data(name, num_data), None)[0]
    schedule = Schedule(num_steps, num_chains, seed, quiet, states)
    return log_weights(
        rules_of(model), x, checked_initial(rules_of(model), first(name, num_data), num_data), 10, schedule
    )


def naive_joint(model, x_n):
    """log p(x_n, z) as a function of z, of Python's own numbers."""
    arrays = {} if isinstance(model, fastvi.LogJoint) else model.arrays()
    lists = {name: array.tolist() for name, array in arrays.items()}
    if isinstance(model, fastvi.BinarySparseCoding):
        w, b, s, prior = lists["weights"], lists["bias"], lists["noise_std"], lists["prior_logits"]
        return lambda z: (
            naive.bernoulli_log_prob(z, prior)
            + naive_models.decoder_log_likelihood([(w, b)], None, x_n, z, s)
        )
    if isinstance(model, fastvi.NeuralDecoder):
        pairs = [(weight.tolist(), bias.tolist()) for weight, bias in model.layers]
        return lambda z: (
            naive.bernoulli_log_prob(z, lists["prior_logits"])
            + naive_models.decoder_log_likelihood(pairs, model.activation, x_n, z, model.noise_std)
        )
    if isinstance(model, fastvi.LogJoint):
        if not model.vectorized:
            return lambda z: together(x_n, z)
        return lambda z: float(of_arrays(np.array([x_n]), np.array([z], dtype=float))[0, 0])
    if not model.is_deep:
        return lambda z: naive.sbn_log_joint(lists["weights"], lists["bias"], lists["prior_logits"], x_n, z)
    if isinstance(model.prior, fastvi.SigmoidBeliefNetwork):
        upper = [array.tolist() for array in model.prior.arrays().values()]
        return lambda z: (
            naive.sbn_log_likelihood(lists["weights"], lists["bias"], x_n, z)
            + naive.sbn_log_marginal(*upper, z)
        )
    machine = [array.tolist() for array in model.prior.arrays().values()]
    every = naive.log_sum_exp(naive.bm_log_joint(*machine, z) for z in naive.states(model.num_latents))
    return lambda z: (
        naive.sbn_log_likelihood(lists["weights"], lists["bias"], x_n, z)
        + naive.bm_log_joint(*machine, z) - every
    )  # fmt: skip


def possible_states(name, num_rows):
    d = MODELS[name].num_latents
    states = random_bits(num_rows, d, 3)
    if name == "scalar log joint":
        states[:, 1] = states[:, 0]
    return states


@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize("num_steps", [1, 2, 6])
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow_without_jit) if name in SLOW else name for name in MODELS],
)
def test_every_chain_is_that_of_the_definition(name, num_steps, is_reversed):
    model, x, seed, num_chains = MODELS[name], data(name).tolist(), 2**63 + 12345, 2
    states = possible_states(name, 3 * num_chains) if is_reversed else None
    found = weights_of(name, num_steps, num_chains, seed, states)
    logits = first_logits(name)
    for n in range(3):
        joint = naive_joint(model, x[n])
        for chain in range(num_chains):
            start = None if states is None else states[n * num_chains + chain].tolist()
            expected = naive_annealing.latents_log_weight(
                joint, logits[n].tolist(), num_steps, seed, n, chain, start
            )
            value = -found[n, chain] if is_reversed else found[n, chain]
            if math.isinf(expected):
                assert value == expected
            else:
                assert abs(value - expected) <= 1e-9 * max(1.0, abs(expected) / 1000)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("num_steps", [1, 10])
@pytest.mark.parametrize("name", MILD)
def test_the_mean_weight_is_p_of_x(name, num_steps):
    model, x = MODELS[name], data(name)
    exact = fastvi.log_marginal(model, x)
    estimate = ais(model, x, num_temperatures=num_steps, num_chains=1500, seed=5, initial=first(name))
    ratio = np.exp(estimate.log_marginal - exact)
    assert (np.abs(ratio - 1.0) <= 4.5 * ratio * estimate.std_error + 1e-10).all()
    if num_steps == 10:
        assert (estimate.std_error < 0.15).all()


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("name", MILD)
def test_reversed_chains_from_the_posterior_have_a_mean_of_one_over_p_of_x(name):
    model, x, num_chains = MODELS[name], data(name), 1500
    num_steps = 80 if name == "decoder of real pixels" else 10  # with 10, its weights have heavy tails
    exact = fastvi.log_marginal(model, x)
    latents = fastvi.exact_posterior(model, x).sample(num_chains, 7)
    above = ais(
        model,
        x,
        num_temperatures=num_steps,
        num_chains=num_chains,
        seed=5,
        initial=first(name),
        latents=latents,
    )
    ratio = np.exp(exact - above.log_marginal)
    expected = 1.0
    if name == "scalar log joint":  # the mass of what is possible: both on or both off
        chance = fastvi.Bernoulli(first_logits(name)).mean
        expected = chance[:, :2].prod(axis=1) + (1.0 - chance[:, :2]).prod(axis=1)
    assert (np.abs(ratio - expected) <= 4.5 * ratio * above.std_error + 1e-10).all()
    assert (above.std_error < 0.2).all()


def test_one_temperature_from_the_prior_is_importance_sampling():
    """log w = log p(x | z) of draws from the prior."""
    model, x = MODELS["network"], data("network")
    schedule = Schedule(1, 50, 3, quiet)
    found = log_weights(rules_of(model), rules_of(model).check_data(x, None)[0], model.prior, 10, schedule)
    chances = [naive.sigmoid(t) for t in model.prior_logits]
    for n in range(3):
        for chain in range(0, 50, 7):
            z = naive_annealing.draws(chances, 3, chain, 0, n, naive_annealing.DATA)
            expected = naive.sbn_log_likelihood(model.weights.tolist(), model.bias.tolist(), x[n].tolist(), z)
            assert abs(found[n, chain] - expected) <= 1e-10
    estimate = ais(model, x, num_temperatures=1, num_chains=50, seed=3)
    assert np.allclose(estimate.log_marginal, fastvi.log_mean_exp(found), rtol=1e-12)
    assert np.allclose(estimate.ess, fastvi.effective_sample_size(found), rtol=1e-10)


@pytest.mark.slow_without_jit
def test_the_upper_estimate_is_that_of_the_inverse_weights():
    model, x = MODELS["network"], data("network")
    latents = possible_states("network", 3 * 40).reshape(3, 40, 4)
    log_inverse = weights_of("network", 4, 40, 9, latents.reshape(-1, 4))
    above = ais(
        model, x, num_temperatures=4, num_chains=40, seed=9, initial=first("network"),
        latents=latents.swapaxes(0, 1),
    )  # fmt: skip
    assert np.allclose(above.log_marginal, -fastvi.log_mean_exp(log_inverse), rtol=1e-12)
    assert np.allclose(above.ess, fastvi.effective_sample_size(log_inverse), rtol=1e-10)
    w = np.exp(log_inverse - log_inverse.max(axis=1, keepdims=True))
    error = w.std(axis=1, ddof=1) / math.sqrt(40) / w.mean(axis=1)
    assert np.allclose(above.std_error, error, rtol=1e-9)


def test_one_start_for_all_chains_of_a_datum():
    model, (z, x) = MODELS["network"], MODELS["network"].sample(3, 1)
    one = ais(model, x, num_temperatures=4, num_chains=6, latents=z)
    each = ais(model, x, num_temperatures=4, num_chains=6, latents=np.broadcast_to(z, (6, 3, 4)))
    assert one.log_marginal.tobytes() == each.log_marginal.tobytes()


@pytest.mark.slow_without_jit
def test_impossible_states_have_no_weight():
    """A latent start that p(x, z) = 0 excludes: the weight is 0, the others still average to p(x)."""
    model, x = MODELS["scalar log joint"], data("scalar log joint")
    found = weights_of("scalar log joint", 3, 200, 1)
    assert np.isneginf(found).any()
    assert not np.isneginf(found).all()
    estimate = ais(model, x, num_temperatures=3, num_chains=4000, seed=1, initial=fastvi.Uniform(3))
    ratio = np.exp(estimate.log_marginal - fastvi.log_marginal(model, x))
    assert (np.abs(ratio - 1.0) <= 4.5 * ratio * estimate.std_error).all()


@pytest.mark.slow_without_jit
@pytest.mark.parametrize(
    "name", ["network", "sparse coding", "decoder", "deep network", "log joint of arrays"]
)
def test_same_bits_for_any_number_of_threads_and_cuts(set_threads, monkeypatch, name):
    seen = set()
    for threads, group, per_thread, operations in ((1, 64, 8, 3e8), (2, 5, 1, 1.0), (5, 3, 2, 1e4)):
        set_threads(threads)
        monkeypatch.setattr(chains, "_LARGEST_GROUP", group)
        monkeypatch.setattr(chains, "_GROUPS_PER_THREAD", per_thread)
        monkeypatch.setattr(chains, "_TASK_OPERATIONS", operations)
        monkeypatch.setattr(row_network, "_BLOCK_NUMBERS", 40 * group)
        seen.add(weights_of(name, 4, 7, 3).tobytes())
        seen.add(weights_of(name, 4, 7, 3, possible_states(name, 21)).tobytes())
    assert len(seen) == 2


@pytest.mark.slow_without_jit
@pytest.mark.parametrize(
    "name", ["network", "sparse coding", "decoder", "deep network", "log joint of arrays"]
)
def test_a_chain_depends_on_seed_datum_and_number_alone(name):
    def found(num_data, num_chains, seed):
        model = MODELS[name]
        x = rules_of(model).check_data(data(name, 5)[:num_data], None)[0]
        schedule = Schedule(4, num_chains, seed, quiet)
        return log_weights(rules_of(model), x, fastvi.Uniform(model.num_latents), 10, schedule)

    many = found(5, 40, 7)
    assert found(2, 3, 7).tobytes() == many[:2, :3].tobytes()
    assert not (many == found(5, 40, 8)).all(axis=1).any()
    x = np.repeat(rules_of(MODELS[name]).check_data(data(name, 1), None)[0], 2, axis=0)  # one datum twice
    twice = log_weights(
        rules_of(MODELS[name]), x, fastvi.Uniform(MODELS[name].num_latents), 10, Schedule(4, 40, 7, quiet)
    )
    assert not (twice[0] == twice[1]).all()


def test_directions_share_no_number():
    """Blocks of both, and of log Z, are apart."""
    words = naive_annealing
    tags = {words.MACHINES, words.MACHINES | words.REVERSED, words.DATA, words.DATA | words.REVERSED,
            words.DATA | words.PILOT}  # fmt: skip
    numbers = {tag | kind << 23 for tag in tags for kind in (0, 1, 2)}
    assert len(numbers) == 15
    assert all(block & 1 << 29 and not block & (1 << 28 | 1 << 30 | 1 << 31) for block in numbers)
    from fastvi.kernels.cpu.annealing import words as ours

    assert (ours.MACHINES, ours.DATA, ours.REVERSED, ours.PILOT) == (
        words.MACHINES, words.DATA, words.REVERSED, words.PILOT,
    )  # fmt: skip


@pytest.mark.parametrize(
    "name", ["network", "sparse coding", "decoder", "deep network", "log joint of arrays"]
)
def test_no_data(name):
    model = MODELS[name]
    estimate = ais(
        model, data(name)[:0], num_temperatures=3, num_chains=2, initial=fastvi.Uniform(model.num_latents)
    )
    assert estimate.log_marginal.shape == (0,)
    assert repr(estimate) == "Estimate(num_data=0, num_samples=2)"


def test_progress_counts_temperatures_of_all_chains(monkeypatch):
    monkeypatch.setattr(chains, "_TASK_OPERATIONS", 1.0)
    seen = []
    ais(
        MODELS["network"], data("network"), num_temperatures=4, num_chains=5,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert seen[-1] == (60, 60)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.slow_without_jit
def test_more_temperatures_have_smaller_errors():
    model = network(30, 10, RNG, 0.7, bias_scale=1.0)
    _, x = model.sample(4, 1)
    errors = [ais(model, x, num_temperatures=num, num_chains=400).std_error.mean() for num in (5, 40, 320)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


@pytest.mark.parametrize(
    ("name", "change", "error", "message"),
    [
        ("network", {"x": None}, TypeError, r"^x must be an array of 0 and 1"),
        ("network", {"x": [[0, 2, 0, 0, 0, 0, 0]]}, ValueError, r"^x must contain only 0 and 1, got 2"),
        ("sparse coding", {"x": [[math.nan] * 6]}, ValueError, r"^x must be finite, got nan"),
        ("network", {"initial": "uniform"}, ValueError, r"^initial must be one of 'prior', got 'uniform'"),
        ("network", {"initial": None}, TypeError, r"^initial must be 'prior' or a Bernoulli, got None"),
        (
            "network",
            {"initial": fastvi.Normal([0.0] * 4, [1.0] * 4)},
            TypeError,
            r"^initial must be 'prior' or a Bernoulli, got Normal",
        ),
        (
            "network",
            {"initial": fastvi.Uniform(3)},
            ValueError,
            r"^initial must have parameters of shape \(4,\) or \(2, 4\), got shape \(3,\)",
        ),
        (
            "network",
            {"initial": fastvi.Bernoulli([0.0, math.inf, 0.0, 0.0])},
            ValueError,
            r"^initial must have finite logits, got inf at index 1",
        ),
        (
            "deep network",
            {"initial": "prior"},
            ValueError,
            r"^initial must be a Bernoulli or Uniform distribution where model is a deep network",
        ),
        (
            "log joint of arrays",
            {"initial": "prior"},
            ValueError,
            r"^initial must be a Bernoulli or Uniform distribution where model is a LogJoint",
        ),
        (
            "network",
            {"latents": np.zeros((3, 4))},
            ValueError,
            r"^latents must have shape \(2, 4\) or \(3, 2, 4\), got shape \(3, 4\)",
        ),
        ("network", {"latents": np.full((2, 4), 0.5)}, ValueError, r"^latents must contain only 0 and 1"),
        (
            "scalar log joint",
            {"initial": fastvi.Uniform(3), "latents": [[1, 1, 0], [0, 1, 0]]},
            ValueError,
            r"^latents must have p\(x, z\) > 0, got 0 for datum 1, chain 0",
        ),
        ("network", {"num_leapfrog": 0}, ValueError, r"^num_leapfrog must be an int >= 1, got 0"),
    ],
)  # fmt: skip
def test_wrong_input(name, change, error, message):
    arguments = {"x": data(name, 2), "num_temperatures": 2, "num_chains": 3, **change}
    with pytest.raises(error, match=message) as caught:
        ais(MODELS[name], arguments.pop("x"), **arguments)
    assert "\n" not in str(caught.value)
