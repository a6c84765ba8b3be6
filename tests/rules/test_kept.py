"""Tables that stay with a small model: the same bits as without, in no pickle, few, gone with the model."""

from __future__ import annotations

import gc
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor

import naive
import numpy as np
import pytest
from cases import bernoulli, machine, network, parameters_of, random_bits, restricted, sparse_coding

import fastvi
from fastvi.core.registry import rules_of
from fastvi.rules import kept

MODELS = {
    "network": lambda: network(7, 5, 1),
    "machine": lambda: machine(5, 2, 0.5),
    "restricted": lambda: restricted(6, 4, 3, 0.5),
    "sparse coding": lambda: sparse_coding(6, 4, 4),
}


def answers(model, x, observed=None):
    """Arrays that several questions give, each with its own tables; x may not be seen whole."""
    q = bernoulli(model.num_latents, seed=5)
    posterior = fastvi.exact_posterior(model, x, observed=observed)
    sampled = fastvi.estimate_log_marginal(model, x, observed=observed, proposal="uniform", num_samples=50)
    found = [
        fastvi.log_marginal(model, x, observed=observed),
        posterior.mean,
        posterior.entropy,
        fastvi.elbo(model, x, q, observed=observed).value,
        sampled.std_error,
    ]
    if observed is None:
        found += fastvi.log_marginal_gradient(model, x).values()
    return [array.tobytes() for array in found]


@pytest.mark.parametrize("name", MODELS)
def test_bits_do_not_tell_whether_tables_were_kept(name):
    model = MODELS[name]()
    x = random_bits(3, model.num_pixels) if name != "sparse coding" else model.sample(3, 1).x
    mask = random_bits(3, model.num_pixels, 8).astype(bool)
    first, masked = answers(model, x), answers(model, x, mask)
    assert "_kept" in vars(rules_of(model))
    for _ in range(2):  # made again for the mask, and kept
        assert answers(model, x) == first
    assert answers(model, x, mask) == masked
    again = MODELS[name]()
    assert answers(again, x, mask) == masked
    assert answers(again, x) == first


def test_a_network_is_what_it_is_by_definition_when_asked_again():
    model = network(6, 4, 2)
    x = random_bits(4, 6)
    expected = [naive.sbn_log_marginal(*parameters_of(model), row) for row in x.tolist()]
    for _ in range(3):  # sums of 16 states and 6 pixels: some tens of roundings of numbers below 100
        np.testing.assert_allclose(fastvi.log_marginal(model, x), expected, rtol=0, atol=1e-12)


def test_nobody_writes_to_tiles_that_are_kept():
    model = network(9, 10, 3)
    x = random_bits(5, 9)
    answers(model, x)
    fastvi.fit_posterior(model, x, max_steps=2)
    fastvi.exact_posterior(model, x).sample(3, 1)
    form = rules_of(model).kept_form(np.ones(9, bool))
    tiles = vars(form)["_kept"]
    assert {False, True} < set(tiles)  # weights and their logarithms
    fresh = rules_of(model).form(np.ones(9, bool))
    for in_log_space in (False, True):
        again = fresh.fill_wave(0, in_log_space=in_log_space)
        for ours, theirs in zip(tiles[in_log_space], again, strict=True):
            assert ours.tobytes() == theirs.tobytes()
    assert form.log_totals(tiles[False][0]).tobytes() == fresh.log_totals(fresh.fill_wave(0)[0]).tobytes()


def test_no_pickle_holds_tables():
    model = network(9, 8, 4)
    x, size = random_bits(2, 9), len(pickle.dumps(model))
    posterior = fastvi.exact_posterior(model, x)
    before = len(pickle.dumps(posterior))  # of a form whose tiles were filled
    assert b"_kept" not in pickle.dumps(posterior)
    answers(model, x)
    assert len(pickle.dumps(model)) == size
    assert len(pickle.dumps(posterior)) == before
    copy = pickle.loads(pickle.dumps(model))
    assert copy == model
    assert hash(copy) == hash(model)
    assert answers(copy, x) == answers(model, x)


def test_few_models_keep_tables():
    models = [network(4, 3, seed) for seed in range(kept.MOST_MODELS + 3)]
    x = random_bits(1, 4)
    first = [fastvi.log_marginal(model, x) for model in models]
    keeping = ["_kept" in vars(rules_of(model)) for model in models]
    assert keeping == [False] * 3 + [True] * kept.MOST_MODELS
    assert [fastvi.log_marginal(model, x) for model in models] == first


@pytest.mark.slow_without_jit
def test_large_tables_are_not_kept():
    model = network(2000, 9, scale=0.05)
    rules, everything = rules_of(model), np.ones(2000, bool)
    assert rules.memory(everything).tables > kept.MOST_BYTES
    fastvi.log_marginal(model, random_bits(1, 2000))
    assert "form" not in vars(rules).get("_kept", {})


def test_tables_are_gone_with_their_model():
    model = network(4, 3, 5)
    fastvi.log_marginal(model, random_bits(1, 4))
    form = weakref.ref(rules_of(model).kept_form(np.ones(4, bool)))
    assert form() is not None
    del model
    gc.collect()
    assert form() is None


def test_threads_share_a_model_whose_masks_take_turns():
    model = network(8, 6, 6)
    x = random_bits(1, 8)
    masks = [np.arange(8) != hidden for hidden in range(8)]
    expected = [fastvi.log_marginal(network(8, 6, 6), x, observed=mask)[0] for mask in masks]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda k: fastvi.log_marginal(model, x, observed=masks[k % 8])[0], range(64)))
    assert found == expected * 8
