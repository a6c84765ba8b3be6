"""Sigmoid belief networks whose prior is another model: log joints, draws, files, wrong input."""

# ruff: noqa: E501

from __future__ import annotations

import copy
import math
import pickle

import cases
import naive
import naive_models
import numpy as np
import pytest
import strategies
from cases import assert_same, deep_network, machine
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_frequencies

import fastvi
from fastvi.core.registry import rules_of
from fastvi.engine.importance import softplus_target
from fastvi.engine.sampling import run_jobs
from fastvi.rules.boltzmann_machine import BoltzmannMachineRules

ORDINARY = strategies.ORDINARY


def naive_log_prior(prior, z):
    if isinstance(prior, fastvi.BoltzmannMachine):
        every = np.array(naive.states(prior.num_units))
        return prior.log_joint(None, z) - naive.log_sum_exp(prior.log_joint(None, every))
    if prior.is_deep:
        upper = (prior.prior.weights, prior.prior.bias, prior.prior.prior_logits)
        return np.array(
            [naive_models.deep_sbn_log_marginal(prior.weights, prior.bias, upper, row) for row in z]
        )
    return np.array([naive.sbn_log_marginal(prior.weights, prior.bias, prior.prior_logits, row) for row in z])


MODELS = {
    "two layers": deep_network(4, 3, 2),
    "three layers": deep_network(3, 3, 2, 2, seed=1),
    "no pixels": deep_network(0, 2, 1, seed=2),
    "a machine above": cases.network(3, 3, prior=machine(3)),
}
each_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())


@st.composite
def deep_networks(draw, elements=ORDINARY):
    upper = draw(strategies.sigmoid_belief_networks(3, 3, elements).filter(lambda model: model.num_pixels))
    num_pixels = draw(st.integers(0, 4))
    weights = draw(strategies.floats((num_pixels, upper.num_pixels), elements))
    return fastvi.SigmoidBeliefNetwork(weights, draw(strategies.floats(num_pixels, elements)), prior=upper)


# ---- values ----------------------------------------------------------------------------------------------


@given(deep_networks(), st.data())
def test_the_log_joint_sums_out_the_upper_layer(model, data):
    x = data.draw(strategies.bits((2, model.num_pixels)))
    upper, z = model.prior, np.array(naive.states(model.num_latents))
    expected = [
        [
            naive.sbn_log_likelihood(model.weights, model.bias, a, b)
            + naive.sbn_log_marginal(upper.weights, upper.bias, upper.prior_logits, b)
            for b in z
        ]
        for a in x
    ]
    got = model.log_joint(x[:, None], z[None])
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


@given(deep_networks(), st.data())
def test_the_log_joints_of_all_latents_sum_to_the_log_marginal(model, data):
    x = data.draw(strategies.bits((2, model.num_pixels)))
    upper = (model.prior.weights, model.prior.bias, model.prior.prior_logits)
    expected = [naive_models.deep_sbn_log_marginal(model.weights, model.bias, upper, row) for row in x]
    joint = model.log_joint(x[:, None], np.array(naive.states(model.num_latents))[None])
    got = [naive.log_sum_exp(row) for row in joint]
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


@each_model
def test_probabilities_of_all_pairs_sum_to_one(model):
    x, z = np.array(naive.states(model.num_pixels)), np.array(naive.states(model.num_latents))
    x = x.reshape(2**model.num_pixels, model.num_pixels)
    assert np.exp(model.log_joint(x[:, None], z[None])).sum() == pytest.approx(1, rel=1e-12)


@each_model
def test_leading_axes_broadcast(model):
    rng = np.random.default_rng(3)
    x = rng.integers(0, 2, (5, 1, model.num_pixels))
    z = rng.integers(0, 2, (1, 4, model.num_latents))
    pairs = model.log_joint(x, z)
    assert pairs.shape == (5, 4)
    for n, k in np.ndindex(5, 4):
        assert model.log_joint(x[n, 0], z[0, k]) == pytest.approx(pairs[n, k], rel=1e-13)
    assert model.log_joint(np.zeros((0, model.num_pixels)), z[0, 0]).shape == (0,)


@pytest.mark.parametrize("name", ["two layers", "three layers", "a machine above"])
def test_the_prior_is_summed_out(name):
    prior = MODELS[name].prior
    z = np.array(naive.states(prior.num_pixels))
    np.testing.assert_allclose(
        rules_of(prior).log_prior(z), naive_log_prior(prior, z), rtol=1e-12, atol=1e-12
    )


