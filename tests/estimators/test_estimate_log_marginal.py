"""Importance sampling against the definition on the same draws, against the truth, and in every corner."""

from __future__ import annotations

import math

import naive
import numpy as np
import pytest
import strategies
from cases import bernoulli, network, parameters_of, random_bits
from hypothesis import given
from hypothesis import strategies as st
from interpreted import few_without_jit
from tolerances import rounding

import fastvi
from fastvi.engine.importance import softplus_target
from fastvi.kernels.cpu.random.draws import bernoulli_draws
from fastvi.weights.summary import Summary


def reference_log_weights(model, x, logits, num_samples, seed):
    """log p(x, z) - log q(z) of the library's draws, by the definitions, (N, K)."""
    all_logits = np.ascontiguousarray(np.broadcast_to(logits, (len(x), model.num_latents)))
    z = bernoulli_draws(all_logits, num_samples, seed).tolist()
    parameters = parameters_of(model)
    return np.array(
        [
            [
                naive.sbn_log_joint(*parameters, row, z[k][n])
                - naive.bernoulli_log_prob(z[k][n], all_logits[n].tolist())
                for k in range(num_samples)
            ]
            for n, row in enumerate(x.tolist())
        ]
    ).reshape(len(x), num_samples)


def proposals(model, num_data):
    rng = np.random.default_rng(9)
    return {
        "uniform": ("uniform", np.zeros(model.num_latents)),
        "prior": ("prior", model.prior_logits),
        "shared": (q := bernoulli(model.num_latents, seed=rng), q.logits),
        "per datum": (q := bernoulli(num_data, model.num_latents, seed=rng), q.logits),
    }


@pytest.mark.parametrize("way", ["table", "bytes"])
@pytest.mark.parametrize("name", ["uniform", "prior", "shared", "per datum"])
@pytest.mark.parametrize("case", [(5, 1, 1.0), (0, 3, 1.0), (37, 9, 1.0), (6, 4, 200.0), (20, 17, 3.0)])
def test_every_number_is_that_of_the_same_draws(monkeypatch, way, name, case):
    num_pixels, num_latents, scale = case
    monkeypatch.setattr(softplus_target, "_TABLE_LATENTS", 9 if way == "table" else 0)
    model, x = network(num_pixels, num_latents, scale=scale), random_bits(3, num_pixels)
    proposal, logits = proposals(model, 3)[name]
    estimate = fastvi.estimate_log_marginal(model, x, proposal=proposal, num_samples=50, seed=4)
    log_w = reference_log_weights(model, x, logits, 50, 4)
    w = np.exp(log_w - log_w.max(axis=1, keepdims=True))
    share = w / w.sum(axis=1, keepdims=True)
    slack = rounding(model)
    expected = log_w.max(axis=1) + np.log(w.mean(axis=1))
    assert np.abs(estimate.log_marginal - expected).max() <= slack
    assert np.allclose(estimate.ess, 1 / (share**2).sum(axis=1), rtol=100 * slack)
    assert np.allclose(estimate.max_weight_share, share.max(axis=1), rtol=100 * slack)
    single = estimate.max_weight_share >= 1 - 1e-15
    error = w.std(axis=1, ddof=1) / math.sqrt(50) / w.mean(axis=1)
    assert np.allclose(estimate.std_error[~single], error[~single], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "kind",
    few_without_jit(["network", "deep network", "many latents", "restricted machine"], ["deep network"]),
)
def test_float32_is_within_its_bound_of_float64(kind):
    """One sample is one weight: the draws are the same, so that its error is that of the products."""
    num_latents = 70 if kind == "many latents" else 9
    model = network(37, num_latents, scale=2.0)
    if kind == "restricted machine":
        model = fastvi.RestrictedBoltzmannMachine(model.weights, model.bias, model.prior_logits)
    elif kind == "deep network":
        model = fastvi.SigmoidBeliefNetwork(model.weights, model.bias, prior=network(9, 4))
    observed = np.arange(37) % 3 > 0 if kind == "restricted machine" else None
    x, q = random_bits(20, 37), bernoulli(num_latents, seed=2)
    options = {"proposal": q, "seed": 4, "observed": observed, "normalized": False}
    for num_samples in (1, 50):
        exact, rounded = (
            fastvi.estimate_log_marginal(model, x, num_samples=num_samples, dtype=dtype, **options)
            for dtype in ("float64", "float32")
        )
        off = np.abs(rounded.log_marginal - exact.log_marginal)
        assert off.max() <= (3 * num_latents / 8 + 3) * 38 * 2.0**-24
        assert off.max() > 0
    # a ratio of averages of weights, each off by twice as much at most
    assert np.allclose(rounded.ess, exact.ess, rtol=8 * (3 * num_latents / 8 + 3) * 38 * 2.0**-24)


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (fastvi.BoltzmannMachine(np.zeros((3, 3)), np.zeros(3)), np.zeros((1, 3), np.uint8)),
        (fastvi.JointTable([[0.5, 0.5]]), [0]),
    ],
)
def test_models_without_products_over_pixels_have_no_float32(model, x):
    with pytest.raises(ValueError, match=r"^dtype must be 'float64' .*, got 'float32' for (Bolt|Joint)\w+$"):
        fastvi.estimate_log_marginal(model, x, dtype="float32")


