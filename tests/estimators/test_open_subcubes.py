"""``estimate_log_marginal(proposal=bounds)``: unbiased, weights bounded, the same bits whatever runs it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cases import network, states, symmetric
from scipy.optimize import minimize

import fastvi
from fastvi.core.registry import rules_of
from fastvi.engine.sampling import run_jobs
from fastvi.engine.subcubes import open_subcubes, quadratic_subcubes, softplus_subcubes
from fastvi.kernels.cpu.subcubes.open_weights import weigh_open

# of F at which a tangent's Newton steps end, and roundings
NEAR = 1.1e-3


@pytest.fixture(autouse=True)
def small_leaves(monkeypatch):
    """Sum 2^3 states at a time, so that searches of ten latents leave something open."""
    monkeypatch.setattr(softplus_subcubes, "_LEAF_BITS", 3)


def case(num_latents=10, num_data=4, scale=1.5, num_pixels=9):
    model = network(num_pixels, num_latents, seed=num_latents, scale=scale)
    return model, model.sample(num_data, 3).x


def sums(model, x):
    """log p(x, z) of all states (N, 2^d), by the definition."""
    z = states(model.num_latents).astype(float)
    eta = z @ model.weights.T + model.bias
    prior = model.prior_logits * z - np.logaddexp(0.0, model.prior_logits)
    return x.astype(float) @ eta.T - np.logaddexp(0.0, eta).sum(axis=1) + prior.sum(axis=1)


def log_sum(values):
    return np.logaddexp.reduce(values, axis=-1)


def best_tangent(model, x, subcube):
    """max_q <t, q> + c + H(q) - A(q), q in the subcube: by SciPy, in logits."""
    free = subcube == -1

    def minus(logits):
        q = subcube.astype(float)
        q[free] = 1.0 / (1.0 + np.exp(-logits))
        entropy = np.logaddexp(0.0, logits).sum() - q[free] @ logits
        eta = model.weights @ q + model.bias
        prior = model.prior_logits @ q - np.logaddexp(0.0, model.prior_logits).sum()
        return -(x @ eta + prior + entropy - np.logaddexp(0.0, eta).sum())

    return -minimize(minus, np.zeros(free.sum())).fun if free.any() else -minus(np.zeros(0))


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("num_latents", [4, 7, 10])
@pytest.mark.parametrize("scale", [0.5, 3.0])
@pytest.mark.parametrize("max_bounds", [1, 7, 61])
def test_it_is_unbiased_and_no_weight_exceeds_the_bound(num_latents, scale, max_bounds):
    model, x = case(num_latents, scale=scale)
    bounds = fastvi.log_marginal_bounds(model, x, tolerance=1e-9, max_bounds=max_bounds)
    truth = log_sum(sums(model, x))
    found = fastvi.estimate_log_marginal(model, x, proposal=bounds, num_samples=2000, seed=5)
    # 72 numbers of fixed seeds: 4.5 standard errors are exceeded once in 2,000 such tests
    assert (np.abs(found.log_marginal - truth) <= 4.5 * found.std_error + 1e-12).all()
    (left,) = bounds._open
    for n in range(len(x)):
        own = left.covers.bounds[left.covers.first[n] : left.covers.first[n + 1]]
        most = log_sum(np.array([left.covers.closed[n], *own]))
        assert found.log_marginal[n] + np.log(2000 * found.max_weight_share[n]) <= most + NEAR
        # the variance of what is at most M is at most M times its mean
        assert found.std_error[n] <= 1.5 * np.sqrt(np.expm1(most - truth[n] + NEAR) / 2000) + 1e-12


@pytest.mark.parametrize("scale", [30.0, 300.0])
def test_halves_have_no_larger_bounds_than_the_whole(scale):
    """Where logits are so large that tangents of halves may be worse by hundreds of nats."""
    model, x = case(10, 4, scale, 20)
    for max_bounds in (9, 50):
        bounds = fastvi.log_marginal_bounds(model, x, max_bounds=max_bounds)
        whole = fastvi.log_marginal_bounds(model, x, max_bounds=1).upper
        (left,) = bounds._open
        for n in range(len(x)):
            own = left.covers.bounds[left.covers.first[n] : left.covers.first[n + 1]]
            assert (own <= whole[n]).all()


@pytest.mark.slow_without_jit
def test_more_bounds_leave_less_to_sample():
    model, x = case()
    errors = []
    for max_bounds in (1, 40, 120, 1000):
        bounds = fastvi.log_marginal_bounds(model, x, tolerance=1e-9, max_bounds=max_bounds)
        errors.append(fastvi.estimate_log_marginal(model, x, proposal=bounds).std_error)
    assert (errors[0] > 3.0 * errors[2]).all()
    assert (errors[3] == 0.0).all()  # nothing is left
    found = fastvi.estimate_log_marginal(model, x, proposal=bounds)
    assert np.abs(found.log_marginal - log_sum(sums(model, x))).max() < 1e-12
    assert (found.ess == 1000).all()
    assert (found.pareto_k == -np.inf).all()


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0, 100.0])
def test_tangents_bound_each_state(scale):
    """p(x, z) <= exp(U) q(z) for all z of a subcube, and U is near the best."""
    model, x = case(6, 2, scale)
    form = rules_of(model).subcube_form(np.ones(9, bool))
    terms, rng = form.terms(x), np.random.default_rng(1)
    subcubes = rng.integers(-1, 2, size=(12, 6)).astype(np.int8)
    subcubes[0], subcubes[1, :] = -1, [-1, 1, 0, 1, 0, 1]
    members = np.arange(12) % 2
    upper, fields = form.tangents(terms, members, subcubes)
    joint, z = sums(model, x), states(6)[:, form.order]
    error = form.error(terms)[0]
    for n, subcube in enumerate(subcubes):
        inside = ((subcube == -1) | (z == subcube)).all(axis=1)
        own = joint[members[n], inside]
        signed = np.where(z[inside] == 1, fields[n], -fields[n])
        log_q = -np.logaddexp(0.0, -signed).sum(axis=1)
        assert np.abs(log_sum(log_q)) < 1e-12  # q is a distribution over the subcube
        assert (own <= upper[n] + log_q + error).all()
        if scale <= 5.0:
            assert upper[n] <= best_tangent(model, x[members[n]], subcube[np.argsort(form.order)]) + NEAR


@pytest.mark.parametrize("bounds", [[0.0], [-800.0, 0.0, -1.0], [np.inf, 3.0, -5.0, np.inf], [np.inf] * 2])
def test_no_subcube_is_left_out(bounds):
    cumulative, log_shares = open_subcubes.shares(np.array(bounds))
    assert cumulative[-1] == 1.0
    assert (cumulative * 2.0**53 % 1.0 == 0.0).all()
    assert np.allclose(np.exp(log_shares), np.diff(cumulative, prepend=0.0), rtol=1e-15, atol=0.0)
    assert (log_shares > np.log(2.0**-30 / len(bounds)) - 1e-6).all()


def test_weights_of_states():
    """Every case of log(C + p / (pi q)), by the definition."""
    rng = np.random.default_rng(3)
    bits, picks = rng.integers(0, 2, size=(8, 35)), np.arange(8) % 3
    log_shares, one, zero = rng.normal(size=3), rng.normal(size=(3, 35)), rng.normal(size=(3, 35))
    words = np.zeros((2, 8), np.int64)
    for i in range(35):
        words[i // 32] |= bits[:, i] << (i % 32)
    joint = np.array([-3.0, -np.inf, 800.0, -800.0, 0.0, 1.0, 2.0, -np.inf])
    log_q = np.array([np.where(bits[k], one[p], zero[p]).sum() + log_shares[p] for k, p in enumerate(picks)])
    for closed in (-np.inf, -2.0, 700.0):
        found = joint.copy()
        weigh_open(words, picks, log_shares, zero, one, closed, found)
        # sums of 36 numbers near 1, and a logarithm
        assert np.allclose(found, np.logaddexp(closed, joint - log_q), rtol=1e-14, atol=1e-12)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("max_bounds", [1, 9, 60])
def test_quadratic_models(monkeypatch, max_bounds):
    """Their bounds hold for more than a product of coins, so that a weight may exceed them."""
    of = quadratic_subcubes.QuadraticSubcubes.of
    monkeypatch.setattr(quadratic_subcubes.QuadraticSubcubes, "of", lambda parts: of(parts, 3))
    rng = np.random.default_rng(4)
    coding = fastvi.BinarySparseCoding(rng.normal(size=(6, 9)), np.zeros(6), 0.7, -np.ones(9))
    pairs = symmetric(rng.normal(size=(9, 9)))
    pairs[0, 5] = pairs[5, 0] = -np.inf
    machine, seen = fastvi.BoltzmannMachine(pairs, rng.normal(size=9)), np.arange(9) < 2
    units = np.array([[1, 0] + [0] * 7, [0, 1] + [0] * 7])
    for model, x, observed in ((coding, coding.sample(2, 1).x, None), (machine, units, seen)):
        bounds = fastvi.log_marginal_bounds(model, x, observed=observed, max_bounds=max_bounds)
        found = fastvi.estimate_log_marginal(model, x, proposal=bounds, observed=observed, num_samples=2000)
        truth = fastvi.log_marginal(model, x, observed=observed)
        assert (np.abs(found.log_marginal - truth) <= 4.5 * found.std_error + 1e-10).all()


def test_missing_pixels():
    model, x = case()
    seen = np.random.default_rng(2).random(x.shape) < 0.7
    seen[0], seen[1] = False, seen[2]
    bounds = fastvi.log_marginal_bounds(model, x, observed=seen, max_bounds=20)
    found = fastvi.estimate_log_marginal(model, x, proposal=bounds, observed=seen, seed=1)
    truth = fastvi.log_marginal(model, x, observed=seen)
    assert (np.abs(found.log_marginal - truth) <= 4.0 * found.std_error + 1e-12).all()
    assert np.abs(found.log_marginal[0]) < 1e-12  # nothing is seen


@pytest.mark.slow_without_jit
def test_same_bits_for_threads_workers_and_batches(monkeypatch, same_bits):
    model, x = case()
    bounds = fastvi.log_marginal_bounds(model, x, max_bounds=20)

    def ask(count=4, **options):
        found = fastvi.estimate_log_marginal(
            model, x[:count], proposal=bounds[:count], num_samples=150, seed=9, **options
        )
        return found.log_marginal, found.std_error, found.ess, found.max_weight_share

    monkeypatch.setattr(run_jobs, "CHUNK", 64)
    whole = same_bits(ask)
    with ThreadPoolExecutor(2) as pool:
        assert np.array_equal(ask(executor=pool), whole)
    monkeypatch.setattr(open_subcubes, "_TOGETHER", 1)
    assert np.array_equal(ask(), whole)
    assert np.array_equal(ask(2), np.array(whole)[:, :2])
    # bounds of some data in another order are those of these data
    order = [2, 0]
    found = fastvi.estimate_log_marginal(model, x[order], proposal=bounds[order], num_samples=150)
    assert (np.abs(found.log_marginal - log_sum(sums(model, x[order]))) <= 4.0 * found.std_error).all()


@pytest.mark.slow_without_jit
def test_targets_and_float32():
    model, x = case()
    bounds = fastvi.log_marginal_bounds(model, x, max_bounds=20)
    ask = lambda **options: fastvi.estimate_log_marginal(  # noqa: E731
        model, x, proposal=bounds, num_samples=20_000, **options
    )
    stopped = ask(target_std_error=0.05)
    assert (stopped.std_error <= 0.05).all()
    assert (stopped.num_samples < 20_000).all()
    # (3 d / 8 + 3) (D + 1) 2^-24
    assert np.abs(ask(dtype="float32").log_marginal - ask().log_marginal).max() < 7 * 10 * 2.0**-24


def test_impossible_states_and_large_logits():
    model = fastvi.SigmoidBeliefNetwork(1e3 * np.eye(5), -500.0 * np.ones(5), np.zeros(5))
    x = np.array([[1, 0, 1, 0, 0], [0, 0, 0, 1, 1]])
    for max_bounds in (1, 3, 100):
        bounds = fastvi.log_marginal_bounds(model, x, max_bounds=max_bounds)
        found = fastvi.estimate_log_marginal(model, x, proposal=bounds, num_samples=500)
        assert (np.abs(found.log_marginal - 5.0 * np.log(0.5)) <= 4.5 * found.std_error + 1e-11).all()
    assert (found.std_error == 0.0).all()


MODEL, X = case(5, 2)
BOUNDS = fastvi.log_marginal_bounds(MODEL, X, max_bounds=1)
OTHERS = network(9, 5, seed=99)
SMALL, RESTRICTED = (
    network(9, 4),
    fastvi.RestrictedBoltzmannMachine(np.ones((9, 5)), np.zeros(9), np.zeros(5)),
)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"x": X[:1]}, ValueError, "proposal must be bounds of as many data as x has, 1, got Bounds"),
        (
            {"x": 1 - X},
            ValueError,
            r"proposal must be bounds of this model and of these data \(x,",
        ),
        ({"x": X[::-1]}, ValueError, "proposal must be bounds of this model and of these data"),
        ({"model": OTHERS}, ValueError, "proposal must be bounds of this model and of these data"),
        ({"model": SMALL}, ValueError, "proposal must be bounds of this model and of these data"),
        ({"observed": np.arange(9) < 5}, ValueError, "proposal must be bounds of this model and of these"),
        ({"proposal": BOUNDS.lower}, TypeError, "proposal must be 'uniform', 'prior', a Bernoulli"),
        ({"model": RESTRICTED}, TypeError, "(proposal|model) must be"),
        (
            {"device": "cuda"},
            RuntimeError,
            "device='cuda' is not available: open subcubes are sampled on",
        ),
    ],
)
def test_wrong_arguments(change, error, text):
    arguments = {"model": MODEL, "x": X, "proposal": BOUNDS} | change
    with pytest.raises(error, match=f"^{text}"):
        fastvi.estimate_log_marginal(**arguments)


def test_no_data():
    bounds = fastvi.log_marginal_bounds(MODEL, X[:0])
    assert fastvi.estimate_log_marginal(MODEL, X[:0], proposal=bounds).log_marginal.shape == (0,)


def test_bounds_of_some_data():
    """A datum that is asked for twice has its open subcubes twice."""
    model, x = case()
    bounds = fastvi.log_marginal_bounds(model, x, max_bounds=9)
    whole = fastvi.estimate_log_marginal(model, x, proposal=bounds, num_samples=200)
    some = fastvi.estimate_log_marginal(model, x[[0, 0, 3]], proposal=bounds[[0, 0, 3]], num_samples=200)
    assert some.log_marginal[0] == whole.log_marginal[0]
    assert (some.std_error > 0.0).all()
    exact = fastvi.log_marginal(model, x[[0, 0, 3]])
    assert (np.abs(some.log_marginal - exact) < 5 * some.std_error).all()