@pytest.fixture
def sums_of_log_z(monkeypatch):
    """How often a Boltzmann machine's log Z was asked for."""
    asked, form = [], BoltzmannMachineRules.partition_form
    monkeypatch.setattr(BoltzmannMachineRules, "partition_form", lambda self: asked.append(1) or form(self))
    return asked


def test_log_z_of_a_prior_is_summed_once(monkeypatch, sums_of_log_z):
    """It was summed for each datum and chunk of samples, and for every call of log_joint."""
    monkeypatch.setattr(run_jobs, "CHUNK", 16)
    monkeypatch.setattr(softplus_target, "_TABLE_LATENTS", 0)
    model = cases.network(3, 3, prior=machine(3))
    x, z = naive.states(3)[:5], naive.states(3)[:5]
    q = fastvi.Bernoulli(np.zeros(3))
    fastvi.estimate_log_marginal(model, x, proposal=q, num_samples=100)
    assert len(sums_of_log_z) == 1
    want = model.log_joint(x, z)
    fastvi.annealed_importance_sampling(model, x, initial=q, num_temperatures=3, num_chains=2)
    fastvi.elbo(model, x, q, num_samples=10)
    assert np.array_equal(model.log_joint(x, z), want)
    assert len(sums_of_log_z) == 1
    # what is made of its parameters knows nothing of it
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert np.array_equal(twin.log_joint(x, z), want)
    assert len(sums_of_log_z) == 3


def test_the_prior_of_a_prior_is_tabulated_once(monkeypatch):
    """Its table was made again for each chunk of samples."""
    from fastvi.engine.states import softplus_form

    made, table = [], softplus_form.prior_table
    monkeypatch.setattr(softplus_form, "prior_table", lambda *given: made.append(1) or table(*given))
    monkeypatch.setattr(run_jobs, "CHUNK", 16)
    monkeypatch.setattr(softplus_target, "_TABLE_LATENTS", 0)
    # a copy, of which nothing is known yet
    model = fastvi.SigmoidBeliefNetwork.from_arrays(MODELS["three layers"].arrays())
    q = fastvi.Bernoulli(np.zeros(model.num_latents))
    fastvi.estimate_log_marginal(model, model.sample(3, 1)[1], proposal=q, num_samples=100)
    assert len(made) == 1


def test_what_a_deep_network_says_about_itself():
    model, shallow = deep_network(4, 3, 2), fastvi.SigmoidBeliefNetwork(np.zeros((2, 3)), [0, 0], [0, 0, 0])
    assert model.is_deep
    assert model.prior_logits is None
    assert type(model.prior) is fastvi.SigmoidBeliefNetwork
    assert (model.num_pixels, model.num_latents, model.prior.num_latents) == (4, 3, 2)
    assert not shallow.is_deep
    assert type(shallow.prior) is fastvi.Bernoulli
    assert repr(model) == (
        "SigmoidBeliefNetwork(num_pixels=4, num_latents=3, "
        "prior=SigmoidBeliefNetwork(num_pixels=3, num_latents=2))"
    )


# ---- draws -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(2, 2, 2), (2, 2, 1, 2)])
def test_draws_follow_the_joint_distribution(sizes):
    model, num = deep_network(*sizes, seed=4), 40_000
    z, x = model.sample(num, seed=3)
    assert (z.shape, z.dtype, x.shape, x.dtype) == ((num, 2), np.uint8, (num, 2), np.uint8)
    states = np.array(naive.states(2))
    expected = np.exp(model.log_joint(states[:, None], states[None]))
    counts = np.zeros((4, 4))
    np.add.at(counts, (x @ [2, 1], z @ [2, 1]), 1)
    assert_frequencies(counts, expected, num)


def test_layers_do_not_share_their_random_numbers():
    """Fair coins on every layer, which nothing couples: all units of all layers are independent."""
    top = fastvi.SigmoidBeliefNetwork(np.zeros((3, 3)), np.zeros(3), np.zeros(3))
    middle = fastvi.SigmoidBeliefNetwork(np.zeros((3, 3)), np.zeros(3), prior=top)
    bottom = fastvi.SigmoidBeliefNetwork(np.zeros((3, 3)), np.zeros(3), prior=middle)
    num = 20_000
    units = np.concatenate(bottom.sample(num, 5), axis=1)
    assert np.abs(np.corrcoef(units.T) - np.eye(6)).max() < 5 / math.sqrt(num)


def test_a_sample_is_a_pure_function_of_the_seed():
    model = deep_network(4, 3, 2)
    first, again, other = model.sample(50, 2**64 - 1), model.sample(50, 2**64 - 1), model.sample(50, 0)
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a != c).any()
    z, x = model.sample(0, 0)
    assert (z.shape, x.shape) == ((0, 3), (0, 4))


