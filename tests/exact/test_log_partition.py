"""log Z against sums over every state, closed forms, and counts of independent sets."""

from __future__ import annotations

import itertools
import logging
import math

import mpmath
import naive
import numpy as np
import pytest
import strategies
from cases import NEVER, machine, restricted, symmetric
from hypothesis import given
from hypothesis import strategies as st
from references import naive_log_partition
from tolerances import EPS, assert_close, rounding

import fastvi
from fastvi.core.registry import rules_of
from fastvi.engine.posterior import log_sum

# ---- log Z against the definition -------------------------------------------------------------------------


@given(st.one_of(strategies.boltzmann_machines(), strategies.restricted_machines()))
def test_equals_the_definition_on_extreme_small_machines(model):
    found = fastvi.log_partition(model)
    assert isinstance(found, float)
    assert_close(found, naive_log_partition(model), rounding(model))


@pytest.mark.parametrize("d", range(1, 12))
@pytest.mark.parametrize("exclusive", [0.0, 0.3])
def test_every_small_size(d, exclusive):
    model = machine(d, seed=d, exclusive=exclusive)
    assert_close(fastvi.log_partition(model), naive_log_partition(model), rounding(model))


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (3, 1), (2, 9), (9, 2), (4, 5), (5, 4), (7, 7)])
def test_the_smaller_layer_is_summed_whichever_it_is(shape):
    model = restricted(*shape, seed=3)
    found = fastvi.log_partition(model)
    assert_close(found, naive_log_partition(model), rounding(model))
    weights, visible, hidden = model.arrays().values()
    exchanged = fastvi.RestrictedBoltzmannMachine(weights.T, hidden, visible)
    assert abs(fastvi.log_partition(exchanged) - found) <= 2 * rounding(model)
    if sum(shape) < 10:
        every = naive.rbm_log_partition_of_all_states(weights.tolist(), visible.tolist(), hidden.tolist())
        assert abs(found - every) <= rounding(model)


def all_log_joints(model):
    """log p~ of all 2^d states of a machine, vectorised."""
    d = model.num_units
    return np.concatenate(
        [
            model.log_joint(None, (np.arange(first, first + 4096)[:, None] >> np.arange(d)) & 1)
            for first in range(0, 1 << d, 4096)
        ]
    )


@pytest.mark.slow_without_jit
@pytest.mark.parametrize(("d", "scale", "exclusive"), [(13, 1.0, 0.0), (15, 3.0, 0.2), (18, 0.3, 0.0)])
def test_larger_sizes_against_vectorised_enumeration(d, scale, exclusive):
    """More outer states than rows of one task, and an odd number of inner bits."""
    model = machine(d, d, scale, exclusive)
    log_joint = all_log_joints(model)
    top = log_joint.max()
    assert abs(fastvi.log_partition(model) - top - math.log(np.exp(log_joint - top).sum())) <= rounding(model)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("shape", [(70, 13), (13, 70)])
def test_a_larger_restricted_machine(shape):
    model = restricted(*shape)
    weights, above, below = model.arrays().values()
    if shape[0] < shape[1]:
        weights, above, below = weights.T, below, above
    states = (np.arange(1 << 13)[:, None] >> np.arange(13)) & 1
    log_sums = states @ below + np.logaddexp(0, states @ weights.T + above).sum(axis=1)
    assert abs(fastvi.log_partition(model) - np.logaddexp.reduce(log_sums)) <= rounding(model)


# ---- closed forms -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 9, 10, pytest.param(17, marks=pytest.mark.slow_without_jit)])
def test_units_that_nothing_couples(d):
    bias = np.random.default_rng(d).normal(scale=30, size=d)
    model = fastvi.BoltzmannMachine(np.zeros((d, d)), bias)
    assert abs(fastvi.log_partition(model) - np.logaddexp(0, bias).sum()) <= rounding(model)


@pytest.mark.parametrize("d", [1, 5, 10, pytest.param(20, marks=pytest.mark.slow_without_jit)])
def test_states_that_are_all_equal(d):
    """exp(d log 2) states, each of weight one: the sum is exact until its logarithm."""
    assert fastvi.log_partition(fastvi.BoltzmannMachine(np.zeros((d, d)), np.zeros(d))) == pytest.approx(
        d * math.log(2), rel=2 * EPS
    )
    model = fastvi.RestrictedBoltzmannMachine(np.zeros((3, d)), np.zeros(3), np.zeros(d))
    assert fastvi.log_partition(model) == pytest.approx((d + 3) * math.log(2), rel=4 * EPS)


