"""Exact posteriors against the definition: clamped units, real data, deep priors."""

from __future__ import annotations

import naive
import numpy as np
import pytest
import strategies
from cases import NEVER, machine, network, random_bits, random_data, restricted, sparse_coding, symmetric
from hypothesis import given
from hypothesis import strategies as st
from references import check_posterior
from tolerances import rounding

import fastvi

# ---- Boltzmann machines -----------------------------------------------------------------------------------


@given(strategies.boltzmann_machines(max_units=5), st.data())
def test_machines_equal_the_definition(model, data):
    x = data.draw(strategies.bits((data.draw(st.integers(1, 3)), model.num_units)))
    shape = data.draw(st.sampled_from([(model.num_units,), x.shape]))
    observed = data.draw(strategies.bits(shape)).astype(bool)
    fewest = int((~observed).sum(axis=-1).min())
    posterior = check_posterior(model, x, observed, top_k=data.draw(st.integers(0, 2**fewest)))
    seen = np.broadcast_to(observed, x.shape)
    assert (posterior.mean[seen] == x[seen]).all()
    assert (
        posterior.mode[seen & ~np.isnan(posterior.entropy)[:, None]]
        == x[seen & ~np.isnan(posterior.entropy)[:, None]]
    ).all()


@pytest.mark.parametrize(("d", "seen"), [(9, 3), (11, 1), (11, 11), (12, 2)])
def test_a_machine_of_several_outer_states(d, seen):
    model, x, observed = machine(d, seed=4, exclusive=0.1), random_bits(3, d), np.arange(d) % 5 < 0
    observed[:seen] = True
    posterior = check_posterior(model, x, observed, top_k=min(9, 2 ** (d - seen)))
    possible = np.isfinite(posterior.entropy)
    assert np.array_equal(
        posterior.top_states[possible][..., :seen],
        np.repeat(x[possible][:, None, :seen], posterior.top_states.shape[1], axis=1),
    )


def test_nothing_observed_gives_the_moments_of_the_machine():
    model = machine(10, exclusive=0.2)
    posterior = check_nothing_observed(model)
    assert posterior.log_marginal.tolist() == [0.0]
    loose = fastvi.exact_posterior(model, normalized=False)
    assert loose.log_marginal.tolist() == [fastvi.log_partition(model)]
    assert loose.mean.tobytes() == posterior.mean.tobytes()


def check_nothing_observed(model):
    posterior = fastvi.exact_posterior(model, top_k=5, pairwise=True)
    states = np.array(naive.states(model.num_units))
    log_p = model.log_joint(None, states)
    p = np.exp(log_p - naive.log_sum_exp(log_p))
    assert np.abs(posterior.mean[0] - p @ states).max() <= 1e-13
    assert np.abs(posterior.second_moment[0] - np.einsum("s,si,sj->ij", p, states, states)).max() <= 1e-13
    log_p -= naive.log_sum_exp(log_p)
    assert posterior.entropy[0] == pytest.approx(-(p[p > 0] * log_p[p > 0]).sum(), rel=1e-13)
    assert np.allclose(posterior.top_log_probs[0], -np.sort(-log_p)[:5], rtol=0, atol=1e-12)
    return posterior


def test_clamped_units_keep_their_values():
    model, x, observed = machine(9, exclusive=0.1), random_bits(4, 9), random_bits(4, 9, 7).astype(bool)
    couplings = np.where(np.isneginf(model.couplings), -2.0, model.couplings)  # all of them possible
    model = fastvi.BoltzmannMachine(couplings, model.bias)
    posterior = fastvi.exact_posterior(model, x, observed=observed, top_k=2, pairwise=True)
    draws = posterior.sample(50, 3)
    for n in range(4):
        seen = observed[n]
        assert (posterior.mean[n, seen] == x[n, seen]).all()
        for states in (posterior.mode[n], posterior.top_states[n], draws[:, n]):
            assert (states[..., seen] == x[n, seen]).all()
        pairs = posterior.second_moment[n]
        assert np.array_equal(pairs[seen], x[n, seen][:, None] * posterior.mean[n])
        assert np.array_equal(pairs[:, seen], pairs[seen].T)
        other = posterior.mode[n].copy()
        other[np.flatnonzero(seen)[0]] ^= 1
        assert np.isneginf(posterior.log_prob(other)[n])
    assert np.isfinite(posterior.log_prob(draws)).all()
    assert np.allclose(np.diagonal(posterior.second_moment, axis1=1, axis2=2), posterior.mean, rtol=1e-12)


