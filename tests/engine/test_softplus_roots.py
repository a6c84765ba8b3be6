"""Bounds of the whole cube under A(z) = sum_j softplus(W z + b)_j: true ones, and nearly the best ones."""

from __future__ import annotations

import naive_roots as naive
import numpy as np
import pytest

from fastvi.engine.states.data_terms import Terms
from fastvi.engine.subcubes.softplus_roots import softplus_lower, softplus_roots
from fastvi.engine.subcubes.softplus_subcubes import softplus_subcubes

EPS = 2.0**-52


def draw(rng, num_data=2, largest=8):
    """A network of any scale, and the terms of some data."""
    num_bits, num_pixels = int(rng.integers(1, largest + 1)), int(rng.integers(0, 20))
    scale = 10.0 ** rng.uniform(-4.0, 3.5)
    weights = scale * rng.normal(size=(num_pixels, num_bits))
    weights[rng.random(weights.shape) < rng.choice([0.0, 0.5, 0.9])] = 0.0
    bias = scale * rng.choice([0.0, 1.0, 5.0]) * rng.normal(size=num_pixels)
    form = softplus_subcubes(weights, bias, rng.choice([0.0, 1.0, 30.0, 1000.0]) * rng.normal(size=num_bits))
    x = (rng.random((num_data, num_pixels)) < 0.5).astype(np.uint8)
    return form, form.terms(x)


def size(form):
    parts = form.weights, form.bias, form.prior_logits
    return sum(np.abs(part).sum() for part in parts) + sum(form.weights.shape)


def check(form, terms):
    """That the truth lies between; return both gaps."""
    found, error = form.roots(terms), form.error(terms)
    truth = naive.log_sums(form.weights, form.bias, terms.linear, terms.constant)
    # the oracle's own rounding: sums of at most D + f numbers whose sizes add up to less than S, pairwise
    own = 16 * EPS * size(form)
    assert (found.upper + error >= truth - own).all()
    assert (found.lower - error <= truth + own).all()
    assert np.isfinite([found.lower, found.upper]).all()
    np.testing.assert_array_equal(form.upper(terms), found.upper)
    return found.upper - truth, truth - found.lower


def test_the_truth_lies_between_in_networks_of_all_scales():
    rng = np.random.default_rng(0)
    for _ in range(6):
        check(*draw(rng))


@pytest.mark.slow_without_jit
def test_the_truth_lies_between_in_thousands_of_networks():
    rng = np.random.default_rng(1)
    gaps = np.array([check(*draw(rng)) for _ in range(2000)])
    # and both bounds are bounds of something: where weights are small, A is nearly linear
    assert (gaps[:, 0].min(axis=1) < 1e-6).mean() > 0.1
    assert (gaps[:, 1].min(axis=1) < 1e-6).mean() > 0.1


@pytest.mark.slow_without_jit
def test_bounds_hold_beyond_the_rounding():
    """Against 40 digits, where the bounds are equal to the truth but for rounding: without weights."""
    rng = np.random.default_rng(2)
    for num_pixels, num_bits, scale in ((1, 1, 1.0), (9, 4, 1e3), (0, 3, 1e3), (40, 5, 3.0)):
        bias, prior = scale * rng.normal(size=num_pixels), scale * rng.normal(size=num_bits)
        form = softplus_subcubes(np.zeros((num_pixels, num_bits)), bias, prior)
        x = (rng.random((3, num_pixels)) < 0.5).astype(np.uint8)
        terms = form.terms(x)
        found, error = form.roots(terms), form.error(terms)
        for n in range(3):
            constant = -np.logaddexp(0.0, prior).sum()
            truth = float(
                naive.exact_log_sum(form.weights, bias, prior, 0.0)
                + sum(float(b) for b, bit in zip(bias, x[n], strict=True) if bit)
            )
            truth += constant
            assert truth <= found.upper[n] + error[n] <= truth + 3 * error[n]
            assert truth >= found.lower[n] - error[n] >= truth - 3 * error[n]


