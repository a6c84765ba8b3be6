"""What exact posteriors of all models have in common, and data that products cannot hold."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest
from cases import (
    far_off_data,
    machine,
    masks_of,
    network,
    random_bits,
    random_data,
    restricted,
    sparse_coding,
    strong_deep_network,
    strong_network,
    strong_restricted,
    strongly_clamped,
)
from references import check_posterior
from tolerances import assert_moments, posterior_rounding

import fastvi
from fastvi.core.registry import rules_of
from fastvi.engine.posterior import details, log_sum, posteriors
from fastvi.engine.run.runs import Run

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
    of_data = details.details

    def counting(*arguments, **options):
        calls.append(1)
        return of_data(*arguments, **options)

    monkeypatch.setattr(details, "details", counting)
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


# ---- where products underflow -----------------------------------------------------------------------------


LOST = [strongly_clamped, strong_network, strong_deep_network, strong_restricted, far_off_data]


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("case", LOST)
def test_moments_where_the_guard_fails(case, caplog):
    model, x, observed = case()
    with caplog.at_level(logging.INFO, logger="fastvi"):
        check_posterior(model, x, observed, top_k=2)
    if case is not far_off_data:  # rows of one tile scale with the data: nothing is lost
        assert "data are summed again in log space" in caplog.text


@pytest.mark.parametrize(
    "case", [*LOST, lambda: (machine(11, exclusive=0.1), random_bits(4, 11), np.arange(11) < 2)]
)
def test_means_are_those_of_the_log_space_path(case):
    model, x, observed = case()
    pixels = np.ones(model.num_pixels, bool) if observed is None else observed
    form, seen = rules_of(model).form(pixels, "float64"), np.ascontiguousarray(x[:, pixels])
    evidence, mean = log_sum.log_sums_and_means(form, seen, Run())
    found = posteriors.details_of(form, form.data.terms(seen), evidence, 1, Run())
    assert np.abs(found.mean - mean).max() <= posterior_rounding(model, x)
