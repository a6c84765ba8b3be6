"""Bounds of subcubes of quadratic models against sums over all states."""

import itertools

import numpy as np
import pytest

from fastvi import BinarySparseCoding, BoltzmannMachine
from fastvi.engine.states.data_terms import Terms
from fastvi.engine.states.pair_form import boltzmann_parts
from fastvi.engine.subcubes import search
from fastvi.engine.subcubes.quadratic_subcubes import QuadraticSubcubes
from fastvi.rules.binary_sparse_coding import BinarySparseCodingRules
from fastvi.rules.boltzmann_machine import BoltzmannMachineRules

NOTHING = np.empty((1, 0), np.uint8)


def all_states(num):
    return np.array(list(itertools.product((0, 1), repeat=num)), np.int8).reshape(-1, num)


def log_sum(values):
    largest = values.max(initial=-np.inf)
    return largest if largest == -np.inf else largest + np.log(np.exp(values - largest).sum())


def log_weights(couplings, linear, constant):
    """t z + z' J z / 2 of all states; a coupling of -inf counts where both bits are 1."""
    states = all_states(len(linear))
    barred = np.isneginf(couplings)
    values = np.where(barred, 0.0, couplings)
    found = constant + states @ linear + 0.5 * np.einsum("si,ij,sj->s", states, values, states)
    return np.where(np.einsum("si,ij,sj->s", states, barred * 1.0, states) > 0, -np.inf, found)


def machine(rng, num, scale, field_scale, barred=0.0):
    couplings = np.triu(rng.normal(0.0, scale, (num, num)), 1)
    couplings[np.triu(rng.random((num, num)) < barred, 1)] = -np.inf
    couplings = couplings + couplings.T
    np.fill_diagonal(couplings, 0.0)
    return couplings, rng.normal(0.0, field_scale, num)


def subcubes_of(couplings, bias, leaf_bits=0):
    form = QuadraticSubcubes.of(boltzmann_parts(couplings, bias, np.zeros(len(bias), bool)), leaf_bits)
    return form, form.terms(NOTHING)


def below(a, b, error):
    """a <= b, where -inf <= -inf."""
    return bool(np.all((a <= b + error) | np.isneginf(a)))


@pytest.mark.slow_without_jit
def test_bounds_of_machines_of_every_scale_are_true():
    rng = np.random.default_rng(0)
    for trial in range(120):
        num = int(rng.integers(1, 9))
        scales = 10.0 ** rng.uniform(-3.0, 3.0, 2)
        couplings, bias = machine(rng, num, *scales, barred=0.2 if trial % 3 == 0 else 0.0)
        form, terms = subcubes_of(couplings, bias)
        exact, roots, error = log_weights(couplings, bias, 0.0), form.roots(terms), form.error(terms)[0]
        assert error < 1e-9 * (1.0 + scales.sum())
        assert below(roots.lower[0], log_sum(exact), error)
        assert below(log_sum(exact), roots.upper[0], error)
        # any tangent point and any subcube
        states = rng.integers(-1, 2, (12, num)).astype(np.int8)
        states = states[(states < 0).any(axis=1)]
        members = np.zeros(len(states), np.int64)
        logits = np.where(states < 0, rng.normal(0.0, 10.0 ** rng.uniform(-1, 2), states.shape), 0.0)
        children = form.expand(terms, members, states, logits)
        leaves = form.leaves(terms, members, states)
        for k, state in enumerate(states):
            inside = ((state < 0) | (all_states(num) == state)).all(axis=1)
            assert leaves[k] == pytest.approx(log_sum(exact[inside]), rel=0, abs=error)
            assert state[children.bit[k]] == -1
            for value in (0, 1):
                half = inside & (all_states(num)[:, children.bit[k]] == value)
                assert below(log_sum(exact[half]), children.upper[k, value], error)