def trained_like(num_pixels, num_bits, num_data=5, scale=1.0, seed=3):
    """Weights of the size that learning gives them, and data of the network itself."""
    rng = np.random.default_rng(seed)
    weights = scale * rng.normal(size=(num_pixels, num_bits)) / np.sqrt(num_bits)
    form = softplus_subcubes(weights, rng.normal(size=num_pixels) - 1.0, 0.3 * rng.normal(size=num_bits))
    z = rng.random((num_data, num_bits)) < 0.5
    x = rng.random((num_data, num_pixels)) < 1.0 / (1.0 + np.exp(-(z @ weights.T + form.bias)))
    return form, form.terms(x.astype(np.uint8))


@pytest.mark.parametrize(
    ("num_pixels", "num_bits", "scale"),
    [
        (1, 1, 1.0),
        (30, 7, 2.0),
        pytest.param(70, 20, 4.0, marks=pytest.mark.slow_without_jit),
        pytest.param(600, 9, 1.0, marks=pytest.mark.slow_without_jit),
    ],
)
def test_the_tangent_is_the_best_one(num_pixels, num_bits, scale):
    """The concave function that is maximised is below the bound; where they meet, both are the best."""
    form, terms = trained_like(num_pixels, num_bits, 3, scale)
    upper, logits = softplus_roots(form.weights, form.bias, *terms[:2])
    for n in range(len(upper)):
        bound, below = naive.tangent(form.weights, form.bias, terms.linear[n], terms.constant[n], logits[n])
        assert abs(bound - upper[n]) <= form.error(terms)[n]  # what is reported is the bound of these logits
        assert bound - below <= 1e-4 + form.error(terms)[n]


@pytest.mark.slow_without_jit
def test_the_lower_bound_is_nearly_the_best_elbo():
    """Of q's that are products; what is above E softplus costs little where weights are moderate."""
    form, terms = trained_like(60, 7, 6, 2.0)
    found = form.roots(terms)
    truth = naive.log_sums(form.weights, form.bias, terms.linear, terms.constant)
    for n in range(6):
        best = naive.best_elbo(form.weights, form.bias, terms.linear[n], terms.constant[n])
        assert best <= truth[n]
        assert best - 0.5 <= found.lower[n] <= truth[n]


def test_one_uncertain_state_is_its_own_bound():
    """Saturated weights leave one state, whose log joint is the sum."""
    form = softplus_subcubes(1e3 * np.eye(4), np.full(4, -500.0), np.array([1e4, -1e4, 1e4, -1e4]))
    terms = form.terms(np.array([[1, 0, 1, 0], [0, 0, 0, 0]], np.uint8))
    found = form.roots(terms)
    # z = (1, 0, 1, 0): every logit is +-500, and the second datum has two pixels wrong
    np.testing.assert_allclose(found.lower, [0.0, -1000.0], rtol=0, atol=form.error(terms)[0])
    np.testing.assert_allclose(found.upper, [0.0, -1000.0], rtol=0, atol=form.error(terms)[0])


@pytest.mark.slow_without_jit
def test_a_datum_has_the_same_bits_beside_any_others(same_bits):
    form, terms = trained_like(90, 21, 50, 3.0)
    found = same_bits(lambda: np.array([form.roots(terms).upper, form.roots(terms).lower]))
    logits = form.roots(terms).logits
    for members in ([0], [49], [7, 3], list(range(49, -1, -1))):
        own = form.roots(terms.part(members))
        np.testing.assert_array_equal([own.upper, own.lower], found[:, members])
        np.testing.assert_array_equal(own.logits, logits[members])


def test_nothing_is_bounded_too():
    form, _ = trained_like(5, 3)
    none = Terms(np.empty((0, 3)), np.empty(0))
    assert form.roots(none).upper.shape == form.roots(none).lower.shape == (0,)
    assert form.roots(none).logits.shape == (0, 3)


def test_numbers_that_overflow_bound_nothing_wrongly():
    """Squares of weights that leave the range."""
    weights = np.array([[1e200, -1e200], [1e308, 1.0]])
    linear, constant = np.array([[1.0, -1.0]]), np.zeros(1)
    upper, logits = softplus_roots(weights, np.zeros(2), linear, constant)
    lower = softplus_lower(weights, np.zeros(2), linear, constant, logits)
    truth = naive.log_sums(weights, np.zeros(2), linear, constant)
    assert lower[0] <= truth[0] <= upper[0] + 1e-13 * 1e308
    assert not np.isnan(lower[0])
