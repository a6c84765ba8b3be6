"""Exact log p(x) against the definition, in every corner that the fast path has a way around."""

from __future__ import annotations

import itertools
import logging
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import mpmath
import naive
import numpy as np
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

import fastvi
from fastvi.engine.posterior import log_sum
from fastvi.engine.run import slices
from fastvi.engine.run.runs import Run
from fastvi.engine.states import form as forms
from fastvi.engine.states.softplus_form import softplus_form

EPS = np.finfo(float).eps


def random_network(num_pixels, num_latents, seed=0, scale=1.0, bias=0.0, prior_scale=1.0):
    rng = np.random.default_rng(seed)
    return fastvi.SigmoidBeliefNetwork(
        scale * rng.normal(size=(num_pixels, num_latents)),
        bias + scale * rng.normal(size=num_pixels),
        prior_scale * rng.normal(size=num_latents),
    )


def random_data(num_data, num_pixels, seed=1):
    return (np.random.default_rng(seed).random((num_data, num_pixels)) < 0.5).astype(np.uint8)


def rounding(model):
    """A bound on the rounding error of log p(x): each term of c(x) + <t(x), z> - A(z) rounded a few times."""
    largest = np.abs(model.weights).sum() + np.abs(model.bias).sum() + np.abs(model.prior_logits).sum()
    return 16 * EPS * (largest + model.num_pixels + model.num_latents)


def naive_log_marginal(model, x, observed=None):
    masks = [None] * len(x) if observed is None else np.broadcast_to(observed, x.shape)
    parameters = model.weights.tolist(), model.bias.tolist(), model.prior_logits.tolist()
    return [naive.sbn_log_marginal(*parameters, row, mask) for row, mask in zip(x, masks, strict=True)]


@given(strategies.networks_with_data())
def test_equals_the_definition_on_extreme_small_networks(case):
    model, x = case
    assert np.abs(fastvi.log_marginal(model, x) - naive_log_marginal(model, x)).max(initial=0) <= rounding(
        model
    )


@pytest.mark.parametrize("num_latents", range(1, 11))
@pytest.mark.parametrize("num_pixels", [0, 1, 5])
def test_every_small_size(num_pixels, num_latents):
    model = random_network(num_pixels, num_latents, seed=num_latents)
    x = random_data(3, num_pixels)
    assert np.abs(fastvi.log_marginal(model, x) - naive_log_marginal(model, x)).max(initial=0) <= rounding(
        model
    )


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("num_latents", [11, 13, 15, 17])
def test_larger_sizes_against_vectorised_enumeration(num_latents):
    """Several tiles, several waves' worth of outer bits, pixels that are no multiple of a block."""
    model = random_network(37, num_latents, seed=num_latents)
    x = random_data(9, 37)
    states = (np.arange(1 << num_latents)[:, None] >> np.arange(num_latents)) & 1
    eta = states @ model.weights.T + model.bias
    energy = np.logaddexp(0, eta).sum(axis=1) + np.logaddexp(0, model.prior_logits).sum()
    log_joint = x @ eta.T - energy + states @ model.prior_logits
    top = log_joint.max(axis=1)
    expected = top + np.log(np.exp(log_joint - top[:, None]).sum(axis=1))
    assert np.abs(fastvi.log_marginal(model, x) - expected).max(initial=0) <= rounding(model)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**32))
@settings(max_examples=30)
def test_probabilities_of_all_data_sum_to_one(num_pixels, num_latents, seed):
    model = random_network(num_pixels, num_latents, seed)
    x = np.array(list(itertools.product((0, 1), repeat=num_pixels)))
    assert abs(np.exp(fastvi.log_marginal(model, x)).sum() - 1) <= 1e-13


@given(strategies.networks_with_data(elements=st.floats(-3, 3)), st.randoms(use_true_random=False))
def test_the_order_of_latents_and_pixels_does_not_matter(case, random):
    model, x = case
    latents, pixels = list(range(model.num_latents)), list(range(model.num_pixels))
    random.shuffle(latents)
    random.shuffle(pixels)
    shuffled = fastvi.SigmoidBeliefNetwork(
        model.weights[pixels][:, latents], model.bias[pixels], model.prior_logits[latents]
    )
    difference = fastvi.log_marginal(shuffled, x[:, pixels]) - fastvi.log_marginal(model, x)
    assert np.abs(difference).max(initial=0) <= rounding(model)


def exact_log_marginal(model, x):
    """Every operation in 60 digits."""
    with mpmath.workdps(60):
        total = mpmath.mpf(0)
        for z in itertools.product((0, 1), repeat=model.num_latents):
            term = mpmath.mpf(1)
            for logit, bit in zip(model.prior_logits, z, strict=True):
                term /= 1 + mpmath.exp(mpmath.mpf(-float(logit) if bit else float(logit)))
            for row, bias, pixel in zip(model.weights, model.bias, x, strict=True):
                eta = mpmath.mpf(float(bias)) + sum(
                    (mpmath.mpf(float(w)) for w, bit in zip(row, z, strict=True) if bit), mpmath.mpf(0)
                )
                term /= 1 + mpmath.exp(-eta if pixel else eta)
            total += term
        return mpmath.log(total)