def test_gap_of_weakly_coupled_units_is_of_second_order():
    """Shifts of the diagonal alone leave a gap of first order, some 0.1 nats here.

    Log Z less the ELBO of the best factorised q is sum_{i<j} J_ij^2 v_i v_j / 2 to second order, v_i near
    1/4; the bound adds at most sum_i (v_i lambda)^2 / 4, lambda the norm of J. Terms of third order are some
    hundredths.
    """
    rng = np.random.default_rng(1)
    couplings, bias = machine(rng, 10, 0.02, 0.0)
    form, terms = subcubes_of(couplings, bias)
    roots, exact = form.roots(terms), log_sum(log_weights(couplings, bias, 0.0))
    norm = np.linalg.norm(couplings, 2)
    assert 0.0 < roots.upper[0] - exact < 1.3 * 10 * (0.25 * norm) ** 2 / 4
    assert 0.0 < exact - roots.lower[0] < 1.3 * np.square(couplings).sum() / 64


def test_independent_bits_are_exact():
    form, terms = subcubes_of(np.zeros((5, 5)), np.array([-1e3, -2.0, 0.0, 3.0, 1e3]))
    expected = np.logaddexp(0.0, [-1e3, -2.0, 0.0, 3.0, 1e3]).sum()
    roots = form.roots(terms)
    # bits of a logit of 40 count as 1
    np.testing.assert_allclose([roots.lower[0], roots.upper[0]], expected, rtol=0, atol=1e-9)


def grown(form, terms, tolerance=1e-6, max_bounds=100_000):
    trees = search.start(form, terms, np.full(len(terms.constant), tolerance), max_bounds)
    search.grow(form, terms, trees)
    return trees


@pytest.mark.slow_without_jit
def test_independent_sets_of_a_path_are_counted():
    """Independent sets of a path of n nodes are the Fibonacci number F(n + 2)."""
    couplings = np.zeros((13, 13))
    couplings[np.arange(12), np.arange(1, 13)] = couplings[np.arange(1, 13), np.arange(12)] = -np.inf
    form, terms = subcubes_of(couplings, np.zeros(13), leaf_bits=4)
    (tree,) = grown(form, terms)
    assert max(tree.floor, tree.closed) <= np.log(610.0) + 1e-12
    assert np.log(610.0) - 1e-12 <= tree.ceiling <= max(tree.floor, tree.closed) + 1e-6


@pytest.mark.slow_without_jit
def test_search_closes_on_the_exact_sum():
    couplings, bias = machine(np.random.default_rng(2), 12, 1.0, 1.0)
    form, terms = subcubes_of(couplings, bias, leaf_bits=5)
    (tree,) = grown(form, terms)
    exact = log_sum(log_weights(couplings, bias, 0.0))
    error = form.error(terms)[0]
    assert tree.closed - error <= exact <= tree.ceiling + error
    assert tree.ceiling - tree.closed <= 1e-6


def test_leaves_beyond_the_range_of_exponentials():
    """The terms that a product loses are those of the largest weight: rows and columns disagree by e^2000."""
    couplings = np.zeros((3, 3))
    couplings[0, 1] = couplings[1, 0] = 3000.0
    couplings[0, 2] = couplings[2, 0] = couplings[1, 2] = couplings[2, 1] = -1000.0
    for linear in ([0.0, 0.0, 0.0], [-3000.0, 0.0, 2000.0], [-1500.0, -1500.0, 2000.0]):
        form, terms = subcubes_of(couplings, np.array(linear), leaf_bits=3)
        found = form.leaves(terms, np.zeros(1, np.int64), np.full((1, 3), -1, np.int8))[0]
        exact = log_sum(log_weights(couplings, np.array(linear), 0.0))
        assert found == pytest.approx(exact, rel=1e-14, abs=1e-12)