# ---- files, copies, immutability -------------------------------------------------------------------------


@each_model
def test_a_deep_network_comes_back_the_same(model, tmp_path):
    model.save(tmp_path / "model")
    for twin in (fastvi.load(tmp_path / "model"), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert_same(twin, model)
        assert not twin.weights.flags.writeable
        assert not any(v.flags.writeable for v in vars(twin.prior).values() if isinstance(v, np.ndarray))


def test_nothing_can_be_changed():
    model = deep_network(4, 3, 2)
    for name in ("weights", "bias", "prior_logits", "prior", "is_deep"):
        with pytest.raises(AttributeError, match="immutable"):
            setattr(model, name, None)
    with pytest.raises(ValueError, match="read-only"):
        model.prior.weights[0, 0] = 1


WRONG_FILES = [
    (
        "unknown prior",
        {"prior_kind": np.array("Popen")},
        "valid SigmoidBeliefNetwork.*prior_kind must be one of 'SigmoidBeliefNetwork', 'BoltzmannMachine', got 'Popen'",
    ),
    ("a prior without its bias", {"prior_bias": None}, "whole SigmoidBeliefNetwork.*'bias'"),
    ("no bias", {"bias": None}, "whole SigmoidBeliefNetwork.*'bias'"),
    ("logits too", {"prior_logits": np.zeros(3)}, "whole SigmoidBeliefNetwork.*'logits'"),
    ("one array too many", {"extra": np.zeros(3)}, "whole SigmoidBeliefNetwork.*'extra'"),
    (
        "NaN in the prior",
        {"prior_bias": np.full(3, np.nan)},
        "valid SigmoidBeliefNetwork.*bias must be finite",
    ),
    (
        "a prior of other size",
        {"prior_weights": np.zeros((2, 2)), "prior_bias": np.zeros(2)},
        "valid SigmoidBeliefNetwork.*prior must have num_pixels 3",
    ),
]


@pytest.mark.parametrize(
    ("changes", "message"), [c[1:] for c in WRONG_FILES], ids=[c[0] for c in WRONG_FILES]
)
def test_wrong_files(changes, message, tmp_path):
    path = tmp_path / "model"
    deep_network(4, 3, 2).save(path)
    with np.load(path) as archive:
        arrays = {**archive, **changes}
    with open(path, "wb") as file:
        np.savez(file, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(ValueError, match=message) as caught:
        fastvi.load(path)
    assert "\n" not in str(caught.value)


# ---- wrong input -----------------------------------------------------------------------------------------


def network(prior_logits=None, **options):
    return fastvi.SigmoidBeliefNetwork(np.zeros((2, 4)), np.zeros(2), prior_logits, **options)


class OwnNetwork(fastvi.SigmoidBeliefNetwork):
    pass


# fmt: off
WRONG_INPUT = [
    ("no prior", lambda: network(), TypeError, r"^prior_logits or prior must be given, exactly one of them, got neither$"),
    ("two priors", lambda: network(np.zeros(4), prior=deep_network(4, 1)), TypeError, r"^prior_logits or prior .* got both$"),
    ("prior of another size", lambda: network(prior=deep_network(3, 1)), ValueError, r"^prior must have num_pixels 4, .* got num_pixels 3$"),
    ("machine of another size", lambda: network(prior=fastvi.BoltzmannMachine(np.zeros((3, 3)), np.zeros(3))), ValueError, r"^prior must have num_units 4, .* got num_units 3$"),
    ("a Bernoulli", lambda: network(prior=fastvi.Uniform(4)), TypeError, r"^prior must be a SigmoidBeliefNetwork or BoltzmannMachine, got Uniform"),
    ("an array", lambda: network(prior=np.zeros(4)), TypeError, r"^prior must be a SigmoidBeliefNetwork or BoltzmannMachine, got an array"),
    ("prior by position", lambda: fastvi.SigmoidBeliefNetwork(np.zeros((2, 4)), np.zeros(2), None, deep_network(4, 1)), TypeError, r"positional"),
    ("a class that load would not know", lambda: pickle.dumps(network(prior=OwnNetwork(np.zeros((4, 1)), np.zeros(4), [0]))), TypeError, r"^prior must be one of .* to be saved or pickled, got an OwnNetwork of"),
    ("negative num", lambda: deep_network(4, 3, 2).sample(-1, 0), ValueError, r"^num must be an int >= 0"),
    ("seed None", lambda: deep_network(4, 3, 2).sample(1, None), TypeError, r"^seed must be an int"),
    ("z of 2", lambda: deep_network(4, 3, 2).log_joint([0] * 4, [0, 2, 0]), ValueError, r"^z must contain only 0 and 1"),
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
