"""Annealed importance sampling against chains in pure Python, against exact log Z, and in every corner."""

from __future__ import annotations

import math

import naive
import naive_annealing
import numpy as np
import pytest
from cases import machine, parameters_of, quiet, restricted
from interpreted import few_without_jit

import fastvi
from fastvi.engine.annealing import chains, machines
from fastvi.engine.annealing.chains import Schedule

ais = fastvi.annealed_importance_sampling


def log_weights(model, num_temperatures, num_chains, seed=0, states=None, dtype="float64"):
    """Relative to independent units."""
    weights = machines.layer_log_weights if len(model.arrays()) == 3 else machines.pair_log_weights
    return weights(
        *model.arrays().values(), Schedule(num_temperatures, num_chains, seed, quiet, states, dtype)
    )


def naive_log_weight(model, *rest):
    arrays = parameters_of(model)
    chain = naive_annealing.rbm_log_weight if len(arrays) == 3 else naive_annealing.bm_log_weight
    return chain(*arrays, *rest)


MACHINES = {
    "restricted": restricted(7, 4),
    "wide": restricted(3, 67, scale=0.5, bias_scale=1.0),
    "tall": restricted(37, 1, scale=3.0, bias_scale=1.0),
    "many tiles": restricted(2, 1100, scale=0.1, bias_scale=1.0),
    "blocks of rows": restricted(70, 40, scale=0.3, bias_scale=1.0),
    "large weights": restricted(5, 6, scale=300.0, bias_scale=1.0),
    "pairs": machine(9),
    "strong pairs": machine(20, scale=100.0, bias_scale=1.0),
    "exclusive pairs": machine(18, exclusive=0.4),
    "one unit": machine(1),
    "all exclude each other": machine(5, exclusive=1.0),
}


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("num_temperatures", [1, 2, 7])
@pytest.mark.parametrize("name", MACHINES)
def test_every_chain_is_that_of_the_definition(name, num_temperatures):
    model, seed = MACHINES[name], 2**63 + 12345
    found = log_weights(model, num_temperatures, 3, seed)
    for chain, value in enumerate(found):
        expected = naive_log_weight(model, num_temperatures, seed, chain)
        assert abs(value - expected) <= 1e-10 * max(1.0, abs(expected) / 100)


TRUTH = ["restricted", "tall", "pairs", "exclusive pairs", "one unit", "all exclude each other"]


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("name", TRUTH)
def test_estimates_are_within_their_errors_of_the_truth(name):
    truth = fastvi.log_partition(MACHINES[name])
    for num_temperatures in (1, 30):
        estimate = ais(MACHINES[name], num_temperatures=num_temperatures, num_chains=2000, seed=1)
        if num_temperatures == 30:
            assert estimate.std_error[0] < 0.2
        if estimate.ess[0] > 100:
            assert abs(estimate.log_marginal[0] - truth) <= 4.5 * estimate.std_error[0] + 1e-12


@pytest.mark.slow_without_jit
def test_more_temperatures_have_smaller_errors():
    model = restricted(30, 12, scale=0.7, bias_scale=1.0)
    truth = fastvi.log_partition(model)
    errors = []
    for num_temperatures in (10, 100, 1000):
        estimate = ais(model, num_temperatures=num_temperatures, num_chains=500)
        errors.append(estimate.std_error[0])
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert abs(estimate.log_marginal[0] - truth) <= 4.5 * errors[2]


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("model", [restricted(3, 2), machine(4), machine(5, 3, exclusive=0.5)])
def test_reversed_chains_from_exact_states_have_a_mean_of_one_over_z(model):
    """E[Z / w] = 1, and the estimate is too high on average."""
    restrictions = isinstance(model, fastvi.RestrictedBoltzmannMachine)
    states = model.sample(10_000, 3)[1 if restrictions else 0]
    above = ais(model, num_temperatures=6, num_chains=10_000, seed=4, latents=states)
    truth = fastvi.log_partition(model)
    assert abs(np.expm1(truth - above.log_marginal[0])) <= 4.5 * above.std_error[0]
    assert 0.0 < above.std_error[0] < 0.1
    few = [
        ais(model, num_temperatures=2, num_chains=1, seed=k, latents=states[k : k + 1]).log_marginal[0]
        for k in range(300)
    ]
    assert np.mean(few) > truth - 1e-9


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("num_temperatures", [1, 2, 5])
@pytest.mark.parametrize("name", MACHINES)
def test_reversed_chains_are_those_of_the_definition(name, num_temperatures):
    model, seed = MACHINES[name], 2**40 + 7
    rng = np.random.default_rng(5)
    num_units = len(model.arrays()["visible_bias" if len(model.arrays()) == 3 else "bias"])
    if num_units > 5 or len(model.arrays()) == 3:
        states = (rng.random((3, num_units)) < 0.5).astype(np.uint8)
    else:
        states = np.eye(3, num_units, dtype=np.uint8)
    if len(model.arrays()) == 2:  # drop units until none excludes another
        for state in states:
            for i in range(num_units):
                state[i] &= not np.isinf(model.couplings[i][state == 1]).any()
    found = log_weights(model, num_temperatures, 3, seed, states)
    for chain, value in enumerate(found):
        expected = -naive_log_weight(model, num_temperatures, seed, chain, states[chain].tolist())
        assert abs(value - expected) <= 1e-10 * max(1.0, abs(expected) / 100)


