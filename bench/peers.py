"""Which tools the benchmarks compare with, and which of them are installed."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Peer:
    """A baseline: its module in baselines/, its name in the table, the package it takes.

    dropped: latents fewer than fastvi's at full size, where the tool would take longer than a minute; its
    seconds are then scaled by the number of states.
    rounds: how many calls are timed at full size.
    """

    module: str
    label: str
    package: str
    dropped: int = 0
    rounds: int = 3


# in the order of the table
PEERS = (
    Peer("jax_tuned", "JAX, jitted scan, softplus by hand", "jax"),
    Peer("jax_chunked", "JAX, jitted scan", "jax"),
    Peer("torch_chunked", "PyTorch, chunks", "torch", rounds=2),
    Peer("numba_loop", "Numba, jitted naive loop, 1 thread", "numba", dropped=6),
    Peer("numpy_chunked", "NumPy, chunks, logaddexp", "numpy", dropped=6),
    Peer("scipy_chunked", "NumPy, chunks, SciPy logsumexp", "scipy", dropped=6),
    Peer("pure_python", "pure Python", "numpy", dropped=12, rounds=2),
)

# log Z of a Boltzmann machine, each at the size that it is at home at: as many as Size.machines
MACHINES = (
    Peer("dimod_exact", "dimod, ExactSolver", "dimod"),
    Peer("jax_machine", "JAX, jitted scan", "jax"),
    Peer("numpy_machine", "NumPy, product of three tables", "numpy"),
)

# funsor: numpyro needs it for its sums over states
OPTIONAL = ("jax", "torch", "dimod", "dwave", "numpyro", "funsor", "arviz_stats")


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def missing() -> list[str]:
    """Optional tools that are not installed: their cases are absent."""
    return [package for package in OPTIONAL if not installed(package)]


def required() -> bool:
    """Whether a missing tool is an error."""
    return os.environ.get("FASTVI_REQUIRE_PEERS") == "1"
