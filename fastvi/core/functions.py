"""Functions of logits and of real numbers that models, distributions and the engine share, elementwise."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

LOG_TWO_PI = math.log(2.0 * math.pi)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-logits)), elementwise, without overflow, tiny values to full relative accuracy."""
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1.0, small) / (1.0 + small)


def centre_sigmoid(logits: np.ndarray) -> np.ndarray:
    """sigmoid to a few units in the last place: for the centres of forms, whose bits are in every result."""
    return np.exp(-np.logaddexp(0.0, -logits))


def log_sigmoid(logits: np.ndarray) -> np.ndarray:
    """log(1 / (1 + exp(-logits))) = -softplus(-logits), elementwise; 0 at +inf and -inf at -inf."""
    return np.minimum(logits, 0.0) - np.log1p(np.exp(-np.abs(logits)))


def softplus(t: np.ndarray) -> np.ndarray:
    """log(1 + exp(t)), elementwise.

    ``np.logaddexp(0, t)``, of which log normalisers are made, has no vector loops: where NumPy has some for
    exp and log1p, the last bits may differ.
    """
    return -log_sigmoid(-t)


def relu(t: np.ndarray) -> np.ndarray:
    """max(t, 0), elementwise."""
    return np.maximum(t, 0.0)


Function = Callable[[np.ndarray], np.ndarray]
ACTIVATIONS: dict[str, Function] = {"relu": relu, "tanh": np.tanh, "sigmoid": sigmoid, "softplus": softplus}
# derivative of an activation from its value
SLOPES: dict[str, Function] = {
    "relu": lambda h: (h > 0.0).astype(np.float64),
    "tanh": lambda h: 1.0 - h * h,
    "sigmoid": lambda h: h * (1.0 - h),
    "softplus": lambda h: -np.expm1(-h),
}


def reach_after(activation: str, reach: np.ndarray) -> np.ndarray:
    """Largest sizes of units after an activation whose inputs are within +-``reach``, or bounds on them."""
    if activation in ("tanh", "sigmoid"):
        return np.ones(len(reach))
    return reach + 1.0 if activation == "softplus" else reach


def log_probabilities(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log p(bit = 0) and log p(bit = 1), to full relative accuracy."""
    return log_sigmoid(-logits), log_sigmoid(logits)


def bernoulli_log_prob(bits: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """log probability of each bit (0 or 1) under its logit, elementwise, shapes broadcast.

    This is bits * logits - softplus(logits) written as the log-sigmoid of a signed logit: nothing cancels at
    logits of +-1000, and 0 * inf does not arise at infinite ones.
    """
    return log_sigmoid(np.where(bits != 0, logits, -logits))


def bernoulli_entropy(logits: np.ndarray) -> np.ndarray:
    """Entropy (...,) of independent bits of ``logits`` (..., d), in nats.

    Every term is a sum of non-negative parts, so small entropies keep their relative accuracy.
    """
    size = np.abs(logits)
    small = np.exp(-size)
    # size * small is 0 from |logit| = 800 on; bounding it there keeps inf * 0 out
    return np.asarray((np.log1p(small) + np.minimum(size, 800.0) * small / (1.0 + small)).sum(axis=-1))


def normal_log_prob(value: np.ndarray, mean: np.ndarray, std: np.ndarray | float) -> np.ndarray:
    """log density of each ``value`` in nats, elementwise, shapes broadcast; -inf where a square overflows."""
    with np.errstate(over="ignore"):
        return -0.5 * np.square((value - mean) / std) - (np.log(std) + 0.5 * LOG_TWO_PI)
