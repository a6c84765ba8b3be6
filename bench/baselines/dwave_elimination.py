"""Sums of a sparse Boltzmann machine by the tree decomposition of dwave-samplers."""

from __future__ import annotations

from collections.abc import Sequence

import dimod
import numpy as np
from dwave.samplers import TreeDecompositionSampler


def sums(
    couplings: np.ndarray, bias: np.ndarray, order: Sequence[int], *, marginals: bool
) -> tuple[float, np.ndarray]:
    """log Z and the means, empty without ``marginals``; units are summed out in ``order``."""
    model = dimod.BinaryQuadraticModel(-bias, -np.triu(couplings, 1), 0.0, dimod.BINARY)
    found = TreeDecompositionSampler().sample(
        model, num_reads=1, elimination_order=list(order), marginals=marginals, seed=1
    )
    means = [found.info["variable_marginals"][i] for i in range(len(bias))] if marginals else []
    return found.info["log_partition_function"], np.array(means)
