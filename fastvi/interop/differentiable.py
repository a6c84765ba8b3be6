"""Values and vector-Jacobian products of exact questions, as any library of automatic differentiation asks.

A function f(parameters, x) of N data has a ``forward``, which gives its values and what the other half need
not find again, and a ``backward``, which takes weights w (N,) to the gradient of sum_n w_n f_n. Nothing of
another library is here: ``fastvi.interop.torch`` and ``fastvi.interop.jax`` wrap these.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastvi.core import validation
from fastvi.core.accuracy import reported
from fastvi.core.registry import rules_of
from fastvi.exact.log_marginal import log_marginal
from fastvi.inputs.memory import Asked
from fastvi.inputs.options import Options
from fastvi.inputs.question import Question, ask
from fastvi.rules.base import Gradient, Rules, log_marginal_of, log_probabilities, without_partition
from fastvi.rules.joint_table import JointTableRules
from fastvi.rules.questions import LOG_MARGINAL_GRADIENT


def parameters(model: Any) -> dict[str, np.ndarray]:
    """Arrays of a model that its exact log p(x), or a bound, is differentiated in, by their names.

    Parameters
    ----------
    model
        Any model but a :class:`~fastvi.LogJoint`. Of a decoder of real latents bounds alone have a gradient.

    Returns
    -------
    dict
        Name -> float64 array, read-only: those of ``model.arrays()``.

    Raises
    ------
    TypeError
        Where the model has no parameters to be differentiated in.
    """
    rules = rules_of(model, tables=True)
    names = ("probabilities",) if isinstance(rules, JointTableRules) else rules.learnable()
    arrays = model.arrays()
    return {name: np.asarray(arrays[name]) for name in names}


def with_parameters(model: Any, arrays: dict[str, Any]) -> Any:
    """Return the model with other ``arrays``, validated as its constructor does; the others stay.

    Raises
    ------
    ValueError, TypeError
        For a name that :func:`parameters` lacks, another shape, and what the model refuses.
    """
    if not arrays:
        return model
    known = parameters(model)
    for name, value in arrays.items():
        if name not in known:
            raise TypeError(f"parameters must be named {', '.join(known)}, got {name!r}")
        if np.shape(value) != known[name].shape:
            raise ValueError(f"{name} must have shape {known[name].shape}, got shape {np.shape(value)}")
    return type(model).from_arrays({**model.arrays(), **arrays})


# ---- exact log p(x) --------------------------------------------------------------------------------------


def saved_shape(model: Any, num_data: int) -> tuple[int, int]:
    """Shape of what :func:`log_marginal_forward` keeps, float64: known before any value is."""
    rules = rules_of(model, tables=True)
    return num_data, rules.pass_numbers


@reported
def log_marginal_forward(model: Any, x: Any, observed: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Exact log p(x) (N,), and an array of :func:`saved_shape` for :func:`log_marginal_backward`.

    Binary pixels may be relaxed to numbers in [0, 1], where log p(x, z) is linear in them.
    """
    rules = _rules_of(model)
    if isinstance(rules, JointTableRules):
        value = log_marginal(model, x, observed=observed)
        return value, np.empty((len(value), 0))
    question = _question(rules, x, observed)
    saved = np.full(saved_shape(model, question.num_data), np.nan)
    value = np.empty(question.num_data)
    run = question.run("log_marginal_forward", 0)
    for group in question.groups:
        first = rules.first_pass(group.x, group.observed, run) if len(group.members) else None
        if first is None:
            value[group.members] = log_marginal_of(rules, group.x, group.observed, run)
            continue
        evidence, saved[group.members] = first
        value[group.members] = log_probabilities(evidence) if rules.is_probability else evidence
    if rules.partition_memory() is not None:
        partition = rules.partition_pass
        log_z = rules.log_z if partition is None else partition.evidence[0]
        value = log_probabilities(value - log_z)
    return value, saved


@reported
def log_marginal_value(model: Any, x: Any, observed: Any = None) -> np.ndarray:
    """Return the values of :func:`log_marginal_forward` where no gradient follows."""
    rules = _rules_of(model)
    if isinstance(rules, JointTableRules):
        return log_marginal(model, x, observed=observed)
    question = _question(rules, x, observed)
    value, run = np.empty(question.num_data), question.run("log_marginal", 0)
    for group in question.groups:
        value[group.members] = log_marginal_of(rules, group.x, group.observed, run)
    if rules.partition_memory() is not None:
        value = log_probabilities(value - rules.log_z)
    return value


