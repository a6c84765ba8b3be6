"""Estimates with error and diagnostics from sums of log weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastvi.engine.importance.weight_sums import WeightSums
from fastvi.kernels.cpu.weights.pareto import EQUAL, weight_sums_and_k
from fastvi.weights.estimate import Estimate


def estimate_of(
    largest: NDArray[np.float64],
    total: NDArray[np.float64],
    squares: NDArray[np.float64],
    pareto_k: NDArray[np.float64],
    num: int,
) -> Estimate:
    """Return the estimate from sums relative to the largest weight, k-hat and K.

    k-hat is -inf where all weights are equal.
    """
    empty = total == 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        log_marginal = np.where(empty, -np.inf, largest + np.log(total / num))
        share = 1.0 / total
        relative = np.maximum(squares / total**2 - 1.0 / num, 0.0)
        # rounding leaves about eps of equal weights' difference of two equal numbers
        relative = np.where(pareto_k == -np.inf, 0.0, relative)
        error = np.sqrt(relative * num / (num - 1.0)) if num > 1 else np.full(total.shape, np.inf)
        ess = np.where(empty, 0.0, total**2 / squares)
    one_weight = (squares == 1.0) & (total == 1.0)  # all others are 0: their spread is unknown
    error = np.where(empty, np.nan, np.where(one_weight, np.inf, error))
    pareto_k = np.where(empty, np.nan, pareto_k)
    return Estimate(log_marginal, error, ess, pareto_k, np.where(empty, np.nan, share), num)


def estimate_of_sums(sums: WeightSums, num: int) -> Estimate:
    """Return the estimate from the sums of streams of ``num`` weights each."""
    return estimate_of(sums.largest, sums.total, sums.squares, sums.pareto_k(num), num)


class Summary:
    """Collector of rows of log weights. Whichever thread has a datum writes it once."""

    def __init__(self, num_data: int, num_samples: int) -> None:
        self._num_samples = num_samples
        self._largest, self._total, self._squares, self._pareto_k = (np.empty(num_data) for _ in range(4))

    def add(self, n: int, log_w: NDArray[np.float64]) -> None:
        """Take the log weights (K,) of datum ``n``."""
        if not log_w.max() < np.inf:
            raise ValueError(
                f"x must have log weights that are finite or -inf, got NaN or +inf for datum {n}"
            )
        row, one = log_w[None], slice(n, n + 1)
        weight_sums_and_k(row, self._largest[one], self._total[one], self._squares[one], self._pareto_k[one])
        if log_w.min() >= log_w.max() - EQUAL:
            self._pareto_k[n] = -np.inf

    def estimate(self) -> Estimate:
        """Return the estimate for all data."""
        return estimate_of(self._largest, self._total, self._squares, self._pareto_k, self._num_samples)
