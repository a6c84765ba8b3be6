"""Elimination against sums over all states: orders, pieces, products, checked products and log space."""

from __future__ import annotations

import pickle
import random
import tracemalloc

import naive_elimination
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import EXCLUSIVE, INFINITE
from tolerances import EPS, assert_frequencies, assert_moments

from fastvi.engine.elimination import guard, layout, pieces
from fastvi.engine.elimination.layout import Layout, allocate
from fastvi.engine.elimination.machine import EliminationForm
from fastvi.engine.elimination.order import elimination_plan

FIELDS = INFINITE.filter(lambda value: value < np.inf)
WAYS = ["together", "pieces", "checked", "logs"]


def set_way(patch, way):
    """Data side by side; a datum in pieces, of which the smallest have one unit; the same, checked; logs."""
    if way != "together":
        patch.setattr(layout, "_TOGETHER", 0)
        patch.setattr(layout, "_SMALL_BITS", 1)
        patch.setattr(layout, "_ROW_BITS", 1)
    if way in ("checked", "logs"):
        patch.setattr(guard, "_MOST", -1.0)
    if way == "logs":
        patch.setattr(pieces, "_RANGE_BITS", -1)


def form_of(couplings):
    return EliminationForm(couplings, elimination_plan(couplings != 0.0))


def grid(rows, columns):
    couples = np.zeros((rows * columns,) * 2, bool)
    for i in range(rows * columns):
        if (i + 1) % columns:
            couples[i, i + 1] = True
        if i + columns < rows * columns:
            couples[i, i + columns] = True
    return couples | couples.T


def random_couplings(couples, scale=1.0, seed=0):
    upper = np.triu(couples, 1) * scale * np.random.default_rng(seed).standard_normal(couples.shape)
    return upper + upper.T


def size(couplings, fields):
    """A sum of magnitudes: a log weight has a term for each field and pair, each rounded a few times."""
    values = np.concatenate([couplings.ravel(), fields])
    return 1.0 + len(fields) + np.abs(values[np.isfinite(values)]).sum()


def check(couplings, fields):
    """All answers against the oracle, within 64 roundings of the magnitudes that a sum is made of."""
    form = form_of(couplings)
    found, states, weights = form.moments(fields), *form.modes(fields)
    np.testing.assert_array_equal(found.log_sums, form.log_sums(fields))
    i, j = form.edges.T
    for moments in (found.mean, found.pairs):
        assert ((moments >= 0.0) & (moments <= 1.0)).all()
    assert (found.entropy >= 0.0).all()
    for n, own in enumerate(fields):
        right = naive_elimination.sums(couplings, own)
        tolerance = 64 * EPS * size(couplings, own)
        np.testing.assert_allclose(found.log_sums[n], right.log_sum, rtol=0, atol=tolerance)
        np.testing.assert_allclose(found.mean[n], right.mean, rtol=0, atol=tolerance)
        np.testing.assert_allclose(found.pairs[n], right.pairs[i, j], rtol=0, atol=tolerance)
        np.testing.assert_allclose(found.entropy[n], right.entropy, rtol=0, atol=4 * tolerance)
        best = right.log_weights[np.flatnonzero((right.states == states[n]).all(axis=1))[0]]
        np.testing.assert_allclose([best, weights[n]], right.log_weights.max(), rtol=0, atol=tolerance)


@st.composite
def machines(draw, max_units=8, couplings=EXCLUSIVE, fields=FIELDS, max_data=2):
    num = draw(st.integers(1, max_units))
    pairs = [(i, j) for i in range(num) for j in range(i)]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=14)) if pairs else []
    matrix = np.zeros((num, num))
    for i, j in chosen:
        matrix[i, j] = matrix[j, i] = draw(couplings)
    rows = [[draw(fields) for _ in range(num)] for _ in range(draw(st.integers(0, max_data)))]
    return matrix, np.array(rows, float).reshape(-1, num)