def test_everything_observed_leaves_one_state():
    model, x = machine(5), random_bits(3, 5)
    posterior = fastvi.exact_posterior(model, x, top_k=1, pairwise=True)
    assert np.array_equal(posterior.mean, x)
    assert np.array_equal(posterior.mode, x)
    assert posterior.entropy.tolist() == [0.0] * 3
    assert np.abs(posterior.top_log_probs).max() <= rounding(model)
    assert np.array_equal(posterior.sample(4, 0), np.repeat(x[None], 4, axis=0))
    assert np.array_equal(posterior.second_moment, x[:, :, None] * x[:, None])
    with pytest.raises(ValueError, match=r"^top_k must be at most 2\^0"):
        fastvi.exact_posterior(model, x, top_k=2)


def test_data_of_probability_zero_have_no_posterior():
    couplings = np.zeros((6, 6))
    couplings[0, 1] = couplings[1, 0] = NEVER
    model = fastvi.BoltzmannMachine(couplings, np.arange(6.0))
    x, observed = np.zeros((2, 6), np.uint8), np.arange(6) < 4
    x[1, :2] = 1
    posterior = fastvi.exact_posterior(model, x, observed=observed, top_k=2, pairwise=True)
    assert posterior.log_marginal[1] == NEVER
    alone = fastvi.exact_posterior(model, x[:1], observed=observed, top_k=2, pairwise=True)
    for name in (
        "log_marginal",
        "mean",
        "second_moment",
        "entropy",
        "top_log_probs",
        "mode",
        "mode_log_prob",
    ):
        both, one = getattr(posterior, name), getattr(alone, name)
        assert both[:1].tobytes() == one.tobytes(), name
        if name not in ("log_marginal", "mode", "mean"):
            assert np.isnan(both[1]).all(), name
    assert np.isnan(posterior.mean[1, 4:]).all()
    assert np.isnan(posterior.log_prob(x[None])).tolist() == [[False, True]]
    with pytest.raises(ValueError, match=r"^x must have a positive probability .* at index 1$"):
        posterior.sample(3, 0)
    lazy = fastvi.exact_posterior(model, x, observed=observed)
    assert np.isnan(lazy.entropy).tolist() == [False, True]


# ---- restricted Boltzmann machines ------------------------------------------------------------------------


@given(strategies.restricted_machines(max_pixels=4, max_latents=4), st.data())
def test_restricted_machines_equal_the_definition(model, data):
    x = data.draw(strategies.bits((data.draw(st.integers(1, 3)), model.num_pixels)))
    shape = data.draw(st.sampled_from([(model.num_pixels,), x.shape]))
    observed = data.draw(st.none() | strategies.bits(shape))
    observed = None if observed is None else observed.astype(bool)
    check_posterior(model, x, observed, top_k=data.draw(st.integers(0, 2**model.num_latents)))


@pytest.mark.parametrize("shape", [(6, 9), (4, 10), (1, 5)])
def test_missing_visible_units(shape):
    model = restricted(*shape, seed=2)
    x, masks = random_bits(4, shape[0]), random_bits(4, shape[0], 6).astype(bool)
    for observed in (masks, masks[0], np.zeros(shape[0], bool), None):
        check_posterior(model, x, observed, top_k=3)


def test_hidden_units_are_independent_given_all_visible_ones():
    model, x = restricted(30, 9), random_bits(5, 30)
    posterior = fastvi.exact_posterior(model, x, pairwise=True)
    expected = 1 / (1 + np.exp(-(x @ model.weights + model.hidden_bias)))
    assert np.allclose(posterior.mean, expected, rtol=1e-12)
    pairs = expected[:, :, None] * expected[:, None]
    pairs[:, range(9), range(9)] = expected
    assert np.allclose(posterior.second_moment, pairs, rtol=1e-12)


# ---- binary sparse coding ---------------------------------------------------------------------------------