def test_numbers_of_a_subcube_do_not_depend_on_the_others(monkeypatch):
    rng = np.random.default_rng(3)
    couplings, bias = machine(rng, 9, 1.0, 1.0)
    form, _ = subcubes_of(couplings, bias)
    terms = Terms(np.ascontiguousarray(rng.normal(size=(7, 9))), rng.normal(size=7))
    states = rng.integers(-1, 2, (9, 9)).astype(np.int8)
    states[:, 4] = -1
    members, logits = rng.integers(0, 7, 9), np.where(states < 0, rng.normal(size=(9, 9)), 0.0)
    whole = (*form.roots(terms), *form.expand(terms, members, states, logits),
             form.leaves(terms, members, states))  # fmt: skip
    monkeypatch.setenv("FASTVI_NUM_THREADS", "1")
    for k in range(9):
        own = slice(k, k + 1)
        found = (*form.expand(terms, members[own], states[own], logits[own]),
                 form.leaves(terms, members[own], states[own]))  # fmt: skip
        for one, of in zip(found, whole[3:], strict=True):
            np.testing.assert_array_equal(one[0], of[k])
    for n in range(7):
        for one, of in zip(form.roots(terms.part([n])), whole[:3], strict=True):
            np.testing.assert_array_equal(one[0], of[n])


def test_clamped_units_and_no_data():
    rng = np.random.default_rng(4)
    couplings, bias = machine(rng, 7, 2.0, 1.0, barred=0.1)
    rules = BoltzmannMachineRules(BoltzmannMachine(couplings, bias))
    observed = np.array([1, 0, 0, 1, 0, 1, 0], bool)
    form = rules.subcube_form(observed)
    x = all_states(3).astype(np.uint8)
    terms = form.terms(x)
    roots, error = form.roots(terms), form.error(terms)
    states, weights = all_states(7), log_weights(couplings, bias, 0.0)
    for n, seen in enumerate(x):
        exact = log_sum(weights[(states[:, observed] == seen).all(axis=1)])
        assert below(roots.lower[n], exact, error[n])
        assert below(exact, roots.upper[n], error[n])
    assert form.roots(form.terms(x[:0])).upper.shape == (0,)
    closed = rules.subcube_form(np.ones(7, bool))
    terms = closed.terms(states.astype(np.uint8))
    np.testing.assert_allclose(closed.roots(terms).upper, weights, rtol=1e-13, atol=1e-13)
    partition = rules.subcube_partition_form()
    assert partition.num_latents == 7


@pytest.mark.parametrize("noise", [1e-3, 0.3, 30.0])
def test_sparse_coding_with_missing_pixels(noise):
    rng = np.random.default_rng(5)
    weights, bias, prior = rng.normal(size=(6, 5)), rng.normal(size=6), rng.normal(size=5)
    model = BinarySparseCoding(weights, bias, noise, prior)
    _, x = model.sample(4, seed=1)
    observed = np.array([1, 1, 0, 1, 1, 0], bool)
    form = BinarySparseCodingRules(model).subcube_form(observed)
    terms = form.terms(np.ascontiguousarray(x[:, observed]))
    roots, error = form.roots(terms), form.error(terms)
    z = all_states(5)
    log_prior = z @ prior - np.logaddexp(0.0, prior).sum()
    for n in range(4):
        rest = (x[n] - z @ weights.T - bias)[:, observed] / noise
        log_normal = -0.5 * np.square(rest).sum(axis=1) - 4 * np.log(noise * np.sqrt(2.0 * np.pi))
        exact = log_sum(log_prior + log_normal)
        # the oracle's own residuals are off by 2^-52 of x / noise
        slack = error[n] + 1e-15 * np.square((np.abs(x[n]).max() + 10.0) / noise)
        assert below(roots.lower[n], exact, slack)
        assert below(exact, roots.upper[n], slack)
        leaf = form.leaves(terms, np.array([n]), np.full((1, 5), -1, np.int8))[0]
        assert leaf == pytest.approx(exact, rel=0, abs=slack)