@pytest.mark.parametrize("way", WAYS)
@given(machine=machines())
def test_random_machines(way, machine):
    """Disconnected ones, isolated units, no data, saturated and forbidden states."""
    with pytest.MonkeyPatch.context() as patch:
        set_way(patch, way)
        check(*machine)


GRAPHS = {
    "grid": grid(3, 3),
    "tree": grid(1, 9),
    "star": np.pad(np.ones((1, 8)), ((0, 8), (1, 0))) > 0,
    "complete": ~np.eye(8, dtype=bool),
    "ring": np.roll(np.eye(9), 1, axis=0) > 0,
    "two grids": np.kron(np.eye(2), grid(2, 3)) > 0,
    "none": np.zeros((4, 4), bool),
}


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", GRAPHS)
def test_graphs(monkeypatch, name, way):
    set_way(monkeypatch, way)
    couples = GRAPHS[name] | GRAPHS[name].T
    couplings = random_couplings(couples, scale=2.0)
    couplings[np.abs(couplings) > 4.0] = -np.inf
    fields = 2.0 * np.random.default_rng(1).standard_normal((3, len(couples)))
    fields[1, 0] = -np.inf
    check(couplings, fields)


@pytest.mark.parametrize("way", WAYS)
def test_all_pairs(monkeypatch, way):
    set_way(monkeypatch, way)
    couplings = random_couplings(grid(2, 3), scale=2.0)
    couplings[0, 1] = couplings[1, 0] = -np.inf
    fields = np.array([[0.5, 1.0, -1.0, 0.0, 2.0, -0.5], [0.0, 0.0, -np.inf, 1e3, 0.0, -1e3]])
    found = form_of(couplings).all_pairs(fields)
    for n in range(2):
        right = naive_elimination.sums(couplings, fields[n]).pairs
        np.testing.assert_allclose(found[n], right, rtol=0, atol=64 * EPS * size(couplings, fields[n]))


@pytest.mark.slow_without_jit
def test_ways_agree_on_a_large_machine(monkeypatch):
    """Pieces with tasks, tables from outside that lack fixed units, and the log space of the same forest."""
    couples = grid(6, 5)
    couples[:, 7] |= np.arange(30) % 9 == 0
    couples |= couples.T
    np.fill_diagonal(couples, False)
    couplings = random_couplings(couples)
    fields = np.random.default_rng(2).standard_normal((2, 30))
    tolerance = 64 * EPS * max(size(couplings, own) for own in fields)
    first = form_of(couplings).moments(fields)
    for way in WAYS[1:]:
        with pytest.MonkeyPatch.context() as patch:
            set_way(patch, way)
            patch.setattr(layout, "_ROW_BITS", 2)
            found = form_of(couplings).moments(fields)
        for mine, right in zip(found, first, strict=True):
            np.testing.assert_allclose(mine, right, rtol=0, atol=4 * tolerance)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("way", WAYS)
def test_same_bits_for_threads_and_batches(monkeypatch, same_bits, way):
    set_way(monkeypatch, way)
    monkeypatch.setattr(layout, "_ROW_BITS", 2)
    couplings = random_couplings(grid(5, 4))
    form = form_of(couplings)
    fields = np.random.default_rng(3).standard_normal((11, 20))
    fields[4] *= 1e3

    def ask():
        found = form.moments(fields)
        return [*found, form.log_sums(fields), form.samples(fields, 3, 5)]

    same_bits(ask)
    whole = form.moments(fields)
    for part in (slice(4, 5), slice(2, 9)):
        for mine, right in zip(form.moments(fields[part]), whole, strict=True):
            np.testing.assert_array_equal(mine, right[part])


