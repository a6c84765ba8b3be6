"""The expected log joint and its slope in q's logits against enumeration in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from cases import network, sparse_coding, states

import fastvi
from fastvi.core.registry import rules_of
from fastvi.engine.expectation.elbo_gradient import expected_log_joint

RNG = np.random.default_rng(0)
MODELS = {
    "one latent": network(3, 1, RNG),
    "network": network(7, 5, RNG),
    "several tiles": network(9, 15, RNG),
    "large weights": network(6, 6, RNG, 200.0, bias_scale=1.0),
    "no pixels": network(0, 3, RNG),
    "deep": network(4, 6, RNG, prior=network(6, 3, RNG)),
    "sparse coding": sparse_coding(7, 9, RNG, 0.5),
}


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_value_and_slope_are_those_of_all_states(name, shared):
    model = MODELS[name]
    d, x = model.num_latents, model.sample(4, 1)[1]
    logits = 2 * RNG.normal(size=d if shared else (4, d))
    if d > 2:
        logits[..., 1], logits[..., 2] = 800.0, -800.0  # certain bits
    form = rules_of(model).form(np.ones(model.num_pixels, bool), "float64")
    found = expected_log_joint(form, x, logits)
    z = states(d)
    q = np.exp(fastvi.Bernoulli(np.broadcast_to(logits, (4, d))).log_prob(z[:, None]))
    log_joint = model.log_joint(x, z[:, None])
    value = (q * log_joint).sum(axis=0)
    mean = 1 / (1 + np.exp(-np.clip(np.broadcast_to(logits, (4, d)), -700, 700)))
    slope = np.einsum("sn,sn,si->ni", q, log_joint, z) - mean * value[:, None]
    # sums of 2^d weighted terms, each off by roundings of D + d terms
    slack = 1e-13 * np.abs(log_joint).max() * (model.num_pixels + d)
    assert np.abs(found.value - value).max() <= slack
    assert np.abs(found.slope - slope).max() <= 2 * slack


def test_exclusive_units():
    couplings = np.zeros((3, 3))
    couplings[0, 1] = couplings[1, 0] = -np.inf
    couplings[1, 2] = couplings[2, 1] = 0.7
    form = rules_of(fastvi.BoltzmannMachine(couplings, [0.1, 0.2, 0.3])).form(np.zeros(3, bool))
    x = np.empty((1, 0), np.uint8)
    never = expected_log_joint(form, x, np.zeros(3)).value
    assert never[0] == -np.inf
    off = expected_log_joint(form, x, np.array([-np.inf, 0.0, 0.0])).value
    assert off[0] == pytest.approx(0.5 * 0.2 + 0.5 * 0.3 + 0.25 * 0.7, rel=1e-14)


@pytest.mark.slow_without_jit
def test_same_bits_for_any_threads_and_batch(same_bits):
    model = MODELS["several tiles"]
    x, logits = model.sample(9, 2)[1], RNG.normal(size=(9, 15))
    form = rules_of(model).form(np.ones(9, bool), "float64")
    found = same_bits(lambda: expected_log_joint(form, x, logits))
    alone = expected_log_joint(form, x[4:5], logits[4:5])
    assert alone.value[0] == found.value[4]
    assert np.array_equal(alone.slope[0], found.slope[4])
