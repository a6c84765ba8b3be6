"""Elimination against the tree decomposition of dwave-samplers: log Z, marginals and ground states."""

from __future__ import annotations

import numpy as np
import pytest
from optional import package

from fastvi.engine.elimination.machine import EliminationForm
from fastvi.engine.elimination.order import elimination_plan

pytestmark = pytest.mark.peers
dimod = package("dimod")
samplers = package("dwave.samplers")


def grid(rows, columns):
    number = np.arange(rows * columns).reshape(rows, columns)
    return [*zip(number[:, :-1].flat, number[:, 1:].flat), *zip(number[:-1].flat, number[1:].flat)]  # noqa: B905


def random_pairs(num, count):
    rng = np.random.default_rng(num)
    return [tuple(rng.choice(num, 2, replace=False)) for _ in range(count)]


@pytest.mark.parametrize(
    "pairs", [grid(8, 8), grid(3, 40), random_pairs(60, 80)], ids=["8x8", "3x40", "random"]
)
def test_same_sums(pairs):
    num = 1 + max(map(max, pairs))
    rng = np.random.default_rng(1)
    couplings, fields = np.zeros((num, num)), rng.standard_normal(num)
    for i, j in pairs:
        couplings[i, j] = couplings[j, i] = 2.0 * rng.standard_normal()
    form = EliminationForm(couplings, elimination_plan(couplings != 0.0))
    energy = dimod.BinaryQuadraticModel(-fields, -np.triu(couplings, 1), 0.0, "BINARY")
    order = list(form.plan.order)
    right = samplers.TreeDecompositionSampler().sample(energy, elimination_order=order, seed=1).info
    found = form.moments(fields[None])
    # both add positive numbers up: 1e-11 is 100 roundings of each of some hundred steps
    assert found.log_sums[0] == pytest.approx(right["log_partition_function"], rel=0, abs=1e-11 * num)
    assert found.mean[0] == pytest.approx([right["variable_marginals"][i] for i in range(num)], abs=1e-11)
    for (i, j), value in zip(form.edges.tolist(), found.pairs[0], strict=True):
        table = right["interaction_marginals"]
        both = (table[i, j] if (i, j) in table else table[j, i])[1, 1]
        assert value == pytest.approx(both, abs=1e-11)
    best = samplers.TreeDecompositionSolver().sample(energy, elimination_order=order).first
    states, weights = form.modes(fields[None])
    assert weights[0] == pytest.approx(-best.energy, abs=1e-10)
    assert states[0].tolist() == [best.sample[i] for i in range(num)]
