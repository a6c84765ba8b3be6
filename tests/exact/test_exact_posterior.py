"""Exact posteriors against the definition: moments, entropy, largest states, samples."""

from __future__ import annotations

import copy
import math
import pickle
from concurrent.futures import ThreadPoolExecutor

import naive
import numpy as np
import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st
from test_log_marginal import random_data, random_network, rounding

import fastvi
from fastvi.engine.run import slices


def reference(model, x, observed=None):
    """All states (2^d, d) and log p(z | x_n) of each (N, 2^d), by the definition."""
    masks = [None] * len(x) if observed is None else np.broadcast_to(observed, x.shape)
    parameters = model.weights.tolist(), model.bias.tolist(), model.prior_logits.tolist()
    rows = [naive.sbn_log_posterior(*parameters, row, mask) for row, mask in zip(x, masks, strict=True)]
    return np.array(naive.states(model.num_latents)), np.array(rows).reshape(len(x), 2**model.num_latents)


def check(model, x, posterior, observed=None):
    states, log_p = reference(model, x, observed)
    p, slack = np.exp(log_p), 4 * rounding(model)
    assert np.abs(posterior.mean - p @ states).max(initial=0) <= slack
    if posterior.second_moment is not None:
        pairs = np.einsum("ns,si,sj->nij", p, states, states)
        assert np.abs(posterior.second_moment - pairs).max(initial=0) <= slack
    with np.errstate(invalid="ignore"):
        entropy = -np.where(p > 0, p * log_p, 0).sum(axis=1)
    assert np.abs(posterior.entropy - entropy).max(initial=0) <= slack * (
        1 + np.abs(log_p[p > 0]).max(initial=0)
    )
    ordered = -np.sort(-log_p, axis=1)
    k = posterior.top_log_probs.shape[1]
    assert np.abs(posterior.top_log_probs - ordered[:, :k]).max(initial=0) <= slack
    assert np.abs(posterior.mode_log_prob - ordered[:, 0]).max(initial=0) <= slack
    top = posterior.log_prob(posterior.top_states.swapaxes(0, 1)).T
    assert np.abs(top - posterior.top_log_probs).max(initial=0) <= slack
    assert np.abs(posterior.log_prob(posterior.mode) - posterior.mode_log_prob).max(initial=0) <= slack
    assert np.abs(posterior.log_prob(states[:, None]).T - log_p).max(initial=0) <= slack


@given(strategies.networks_with_data(elements=st.floats(-20, 20)), st.data())
def test_equals_the_definition(case, data):
    model, x = case
    top_k = data.draw(st.integers(0, 2**model.num_latents))
    check(model, x, fastvi.exact_posterior(model, x, top_k=top_k, pairwise=True))


@pytest.mark.parametrize(("num_latents", "scale"), [(5, 1.0), (9, 1.0), (9, 60.0), (11, 0.2), (11, 3.0)])
def test_several_tiles(num_latents, scale):
    model, x = random_network(7, num_latents, scale=scale), random_data(3, 7)
    posterior = fastvi.exact_posterior(model, x, top_k=30, pairwise=True)
    check(model, x, posterior)
    for row in posterior.top_states:
        assert len({tuple(z) for z in row.tolist()}) == 30


@pytest.mark.parametrize("shared", [True, False])
def test_unseen_pixels(shared):
    model, x = random_network(6, 4), random_data(5, 6)
    observed = random_data(5, 6, seed=8).astype(bool)
    observed = observed[0] if shared else observed
    check(model, x, fastvi.exact_posterior(model, x, observed=observed, top_k=3, pairwise=True), observed)


def test_nothing_seen_leaves_the_prior():
    model = random_network(3, 4)
    posterior = fastvi.exact_posterior(model, [[0, 0, 0]], observed=np.zeros(3, bool))
    assert np.allclose(posterior.mean, model.prior.mean, rtol=1e-14)
    assert np.allclose(posterior.entropy, model.prior.entropy(), rtol=1e-13)


def test_moments_are_consistent():
    model, x = random_network(20, 10), random_data(4, 20)
    posterior = fastvi.exact_posterior(model, x, pairwise=True)
    second = posterior.second_moment
    assert np.allclose(np.diagonal(second, axis1=1, axis2=2), posterior.mean, rtol=1e-12)
    assert np.array_equal(second, second.transpose(0, 2, 1))
    covariance = second - posterior.mean[:, :, None] * posterior.mean[:, None, :]
    assert np.linalg.eigvalsh(covariance).min() >= -1e-13