@reported
def log_marginal_backward(
    model: Any, x: Any, observed: Any, saved: np.ndarray, weights: Any, *, x_gradient: bool = False
) -> tuple[Gradient, np.ndarray | None]:
    """Gradient of sum_n weights_n log p(x_n) in :func:`parameters`, and (N, D) in the pixels if asked for.

    Parameters
    ----------
    model, x, observed
        As :func:`log_marginal_forward` was given them.
    saved
        What it kept.
    weights : array_like, (N,)
        Any finite numbers.
    x_gradient
        Whether the gradient in x is wanted: W E[z | x] + b for bits, (E[mean of x | z] - x) / noise_std^2 for
        real pixels. Pixels that were not observed have 0.

    Returns
    -------
    dict, ndarray or None
        Parameters in the order of :func:`parameters`. The couplings of a Boltzmann machine are moved one
        entry at a time, as in :func:`~fastvi.log_marginal_gradient`: J_ij and J_ji each get half of their
        pair's gradient. A step along it moves both halves and keeps J symmetric. One number that stands for
        both has the sum of the two.

    Raises
    ------
    ValueError
        Where a datum of weight other than 0 has probability 0.
    TypeError
        With ``x_gradient``, of a Boltzmann machine or a table, whose x are states, and of a decoder whose
        logits are too large for sums of products.

    Notes
    -----
    Of a restricted machine log p(x) = b . x + sum softplus(c + W^T x) - log Z, which is smooth between bits:
    the gradient in x is b + W E[h | x]. Where some pixels were not observed, its x must be 0 or 1.
    """
    rules = _rules_of(model)
    if isinstance(rules, JointTableRules):
        if x_gradient:
            raise TypeError("x must not need a gradient for a JointTable, whose x are numbers of rows")
        rows = rules.rows(x, observed)
        return rules.gradient_of_rows(rows, _weights(weights, len(rows))), None
    question = _question(rules, x, observed)
    data_weights = _weights(weights, question.num_data)
    total = rules.zero_gradient()
    pixels = np.zeros((question.num_data, rules.num_pixels)) if x_gradient else None
    run = question.run("log_marginal_backward", 0)
    with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is refused below
        for group in question.groups:
            if not len(group.members):
                continue
            first = saved[group.members]
            # NaN: nothing was kept of these
            kept = () if not first.size or np.isnan(first[:, 0]).any() else (first,)
            passed = group.x, data_weights[group.members], group.observed, run, *kept
            if pixels is None:
                found = rules.gradient(*passed)
            else:
                found, of_pixels = rules.both_gradients(*passed)
                pixels[np.ix_(group.members, np.flatnonzero(group.observed))] = of_pixels
            for name, part in found.items():
                total[name] = total[name] + part
        total = without_partition(rules, total, float(data_weights.sum()), run, rules.partition_pass)
    _refuse_infinite({**total, "x": np.zeros(0) if pixels is None else pixels})
    return total, pixels


def check_question(model: Any, x: Any, observed: Any = None) -> None:
    """Refuse in one line what the other functions here refuse of their arguments."""
    rules = _rules_of(model)
    if isinstance(rules, JointTableRules):
        rules.rows(x, observed)
    else:
        _question(rules, x, observed)


def _question(rules: Rules, x: Any, observed: Any) -> Question:
    rules.zero_gradient()  # refuses what has no parameters
    asked = Asked("log_marginal_gradient")
    return ask(rules, x, observed, Options(), rules.has_closed_gradient, asked, relaxed=True)


def _weights(weights: Any, num_data: int) -> np.ndarray:
    return validation.float_array(weights, "weights", ndim=1, shape=(num_data,))


def _refuse_infinite(found: Gradient) -> None:
    for name, value in found.items():
        if not np.isfinite(value).all():
            raise ValueError(
                "x must have a positive probability for the gradient to exist, and its weights must keep it "
                f"finite, got NaN or infinity in {name}"
            )


# ---- functions of log weights ----------------------------------------------------------------------------


class _Rows(NamedTuple):
    """Log weights relative to the largest of their row, as weights; 0 where all are 0."""

    w: np.ndarray
    total: np.ndarray


def _relative(log_w: np.ndarray) -> _Rows:
    largest = log_w.max(axis=-1, keepdims=True, initial=-np.inf)
    with np.errstate(over="ignore"):  # a difference below -1.8e308 is of a weight of 0
        w = np.exp(log_w - np.where(np.isneginf(largest), 0.0, largest))
    return _Rows(w, w.sum(axis=-1, keepdims=True))


def log_mean_exp_backward(log_w: np.ndarray, weights: np.ndarray, axis: int = -1) -> np.ndarray:
    """Gradient of sum weights log_mean_exp(log_w): each row's weights over their sum, times its weight.

    Parameters
    ----------
    log_w : ndarray
        Finite or -inf. A row of nothing but -inf has a gradient of 0.
    weights : ndarray
        Of the shape of ``log_w`` without ``axis``.
    """
    rows = _relative(np.moveaxis(np.asarray(log_w, np.float64), axis, -1))
    share = rows.w / np.where(rows.total > 0.0, rows.total, 1.0)
    return np.moveaxis(share * np.asarray(weights, np.float64)[..., None], -1, axis)


def importance_weighted_bound_backward(
    log_w: np.ndarray, num_samples: int, weights: np.ndarray
) -> np.ndarray:
    """Gradient (N, K) of sum_n weights_n times the importance-weighted bound of row n.

    Samples that fill no block have a gradient of 0.
    """
    num_data, num = log_w.shape
    blocks = num // num_samples
    used = np.asarray(log_w, np.float64)[:, : blocks * num_samples].reshape(num_data, blocks, num_samples)
    each = np.repeat(np.asarray(weights, np.float64)[:, None] / blocks, blocks, axis=1)
    out = np.zeros((num_data, num))
    out[:, : blocks * num_samples] = log_mean_exp_backward(used, each).reshape(num_data, -1)
    return out


def _rules_of(model: Any) -> Rules:
    return rules_of(model, tables=True).by("auto", LOG_MARGINAL_GRADIENT)
