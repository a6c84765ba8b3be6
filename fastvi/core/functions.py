"""Functions of logits and of real numbers that models, distributions and the engine share, elementwise."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]
LOG_TWO_PI = math.log(2.0 * math.pi)


def sigmoid(logits: Reals) -> Reals:
    """1 / (1 + exp(-logits)), elementwise, without overflow, tiny values to full relative accuracy."""
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1.0, small) / (1.0 + small)


def bit_probabilities(logits: Reals) -> tuple[Reals, Reals]:
    """P(bit = 0) and p(bit = 1): the sigmoids of -logits and of logits, elementwise."""
    small = np.exp(-np.abs(logits))
    whole = 1.0 + small
    return np.where(logits <= 0, 1.0, small) / whole, np.where(logits >= 0, 1.0, small) / whole


def centre_sigmoid(logits: Reals) -> Reals:
    """Sigmoid to a few units in the last place: for the centres of forms, whose bits are in every result."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -logits)))


def log_sigmoid(logits: Reals) -> Reals:
    """log(1 / (1 + exp(-logits))) = -softplus(-logits), elementwise; 0 at +inf and -inf at -inf."""
    return np.minimum(logits, 0.0) - np.log1p(np.exp(-np.abs(logits)))


def softplus(t: Reals) -> Reals:
    """log(1 + exp(t)), elementwise.

    ``np.logaddexp(0, t)``, of which log normalisers are made, has no vector loops: where NumPy has some for
    exp and log1p, the last bits may differ.
    """
    return -log_sigmoid(-t)


def relu(t: Reals) -> Reals:
    """max(t, 0), elementwise."""
    return np.maximum(t, 0.0)


def leaky_relu(t: Reals) -> Reals:
    """t above 0 and 0.01 t below, elementwise."""
    return np.where(t > 0.0, t, 0.01 * t)


def elu(t: Reals) -> Reals:
    """t above 0 and exp(t) - 1 below, elementwise."""
    return np.where(t > 0.0, t, np.expm1(np.minimum(t, 0.0)))


def normal_cdf(t: Reals) -> Reals:
    """Probability that a standard normal number is below t, elementwise, to full relative accuracy."""
    from scipy.special import ndtr  # here, so that models and encoders are made without SciPy

    return np.asarray(ndtr(t))


def gelu(t: Reals) -> Reals:
    """t normal_cdf(t), elementwise, 0 at -inf."""
    inside = np.maximum(t, -50.0)  # the value is 0 from -39 on
    return inside * normal_cdf(inside)


def silu(t: Reals) -> Reals:
    """t sigmoid(t), elementwise, 0 at -inf."""
    inside = np.maximum(t, -800.0)
    return inside * sigmoid(inside)


def identity(t: Reals) -> Reals:
    """Return t."""
    return t


def _gelu_slope(t: Reals) -> Reals:
    inside = np.clip(t, -50.0, 50.0)  # the slope is 0 and 1 beyond
    return normal_cdf(inside) + inside * np.exp(-0.5 * inside * inside) / math.sqrt(2.0 * math.pi)


def _silu_slope(t: Reals) -> Reals:
    inside = np.clip(t, -800.0, 800.0)
    return sigmoid(inside) * (1.0 + inside * sigmoid(-inside))


Function = Callable[[Reals], Reals]
ACTIVATIONS: dict[str, Function] = {
    "relu": relu,
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "softplus": softplus,
    "leaky_relu": leaky_relu,
    "elu": elu,
    "gelu": gelu,
    "silu": silu,
    "identity": identity,
}
# derivative of an activation from its value; at a kink it is that from below
SLOPES: dict[str, Function] = {
    "relu": lambda h: (h > 0.0).astype(np.float64),
    "tanh": lambda h: 1.0 - h * h,
    "sigmoid": lambda h: h * (1.0 - h),
    "softplus": lambda h: -np.expm1(-h),
    "leaky_relu": lambda h: np.where(h > 0.0, 1.0, 0.01),
    "elu": lambda h: 1.0 + np.minimum(h, 0.0),
    "identity": np.ones_like,
}
# of those that fall and then rise, whose value does not tell it: the derivative from the argument
SLOPES_OF_ARGUMENTS: dict[str, Function] = {"gelu": _gelu_slope, "silu": _silu_slope}
# where these have their least value
TURNS = {"gelu": -0.7517915246935645, "silu": -1.278464542761074}
PIECEWISE_LINEAR = ("relu", "leaky_relu")


def reach_after(activation: str, reach: Reals) -> Reals:
    """Largest sizes of units after an activation whose inputs are within +-``reach``, or bounds on them."""
    if activation in ("tanh", "sigmoid"):
        return np.ones(len(reach))
    # all others are at most as large as their arguments
    return reach + 1.0 if activation == "softplus" else reach


def log_probabilities(logits: Reals) -> tuple[Reals, Reals]:
    """Log p(bit = 0) and log p(bit = 1), to full relative accuracy."""
    return log_sigmoid(-logits), log_sigmoid(logits)


def bernoulli_log_prob(bits: Reals, logits: Reals) -> Reals:
    """Log probability of each bit (0 or 1) under its logit, elementwise, shapes broadcast.

    This is bits * logits - softplus(logits) written as the log-sigmoid of a signed logit: nothing cancels at
    logits of +-1000, and 0 * inf does not arise at infinite ones.
    """
    return log_sigmoid(np.where(bits != 0, logits, -logits))


def bernoulli_entropy(logits: Reals) -> Reals:
    """Entropy (...,) of independent bits of ``logits`` (..., d), in nats.

    Every term is a sum of non-negative parts, so small entropies keep their relative accuracy.
    """
    size = np.abs(logits)
    small = np.exp(-size)
    # size * small is 0 from |logit| = 800 on; bounding it there keeps inf * 0 out
    return np.asarray((np.log1p(small) + np.minimum(size, 800.0) * small / (1.0 + small)).sum(axis=-1))


def normal_log_prob(value: Reals, mean: Reals, std: Reals | float) -> Reals:
    """Log density of each ``value`` in nats, elementwise, shapes broadcast; -inf where a square overflows."""
    with np.errstate(over="ignore"):
        return -0.5 * np.square((value - mean) / std) - (np.log(std) + 0.5 * LOG_TWO_PI)
