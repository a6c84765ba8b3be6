"""A step of exact maximum likelihood in PyTorch, value and gradient, beside what it stands in for."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

import numpy as np
import oracle
import peers
import pytest
from problems import Problem, Size, random_problem

import fastvi

STEP = "one step of exact maximum likelihood in PyTorch, value and gradient"
NAMES = ("weights", "bias", "prior_logits")

pytestmark = pytest.mark.skipif(not peers.installed("torch"), reason="torch is not installed")


def _setting(record: Any, size: Size, who: str) -> Problem:
    """A tenth of the data of the exact gradient's benchmark: the batch of 100 that is trained with."""
    shape = replace(size.thousand_data, num_data=size.thousand_data.num_data // 10)
    record.describe(f"{STEP}, {shape}", who, shape.terms)
    return random_problem(shape)


def _check(record: Any, problem: Problem, value: np.ndarray, gradient: list[np.ndarray]) -> None:
    record.check(value, oracle.log_marginal(*problem))
    record.check_all(gradient, oracle.gradient(*problem))


def test_step(record: Any, size: Size) -> None:
    import torch

    from fastvi.interop.torch import log_marginal

    problem = _setting(record, size, "fastvi")
    model, x = fastvi.SigmoidBeliefNetwork(*problem[:3]), torch.from_numpy(problem.x)

    def step() -> tuple[np.ndarray, list[np.ndarray]]:
        given = {
            name: torch.from_numpy(array).clone().requires_grad_()
            for name, array in zip(NAMES, problem[:3], strict=True)
        }
        value = log_marginal(model, x, **given)
        value.sum().backward()
        return value.detach().numpy(), [leaf.grad.numpy() for leaf in given.values()]

    _check(record, problem, *record.run(step, size.rounds))


def test_step_beside_the_gradient_alone(record: Any, size: Size) -> None:
    """What the operator is allowed to add to: the same gradient without PyTorch."""
    problem = _setting(record, size, "fastvi.log_marginal_gradient, no value")
    model = fastvi.SigmoidBeliefNetwork(*problem[:3])
    found = record.run(lambda: fastvi.log_marginal_gradient(model, problem.x), size.rounds)
    record.check_all([found[name] for name in NAMES], oracle.gradient(*problem))


def test_step_peer(record: Any, size: Size) -> None:
    problem = _setting(record, size, "PyTorch, autograd")
    baseline = importlib.import_module("baselines.torch_gradient")
    value, *gradient = record.run(lambda: baseline.step(*problem), min(size.rounds, 3))
    _check(record, problem, value, gradient)
