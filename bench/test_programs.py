"""Models that the user writes as a program: fastvi against what enumerates such programs."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import oracle
import peers
import pytest
from baselines import numba_log_joint
from problems import Size, random_problem

import fastvi


def test_network(record: Any, size: Size) -> None:
    problem = random_problem(size.program)
    model = fastvi.SigmoidBeliefNetwork(*problem[:3])
    record.describe(f"exact log p(x), {size.program}", "fastvi", 1)
    record.arithmetic_limit(size.program.terms, size.program.multiply_adds)
    values = record.run(lambda: fastvi.log_marginal(model, problem.x), size.rounds)
    record.check(values, oracle.log_marginal(*problem))


@pytest.mark.skipif(
    not (peers.installed("numpyro") and peers.installed("funsor")), reason="needs NumPyro and funsor"
)
def test_network_peer(record: Any, size: Size) -> None:
    """An enumerated dimension for each latent: a tensor of states, data and pixels."""
    problem = random_problem(size.program)
    baseline = importlib.import_module("baselines.numpyro_enumeration")
    label = "NumPyro, TraceEnum_ELBO, jitted, for the sum over data"
    record.describe(f"exact log p(x), {size.program}", label, 1)
    value = record.run(lambda: baseline.log_likelihood(*problem), size.rounds)
    record.check(np.array(value), oracle.log_marginal(*problem).sum())
    model = fastvi.SigmoidBeliefNetwork(*problem[:3])
    record.check(np.array(value), fastvi.log_marginal(model, problem.x).sum())


def _log_joint_title(size: Size) -> str:
    return f"exact log p(x), user's scalar log joint of a network, {size.log_joint}"


def test_log_joint(record: Any, size: Size) -> None:
    problem = random_problem(size.log_joint)
    model = fastvi.LogJoint(numba_log_joint.network(*problem[:3]), size.log_joint.num_latents)
    record.describe(_log_joint_title(size), "fastvi", 1)
    values = record.run(lambda: fastvi.log_marginal(model, problem.x), min(size.rounds, 3))
    record.check(values, oracle.log_marginal(*problem))


@pytest.mark.parametrize(
    ("loop", "label"),
    [
        (numba_log_joint.on_all_threads, "Numba, the loops by hand, prange over data"),
        (numba_log_joint.on_one_thread, "Numba, the loops by hand, 1 thread"),
    ],
    ids=["all_threads", "one_thread"],
)
def test_log_joint_peer(record: Any, size: Size, loop: Any, label: str) -> None:
    """The same compiled log joint in both."""
    problem = random_problem(size.log_joint)
    log_joint = numba_log_joint.network(*problem[:3])
    record.describe(_log_joint_title(size), label, 1)
    values = record.run(lambda: loop(log_joint, problem.x, size.log_joint.num_latents), min(size.rounds, 3))
    record.check(values, oracle.log_marginal(*problem))
