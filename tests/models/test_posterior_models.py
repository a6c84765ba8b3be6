"""Exact posteriors of every model but the plain network: clamped units, real data, deep priors, draws."""

from __future__ import annotations

import itertools
import logging
import math

import naive
import numpy as np
import pytest
import strategies
from cases import (
    NEVER,
    far_off_data,
    machine,
    masks_of,
    network,
    parameters_of,
    random_bits,
    random_data,
    restricted,
    sparse_coding,
    strong_deep_network,
    strong_network,
    strong_restricted,
    strongly_clamped,
    symmetric,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import posterior_rounding, rounding, share_error

import fastvi
from fastvi.engine.posterior import log_sum, posteriors
from fastvi.engine.run.runs import Run


def log_priors(model):
    """log p(z) of all z, by the definition, whatever the prior."""
    states, prior = naive.states(model.num_latents), model.prior
    if not model.is_deep:
        return [naive.bernoulli_log_prob(z, model.prior_logits.tolist()) for z in states]
    if isinstance(prior, fastvi.BoltzmannMachine):
        parameters = prior.couplings.tolist(), prior.bias.tolist()
        values = [naive.bm_log_joint(*parameters, z) for z in states]
        log_z = naive.log_sum_exp(values)
        return [value - log_z for value in values]
    tops = list(zip(naive.states(prior.num_latents), log_priors(prior), strict=True))
    parameters = prior.weights.tolist(), prior.bias.tolist()
    return [
        naive.log_sum_exp(naive.sbn_log_likelihood(*parameters, z, top) + value for top, value in tops)
        for z in states
    ]


def reference_rows(model, x, masks):
    if isinstance(model, fastvi.SigmoidBeliefNetwork):
        states = naive.states(model.num_latents)
        log_prior = log_priors(model)
        parameters = model.weights.tolist(), model.bias.tolist()
        for row, mask in zip(x.tolist(), masks, strict=True):
            joint = [
                prior + naive.sbn_log_likelihood(*parameters, row, z, mask)
                for z, prior in zip(states, log_prior, strict=True)
            ]
            evidence = naive.log_sum_exp(joint)
            yield [value - evidence for value in joint]
        return
    if isinstance(model, fastvi.RestrictedBoltzmannMachine) and model.num_pixels + model.num_latents > 9:
        yield from restricted_rows(model, x, masks)
        return
    name = {
        fastvi.BoltzmannMachine: "bm",
        fastvi.RestrictedBoltzmannMachine: "rbm",
        fastvi.BinarySparseCoding: "bsc",
    }[type(model)]
    parameters = parameters_of(model)
    for row, mask in zip(x.tolist(), masks, strict=True):
        yield getattr(naive, f"{name}_log_posterior")(*parameters, row, mask)


def restricted_rows(model, x, masks):
    """The same with the unseen units summed one by one, vectorised: there are too many for Python's loops."""
    states = np.array(naive.states(model.num_latents))
    fields = states @ model.weights.T + model.visible_bias
    for row, mask in zip(x, masks, strict=True):
        seen = np.ones(len(row), bool) if mask is None else np.asarray(mask)
        joint = states @ model.hidden_bias + fields[:, seen] @ row[seen].astype(float)
        joint += np.logaddexp(0.0, fields[:, ~seen]).sum(axis=1)
        yield joint - np.logaddexp.reduce(joint)


def reference(model, x, observed=None):
    """All states (2^d, d) and log p(z | x_n) of each (N, 2^d), by the definition."""
    masks = [None] * len(x) if observed is None else np.broadcast_to(observed, x.shape)
    rows = list(reference_rows(model, x, masks))
    return np.array(naive.states(model.num_latents)), np.array(rows).reshape(len(x), 2**model.num_latents)


def check(model, x, observed=None, **options):
    """Everything a posterior says, against the definition; data of probability 0 say nothing but NaN."""
    posterior = fastvi.exact_posterior(model, x, observed=observed, pairwise=True, **options)
    states, log_p = reference(model, x, observed)
    possible = ~np.isneginf(posterior.log_marginal)
    assert np.isfinite(log_p[possible].max(axis=1)).all()
    for array in (posterior.entropy, posterior.mode_log_prob, posterior.second_moment):
        assert np.isnan(array[~possible]).all()
    p, slack = np.exp(log_p[possible]), posterior_rounding(model, x)
    if not possible.any():
        return posterior
    assert np.abs(posterior.mean[possible] - p @ states).max() <= slack
    pairs = np.einsum("ns,si,sj->nij", p, states, states)
    assert np.abs(posterior.second_moment[possible] - pairs).max() <= slack
    log_p = log_p[possible]
    finite = np.where(np.isneginf(log_p), 0.0, log_p)
    scale = 1 + np.abs(finite[p > 0]).max()
    assert np.abs(posterior.entropy[possible] + (p * finite).sum(axis=1)).max() <= slack * scale
    ordered = -np.sort(-log_p, axis=1)
    found = posterior.top_log_probs[possible]
    assert_logs_agree(found, ordered[:, : found.shape[1]], slack)
    assert_logs_agree(posterior.mode_log_prob[possible], ordered[:, 0], slack)
    assert_logs_agree(posterior.log_prob(states[:, None]).T[possible], log_p, slack)
    top = posterior.log_prob(posterior.top_states.swapaxes(0, 1)).T[possible]
    assert_logs_agree(top[found > NEVER], found[found > NEVER], slack)
    assert_logs_agree(posterior.log_prob(posterior.mode)[possible], ordered[:, 0], slack)
    return posterior


def assert_logs_agree(found, expected, slack):
    np.testing.assert_array_equal(np.isneginf(found), np.isneginf(expected))
    finite = np.isfinite(expected)
    assert np.abs(found[finite] - expected[finite]).max(initial=0) <= slack


# ---- Boltzmann machines -----------------------------------------------------------------------------------


@given(strategies.boltzmann_machines(max_units=5), st.data())
def test_machines_equal_the_definition(model, data):
    x = data.draw(strategies.bits((data.draw(st.integers(1, 3)), model.num_units)))
    shape = data.draw(st.sampled_from([(model.num_units,), x.shape]))
    observed = data.draw(strategies.bits(shape)).astype(bool)
    fewest = int((~observed).sum(axis=-1).min())
    posterior = check(model, x, observed, top_k=data.draw(st.integers(0, 2**fewest)))
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
    posterior = check(model, x, observed, top_k=min(9, 2 ** (d - seen)))
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
    check(model, x, observed, top_k=data.draw(st.integers(0, 2**model.num_latents)))


@pytest.mark.parametrize("shape", [(6, 9), (4, 10), (1, 5)])
def test_missing_visible_units(shape):
    model = restricted(*shape, seed=2)
    x, masks = random_bits(4, shape[0]), random_bits(4, shape[0], 6).astype(bool)
    for observed in (masks, masks[0], np.zeros(shape[0], bool), None):
        check(model, x, observed, top_k=3)


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
    check(model, spoiled, observed, top_k=data.draw(st.integers(0, 2**d)))


@pytest.mark.parametrize("noise_std", [pytest.param(0.3, marks=pytest.mark.slow_without_jit), 3.0])
def test_sparse_coding_of_several_outer_states(noise_std):
    model = sparse_coding(7, 11, noise_std=noise_std)
    x = random_data(model, 3)
    check(model, x, top_k=20)
    x[:, 2] = np.nan
    check(model, x, np.arange(7) != 2, top_k=2)


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
    check(model, x, top_k=min(7, 2**model.num_latents))
    observed = random_bits(3, model.num_pixels, 5).astype(bool)
    check(model, x, observed[0], top_k=1)
    if model.num_latents < 9:
        check(model, x, observed)


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


# ---- every model ------------------------------------------------------------------------------------------

ALL = {
    "a machine": lambda: machine(11, exclusive=0.1),
    "a restricted machine": lambda: restricted(12, 9),
    "few pixels": lambda: restricted(5, 10),
    "sparse coding": lambda: sparse_coding(8, 10),
    "a network": lambda: network(12, 10),
    "a deep network": lambda: network(12, 8, prior=machine(8, 1, exclusive=0.2)),
}
each_model = pytest.mark.parametrize("model", [case() for case in ALL.values()], ids=ALL.keys())


@each_model
@pytest.mark.parametrize("normalized", [True, pytest.param(False, marks=pytest.mark.slow_without_jit)])
def test_evidence_has_the_bits_of_log_marginal(model, normalized):
    x = random_data(model, 4)
    for observed in masks_of(model, 4).values():
        expected = fastvi.log_marginal(model, x, observed=observed, normalized=normalized)
        found = fastvi.exact_posterior(model, x, observed=observed, normalized=normalized)
        assert found.log_marginal.tobytes() == expected.tobytes()
        again = fastvi.exact_posterior(
            model, x, observed=observed, normalized=normalized, top_k=1, pairwise=True
        )
        assert again.log_marginal.tobytes() == expected.tobytes()
        assert again.mean.tobytes() == found.mean.tobytes()


@each_model
def test_the_second_pass_waits_until_it_is_needed(model, monkeypatch):
    calls = []
    details = posteriors.details

    def counting(*arguments, **options):
        calls.append(1)
        return details(*arguments, **options)

    monkeypatch.setattr(posteriors, "details", counting)
    x, observed = random_data(model, 2), np.arange(model.num_pixels) > 2
    posterior = fastvi.exact_posterior(model, x, observed=observed)
    assert posterior.second_moment is None
    posterior.log_prob(posterior.sample(2, 0))
    repr(posterior)
    assert posterior.mean.shape == (2, model.num_latents)
    assert not calls
    entropy = posterior.entropy
    assert len(calls) == 1
    assert posterior.mode.shape == (2, model.num_latents)
    assert posterior.mode_log_prob.shape == (2,)
    assert posterior.top_states.shape == (2, 0, model.num_latents)
    assert posterior.top_log_probs.shape == (2, 0)
    assert len(calls) == 1
    eager = fastvi.exact_posterior(model, x, observed=observed, top_k=1)
    assert len(calls) == 2
    assert eager.entropy.tobytes() == entropy.tobytes()
    assert np.array_equal(eager.mode, posterior.mode)
    assert len(calls) == 2


@each_model
def test_means_of_products_are_those_of_single_states(model):
    x, observed = random_data(model, 3), np.arange(model.num_pixels) % 3 > 0
    posterior = fastvi.exact_posterior(model, x, observed=observed, pairwise=True)
    second = posterior.second_moment
    assert np.allclose(np.diagonal(second, axis1=1, axis2=2), posterior.mean, rtol=1e-11, atol=1e-14)
    assert np.array_equal(second, second.transpose(0, 2, 1))
    covariance = second - posterior.mean[:, :, None] * posterior.mean[:, None]
    assert np.linalg.eigvalsh(covariance).min() >= -1e-13


@pytest.mark.slow_without_jit
@each_model
def test_samples_are_the_posterior(model):
    x, observed, num = random_data(model, 2), np.arange(model.num_pixels) % 3 > 0, 4000
    posterior = fastvi.exact_posterior(model, x, observed=observed, pairwise=True)
    draws = posterior.sample(num, seed=5)
    assert draws.shape == (num, 2, model.num_latents)
    for n in range(2):
        assert_moments(draws[:, n], posterior.mean[n], posterior.second_moment[n])
    log_prob = posterior.log_prob(draws)
    error = np.abs(log_prob.mean(axis=0) + posterior.entropy)
    assert (error <= 5 * log_prob.std(axis=0) / math.sqrt(num)).all()
    assert np.array_equal(fastvi.exact_posterior(model, x, observed=observed).sample(7, 5), draws[:7])


@pytest.mark.slow_without_jit
@each_model
def test_same_bits_for_any_number_of_threads(same_bits, model):
    x, observed = random_data(model, 5), np.arange(model.num_pixels) % 4 > 0

    def ask():
        found = fastvi.exact_posterior(model, x, observed=observed, top_k=3, pairwise=True)
        arrays = found.mean, found.second_moment, found.entropy, found.top_log_probs, found.top_states
        return *arrays, found.sample(5, 1)

    same_bits(ask)


@each_model
def test_progress_counts_every_pass(model):
    seen, x = [], random_data(model, 2)
    for options in ({}, {"top_k": 1}, {"pairwise": True, "observed": np.arange(model.num_pixels) > 1}):
        fastvi.exact_posterior(model, x, progress=lambda *counts: seen.append(counts), **options)
        assert seen[-1][0] == seen[-1][1]


@each_model
def test_no_data(model):
    posterior = fastvi.exact_posterior(model, np.empty((0, model.num_pixels)), pairwise=True)
    d = model.num_latents
    assert (posterior.mean.shape, posterior.second_moment.shape) == ((0, d), (0, d, d))
    assert posterior.sample(3, 0).shape == (3, 0, d)
    assert posterior.mode.shape == (0, d)


# ---- where products underflow -----------------------------------------------------------------------------


LOST = [strongly_clamped, strong_network, strong_deep_network, strong_restricted, far_off_data]


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("case", LOST)
def test_moments_where_the_guard_fails(case, caplog):
    model, x, observed = case()
    with caplog.at_level(logging.INFO, logger="fastvi"):
        check(model, x, observed, top_k=2)
    if case is not far_off_data:  # rows of one tile scale with the data: nothing is lost
        assert "data are summed again in log space" in caplog.text


@pytest.mark.parametrize(
    "case", [*LOST, lambda: (machine(11, exclusive=0.1), random_bits(4, 11), np.arange(11) < 2)]
)
def test_means_are_those_of_the_log_space_path(case):
    model, x, observed = case()
    pixels = np.ones(model.num_pixels, bool) if observed is None else observed
    form, seen = model._form(pixels, "float64"), np.ascontiguousarray(x[:, pixels])
    evidence, mean = log_sum.log_sums_and_means(form, seen, Run())
    details = posteriors.details(form, seen, evidence, 1, Run(), pairwise=False)
    assert np.abs(details.mean - mean).max() <= posterior_rounding(model, x)


# ---- draws of models --------------------------------------------------------------------------------------


def assert_moments(draws, mean, pairs):
    num = len(draws)
    second = np.einsum("ki,kj->ij", draws.astype(float), draws.astype(float)) / num
    for found, expected in ((draws.mean(axis=0), mean), (second, pairs)):
        assert (np.abs(found - expected) <= 5 * share_error(expected, num) + 1e-12).all()


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("d", [1, 6, 11])
def test_a_machine_draws_from_its_distribution(d):
    model = machine(d, seed=2, exclusive=0.2)
    z, x = model.sample(20_000, 3)
    assert np.array_equal(z, x)
    assert not np.shares_memory(z, x)
    posterior = fastvi.exact_posterior(model, pairwise=True)
    assert_moments(z, posterior.mean[0], posterior.second_moment[0])
    assert (model.log_joint(None, z) > NEVER).all()


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("shape", [(6, 3), (3, 6), (4, 4), (1, 1)])
def test_a_restricted_machine_draws_both_layers(shape):
    model = restricted(*shape, seed=3)
    z, x = model.sample(20_000, 9)
    assert (z.shape, x.shape) == ((20_000, shape[1]), (20_000, shape[0]))
    units = np.array(list(itertools.product((0, 1), repeat=sum(shape))))
    log_p = model.log_joint(units[:, : shape[0]], units[:, shape[0] :])
    p = np.exp(log_p - fastvi.log_partition(model))
    assert p.sum() == pytest.approx(1, rel=1e-12)
    assert_moments(np.concatenate([x, z], axis=1), p @ units, np.einsum("s,si,sj->ij", p, units, units))


@pytest.mark.slow_without_jit
def test_a_deep_network_draws_latents_from_its_prior():
    model = DEEP["hard constraints above"]()
    z, x = model.sample(20_000, 4)
    prior = fastvi.exact_posterior(model.prior, pairwise=True)
    assert_moments(z, prior.mean[0], prior.second_moment[0])
    seen = np.array(naive.states(model.num_pixels))
    p = np.exp(fastvi.log_marginal(model, seen))
    assert_moments(x, p @ seen, np.einsum("s,si,sj->ij", p, seen, seen))


@each_model
def test_draws_are_a_pure_function_of_the_seed(set_threads, model):
    first = model.sample(40, 2**64 - 1)
    set_threads(3)
    again, other = model.sample(40, 2**64 - 1), model.sample(40, 0)
    assert first[0].dtype == np.uint8
    for a, b, c in zip(first, again, other, strict=True):
        assert np.array_equal(a, b)
        assert not np.array_equal(a, c)
    z, x = model.sample(0, 1)
    assert (z.shape, x.shape) == ((0, model.num_latents), (0, model.num_pixels))


@settings(max_examples=15)
@given(strategies.boltzmann_machines(max_units=4), st.integers(0, 2**64 - 1))
def test_no_draw_is_impossible(model, seed):
    z, _ = model.sample(5, seed)
    assert (model.log_joint(None, z) > NEVER).all()
