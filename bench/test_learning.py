"""One step of exact maximum likelihood: the gradient of log p(x) of a mini-batch in all parameters."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

import oracle
import peers
import pytest
from problems import Problem, Size, random_problem

import fastvi

STEP = "one step of exact maximum likelihood"


def _setting(record: Any, size: Size, who: str) -> Problem:
    """A tenth of the data of the exact gradient's benchmark: the batch of 100 that is trained with."""
    shape = replace(size.thousand_data, num_data=size.thousand_data.num_data // 10)
    record.describe(f"{STEP}, {shape}", who, shape.terms)
    return random_problem(shape)


def test_step(record: Any, size: Size) -> None:
    problem = _setting(record, size, "fastvi")
    model = fastvi.SigmoidBeliefNetwork(*problem[:3])
    found = record.run(lambda: fastvi.log_marginal_gradient(model, problem.x), size.rounds)
    names = ("weights", "bias", "prior_logits")
    record.check_all([found[name] for name in names], oracle.gradient(*problem))


PEERS = {
    "torch": ("torch_gradient", "PyTorch, autograd"),
    "jax": ("jax_gradient", "JAX, grad of the jitted scan, checkpointed"),
}


@pytest.mark.parametrize("package", [package for package in PEERS if peers.installed(package)])
def test_step_peer(record: Any, size: Size, package: str) -> None:
    module, label = PEERS[package]
    problem = _setting(record, size, label)
    baseline = importlib.import_module(f"baselines.{module}")
    found = record.run(lambda: baseline.log_marginal_gradient(*problem), min(size.rounds, 3))
    record.check_all(found, oracle.gradient(*problem))