@pytest.mark.parametrize("seed", range(3))
def test_blocks_that_nothing_couples_add(seed):
    blocks = [machine(d, 10 * seed + d, exclusive=0.1) for d in (1, 3, 5, 2)]
    couplings, at = np.zeros((11, 11)), 0
    for block in blocks:
        part = slice(at, at + block.num_units)
        couplings[part, part], at = block.couplings, part.stop
    order = np.random.default_rng(seed).permutation(11)
    bias = np.concatenate([block.bias for block in blocks])[order]
    whole = fastvi.BoltzmannMachine(couplings[np.ix_(order, order)], bias)
    parts = sum(fastvi.log_partition(block) for block in blocks)
    assert abs(fastvi.log_partition(whole) - parts) <= 2 * rounding(whole)


@given(strategies.boltzmann_machines(couplings=strategies.ORDINARY, biases=strategies.ORDINARY), st.data())
def test_turning_a_unit_around_moves_log_z_by_its_bias(model, data):
    """z_i -> 1 - z_i is the same distribution with other parameters."""
    i = data.draw(st.integers(0, model.num_units - 1))
    couplings, bias = model.couplings.copy(), model.bias + model.couplings[i]
    bias[i] = -model.bias[i]
    couplings[i], couplings[:, i] = -couplings[i], -couplings[:, i]
    turned = fastvi.BoltzmannMachine(couplings, bias)
    difference = fastvi.log_partition(model) - model.bias[i] - fastvi.log_partition(turned)
    assert abs(difference) <= rounding(model) + rounding(turned)


# ---- Ising models on tori ---------------------------------------------------------------------------------


def ising(n, k):
    """Spins +-1 on an n x n torus, each edge of weight exp(k s s'), as units of 0 and 1; and the constant."""
    couplings = np.zeros((n * n, n * n))
    for i, j in itertools.product(range(n), range(n)):
        for neighbour in ((i + 1) % n * n + j, i * n + (j + 1) % n):
            couplings[i * n + j, neighbour] += 4 * k
            couplings[neighbour, i * n + j] += 4 * k
    return fastvi.BoltzmannMachine(couplings, np.full(n * n, -8 * k)), 2 * n * n * k


def kaufman(rows, columns, k):
    """log Z of a torus, B. Kaufman, "Crystal statistics II", Physical Review 76 (1949), equation 36."""
    with mpmath.workdps(50):
        k = mpmath.mpf(k)
        gammas = [2 * k + mpmath.log(mpmath.tanh(k))]
        for number in range(1, 2 * columns):
            cosh = mpmath.cosh(2 * k) * mpmath.coth(2 * k) - mpmath.cos(number * mpmath.pi / columns)
            gammas.append(mpmath.acosh(cosh))
        total = mpmath.mpf(0)
        for part, function in itertools.product((1, 0), (mpmath.cosh, mpmath.sinh)):
            total += mpmath.fprod(2 * function(rows * gamma / 2) for gamma in gammas[part::2])
        return float(mpmath.log(total / 2) + rows * columns * mpmath.log(2 * mpmath.sinh(2 * k)) / 2)


@pytest.mark.parametrize(("n", "k", "expected"), [(4, 0.2, 11.7714703585), (5, 0.4, 22.4283594366)])
def test_kaufman_s_formula_has_the_printed_values(n, k, expected):
    assert kaufman(n, n, k) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize(
    ("n", "k"),
    [
        (3, 0.3),
        (3, 1.2),
        *(pytest.param(*case, marks=pytest.mark.slow_without_jit) for case in ((4, 0.2), (4, 0.4406868))),
        pytest.param(5, 0.4, marks=pytest.mark.slow_without_jit),
    ],
)
def test_finite_tori(n, k):
    model, constant = ising(n, k)
    assert fastvi.log_partition(model) + constant == pytest.approx(kaufman(n, n, k), rel=1e-13)


# ---- counting independent sets: couplings of -inf ---------------------------------------------------------


def count_independent_sets(num_vertices, edges):
    couplings = np.zeros((num_vertices, num_vertices))
    for a, b in edges:
        couplings[a, b] = couplings[b, a] = NEVER
    return math.exp(fastvi.log_partition(fastvi.BoltzmannMachine(couplings, np.zeros(num_vertices))))


@pytest.mark.parametrize("n", [3, 4, 8, 10, 11, pytest.param(16, marks=pytest.mark.slow_without_jit)])
def test_independent_sets_of_cycles_and_paths(n):
    fibonacci = [1, 1]
    while len(fibonacci) < n + 3:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    path = [(i, i + 1) for i in range(n - 1)]
    assert count_independent_sets(n, path) == pytest.approx(fibonacci[n + 1], rel=1e-13)
    lucas = fibonacci[n] + fibonacci[n - 2]
    assert count_independent_sets(n, [*path, (n - 1, 0)]) == pytest.approx(lucas, rel=1e-13)


