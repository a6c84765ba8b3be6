"""Ways to sum a machine: enumeration, an independent set, elimination; which is taken, and that all agree."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import naive_pairs
import numpy as np
import pytest
from cases import NEVER, bits, machine, network, random_bits, restricted, symmetric
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_frequencies, rounding

import fastvi
from fastvi.core.registry import rules_of
from fastvi.engine.states.independent_set import independent_set
from fastvi.engine.states.independent_set_form import independent_set_form

WAYS = "enumeration", "independent_set", "elimination"
MOMENTS = "enumeration", "elimination"


# ---- machines ---------------------------------------------------------------------------------------------


def grid_graph(rows, columns):
    couples = np.zeros((rows * columns, rows * columns), bool)
    unit = np.arange(rows * columns).reshape(rows, columns)
    couples[unit[:, :-1].reshape(-1), unit[:, 1:].reshape(-1)] = True
    couples[unit[:-1].reshape(-1), unit[1:].reshape(-1)] = True
    return couples


def graph(kind, d, rng):
    """Pairs i < j that are coupled, (d, d)."""
    upper = np.triu(np.ones((d, d), bool), 1)
    if kind == "grid":
        rows = max(1, int(d**0.5))
        couples = np.zeros((d, d), bool)
        inside = rows * (d // rows)
        couples[:inside, :inside] = grid_graph(rows, d // rows)
        return couples  # units that are left over are alone
    if kind == "tree":
        couples = np.zeros((d, d), bool)
        for i in range(1, d):
            couples[rng.integers(i), i] = True
        return couples
    if kind == "bipartite":
        side = rng.random(d) < 0.5
        return upper & (side[:, None] != side)
    if kind == "random":
        return upper & (rng.random((d, d)) < rng.random())
    return upper if kind == "complete" else np.zeros((d, d), bool)


def sparse_machine(kind, d, seed, scale, exclusive):
    rng = np.random.default_rng(seed)
    couples = graph(kind, d, rng)
    values = scale * rng.normal(size=(d, d))
    values[rng.random((d, d)) < exclusive] = NEVER
    shuffled = rng.permutation(d)
    couplings = symmetric(np.where(couples, values, 0.0))[np.ix_(shuffled, shuffled)]
    return fastvi.BoltzmannMachine(couplings, scale * rng.normal(size=d), float(rng.normal()))


MACHINES = st.builds(
    sparse_machine,
    st.sampled_from(["grid", "tree", "bipartite", "random", "complete", "none"]),
    st.integers(1, 11),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.1, 1.0, 5.0, 100.0, 1e3]),
    st.sampled_from([0.0, 0.0, 0.2]),
)


def data_of(model, seed, *, own_masks):
    """Data, and a mask or one for each datum."""
    rng = np.random.default_rng(seed)
    x = (rng.random((4, model.num_units)) < 0.5).astype(np.uint8)
    shape = x.shape if own_masks else model.num_units
    return x, rng.random(shape) < rng.choice([0.0, 0.3, 0.6])


def grid(size, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    across, down = scale * rng.normal(size=(size, size - 1)), scale * rng.normal(size=(size - 1, size))
    bias = scale * rng.normal(size=(size, size))
    unit = np.arange(size * size).reshape(size, size)
    couplings = np.zeros((size * size, size * size))
    couplings[unit[:, :-1].reshape(-1), unit[:, 1:].reshape(-1)] = across.reshape(-1)
    couplings[unit[:-1].reshape(-1), unit[1:].reshape(-1)] = down.reshape(-1)
    model = fastvi.BoltzmannMachine(couplings + couplings.T, bias.reshape(-1))
    return model, naive_pairs.grid_log_partition(across, down, bias)


# ---- all ways agree with the definition -------------------------------------------------------------------


@pytest.mark.slow_without_jit
@given(MACHINES)
def test_log_z(model):
    expected = naive_pairs.log_sum(naive_pairs.log_weights(model.couplings, model.bias)) + model.constant
    for method in ("auto", *WAYS):
        assert abs(fastvi.log_partition(model, method=method) - expected) <= rounding(model)


@pytest.mark.slow_without_jit
@given(MACHINES, st.integers(0, 99), st.booleans())
def test_log_marginal_of_clamped_units(model, seed, own_masks):
    x, observed = data_of(model, seed, own_masks=own_masks)
    mask = np.broadcast_to(observed, x.shape)
    expected = naive_pairs.log_marginals(model.couplings, model.bias, x, mask) + model.constant
    log_z = fastvi.log_partition(model)
    for method in ("auto", *WAYS):
        found = fastvi.log_marginal(model, x, observed=observed, normalized=False, method=method)
        np.testing.assert_allclose(found, expected, rtol=0, atol=rounding(model))
        found = fastvi.log_marginal(model, x, observed=observed, method=method)
        np.testing.assert_allclose(found, np.minimum(expected - log_z, 0.0), rtol=0, atol=2 * rounding(model))


@pytest.mark.slow_without_jit
@given(MACHINES, st.integers(0, 99))
def test_posteriors(model, seed):
    x, observed = data_of(model, seed, own_masks=True)
    p = naive_pairs.posteriors(model.couplings, model.bias, x, observed)
    # of a datum that was seen whole the answer is the datum, also where it is impossible
    asked = ~(observed.all(axis=1) & np.isnan(p).any(axis=1))
    x, observed, p = x[asked], observed[asked], p[asked]
    z = naive_pairs.all_states(model.num_units)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(p > 0.0, p * np.log(p), p * 0.0).sum(axis=1)
        best = np.log(p.max(axis=1))
    # a probability is off by what its logarithm is; an entropy by the sum of p |log p| times that, and more
    # where the states are many
    close = {"rtol": 0, "atol": 40 * rounding(model)}
    for method in MOMENTS:
        found = fastvi.exact_posterior(model, x, observed=observed, pairwise=True, method=method)
        np.testing.assert_allclose(found.mean, p @ z, **close)
        np.testing.assert_allclose(found.second_moment, np.einsum("ns,si,sj->nij", p, z, z), **close)
        np.testing.assert_allclose(found.entropy, entropy, **close)
        np.testing.assert_allclose(found.mode_log_prob, best, **close)
        np.testing.assert_allclose(found.log_prob(found.mode), best, **close)


@pytest.mark.slow_without_jit
@given(MACHINES, st.integers(0, 99))
def test_gradients(model, seed):
    x, observed = data_of(model, seed, own_masks=False)
    p = naive_pairs.posteriors(model.couplings, model.bias, x, np.broadcast_to(observed, x.shape))
    weights = np.array([1.0, -0.5, 2.0, 0.3])
    if np.isnan(p).any():
        x, p, weights = x[:0], p[:0], weights[:0]
    z = naive_pairs.all_states(model.num_units)
    prior = naive_pairs.posteriors(model.couplings, model.bias, z[:1], np.zeros((1, len(model.bias)), bool))
    share = weights @ p - weights.sum() * prior[0]
    pairs = 0.5 * np.einsum("s,si,sj->ij", share, z, z)
    np.fill_diagonal(pairs, 0.0)
    for method in ("auto", *MOMENTS):
        found = fastvi.log_marginal_gradient(model, x, data_weights=weights, observed=observed, method=method)
        np.testing.assert_allclose(found["bias"], share @ z, rtol=0, atol=200 * rounding(model))
        np.testing.assert_allclose(found["couplings"], pairs, rtol=0, atol=200 * rounding(model))


def test_draws_by_elimination():
    model, num = sparse_machine("grid", 6, 3, 1.0, 0.2), 4000
    x, observed = random_bits(2, 6, seed=1), np.arange(6) == 2
    p = naive_pairs.posteriors(model.couplings, model.bias, x, np.broadcast_to(observed, x.shape))
    posterior = fastvi.exact_posterior(model, x, observed=observed, method="elimination")
    draws = posterior.sample(num, 5)
    for n in range(2):
        numbers = draws[:, n].astype(np.int64) @ (1 << np.arange(6))
        assert_frequencies(np.bincount(numbers, minlength=64), p[n], num)
    assert np.array_equal(posterior[1].sample(num, 5), draws[:, 1:])
    assert np.array_equal(pickle.loads(pickle.dumps(posterior)).sample(num, 5), draws)
    assert np.array_equal(posterior.top_states, posterior.mode[:, None][:, :0])


@pytest.mark.parametrize("scale", [0.3, 30.0, 300.0])
def test_an_independent_set_with_several_tiles(scale):
    """2^13 states of pairs outside, inside and between tiles; large ones are summed in log space."""
    model = sparse_machine("complete", 16, 7, scale, 0.05)
    couplings, closed = model.couplings.copy(), np.arange(16) >= 13
    couplings[np.ix_(closed, closed)] = 0.0
    model = fastvi.BoltzmannMachine(couplings, model.bias)
    form = independent_set_form(couplings, model.bias, np.zeros(16, bool), closed)
    assert form.tiling.outer_bits > 0
    expected = naive_pairs.log_sum(naive_pairs.log_weights(couplings, model.bias))
    assert abs(fastvi.log_partition(model, method="independent_set") - expected) <= rounding(model)
    z = naive_pairs.all_states(13)[::97]
    given_states = naive_pairs.log_sum(
        np.stack([
            naive_pairs.log_weights(couplings[13:, 13:], model.bias[13:] + couplings[13:, :13] @ s)
            if not (np.isneginf(couplings[13:, :13]) @ s).any() else np.full(8, np.nan)
            for s in z
        ])
    )  # fmt: skip
    own = naive_pairs.log_weights(couplings[:13, :13], model.bias[:13])[::97]
    possible = ~np.isnan(given_states) & ~np.isneginf(own)
    found = form.log_joint(np.empty((1, 0), np.uint8), z[None][..., form.order])[0]
    np.testing.assert_allclose(found[possible], (own + given_states)[possible], rtol=0, atol=rounding(model))


@pytest.mark.slow_without_jit
def test_a_restricted_machine_written_as_a_machine_costs_its_smaller_layer():
    layers = restricted(30, 12, 3)
    couplings = np.zeros((42, 42))
    couplings[:30, 30:] = layers.weights
    model = fastvi.BoltzmannMachine(
        couplings + couplings.T, np.concatenate([layers.visible_bias, layers.hidden_bias])
    )
    for method in ("auto", "independent_set", "elimination"):
        found = fastvi.log_partition(model, method=method)
        assert abs(found - fastvi.log_partition(layers)) <= rounding(model)
    # hidden units that are left out depend on the visible ones that are seen
    x = random_bits(5, 42, seed=2)
    seen = np.arange(42) < 25
    expected = fastvi.log_marginal(layers, x[:, :30], observed=seen[:30])
    for method in ("independent_set", "elimination"):
        found = fastvi.log_marginal(model, x, observed=seen, method=method)
        np.testing.assert_allclose(found, expected, rtol=0, atol=4 * rounding(model))
    assert "independent set 2^12" in fastvi.plan(model, question="log_partition").ways


@pytest.mark.slow_without_jit
def test_a_large_grid_with_default_arguments():
    model, expected = grid(10)
    assert abs(fastvi.log_partition(model) - expected) <= rounding(model)
    x, observed = random_bits(3, 100, seed=4), np.random.default_rng(0).random(100) < 0.5
    posterior = fastvi.exact_posterior(model, x, observed=observed, top_k=1)
    assert np.array_equal(posterior.log_marginal, fastvi.log_marginal(model, x, observed=observed))
    assert np.array_equal(posterior.mode[:, observed], x[:, observed])
    # log p(z) of an exact draw is -H on average: within five standard errors of 400 draws
    every = fastvi.exact_posterior(model)
    log_p = every.log_prob(model.sample(400, 1).z[:, None])[:, 0]
    assert abs(log_p.mean() + every.entropy[0]) < 5 * log_p.std() / 20
    assert every.mode_log_prob[0] >= log_p.max()


# ---- which is taken ---------------------------------------------------------------------------------------


@pytest.mark.slow_without_jit
def test_plan_names_what_is_taken_and_the_others():
    model, _ = grid(10)
    found = fastvi.plan(model, question="log_partition")
    taken, *others = found.ways.split("; ")
    assert taken.startswith("elimination, width ")
    assert [text.split(":")[0] for text in others] == ["independent set 2^50", "enumeration 2^100"]
    assert f"ways            {found.ways}" in str(found)
    assert found.states < 2**20
    assert fastvi.plan(model, observed=np.arange(100) < 90).ways.startswith("log Z by elimination")
    forced = fastvi.plan(machine(12), question="log_partition", method="elimination")
    assert forced.ways.startswith("elimination, width 11")
    assert forced.states == sum(2 << k for k in range(12))
    assert fastvi.plan(network(4, 3, 1)).ways == ""
    assert fastvi.plan(model, 2, observed=np.ones(100, bool), normalized=False).ways == ""


def test_auto_goes_as_before_where_all_units_are_coupled():
    model = machine(18)
    assert fastvi.plan(model, question="log_partition").ways.startswith("enumeration 2^18")
    assert fastvi.log_partition(model) == fastvi.log_partition(model, method="enumeration")
    x, observed = random_bits(3, 18), np.arange(18) < 9
    for normalized in (True, False):
        found = fastvi.log_marginal(model, x, observed=observed, normalized=normalized)
        again = fastvi.log_marginal(model, x, observed=observed, normalized=normalized, method="enumeration")
        assert np.array_equal(found, again)


@pytest.mark.parametrize("method", WAYS)
def test_the_same_bits_for_any_threads_and_beside_any_data(method, same_bits):
    model = sparse_machine("random", 13, 2, 1.0, 0.1)
    x, observed = data_of(model, 1, own_masks=True)

    def ask():
        return fastvi.log_marginal(model, x, observed=observed, method=method)

    found = same_bits(ask, threads=(1, 2))
    for n in range(len(x)):
        alone = fastvi.log_marginal(model, x[n : n + 1], observed=observed[n], method=method)
        assert bits(alone) == bits(found[n : n + 1])
    if method != "independent_set":
        same_bits(lambda: fastvi.exact_posterior(model, x, observed=observed, top_k=1, method=method).mean)


@pytest.mark.parametrize("method", WAYS)
def test_executors_checkpoints_and_progress(method, tmp_path):
    model = sparse_machine("grid", 12, 5, 1.0, 0.0)
    x, observed = data_of(model, 3, own_masks=True)
    options = {"observed": observed, "method": method}
    expected, seen = fastvi.log_marginal(model, x, **options), []
    with ThreadPoolExecutor(2) as executor:
        assert np.array_equal(fastvi.log_marginal(model, x, **options, executor=executor), expected)
    path = tmp_path / "kept"
    for _ in range(2):
        assert np.array_equal(fastvi.log_marginal(model, x, **options, checkpoint=path), expected)
    fastvi.log_marginal(model, x, **options, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1]
    other = next(way for way in WAYS if way != method)
    with pytest.raises(ValueError, match="checkpoint"):
        fastvi.log_marginal(model, x, observed=observed, method=other, checkpoint=path)


def test_the_limits_are_those_of_the_way_that_is_taken():
    model, _ = grid(10)
    with pytest.raises(ValueError, match=r"^max_states is 1000 .*log Z under 2\^"):
        fastvi.log_partition(model, max_states=1000)
    with pytest.raises(ValueError, match=r"^memory_limit is 1,000 bytes"):
        fastvi.log_partition(model, memory_limit=1000)
    with pytest.raises(ValueError, match=r"^max_states .*2\^100"):
        fastvi.log_partition(model, method="enumeration")
    with pytest.raises(ValueError, match=r"^max_states .*2\^50"):
        fastvi.log_partition(model, method="independent_set")
    with pytest.raises(ValueError, match=r"^max_states .*2\^100"):
        fastvi.exact_posterior(model, top_k=2)


@pytest.mark.slow_without_jit
def test_a_plan_of_a_large_grid_names_elimination_and_does_not_run_it():
    """22 x 22 units: all tables together take 2.5 GiB, those at a time 80 MiB."""
    couples = grid_graph(22, 22)
    found = fastvi.plan(
        fastvi.BoltzmannMachine(1.0 * (couples | couples.T), np.zeros(484)), question="log_partition"
    )
    assert found.ways.startswith("elimination, width 22: ")
    assert 2**29 < found.states < 2**30
    assert found.bytes < 2**27
    assert found.predicted_seconds >= 1e-9 * found.states


def test_what_cannot_be_rehearsed_is_planned_by_rates(monkeypatch):
    from fastvi.exact import rehearsal

    monkeypatch.setattr(rehearsal, "_WORK", 1 << 8)
    monkeypatch.setattr(rehearsal, "TERM", 1e6)  # beside which nothing counts that is timed
    monkeypatch.setattr(rehearsal, "log_sums", None)
    monkeypatch.setattr(rehearsal, "log_sums_and_means", None)
    model, _ = grid(5)
    log_z = fastvi.plan(model, question="log_partition", method="elimination")
    means = fastvi.plan(model, 3, question="exact_posterior", method="elimination", normalized=False)
    modes = fastvi.plan(model, 3, question="exact_posterior", top_k=1, method="elimination", normalized=False)
    gradient = fastvi.plan(model, 3, question="log_marginal_gradient", method="elimination")
    assert log_z.states == means.states == modes.states == gradient.states // 2
    terms = 1e6 * log_z.states
    assert log_z.predicted_seconds == pytest.approx(terms)
    # of means and modes of three data; of second moments of three and of log Z, given each of 25 units
    assert means.predicted_seconds == pytest.approx(3 * 5 * terms)
    assert modes.predicted_seconds == pytest.approx(3 * 25 * terms)
    assert gradient.predicted_seconds == pytest.approx((3 + 1) * 5 * 25 * terms)


@pytest.mark.slow_without_jit
def test_a_refusal_names_the_ways_and_their_sizes(monkeypatch):
    """An order of too many bytes is not taken unasked; who asks for it has it."""
    model, expected = grid(10)
    plan = rules_of(model).by("elimination", "log_partition").partition_way.plan
    monkeypatch.setattr("fastvi.rules.ways._FEW_NUMBERS", 0)
    monkeypatch.setattr("fastvi.rules.ways._MOST_BYTES", plan.bytes)
    assert abs(fastvi.log_partition(grid(10)[0]) - expected) <= rounding(model)
    with pytest.raises(
        ValueError, match=r"under 2\^100 states .*; by method: 'enumeration' 2\^100 states, 'elimi"
    ):
        fastvi.exact_posterior(grid(10)[0], normalized=False)
    monkeypatch.setattr("fastvi.rules.ways._MOST_BYTES", plan.bytes - 1)
    size = f"2^{np.log2(plan.num_terms):.4g} terms and {plan.bytes / 2**30:.3g} GiB"
    with pytest.raises(ValueError) as refused:
        fastvi.log_partition(grid(10)[0])
    said = f"'enumeration' 2^100 states, 'independent_set' 2^50 states, 'elimination' {size}"
    assert str(refused.value).endswith(f"; by method: {said}")
    assert abs(fastvi.log_partition(grid(10)[0], method="elimination") - expected) <= rounding(model)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model, x: fastvi.log_partition(model, method="sum"), r"^method must be one of 'auto', "),
        (
            lambda model, x: fastvi.exact_posterior(model, x, method="independent_set"),
            r"^method must be 'auto' or 'enumeration' or 'elimination' for exact_posterior, got",
        ),
        (
            lambda model, x: fastvi.log_marginal_gradient(model, x, method="independent_set"),
            r"^method must be .* for log_marginal_gradient, got 'independent_set'$",
        ),
        (
            lambda model, x: fastvi.exact_posterior(model, x, top_k=2, method="elimination"),
            r"^method must be 'auto' or 'enumeration' for exact_posterior with top_k=2, got 'elimination'$",
        ),
        (
            lambda model, x: fastvi.log_partition(model, method="elimination", device="cuda"),
            r"^method must be 'auto' or 'enumeration' with device='cuda'",
        ),
        (
            lambda model, x: fastvi.log_marginal(network(4, 3, 1), x[:, :4], method="elimination"),
            r"^method must be 'auto' or 'enumeration' for a SigmoidBeliefNetwork, got 'elimination'$",
        ),
        (
            lambda model, x: fastvi.plan(restricted(4, 3), method="independent_set"),
            r"^method must be 'auto' or 'enumeration' for a RestrictedBoltzmannMachine, got",
        ),
    ],
)  # fmt: skip
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call(machine(5), random_bits(2, 5))


def test_a_gpu_sums_neither_sets_nor_eliminations():
    from fastvi.engine.cuda.place import UnsupportedError, cuda_form

    rules = rules_of(grid(5)[0])
    for method in ("independent_set", "elimination"):
        with pytest.raises(UnsupportedError, match="device='cuda' sums"):
            cuda_form(rules.by(method, "log_partition").partition_form())
    assert type(rules.by("enumeration", "log_partition").partition_form()).__name__ == "PairForm"


# ---- independent sets -------------------------------------------------------------------------------------


@given(st.sampled_from(["grid", "tree", "bipartite", "random"]), st.integers(0, 11), st.integers(0, 999))
def test_independent_sets_of_small_graphs_are_as_large_as_can_be(kind, d, seed):
    couples = graph(kind, d, np.random.default_rng(seed))
    couples |= couples.T
    found = independent_set(couples)
    assert not couples[np.ix_(found, found)].any()
    z = naive_pairs.all_states(d)
    sizes = z.sum(axis=1)[((z @ couples) * z).sum(axis=1) == 0]
    assert found.sum() == sizes.max()


def test_independent_sets_of_large_graphs():
    couples = grid_graph(20, 20)
    assert independent_set(couples | couples.T).sum() == 200
    couples = np.zeros((250, 250), bool)
    couples[:50, 50:] = True
    assert np.array_equal(independent_set(couples | couples.T), np.arange(250) >= 50)