def test_products_and_logs_beside_each_other():
    """A datum fails the guard where a coupling of -inf bars what its fields want."""
    couplings = random_couplings(grid(2, 3))
    couplings[0, 1] = couplings[1, 0] = couplings[1, 2] = couplings[2, 1] = -np.inf
    fields = np.zeros((3, 6))
    fields[1] = 700.0
    form = form_of(couplings)
    assert form._guard.passes(fields).tolist() == [True, False, True]
    check(couplings, fields)


@settings(max_examples=20)
@given(machine=machines(couplings=st.one_of(EXCLUSIVE, st.just(700.0)), max_data=2))
def test_guard_keeps_its_word(machine):
    """What it passes has no number that the check refuses; no factor is kept from the check."""
    couplings, fields = machine
    form = form_of(couplings)
    passed = fields[form._guard.passes(fields)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "_RANGE_BITS", 1000)
        assert np.isfinite(form_of(couplings)._products.log_sums(passed, checked=True)).all()


def test_check_refuses(monkeypatch):
    """A pair of 2000 nats between the units of a table: neither the guard nor the check lets it pass."""
    couplings = 2000.0 * np.sign(random_couplings(grid(2, 4)))
    form = form_of(couplings)
    fields = np.zeros((1, 8))
    assert not form._guard.passes(fields).any()
    assert np.isnan(form._products.log_sums(fields, checked=True)).all()
    check(couplings, fields)


def test_samples():
    couplings = random_couplings(grid(2, 3), scale=2.0)
    couplings[3, 4] = couplings[4, 3] = -np.inf
    fields = np.array([[0.5, 1.0, -1.0, 0.0, 2.0, -0.5], [0.0, 0.0, -np.inf, 1e3, 0.0, -1e3]])
    num = 1500
    draws = form_of(couplings).samples(fields, num, seed=3, first_datum=7)
    assert draws.shape == (num, 2, 6)
    assert draws.dtype == np.uint8
    for n in range(2):
        right = naive_elimination.sums(couplings, fields[n])
        assert_moments(draws[:, n], right.mean, right.pairs)
        codes = draws[:, n].astype(int) @ (1 << np.arange(5, -1, -1))
        counts = np.bincount(codes, minlength=64)
        assert_frequencies(counts, np.exp(right.log_weights - right.log_sum), num)


@pytest.mark.slow_without_jit
def test_samples_are_functions_of_seed_datum_and_sample(set_threads):
    couplings = random_couplings(grid(2, 3))
    fields = np.random.default_rng(4).standard_normal((3, 6))
    form = form_of(couplings)
    whole = form.samples(fields, 2500, seed=9)
    np.testing.assert_array_equal(form.samples(fields[1:], 7, seed=9, first_datum=1), whole[:7, 1:])
    set_threads(1)
    np.testing.assert_array_equal(form.samples(fields, 2500, seed=9), whole)
    assert (form.samples(fields, 2500, seed=10) != whole).any()
    assert form.samples(fields, 0, seed=9).shape == (0, 3, 6)


def test_ties_of_modes():
    """Of equal states it is the one with units off."""
    form = form_of(np.array([[0.0, 1.0], [1.0, 0.0]]))
    states, weights = form.modes(np.array([[-1.0, 0.0], [-0.5, -0.5]]))
    assert states.tolist() == [[0, 0], [0, 0]]
    np.testing.assert_array_equal(weights, [0.0, 0.0])
    assert form_of(np.zeros((3, 3))).modes(np.zeros((1, 3)))[0].tolist() == [[0, 0, 0]]


def test_pickle():
    couplings = random_couplings(grid(2, 3))
    form = form_of(couplings)
    fields = np.ones((1, 6))
    before = form.log_sums(fields)
    again = pickle.loads(pickle.dumps(form))
    assert len(pickle.dumps(form)) < 4000
    np.testing.assert_array_equal(again.log_sums(fields), before)


