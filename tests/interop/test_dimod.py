"""dimod's models and samplers, against dimod's own energies and the samplers of dwave-samplers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from optional import package

import fastvi

pytestmark = pytest.mark.peers
dimod = package("dimod")
samplers = package("dwave.samplers")
interop = package("fastvi.interop.dimod")

RNG = np.random.default_rng(7)
NAMES = ["d", "a", ("c", 1), "b", 5, "f"]
GRID = [(0, 1), (1, 2), (3, 4), (4, 5), (0, 3), (1, 4), (2, 5)]  # 2 x 3
BETA = 1.3


def model(vartype, pairs=GRID):
    linear = dict(zip(NAMES, RNG.normal(size=6), strict=True))
    quadratic = {(NAMES[i], NAMES[j]): float(RNG.normal()) for i, j in pairs}
    return dimod.BinaryQuadraticModel(linear, quadratic, 0.7, vartype)


BOTH = pytest.mark.parametrize("vartype", ["SPIN", "BINARY"])


def states(bqm):
    bits = np.array(list(itertools.product((0, 1), repeat=bqm.num_variables)))
    return bits, 2 * bits - 1 if bqm.vartype is dimod.SPIN else bits


@BOTH
def test_energies_there_and_back(vartype):
    bqm = model(vartype)
    bits, values = states(bqm)
    energies = bqm.energies((values, list(bqm.variables)))
    machine = fastvi.BoltzmannMachine.from_bqm(bqm, BETA)
    # a dozen numbers of a few units: some tens of roundings
    assert machine.log_joint(None, bits) == pytest.approx(-BETA * energies, rel=0.0, abs=1e-13)
    back = fastvi.BoltzmannMachine.from_bqm(bqm).to_bqm(vartype)
    assert back.vartype is bqm.vartype
    assert set(map(frozenset, back.quadratic)) == set(map(frozenset, places(bqm)))
    back.relabel_variables(dict(enumerate(bqm.variables)))
    assert back.energies((values, list(bqm.variables))) == pytest.approx(energies, rel=0.0, abs=1e-13)


def places(bqm):
    place = list(bqm.variables).index
    return [(place(u), place(v)) for u, v in bqm.quadratic]


def test_what_dimod_cannot_hold_is_refused():
    never = -math.inf
    machine = fastvi.BoltzmannMachine([[0, never], [never, 0]], [0.0, 0.0])
    with pytest.raises(ValueError, match=r"^couplings must be finite for a dimod model"):
        machine.to_bqm()
    with pytest.raises(ValueError, match=r"^vartype must be"):
        machine.to_bqm("INTEGER")


@BOTH
@pytest.mark.parametrize("pairs", [[(i, i + 1) for i in range(5)], GRID], ids=["path", "grid"])
def test_log_z_and_marginals_are_those_of_a_tree_decomposition(vartype, pairs):
    bqm = model(vartype, pairs)
    found = interop.BoltzmannSampler().sample(bqm, num_reads=3, beta=BETA, seed=1).info
    tree = samplers.TreeDecompositionSampler().sample(bqm, beta=BETA).info
    assert found["log_partition_function"] == pytest.approx(tree["log_partition_function"], rel=0.0, abs=1e-9)
    assert found["variable_marginals"] == pytest.approx(tree["variable_marginals"], abs=1e-9)
    assert len(found["interaction_marginals"]) == len(pairs)
    for (u, v), shares in found["interaction_marginals"].items():
        other = tree["interaction_marginals"]
        turned = {(b, a): p for (a, b), p in other[v, u].items()} if (v, u) in other else other[u, v]
        assert shares == pytest.approx(turned, abs=1e-9)


@BOTH
def test_draws_are_exact_and_a_function_of_the_seed(vartype):
    bqm = model(vartype)
    sampler, num = interop.BoltzmannSampler(), 4000
    found = sampler.sample(bqm, num_reads=num, beta=BETA, seed=3)
    dimod.testing.assert_response_energies(found, bqm)
    assert np.array_equal(found.record, sampler.sample(bqm, num_reads=num, beta=BETA, seed=3).record)
    _, values = states(bqm)
    weights = np.exp(-BETA * bqm.energies((values, list(bqm.variables))))
    mean = (weights[:, None] * values).sum(axis=0) / weights.sum()
    columns = [list(found.variables).index(name) for name in bqm.variables]
    # means of 4000 draws between -1 and 1: five standard errors are at most 0.08
    assert found.record.sample[:, columns].mean(axis=0) == pytest.approx(mean, abs=0.08)


def test_it_is_a_sampler_of_dimod():
    sampler = interop.BoltzmannSampler()
    dimod.testing.assert_sampler_api(sampler)
    found = sampler.sample_qubo({(0, 1): 1.0, (0, 0): -1.0}, num_reads=2, marginals=False)
    assert set(found.info) == {"log_partition_function", "seed"}
    again = sampler.sample_qubo({(0, 1): 1.0, (0, 0): -1.0}, num_reads=2, seed=found.info["seed"])
    assert np.array_equal(found.record, again.record)
    empty = sampler.sample(dimod.BinaryQuadraticModel({}, {}, 2.0, "SPIN"), num_reads=2, beta=0.5)
    assert len(empty) == 2
    assert empty.info["log_partition_function"] == -1.0


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"num_reads": 0}, "num_reads must be"),
        ({"beta": -1.0}, "beta must be a finite number > 0"),
        ({"seed": -1}, "seed must be"),
        ({"marginals": 2}, "marginals must be"),
    ],
)
def test_wrong_arguments_are_refused(more, line):
    with pytest.raises((TypeError, ValueError), match=rf"^{line}"):
        interop.BoltzmannSampler().sample(model("SPIN"), **more)


def test_what_is_too_large_is_refused_before_the_work():
    couplings = {
        (i, j): 0.1 for i in range(60) for j in range(i)
    }  # all of them: nothing but enumeration helps
    bqm = dimod.BinaryQuadraticModel({}, couplings, 0.0, "BINARY")
    with pytest.raises(ValueError, match=r"2\^60"):
        interop.BoltzmannSampler().sample(bqm)
