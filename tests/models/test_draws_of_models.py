"""Draws of machines and deep networks follow their distributions, by sums over all states."""

from __future__ import annotations

import itertools

import naive
import numpy as np
import pytest
import strategies
from cases import NEVER, machine, network, restricted
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_moments

import fastvi


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
    model = network(5, 10, prior=machine(10, 1, exclusive=0.5))
    z, x = model.sample(20_000, 4)
    prior = fastvi.exact_posterior(model.prior, pairwise=True)
    assert_moments(z, prior.mean[0], prior.second_moment[0])
    seen = np.array(naive.states(model.num_pixels))
    p = np.exp(fastvi.log_marginal(model, seen))
    assert_moments(x, p @ seen, np.einsum("s,si,sj->ij", p, seen, seen))


@given(strategies.boltzmann_machines(max_units=4), st.integers(0, 2**64 - 1))
def test_no_draw_is_impossible(model, seed):
    z, _ = model.sample(5, seed)
    assert (model.log_joint(None, z) > NEVER).all()