@given(
    st.integers(0, 4), st.integers(1, 4), st.integers(0, 2**32), st.sampled_from([0.05, 0.7, 30.0]), st.data()
)
def test_sparse_coding_equals_the_definition(num_pixels, d, seed, noise_std, data):
    model = sparse_coding(num_pixels, d, seed, noise_std)
    x = data.draw(strategies.floats((data.draw(st.integers(1, 3)), num_pixels), st.floats(-20, 20)))
    observed = data.draw(strategies.bits(data.draw(st.sampled_from([(num_pixels,), x.shape])))).astype(bool)
    spoiled = np.where(observed, x, np.nan)
    check_posterior(model, spoiled, observed, top_k=data.draw(st.integers(0, 2**d)))


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("noise_std", [0.3, 3.0])
def test_sparse_coding_of_several_outer_states(noise_std):
    model = sparse_coding(7, 11, noise_std=noise_std)
    x = random_data(model, 3)
    check_posterior(model, x, top_k=20)
    x[:, 2] = np.nan
    check_posterior(model, x, np.arange(7) != 2, top_k=2)


def test_data_that_were_not_observed_may_hold_anything():
    model = sparse_coding(4, 3)
    observed = np.array([[True, True, False, True], [False, True, True, True]])
    x = random_data(model, 2)
    found = fastvi.exact_posterior(model, np.where(observed, x, np.nan), observed=observed)
    other = fastvi.exact_posterior(model, np.where(observed, x, 1e300), observed=observed)
    assert found.mean.tobytes() == other.mean.tobytes()


# ---- deep networks ----------------------------------------------------------------------------------------

DEEP = {
    "network above network": lambda: network(6, 5, prior=network(5, 3, 1)),
    "three layers": lambda: network(4, 4, prior=network(4, 3, 1, prior=network(3, 2, 2))),
    "machine above network": lambda: network(6, 5, prior=machine(5, 1)),
    "hard constraints above": lambda: network(5, 10, prior=machine(10, 1, exclusive=0.5)),
    "more latents above than below": lambda: network(5, 3, prior=network(3, 6, 1)),
    "several tiles": lambda: network(5, 10, prior=machine(10, 3, exclusive=0.2)),
    "strong weights": lambda: network(6, 9, scale=60.0, prior=machine(9, 1, exclusive=0.3)),
}


@pytest.mark.parametrize("name", DEEP)
def test_deep_networks(name):
    model = DEEP[name]()
    x = random_data(model, 3)
    check_posterior(model, x, top_k=min(7, 2**model.num_latents))
    observed = random_bits(3, model.num_pixels, 5).astype(bool)
    check_posterior(model, x, observed[0], top_k=1)
    if model.num_latents < 9:
        check_posterior(model, x, observed)


@pytest.mark.parametrize("name", ["machine above network", "hard constraints above"])
def test_nothing_seen_leaves_the_prior(name):
    model = DEEP[name]()
    nothing = np.zeros(model.num_pixels, bool)
    posterior = fastvi.exact_posterior(model, np.zeros((1, model.num_pixels)), observed=nothing)
    prior = fastvi.exact_posterior(model.prior)
    assert np.abs(posterior.mean - prior.mean).max() <= 1e-13
    assert posterior.entropy == pytest.approx(prior.entropy, rel=1e-13)
    assert abs(posterior.log_marginal[0]) <= 1e-13


def test_more_states_are_asked_for_than_are_possible():
    """Three units that exclude each other have four states, not eight."""
    prior = fastvi.BoltzmannMachine(symmetric(np.full((3, 3), NEVER)), np.zeros(3))
    for posterior in (
        fastvi.exact_posterior(prior, top_k=6),
        fastvi.exact_posterior(network(2, 3, prior=prior), [[0, 1]], top_k=6),
    ):
        assert (posterior.top_log_probs[0, :4] > NEVER).all()
        assert (posterior.top_log_probs[0, 4:] == NEVER).all()
        assert sorted(posterior.top_states[0, :4].sum(axis=1).tolist()) == [0, 1, 1, 1]
        assert np.isfinite(posterior.entropy).all()


def test_a_prior_of_too_many_states_is_refused():
    model = network(2, 3, prior=network(3, 2, prior=network(2, 41)))
    for function in (fastvi.log_marginal, fastvi.exact_posterior, fastvi.log_marginal_gradient):
        with pytest.raises(
            ValueError, match=r"^max_states .* 2\^41; its prior under 2\^41 states of 2 pixels"
        ):
            function(model, [[0, 1]])
        with pytest.raises(ValueError, match=r"^memory_limit is 1,000 bytes, but"):
            function(network(2, 3, prior=network(3, 2)), [[0, 1]], memory_limit=1000)