@given(strategies.networks_with_data(elements=st.floats(-3, 3)), st.integers(0, 2**64 - 1))
def test_one_sample_is_one_weight(case, seed):
    model, x = case
    estimate = fastvi.estimate_log_marginal(model, x, proposal="prior", num_samples=1, seed=seed)
    log_w = reference_log_weights(model, x, model.prior_logits, 1, seed)
    assert np.abs(estimate.log_marginal - log_w[:, 0]).max(initial=0) <= rounding(model)
    assert np.isinf(estimate.std_error).all()


@pytest.mark.slow_without_jit
def test_estimates_are_within_their_errors_of_the_truth():
    model = network(16, 6)
    x = model.sample(40, 2)[1]
    truth = fastvi.log_marginal(model, x)
    for proposal in ("prior", fastvi.fit_posterior(model, x).q):
        estimate = fastvi.estimate_log_marginal(model, x, proposal=proposal, num_samples=20000)
        assert (np.abs(estimate.log_marginal - truth) <= 4.5 * estimate.std_error).all()
        low, high = estimate.interval(0.5)
        inside = ((low <= truth) & (truth <= high)).mean()
        assert 0.2 < inside < 0.8  # half of 40, give or take 3.8 standard deviations


def test_the_posterior_as_proposal_has_no_error():
    model = fastvi.SigmoidBeliefNetwork(np.diag([1.0, -2.0, 0.5]), np.zeros(3), [0.3, -0.7, 0.0])
    x = np.array([[1, 0, 1], [0, 0, 0]])
    estimate = fastvi.estimate_log_marginal(
        model, x, proposal=fastvi.fit_posterior(model, x).q, num_samples=200
    )
    assert np.allclose(estimate.log_marginal, fastvi.log_marginal(model, x), rtol=0, atol=1e-12)
    assert (estimate.std_error == 0).all()
    assert np.allclose(estimate.ess, 200, rtol=1e-12)
    assert (estimate.pareto_k == -np.inf).all()
    assert "WARNING" not in repr(estimate)


def test_certain_proposals():
    """Probabilities 0 and 1: every sample is the same state, and the estimate its log joint."""
    model, x = network(6, 3), random_bits(2, 6)
    q = fastvi.Bernoulli(np.array([np.inf, -np.inf, np.inf]))
    estimate = fastvi.estimate_log_marginal(model, x, proposal=q, num_samples=30)
    assert np.allclose(estimate.log_marginal, model.log_joint(x, [1, 0, 1]), rtol=0, atol=1e-12)
    assert (estimate.std_error == 0).all()


def summary_of(rows):
    rows = np.array(rows, dtype=float)
    summary = Summary(*rows.shape)
    for n, row in enumerate(rows):
        summary.add(n, row)
    return summary.estimate()


