"""Exact log p(x) of a sigmoid belief network, in plain Python."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np


def _softplus(value: float) -> float:
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


def log_marginal(
    weights: np.ndarray, bias: np.ndarray, prior_logits: np.ndarray, x: np.ndarray
) -> np.ndarray:
    """log p(x_n), shape (N,), of binary x (N, D) under weights (D, d), bias (D,), prior_logits (d,)."""
    rows, offsets, prior = weights.tolist(), bias.tolist(), prior_logits.tolist()
    pixels = x.tolist()
    columns = list(zip(*rows, strict=True))
    projected = [[_dot(datum, column) for column in columns] for datum in pixels]
    constant = [_dot(datum, offsets) for datum in pixels]
    log_joint: list[list[float]] = [[] for _ in pixels]
    for state in itertools.product((0, 1), repeat=len(prior)):
        on = [k for k, bit in enumerate(state) if bit]
        # log p(z) - sum_j softplus(eta_j) is the same for all data
        shared = sum(prior[k] for k in on) - sum(_softplus(value) for value in prior)
        for row, offset in zip(rows, offsets, strict=True):
            shared -= _softplus(offset + sum(row[k] for k in on))
        for n, weight in enumerate(projected):
            log_joint[n].append(constant[n] + shared + sum(weight[k] for k in on))
    totals = []
    for values in log_joint:
        largest = max(values)
        totals.append(largest + math.log(sum(math.exp(value - largest) for value in values)))
    return np.array(totals)