@pytest.mark.slow_without_jit
def test_samples_are_the_posterior():
    model, x = random_network(12, 9), random_data(3, 12)
    posterior = fastvi.exact_posterior(model, x, pairwise=True)
    num = 4000
    draws = posterior.sample(num, seed=5)
    assert draws.shape == (num, 3, 9)
    for found, expected in (
        (draws.mean(axis=0), posterior.mean),
        (np.einsum("kni,knj->nij", draws.astype(float), draws.astype(float)) / num, posterior.second_moment),
    ):
        error = np.abs(found - expected)
        assert (error <= 5 * np.sqrt(expected * (1 - expected) / num) + 1e-12).all()
    # the mean log probability of draws is minus the entropy
    log_prob = posterior.log_prob(draws)
    assert (
        np.abs(log_prob.mean(axis=0) + posterior.entropy) <= 5 * log_prob.std(axis=0) / math.sqrt(num)
    ).all()


def test_draws_depend_on_seed_and_datum_alone(monkeypatch, set_threads):
    model, x = random_network(12, 9), random_data(5, 12)
    draws = fastvi.exact_posterior(model, x).sample(20, 1)
    monkeypatch.setattr(slices, "CHUNK_DATA", 2)
    set_threads(3)
    posterior = fastvi.exact_posterior(model, x)
    assert np.array_equal(posterior.sample(20, 1), draws)
    assert np.array_equal(posterior.sample(7, 1), draws[:7])
    assert not np.array_equal(posterior.sample(20, 2), draws)
    assert posterior.sample(0, 1).shape == (0, 5, 9)


@pytest.mark.slow_without_jit
def test_same_bits_for_any_number_of_threads(set_threads):
    model, x = random_network(20, 10), random_data(17, 20)
    seen = set()
    for threads in ("1", "2", "5"):
        set_threads(threads)
        found = fastvi.exact_posterior(model, x, top_k=4, pairwise=True)
        arrays = (found.mean, found.second_moment, found.entropy, found.top_log_probs, found.top_states)
        seen.add(b"".join(array.tobytes() for array in arrays))
    assert len(seen) == 1


def test_progress_counts_both_passes():
    model, x = random_network(5, 9), random_data(2, 5)
    seen = []
    fastvi.exact_posterior(model, x, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (512, 512)
    fastvi.exact_posterior(model, x, top_k=1, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (1024, 1024)


ANSWERS = ("log_marginal", "mean", "entropy", "mode", "mode_log_prob")


@pytest.mark.parametrize("ask", [{}, {"top_k": 1}])
def test_where_the_second_pass_runs(caplog, ask):
    """With the caller's executor and progress where it is asked for; else it says that it will not."""
    model, x = random_network(6, 9), random_data(3, 6)
    told = []
    with ThreadPoolExecutor(2) as executor, caplog.at_level("INFO", "fastvi"):
        posterior = fastvi.exact_posterior(
            model, x, executor=executor, progress=lambda done, total: told.append(total), **ask
        )
        passes = 2 if ask else 1
        assert told[-1] == passes * 512
    told.clear()
    with caplog.at_level("INFO", "fastvi"):
        found = posterior.entropy  # the executor is shut down
        assert posterior.entropy is found
    assert told == []
    said = [text for text in caplog.messages if text.startswith("entropy and mode: a second pass")]
    assert len(said) == (0 if ask else 1)
    assert np.array_equal(found, fastvi.exact_posterior(model, x).entropy)


@pytest.mark.parametrize("copied", [lambda value: pickle.loads(pickle.dumps(value)), copy.deepcopy])
def test_pickles_keep_what_is_computed(caplog, copied):
    couplings = np.triu(np.random.default_rng(0).normal(size=(6, 6)), 1)
    machine = (
        fastvi.BoltzmannMachine(couplings + couplings.T, np.zeros(6)),
        random_data(3, 6),
        [True, False] * 3,
    )
    network = random_network(6, 9), random_data(3, 6), None
    for model, x, observed in (network, machine):
        with ThreadPoolExecutor(2) as executor:
            posterior = fastvi.exact_posterior(
                model, x, observed=observed, executor=executor, progress=lambda done, total: None
            )
            before = copied(posterior)  # which keeps neither the executor nor the function
        want = [getattr(posterior, name) for name in ANSWERS]
        for twin in (before, copied(posterior), copied(copied(posterior))):
            for name, value in zip(ANSWERS, want, strict=True):
                np.testing.assert_array_equal(getattr(twin, name), value)
            assert np.array_equal(twin.sample(5, 1), posterior.sample(5, 1))
            assert np.array_equal(
                twin.log_prob(twin.mode[:, None]), posterior.log_prob(posterior.mode[:, None])
            )
        with caplog.at_level("INFO", "fastvi"):
            assert np.array_equal(copied(posterior).entropy, want[2])
        assert caplog.messages == []  # no pass is made again


def test_no_data():
    posterior = fastvi.exact_posterior(random_network(4, 3), np.empty((0, 4)), top_k=2, pairwise=True)
    assert posterior.mean.shape == (0, 3)
    assert posterior.second_moment.shape == (0, 3, 3)
    assert posterior.sample(3, 0).shape == (3, 0, 3)
    assert repr(posterior) == "ExactPosterior(num_data=0, num_latents=3)"
