"""log Z of Boltzmann machines, restricted or not: fastvi against its peers."""

from __future__ import annotations

import importlib
from typing import Any

import memory
import numpy as np
import oracle
import peers
import pytest
from problems import Machine, Shape, Size, random_machine, restricted_machine

import fastvi

_DENSE = 24  # units, at most, whose oracle sums over all states


def _title(num_units: int) -> str:
    return f"log Z of a Boltzmann machine, d = {num_units}"


def _machine(num_units: int) -> Machine:
    return random_machine(num_units, 1 if num_units <= _DENSE else memory.BLOCKS)


@pytest.mark.parametrize("which", range(len(peers.MACHINES)))
def test_machine(record: Any, size: Size, which: int) -> None:
    """One multiply-add a state is the limit."""
    problem = _machine(size.machines[which])
    model = fastvi.BoltzmannMachine(*problem)
    record.describe(_title(size.machines[which]), "fastvi", 1)
    record.arithmetic_limit(multiply_adds=2 ** size.machines[which])
    value = record.run(lambda: fastvi.log_partition(model), size.rounds)
    record.check(np.array(value), np.array(oracle.log_partition(*problem)))


@pytest.mark.parametrize(
    ("which", "peer"),
    [
        pytest.param(which, peer, id=peer.module)
        for which, peer in enumerate(peers.MACHINES)
        if peers.installed(peer.package)
    ],
)
def test_machine_peer(record: Any, size: Size, which: int, peer: peers.Peer) -> None:
    problem = _machine(size.machines[which])
    baseline = importlib.import_module(f"baselines.{peer.module}")
    record.describe(_title(size.machines[which]), peer.label, 1)
    value = record.run(lambda: baseline.log_partition(*problem), min(peer.rounds, size.rounds))
    record.check(np.array(value), np.array(oracle.log_partition(*problem)))


def test_large_machine(record: Any, size: Size) -> None:
    num_units = size.large_machine
    record.describe(_title(num_units), "fastvi", 1)
    record.arithmetic_limit(multiply_adds=2**num_units)
    found = record.run_alone("log_partition", Shape(num_units, 0, 0), most=2**31)
    expected = oracle.log_partition(*random_machine(num_units, memory.BLOCKS))
    record.check(found["log_partition"], np.array(expected))


def _restricted_title(size: Size) -> str:
    shape = size.restricted
    return f"log Z of a restricted Boltzmann machine, {shape.num_pixels} x {shape.num_latents}"


def test_restricted_machine(record: Any, size: Size) -> None:
    """The smaller layer is summed over; the larger one costs as the pixels of a network."""
    problem = restricted_machine(size.restricted)
    model = fastvi.RestrictedBoltzmannMachine(*problem)
    record.describe(_restricted_title(size), "fastvi", 1)
    record.arithmetic_limit(size.restricted.terms)
    value = record.run(lambda: fastvi.log_partition(model), size.rounds)
    record.check(np.array(value), np.array(oracle.restricted_log_partition(*problem)))


@pytest.mark.skipif(not peers.installed("jax"), reason="needs JAX")
def test_restricted_machine_peer(record: Any, size: Size) -> None:
    problem = restricted_machine(size.restricted)
    baseline = importlib.import_module("baselines.jax_machine")
    record.describe(_restricted_title(size), "JAX, jitted scan, softplus by hand", 1)
    value = record.run(lambda: baseline.restricted_log_partition(*problem), min(size.rounds, 3))
    record.check(np.array(value), np.array(oracle.restricted_log_partition(*problem)))
