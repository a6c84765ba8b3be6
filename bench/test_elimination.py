"""Sparse Boltzmann machines by elimination: fastvi against dwave-samplers, both in the same order.

The order is found once a model, so its time is a row of its own.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import oracle
import peers
import pytest
from problems import Machine, Size, grid_machine, regular_machine

from fastvi.engine.elimination.machine import EliminationForm
from fastvi.engine.elimination.order import elimination_plan


def _problems(size: Size) -> dict[str, Machine]:
    return {"grid": grid_machine(size.grid), "regular": regular_machine(size.regular)}


def _title(name: str, size: Size, form: EliminationForm, what: str) -> str:
    shape = f"grid {size.grid} x {size.grid}" if name == "grid" else f"random 3-regular, {size.regular} units"
    return f"{what} of a Boltzmann machine, {shape}, width {form.plan.width}"


def _form(problem: Machine) -> EliminationForm:
    return EliminationForm(problem.couplings, elimination_plan(problem.couplings != 0.0))


def _right(problem: Machine, form: EliminationForm) -> np.ndarray:
    return np.array([oracle.sparse_log_partition(*problem, form.plan.order)])


def _first_mean(problem: Machine, form: EliminationForm) -> np.ndarray:
    """E[z_0], from log Z of the other units where unit 0 is on."""
    rest = oracle.sparse_log_partition(
        np.ascontiguousarray(problem.couplings[1:, 1:]), problem.bias[1:] + problem.couplings[0, 1:],
        tuple(unit - 1 for unit in form.plan.order if unit),
    )  # fmt: skip
    return np.exp(problem.bias[0] + rest - _right(problem, form))


@pytest.mark.parametrize("name", ["grid", "regular"])
def test_log_partition(record: Any, size: Size, name: str) -> None:
    problem = _problems(size)[name]
    form = _form(problem)
    record.describe(_title(name, size, form, "log Z"), "fastvi", 1)
    record.arithmetic_limit(multiply_adds=form.plan.num_terms)
    value = record.run(lambda: form.log_sums(problem.bias[None]), size.rounds)
    record.check(value, _right(problem, form))


@pytest.mark.parametrize("name", ["grid", "regular"])
def test_moments(record: Any, size: Size, name: str) -> None:
    problem = _problems(size)[name]
    form = _form(problem)
    record.describe(_title(name, size, form, "log Z and moments"), "fastvi", 1)
    found = record.run(lambda: form.moments(problem.bias[None]), min(size.rounds, 3))
    record.check(found.log_sums, _right(problem, form))
    record.check(found.mean[0, :1], _first_mean(problem, form))


@pytest.mark.parametrize("name", ["grid", "regular"])
def test_order(record: Any, size: Size, name: str) -> None:
    problem = _problems(size)[name]
    couples = problem.couplings != 0.0
    record.describe(_title(name, size, _form(problem), "the order"), "fastvi", 1)
    plan = record.run(lambda: elimination_plan(couples), min(size.rounds, 3))
    record.check(np.array(sorted(plan.order)), np.arange(len(couples)), scale=1.0)


@pytest.mark.skipif(not peers.installed("dwave"), reason="needs dwave-samplers")
@pytest.mark.parametrize(("name", "marginals"), [("grid", False), ("regular", False), ("regular", True)])
def test_peer(record: Any, size: Size, name: str, marginals: bool) -> None:
    """The grid's marginals take it half a minute, and are left out."""
    problem = _problems(size)[name]
    form = _form(problem)
    baseline = importlib.import_module("baselines.dwave_elimination")
    what = "log Z and moments" if marginals else "log Z"
    record.describe(_title(name, size, form, what), "dwave-samplers, TreeDecomposition", 1)
    log_z, means = record.run(lambda: baseline.sums(*problem, form.plan.order, marginals=marginals), 1)
    record.check(np.array([log_z]), _right(problem, form))
    if marginals:
        record.check(means[:1], _first_mean(problem, form))