def field_error(model):
    """What float32 may move a log weight by: a field W^T v is off by the rounding of W and of the additions
    on its way, 5 in a block of 32 rows and one for each block, and a step's weight is a softplus at two
    temperatures, whose difference moves by 1.1 times a field's change times the step.
    """
    return 1.1 * (model.num_pixels / 32 + 7) * 2.0**-24 * np.abs(model.weights).sum()


RESTRICTED = [name for name in MACHINES if len(MACHINES[name].arrays()) == 3]


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("name", RESTRICTED)
def test_weights_of_float32_are_those_of_their_paths(name, backwards):
    """No draw of these falls within rounding of its chance, so that the paths are those of the definition."""
    model, seed = MACHINES[name], 2**50 + 3
    rng = np.random.default_rng(6)
    states = (rng.random((3, model.num_pixels)) < 0.5).astype(np.uint8) if backwards else None
    found = log_weights(model, 7, 3, seed, states, "float32")
    exact = log_weights(model, 7, 3, seed, states)
    for chain, value in enumerate(found):
        start = states[chain].tolist() if backwards else None
        expected = naive_log_weight(model, 7, seed, chain, start) * (-1 if backwards else 1)
        assert abs(value - expected) <= field_error(model)
    assert found.tobytes() != exact.tobytes()


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("name", ["restricted", "tall", "blocks of rows"])
def test_estimates_of_float32_are_within_their_errors_of_the_truth(name):
    model = MACHINES[name]
    truth = fastvi.log_partition(model) if model.num_latents < 20 else None
    double = ais(model, num_temperatures=100, num_chains=1000, seed=1)
    single = ais(model, num_temperatures=100, num_chains=1000, seed=2, dtype="float32")
    both = math.hypot(double.std_error[0], single.std_error[0])
    assert both < 0.1
    assert abs(double.log_marginal[0] - single.log_marginal[0]) <= 4.5 * both
    if truth is not None:
        assert abs(single.log_marginal[0] - truth) <= 4.5 * single.std_error[0]


def test_states_that_cannot_be_are_refused():
    never = -math.inf
    machine = fastvi.BoltzmannMachine([[0.0, never], [never, 0.0]], [0.0, 0.0])
    with pytest.raises(ValueError, match=r"^latents must have p\(z\) > 0, got 0 for chain 1$"):
        ais(machine, num_temperatures=2, num_chains=2, latents=[[0, 1], [1, 1]])


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("model", [restricted(3, 2), machine(4), machine(5, 3, exclusive=0.5)])
def test_the_mean_of_many_estimates_is_z(model):
    """E[exp(estimate)] = Z: 400 seeds of few chains, whose mean has a standard error of its own."""
    ratios = np.exp(
        [ais(model, num_temperatures=4, num_chains=25, seed=seed).log_marginal[0] for seed in range(400)]
        - np.float64(fastvi.log_partition(model))
    )
    assert abs(ratios.mean() - 1.0) <= 4.5 * ratios.std(ddof=1) / 20.0
    assert ratios.std(ddof=1) < 0.5