def eliminated(couples, order):
    """Scopes by the definition: neighbours that are left, coupled with each other afterwards."""
    neighbours = {i: set(np.flatnonzero(row)) for i, row in enumerate(couples)}
    scopes = []
    for unit in order:
        scope = neighbours.pop(unit)
        for other in scope:
            neighbours[other] = (neighbours[other] | scope) - {other, unit}
        scopes.append(scope)
    return scopes


@given(st.integers(1, 12), st.integers(0, 2**32 - 1), st.floats(0.05, 0.9))
def test_plans(num, seed, density):
    couples = np.random.default_rng(seed).random((num, num)) < density
    couples = (couples | couples.T) & ~np.eye(num, dtype=bool)
    plan = elimination_plan(couples)
    assert sorted(plan.order) == list(range(num))
    assert [set(scope) for scope in plan.scopes] == eliminated(couples, plan.order)
    rank = {unit: k for k, unit in enumerate(plan.order)}
    for k, scope in enumerate(plan.scopes):
        assert plan.parents[k] == min((rank[unit] for unit in scope), default=-1)
        assert [rank[unit] for unit in scope] == sorted((rank[unit] for unit in scope), reverse=True)
    assert plan.width == max((len(scope) for scope in plan.scopes), default=0)
    assert plan.num_terms == sum(2 ** (len(scope) + 1) for scope in plan.scopes)
    assert elimination_plan(couples).order == plan.order


@pytest.mark.parametrize(
    ("couples", "width"),
    [(grid(1, 30), 1), (grid(4, 9), 4), (~np.eye(7, dtype=bool), 6), (grid(12, 12), 12), (grid(20, 20), 20)],
)
def test_widths(couples, width):
    """A tree has width 1, an n x m grid the smaller of n and m, a complete graph all other units."""
    assert elimination_plan(couples).width == width


def test_places_do_not_overlap():
    rng = random.Random(5)
    for _ in range(20):
        sizes = [rng.randint(1, 9) for _ in range(12)]
        ends = [rng.randint(k, 12) for k in range(12)]
        begins, whole = allocate(sizes, ends)
        for k in range(12):
            assert begins[k] + sizes[k] <= whole
            for i in range(k):
                if ends[i] >= k:
                    assert begins[k] + sizes[k] <= begins[i] or begins[i] + sizes[i] <= begins[k]


def test_pieces_fit_the_cache():
    """Tasks of large machines have tables of 2^11 rows at most, whatever the width; no bucket is left out."""
    for couples in (grid(16, 16), grid(9, 40)):
        plan = elimination_plan(couples)
        seen = []
        for segment in Layout(plan).segments:
            fixed = {*segment.lanes, *segment.outer}
            for bucket in segment.buckets:
                assert fixed <= set(plan.scopes[bucket])
                assert len(plan.scopes[bucket]) - len(fixed) <= 11
            assert set(segment.outside) <= set(seen)
            seen += segment.buckets
        assert sorted(seen) == list(range(len(couples)))


def test_no_data():
    form = form_of(random_couplings(grid(2, 2)))
    found = form.moments(np.zeros((0, 4)))
    assert [len(array) for array in found] == [0, 0, 0, 0]
    assert form.modes(np.zeros((0, 4)))[0].shape == (0, 4)
    assert form.all_pairs(np.zeros((0, 4))).shape == (0, 4, 4)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("couples", [grid(15, 15), grid(3, 60)], ids=["pieces", "together"])
def test_memory_is_what_plans_say(set_threads, couples):
    """NumPy reports its arrays to tracemalloc; what else there is takes less than 2 MiB."""
    set_threads(2)
    check(random_couplings(grid(2, 2)), np.zeros((1, 4)))  # compiled code is there
    form = form_of(random_couplings(couples))
    fields = np.zeros((1, len(couples)))
    for ask, most in ((form.log_sums, form.plan.bytes), (form.moments, form.plan.moment_bytes)):
        tracemalloc.start()
        try:
            ask(fields)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak <= most + (2 << 20)
        assert most <= 4 * peak
