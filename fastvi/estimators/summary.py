"""From rows of log weights to an estimate with its error and diagnosis; one row at a time."""

from __future__ import annotations

import numpy as np

from fastvi.estimators.estimate import Estimate
from fastvi.kernels.cpu.log_weights import weight_sums
from fastvi.kernels.cpu.pareto import pareto_k_rows

_EQUAL = 1e-12  # log weights that differ by no more are equal: what is left is rounding, and no tail


class Summary:
    """Collects rows; each datum's is written once, by whichever thread has it."""

    def __init__(self, num_data: int, num_samples: int) -> None:
        self._num_samples = num_samples
        self._largest, self._total, self._squares, self._pareto_k = (np.empty(num_data) for _ in range(4))

    def add(self, n: int, log_w: np.ndarray) -> None:
        """Take the log weights (K,) of datum ``n``."""
        if not log_w.max() < np.inf:
            raise ValueError(f"log weights must not contain NaN or +inf, got one for datum {n}")
        row, one = log_w[None], slice(n, n + 1)
        weight_sums(row, self._largest[one], self._total[one], self._squares[one])
        if log_w.min() >= log_w.max() - _EQUAL:
            self._pareto_k[n] = -np.inf
        else:
            pareto_k_rows(row, self._pareto_k[one])

    def estimate(self) -> Estimate:
        num, total = self._num_samples, self._total
        empty = total == 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            log_marginal = np.where(empty, -np.inf, self._largest + np.log(total / num))
            share = 1.0 / total
            relative = np.maximum(self._squares / total**2 - 1.0 / num, 0.0)
            # rounding leaves about eps of equal weights' difference of two equal numbers
            relative = np.where(self._pareto_k == -np.inf, 0.0, relative)
            error = np.sqrt(relative * num / (num - 1.0)) if num > 1 else np.full(total.shape, np.inf)
            ess = np.where(empty, 0.0, total**2 / self._squares)
        one_weight = (self._squares == 1.0) & (total == 1.0)  # all others are 0: their spread is unknown
        error = np.where(empty, np.nan, np.where(one_weight, np.inf, error))
        pareto_k = np.where(empty, np.nan, self._pareto_k)
        return Estimate(log_marginal, error, ess, pareto_k, np.where(empty, np.nan, share), num)