@pytest.mark.slow_without_jit
def test_chains_are_where_the_exact_distribution_has_them():
    """Many steps at small changes of temperature: means of the weighted states of importance sampling."""
    model = machine(4, 1, exclusive=0.4)
    assert np.isinf(model.couplings).any()
    every = naive.states(4)
    log_p = [naive.bm_log_joint(model.couplings.tolist(), model.bias.tolist(), z) for z in every]
    assert math.isclose(fastvi.log_partition(model), naive.log_sum_exp(log_p), rel_tol=1e-12)
    estimate = ais(model, num_temperatures=20, num_chains=300)
    assert abs(estimate.log_marginal[0] - naive.log_sum_exp(log_p)) <= 4.5 * estimate.std_error[0]


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("num_temperatures", [1, 3, 50])
@pytest.mark.parametrize(
    "model",
    [
        fastvi.RestrictedBoltzmannMachine(np.zeros((6, 40)), np.arange(6) - 3.0, np.linspace(-5, 700, 40)),
        fastvi.BoltzmannMachine(np.zeros((5, 5)), [-800.0, -1.0, 0.0, 2.0, 800.0]),
    ],
)
def test_independent_units_have_no_error(model, num_temperatures):
    estimate = ais(model, num_temperatures=num_temperatures, num_chains=20)
    biases = np.concatenate([array for array in model.arrays().values() if array.ndim == 1])
    assert math.isclose(estimate.log_marginal[0], np.logaddexp(0, biases).sum(), rel_tol=1e-13)
    assert estimate.std_error[0] == 0.0
    assert math.isclose(estimate.ess[0], 20.0, rel_tol=1e-12)
    assert estimate.pareto_k[0] == -np.inf
    assert math.isclose(estimate.max_weight_share[0], 0.05, rel_tol=1e-12)
    assert estimate.num_samples == 20


@pytest.mark.slow_without_jit
def test_the_estimate_is_that_of_its_weights():
    model = restricted(6, 5)
    estimate = ais(model, num_temperatures=5, num_chains=60, seed=9)
    independent = np.logaddexp(0, model.visible_bias).sum() + 5 * math.log(2)
    log_w = log_weights(model, 5, 60, 9) + independent
    assert math.isclose(estimate.log_marginal[0], fastvi.log_mean_exp(log_w), rel_tol=1e-13)
    assert math.isclose(estimate.ess[0], fastvi.effective_sample_size(log_w), rel_tol=1e-10)
    assert math.isclose(estimate.pareto_k[0], fastvi.pareto_k(log_w), rel_tol=1e-9)
    w = np.exp(log_w - log_w.max())
    assert math.isclose(estimate.std_error[0], w.std(ddof=1) / math.sqrt(60) / w.mean(), rel_tol=1e-9)
    assert math.isclose(estimate.max_weight_share[0], 1 / w.sum(), rel_tol=1e-10)
    assert estimate.log_marginal.shape == estimate.std_error.shape == (1,)


def test_one_chain_has_an_unknown_error():
    estimate = ais(restricted(4, 3), num_temperatures=3, num_chains=1)
    assert np.isfinite(estimate.log_marginal[0])
    assert estimate.std_error[0] == np.inf


@pytest.mark.slow_without_jit
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("restricted", "float64"),
        ("blocks of rows", "float64"),
        ("blocks of rows", "float32"),
        ("exclusive pairs", "float64"),
    ],
)
def test_same_bits_for_any_number_of_threads_and_cuts(set_threads, monkeypatch, name, dtype):
    """Groups of 23, 5 and 3 chains: with tables of partial sums and without."""
    model, seen = MACHINES[name], set()
    for threads, group, per_thread, operations in ((1, 64, 8, 3e8), (2, 5, 1, 1.0), (5, 3, 2, 1e5)):
        set_threads(threads)
        monkeypatch.setattr(chains, "_LARGEST_GROUP", group)
        monkeypatch.setattr(chains, "_GROUPS_PER_THREAD", per_thread)
        monkeypatch.setattr(chains, "_TASK_OPERATIONS", operations)
        seen.add(log_weights(model, 6, 23, dtype=dtype).tobytes())
    assert len(seen) == 1