@pytest.mark.parametrize(
    ("n", "expected"), [(2, 7), (3, 63), pytest.param(4, 1234, marks=pytest.mark.slow_without_jit)]
)
def test_independent_sets_of_grids(n, expected):
    across = [(i * n + j, i * n + j + 1) for i in range(n) for j in range(n - 1)]
    down = [(i * n + j, i * n + n + j) for i in range(n - 1) for j in range(n)]
    assert count_independent_sets(n * n, across + down) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("n", [2, 9, 12])
def test_of_units_that_all_exclude_each_other_one_is_on(n):
    assert count_independent_sets(n, itertools.combinations(range(n), 2)) == pytest.approx(n + 1, rel=1e-13)


# ---- extremes ---------------------------------------------------------------------------------------------


def exact_log_partition(model):
    """Every operation in 60 digits."""
    if isinstance(model, fastvi.RestrictedBoltzmannMachine):  # as one machine of all units
        num_pixels = model.num_pixels
        couplings = np.zeros((num_pixels + model.num_latents,) * 2)
        couplings[:num_pixels, num_pixels:] = model.weights
        bias = np.concatenate([model.visible_bias, model.hidden_bias])
    else:
        couplings, bias = model.couplings, model.bias
    with mpmath.workdps(60):
        total = mpmath.mpf(0)
        for z in itertools.product((0, 1), repeat=len(bias)):
            on = [i for i, bit in enumerate(z) if bit]
            terms = [bias[i] for i in on] + [couplings[i, j] for i, j in itertools.combinations(on, 2)]
            if NEVER not in terms:
                total += mpmath.exp(mpmath.fsum(mpmath.mpf(float(term)) for term in terms))
        return float(mpmath.log(total))


def signs(rng, shape):
    return rng.choice([-1.0, 1.0], shape)


HARD = {
    "couplings of +-1000": lambda r: (symmetric(1e3 * signs(r, (7, 7))), r.normal(size=7)),
    "biases of +-1000": lambda r: (symmetric(r.normal(size=(7, 7))), 1e3 * signs(r, 7)),
    "both": lambda r: (symmetric(300 * r.normal(size=(7, 7))), 300 * r.normal(size=7)),
    "what cancels": lambda r: (symmetric(np.full((6, 6), 1e3)), np.full(6, -2500.0)),
    "hard constraints among strong couplings": lambda r: (
        symmetric(np.where(r.random((7, 7)) < 0.3, NEVER, 300 * r.normal(size=(7, 7)))),
        1e3 * np.abs(r.normal(size=7)),
    ),
    "a restricted machine": lambda r: (300 * r.normal(size=(5, 4)), 300 * r.normal(size=5), r.normal(size=4)),
    "its layers exchanged": lambda r: (300 * r.normal(size=(4, 5)), 9 * r.normal(size=4), r.normal(size=5)),
    "weights of +-1000": lambda r: (1e3 * signs(r, (4, 4)), 1e3 * signs(r, 4), 1e3 * signs(r, 4)),
}


@pytest.mark.parametrize("name", HARD)
def test_hard_cases_against_sixty_digits(name):
    parameters = HARD[name](np.random.default_rng(5))
    model = (fastvi.BoltzmannMachine if len(parameters) == 2 else fastvi.RestrictedBoltzmannMachine)(
        *parameters
    )
    expected = exact_log_partition(model)
    assert abs(fastvi.log_partition(model) - expected) <= 1e-13 * max(abs(expected), 1.0)


INHIBITED = {
    # the largest of each factor, (linear, tile), belong to states that exclude each other
    "all exclude each other": lambda: fastvi.BoltzmannMachine(
        symmetric(np.full((11, 11), NEVER)), np.full(11, 1e3)
    ),
    "all but exclude each other": lambda: fastvi.BoltzmannMachine(
        symmetric(np.full((11, 11), -1500.0)), np.full(11, 1e3) + np.arange(11)
    ),
}


@pytest.mark.parametrize("name", INHIBITED)
def test_strong_inhibition_is_summed_again_in_log_space(name, caplog):
    model = INHIBITED[name]()
    form = rules_of(model).partition_form()
    batch = form.batch(form.data.terms(np.empty((1, 0), np.uint8)))
    lost = batch.sums(0)
    assert log_sum.uncertain(form, batch.terms, lost.bound, lost.log()).size, (
        "the case is certain: choose a harder one"
    )
    caplog.clear()
    expected = np.logaddexp.reduce([0.0, *model.bias])
    with caplog.at_level(logging.INFO, logger="fastvi"):
        assert abs(fastvi.log_partition(model) - expected) <= 1e-13 * expected
    assert "1 of 1 data are summed again in log space" in caplog.text


def test_an_easy_case_is_certain_at_once(caplog):
    with caplog.at_level(logging.INFO, logger="fastvi"):
        fastvi.log_partition(machine(11))
        fastvi.log_partition(restricted(20, 9))
    assert "log space" not in caplog.text