def test_defined_answers_where_weights_are_degenerate():
    inf = np.inf
    estimate = summary_of([[-2.0] * 4, [-inf] * 4, [-inf, 3.0, -inf, -inf], [1e3, -1e3, 0.0, 1e3]])
    expected = [-2.0, -inf, 3.0 - math.log(4), 1e3 + math.log(0.5)]
    assert np.allclose(estimate.log_marginal, expected, rtol=1e-15)
    assert np.allclose(estimate.ess, [4, 0, 1, 2], rtol=1e-14)
    assert np.allclose(estimate.max_weight_share, [0.25, np.nan, 1, 0.5], equal_nan=True)
    assert np.allclose(estimate.std_error, [0, np.nan, inf, math.sqrt(1 / 3)], equal_nan=True)
    assert np.isnan(estimate.pareto_k[1])
    assert estimate.pareto_k[0] == -inf
    text = repr(estimate)
    assert "WARNING: pareto_k > -0.661 for 3 of 4" in text  # 1 - 1 / log10(4)
    assert "WARNING: ess < 10 for 4 of 4" in text
    for bad in (inf, np.nan):
        with pytest.raises(ValueError, match=r"finite or -inf, got NaN or \+inf for datum 1"):
            summary_of([[0.0, 1.0], [0.0, bad]])


def test_interval():
    estimate = summary_of([[0.0, 1.0, 2.0, 0.5] * 10])
    low, high = estimate.interval()
    assert np.allclose((high - low) / estimate.std_error, 2 * 1.959963984540054, rtol=1e-12)
    for level, error in ((0.0, ValueError), (1.0, ValueError), (np.nan, ValueError), ("a", TypeError)):
        with pytest.raises(error, match=r"^level must"):
            estimate.interval(level)


def test_same_bits_for_any_number_of_threads(same_bits):
    model, x = network(20, 11), random_bits(9, 20)
    same_bits(lambda: fastvi.estimate_log_marginal(model, x, proposal="prior", num_samples=30, seed=5))


def test_seed_and_datum_decide_the_draws():
    model, x = network(8, 11), random_bits(1, 8).repeat(4, axis=0)
    values = fastvi.estimate_log_marginal(model, x, num_samples=20, seed=1).log_marginal
    assert len(set(values.tolist())) == 4  # equal data have draws of their own
    first = fastvi.estimate_log_marginal(model, x[:1], num_samples=20, seed=1).log_marginal
    assert abs(first[0] - values[0]) <= rounding(model)
    other = fastvi.estimate_log_marginal(model, x, num_samples=20, seed=2).log_marginal
    assert not np.isin(other, values).any()


def test_progress_counts_samples():
    model, x = network(5, 3), random_bits(4, 5)
    for options in ({}, {"target_ess": 5.0, "num_samples": 10**9}):
        seen = []
        fastvi.estimate_log_marginal(
            model, x, progress=lambda done, total, seen=seen: seen.append((done, total)), **options
        )
        total = 4 * options.get("num_samples", 1000)
        assert seen[-1] == (total, total)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("proposal", ["uniform", "prior"])
def test_tables(proposal):
    table = fastvi.JointTable([[0.1, 0.2, 0.0], [0.3, 0.4, 0.0]])
    estimate = fastvi.estimate_log_marginal(table, [0, 1, 1], proposal=proposal, num_samples=20000, seed=3)
    truth = fastvi.log_marginal(table, [0, 1, 1])
    assert (np.abs(estimate.log_marginal - truth) <= 4.5 * estimate.std_error).all()
    assert (estimate.std_error < 0.02).all()


def test_table_with_an_impossible_value():
    table = fastvi.JointTable([[0.0, 0.0], [0.5, 0.5]])
    estimate = fastvi.estimate_log_marginal(table, [0, 1], num_samples=10)
    assert estimate.log_marginal[0] == -np.inf
    assert np.isnan(estimate.std_error[0])
    assert abs(estimate.log_marginal[1]) < 1e-15


def test_no_data():
    estimate = fastvi.estimate_log_marginal(network(4, 3), np.empty((0, 4)))
    assert estimate.log_marginal.shape == estimate.ess.shape == (0,)
    assert repr(estimate) == "Estimate(num_data=0, num_samples=1000)"
