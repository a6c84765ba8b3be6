"""Importance sampling of a joint table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvi.engine.threads import parallel_map
from fastvi.kernels.cpu.draws import fill_uniforms, split_seed

Array = NDArray[Any]


def table_log_weight_rows(
    probabilities: Array,
    x: Array,
    proposal: str,
    num_samples: int,
    seed: int,
    consume: Callable[[int, Array], None],
) -> None:
    """Call ``consume(n, log_w)`` for each datum with log p(x_n, z) - log q(z), z from the uniform
    distribution or the prior.
    """
    num_z = probabilities.shape[1]
    column_sums = probabilities.sum(axis=0)
    q = np.full(num_z, 1.0 / num_z) if proposal == "uniform" else column_sums / column_sums.sum()
    cumulative = np.cumsum(q)
    last = int(np.flatnonzero(q > 0)[-1])  # rounding of the sum may leave numbers beyond it
    with np.errstate(divide="ignore", invalid="ignore"):
        log_weights = np.where(q > 0, np.log(probabilities) - np.log(q), -np.inf)
    key = split_seed(seed)

    def task(n: int) -> None:
        uniforms = np.empty(num_samples)
        fill_uniforms(*key, n, 0, uniforms)
        z = np.minimum(np.searchsorted(cumulative, uniforms, side="right"), last)
        consume(n, log_weights[x[n], z])

    parallel_map(task, range(len(x)))