@pytest.mark.parametrize("name", few_without_jit(["restricted", "pairs"], ["pairs"]))
def test_a_chain_depends_on_seed_and_number_alone(name):
    few, many = log_weights(MACHINES[name], 5, 3, 7), log_weights(MACHINES[name], 5, 150, 7)
    assert few.tobytes() == many[:3].tobytes()
    assert len(set(many.tolist())) > 100
    assert not np.isin(log_weights(MACHINES[name], 5, 3, 8), many).any()


def test_a_hard_constraint_is_not_a_large_coupling():
    """An independent set of a path: chains start where no pair clashes, whatever their number."""
    never = np.diag(np.full(29, -np.inf), 1)
    never[~np.isinf(never)] = 0.0
    path = fastvi.BoltzmannMachine(never + never.T, np.zeros(30))
    estimate = ais(path, num_temperatures=1, num_chains=200)
    assert estimate.ess[0] > 20
    assert (
        abs(estimate.log_marginal[0] - math.log(2178309)) <= 4.5 * estimate.std_error[0]
    )  # Fibonacci's 32nd


@pytest.mark.parametrize("name", ["restricted", "pairs"])
def test_progress_counts_temperatures_of_all_chains(monkeypatch, capsys, name):
    monkeypatch.setattr(chains, "_TASK_OPERATIONS", 1.0)
    seen = []
    ais(
        MACHINES[name],
        num_temperatures=4,
        num_chains=5,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (20, 20)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    ais(MACHINES[name], num_temperatures=4, num_chains=5, progress=True)
    assert "fastvi: 100.0% of 20 temperatures" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"model": fastvi.JointTable([[1.0]])},
            TypeError,
            r"^model must be a SigmoidBeliefNetwork or .* or BoltzmannMachine, got ",
        ),
        (
            {"model": None},
            TypeError,
            r"^model must be a SigmoidBeliefNetwork or .* or BoltzmannMachine, got ",
        ),
        ({"x": [[0, 1]]}, TypeError, r"^x must be None: log Z is the model's own, got "),
        ({"initial": "uniform"}, TypeError, r"^initial must be 'prior' for a Boltzmann machine"),
        ({"initial": fastvi.Uniform(2)}, TypeError, r"^initial must be 'prior' for a Boltzmann machine"),
        ({"latents": [[0, 1, 1]]}, ValueError, r"^latents must have shape \(2, 3\), got shape \(1, 3\)"),
        ({"latents": [[0, 2, 1]] * 2}, ValueError, r"^latents must contain only 0 and 1, got 2"),
        ({"num_leapfrog": 0}, ValueError, r"^num_leapfrog must be an int >= 1, got 0"),
        ({"num_temperatures": 0}, ValueError, r"^num_temperatures must be an int >= 1, got 0"),
        ({"num_temperatures": 1.5}, TypeError, r"^num_temperatures must be an int >= 1, got 1\.5"),
        (
            {"num_temperatures": 2**32},
            ValueError,
            r"^num_temperatures must be an int < 2\*\*32, got 4294967296",
        ),
        ({"num_chains": 0}, ValueError, r"^num_chains must be an int >= 1, got 0"),
        ({"num_chains": True}, TypeError, r"^num_chains must be an int >= 1, got True"),
        ({"num_chains": 2**32}, ValueError, r"^num_chains must be an int < 2\*\*32, got 4294967296"),
        ({"seed": -1}, ValueError, r"^seed must be an int with 0 <= seed < 2\*\*64, got -1"),
        ({"seed": None}, TypeError, r"^seed must be an int"),
        ({"progress": 1}, TypeError, r"^progress must be True or False, got 1"),
        ({"dtype": "float16"}, ValueError, r"^dtype must be one of 'float64', 'float32', got 'float16'"),
        (
            {"model": machine(3), "dtype": "float32"},
            ValueError,
            r"^dtype must be 'float64' for a BoltzmannMachine, whose chains have no float32, got 'float32'$",
        ),
        ({"device": "gpu"}, ValueError, r"^device must be one of 'cpu', 'cuda', 'auto', got 'gpu'"),
        ({"device": "cuda"}, RuntimeError, r"^device='cuda' is not available"),
    ],
)
def test_wrong_input(change, error, message):
    arguments = {"model": restricted(3, 2), "num_temperatures": 2, "num_chains": 2, **change}
    with pytest.raises(error, match=message) as caught:
        ais(arguments.pop("model"), arguments.pop("x", None), **arguments)
    assert "\n" not in str(caught.value)