def signs(rng, shape):
    return rng.choice([-1.0, 1.0], shape)


HARD = {
    "logits of +-300": lambda r: (300 * signs(r, (6, 5)), 300 * r.normal(size=6), r.normal(size=5)),
    "prior logits of +-1000": lambda r: (r.normal(size=(4, 5)), r.normal(size=4), 1e3 * signs(r, 5)),
    "both": lambda r: (300 * r.normal(size=(5, 4)), 300 * r.normal(size=5), 1e3 * r.normal(size=4)),
    "one pixel": lambda r: (300 * r.normal(size=(1, 6)), r.normal(size=1), r.normal(size=6)),
    "one latent": lambda r: (300 * r.normal(size=(7, 1)), 300 * r.normal(size=7), 1e3 * r.normal(size=1)),
    "a pixel far off": lambda r: (r.normal(size=(3, 4)), np.array([-1e3, 0.0, 1e3]), r.normal(size=4)),
    "one strong pixel among weak": lambda r: (
        np.vstack([500 * r.normal(size=(1, 6)), r.normal(size=(3, 6))]),
        r.normal(size=4),
        r.normal(size=6),
    ),
}


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_hard_cases_against_sixty_digits(name, dtype):
    model = fastvi.SigmoidBeliefNetwork(*HARD[name](np.random.default_rng(5)))
    x = random_data(6, model.num_pixels)
    expected = np.array([float(exact_log_marginal(model, row)) for row in x])
    error = np.abs(fastvi.log_marginal(model, x, dtype=dtype) - expected)
    single = 3 * (model.num_pixels + 1) * 2.0**-24 if dtype == "float32" else 0.0
    assert (error <= 1e-10 * np.maximum(np.abs(expected), 1.0) + single).all()


@pytest.mark.slow_without_jit
@pytest.mark.parametrize(("num_pixels", "scale"), [(784, 0.3), (784, 3.0), (50, 40.0)])
def test_float32_keeps_its_stated_bound(num_pixels, scale):
    model = random_network(num_pixels, 10, scale=scale)
    x = random_data(5, num_pixels)
    error = np.abs(fastvi.log_marginal(model, x, dtype="float32") - fastvi.log_marginal(model, x)).max()
    assert 0 < error <= 3 * (num_pixels + 1) * 2.0**-24


def test_no_data():
    model = random_network(4, 3)
    result = fastvi.log_marginal(model, np.empty((0, 4)))
    assert result.shape == (0,)
    assert result.dtype == np.float64


# ---- the guard --------------------------------------------------------------------------------------------


def test_log_space_path_equals_the_fast_one():
    model = random_network(20, 9)
    x = random_data(7, 20)
    form = softplus_form(model.weights, model.bias, model.prior_logits)
    slow = log_sum.log_space_sums_of(form, form.data.terms(x), np.full(7, -np.inf), Run())
    assert np.abs(slow - fastvi.log_marginal(model, x)).max(initial=0) <= rounding(model)


def test_log_space_path_passes_over_only_what_is_negligible():
    model = random_network(20, 9, scale=4.0)
    x = random_data(7, 20)
    form = softplus_form(model.weights, model.bias, model.prior_logits)
    truth = fastvi.log_marginal(model, x)
    slow = log_sum.log_space_sums_of(form, form.data.terms(x), truth, Run())
    assert np.abs(slow - truth).max(initial=0) <= rounding(model)


def unlikely_case():
    """Strong weights and data that contradict them: no state of large u, v and E has a large product."""
    model = random_network(30, 9, scale=150.0)
    return model, random_data(5, 30)


def test_guard_catches_what_underflows_and_repairs_it(caplog):
    model, x = unlikely_case()
    form = softplus_form(model.weights, model.bias, model.prior_logits)
    batch, sums = form.batch(form.data.terms(x)), forms.Sums.zero(len(x))
    for first in form.wave_starts():
        sums.merge(batch.sums(first))
    truth = np.array(naive_log_marginal(model, x))
    wrong = np.abs(sums.log() - truth) > rounding(model)
    assert wrong.any(), "the case no longer underflows: choose a harder one"
    caught = np.zeros(len(x), bool)
    caught[log_sum.uncertain(form, batch.terms, sums.bound, sums.log())] = True
    assert (caught | ~wrong).all()
    with caplog.at_level(logging.INFO, logger="fastvi"):
        assert np.abs(fastvi.log_marginal(model, x) - truth).max(initial=0) <= rounding(model)
    assert f"{caught.sum()} of 5 data are summed again in log space" in caplog.text


def test_an_easy_case_is_certified_at_once(caplog):
    model = random_network(64, 9, scale=0.5)
    with caplog.at_level(logging.INFO, logger="fastvi"):
        fastvi.log_marginal(model, model.sample(20, 3)[1])
    assert "log space" not in caplog.text


# ---- the same bits ----------------------------------------------------------------------------------------


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("case", ["easy", "repaired"])
def test_same_bits_for_any_number_of_threads(set_threads, case):
    model, x = unlikely_case() if case == "repaired" else (random_network(30, 9), random_data(19, 30))
    results = []
    for threads in ("1", "2", "3", "7"):
        set_threads(threads)
        results.append(fastvi.log_marginal(model, x).tobytes())
    assert len(set(results)) == 1


