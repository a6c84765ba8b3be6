"""Pareto smoothed importance sampling in ArviZ (arviz-stats, which takes the negative of log weights)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def arviz(log_w: np.ndarray) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
    """The call to be timed: normalised smoothed log weights (N, K), and k-hat (N,)."""
    from arviz_stats.base import array_stats

    negative = -log_w
    return lambda: array_stats.psislw(negative, axis=-1)