def test_same_bits_for_a_datum_in_any_batch():
    model, x = random_network(30, 9), random_data(13, 30)
    whole = fastvi.log_marginal(model, x)
    alone = np.concatenate([fastvi.log_marginal(model, row[None]) for row in x])
    assert whole.tobytes() == alone.tobytes()


def test_same_bits_for_chunks_and_waves_of_any_number_of_workers(monkeypatch):
    model, x = random_network(12, 9), random_data(11, 12)
    whole = fastvi.log_marginal(model, x)
    monkeypatch.setattr(slices, "CHUNK_DATA", 4)
    assert fastvi.log_marginal(model, x).tobytes() == whole.tobytes()
    with ThreadPoolExecutor(3) as executor:
        assert fastvi.log_marginal(model, x, executor=executor).tobytes() == whole.tobytes()


@pytest.mark.slow_without_jit
def test_same_bits_from_a_pool_of_processes(monkeypatch):
    model, x = random_network(12, 12), random_data(11, 12)
    whole = fastvi.log_marginal(model, x)
    with ProcessPoolExecutor(2) as executor:
        assert fastvi.log_marginal(model, x, executor=executor).tobytes() == whole.tobytes()


@pytest.mark.slow_without_jit
def test_waves_of_any_size_agree_to_rounding(monkeypatch):
    model, x = random_network(12, 13), random_data(11, 12)
    whole = fastvi.log_marginal(model, x)
    monkeypatch.setattr(forms, "WAVE_TILES", 3)
    assert np.abs(fastvi.log_marginal(model, x) - whole).max(initial=0) <= rounding(model)


# ---- observed ---------------------------------------------------------------------------------------------


@given(strategies.networks_with_data(elements=st.floats(-5, 5)), st.data())
def test_unseen_pixels_are_summed_out(case, data):
    model, x = case
    shape = data.draw(st.sampled_from([(model.num_pixels,), x.shape]))
    observed = np.array(data.draw(strategies.bits(shape))).astype(bool)
    result = fastvi.log_marginal(model, x, observed=observed)
    assert np.abs(result - naive_log_marginal(model, x, observed)).max(initial=0) <= rounding(model)


def test_unseen_pixels_may_hold_anything():
    model = random_network(3, 4)
    observed = np.array([True, False, True])
    seen = fastvi.log_marginal(model, [[1, np.nan, 0], [1, 7, 0]], observed=observed)
    assert seen[0] == seen[1] == fastvi.log_marginal(model, [[1, 0, 0]], observed=observed)[0]


def test_nothing_seen_has_probability_one():
    model = random_network(3, 4)
    assert abs(fastvi.log_marginal(model, [[0, 0, 0]], observed=np.zeros(3, bool))[0]) <= rounding(model)


# ---- progress, limits -------------------------------------------------------------------------------------


def test_progress_counts_all_states(capsys):
    model, x = random_network(5, 9), random_data(2, 5)
    seen = []
    fastvi.log_marginal(model, x, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (512, 512)
    fastvi.log_marginal(model, x, progress=True)
    assert "100.0% of 512 states" in capsys.readouterr().err


def test_too_many_states_are_refused_with_the_plan_in_the_text():
    model = random_network(2, 41)
    with pytest.raises(
        ValueError, match=r"^max_states is 1099511627776 .*1 data under 2\^41 states of 2 pixels"
    ):
        fastvi.log_marginal(model, [[0, 1]])
    with pytest.raises(ValueError, match=r"^memory_limit is 1,000 bytes, but 1 data under 2\^9 states"):
        fastvi.log_marginal(random_network(2, 9), [[0, 1]], memory_limit=1000)


# ---- tables -----------------------------------------------------------------------------------------------


@given(strategies.joint_tables())
def test_table_against_the_definition(table):
    expected = [naive.joint_table_log_marginal(table.probabilities.tolist(), x) for x in range(table.num_x)]
    result = fastvi.log_marginal(table)
    assert np.array_equal(np.isneginf(result), np.isneginf(expected))
    finite = np.isfinite(expected)
    assert np.allclose(result[finite], np.array(expected)[finite], rtol=0, atol=1e-13)


def test_table_of_eye_colours_keeps_its_printed_sums():
    eyes = [
        [0.02, 0.03, 0.02, 0.01, 0.07, 0.03, 0.01, 0.00],
        [0.09, 0.01, 0.03, 0.03, 0.08, 0.04, 0.03, 0.06],
        [0.01, 0.01, 0.08, 0.06, 0.07, 0.08, 0.06, 0.06],
    ]
    table = fastvi.JointTable(eyes, unnormalized=True)
    assert np.allclose(np.exp(fastvi.log_marginal(table)), [0.19, 0.37, 0.43], rtol=1e-14)
    unseen = fastvi.log_marginal(table, [0, 1], observed=np.array([[True], [False]]))
    assert np.allclose(np.exp(unseen), [0.19, 0.99], rtol=1e-14)
