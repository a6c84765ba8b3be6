"""Gradients of exact log p(x) in every parameter of a model."""

from __future__ import annotations

import os
from concurrent.futures import Executor

import numpy as np
from numpy.typing import ArrayLike

from fastvi.core import validation
from fastvi.core.limits import MAX_STATES
from fastvi.core.options import Device, Method
from fastvi.core.registry import rules_of
from fastvi.engine.run.progress import Progress
from fastvi.inputs.memory import Asked
from fastvi.inputs.method import rules_by
from fastvi.inputs.options import Options
from fastvi.inputs.question import ask
from fastvi.models.base import Model
from fastvi.rules.base import without_partition
from fastvi.rules.joint_table import JointTableRules
from fastvi.rules.questions import LOG_MARGINAL_GRADIENT


def log_marginal_gradient(
    model: Model,
    x: ArrayLike | None = None,
    *,
    data_weights: ArrayLike | None = None,
    observed: ArrayLike | None = None,
    method: Method = "auto",
    device: Device = "cpu",
    executor: Executor | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Progress = False,
    memory_limit: int | None = None,
    max_states: int = MAX_STATES,
) -> dict[str, np.ndarray]:
    r"""Gradient of the weighted sum of exact log p(x_n) in every parameter.

    .. math::
        \nabla \sum_n w_n \log p(x_n) = \sum_n w_n E_{p(z|x_n)}[\nabla \log p(x_n, z)]

    (Fisher's identity). A first pass gives the evidence and the posterior means; in a second one the
    posteriors of all data are summed state by state, as a matrix product, so that what is D-dimensional is
    done once a state and not once a state and datum.

    Parameters
    ----------
    model
        Any model of this package but a :class:`~fastvi.LogJoint`.
    x : array_like
        As in :func:`~fastvi.log_marginal`.
    data_weights : array_like, (N,), optional
        w_n, any finite numbers; 1 where not given.
    method
        As in :func:`~fastvi.log_marginal`, without "independent_set".
    observed, device, executor, checkpoint, progress, memory_limit, max_states
        As in :func:`~fastvi.log_marginal`.

    Returns
    -------
    dict
        Parameter's name -> gradient, of the parameter's shape, in nats per unit of the parameter. The
        couplings of a Boltzmann machine are moved one entry at a time: J_ij and J_ji each get half of the
        pair's gradient, so that the sum over the entries of gradient times a symmetric change is the change
        of the result. Parameters of a deep network's prior are named as ``prior_`` and their own name.

    Raises
    ------
    ValueError, TypeError
        For wrong input, and where a datum has probability 0: its gradient does not exist.

    References
    ----------
    R. M. Neal, "Connectionist learning of belief networks", Artificial Intelligence 56 (1992), section 3.

    Examples
    --------
    >>> import fastvi
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
    >>> gradient = fastvi.log_marginal_gradient(model, [[1, 0]])
    >>> gradient["prior_logits"].round(6)
    array([0.243877])
    """
    rules = rules_by(rules_of(model, tables=True), method, LOG_MARGINAL_GRADIENT, device, x=x)
    options = Options(device, "float64", executor, checkpoint, progress, memory_limit, max_states)
    if isinstance(rules, JointTableRules):
        limits = options.checked_for_table()
        rows = rules.rows(x, observed)
        # of each datum its row, weight, sum and share; a table and its copy
        need = 8 * (8 * len(rows) + 3 * rules.log_rows.size)
        limits.check(0, need, f"{len(rows)} data of {rules.model.num_z} states")
        return rules.gradient_of_rows(rows, _weights(data_weights, len(rows)))
    total = rules.zero_gradient()  # refuses what has no parameters
    asked = Asked("log_marginal_gradient")
    question = ask(rules, x, observed, options, rules.has_closed_gradient, asked)
    weights = _weights(data_weights, question.num_data)
    partition = rules.partition_memory()
    states = 2 * (question.states() + (0 if partition is None else partition.num_states))
    states += rules.states_above() * sum(len(group.members) > 0 for group in question.groups)
    run = question.run("log_marginal_gradient", states, weights)
    with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is refused below
        for group in question.groups:
            if not len(group.members):
                continue
            part = rules.gradient(group.x, weights[group.members], group.observed, run)
            for name, value in part.items():
                total[name] = total[name] + value
        total = without_partition(rules, total, float(weights.sum()), run)
    for name, value in total.items():
        if not np.isfinite(value).all():
            raise ValueError(
                "x must have a positive probability for the gradient to exist, and data_weights must keep it "
                f"finite, got NaN or infinity in {name}"
            )
    return total


def _weights(data_weights: ArrayLike | None, num_data: int) -> np.ndarray:
    if data_weights is None:
        return np.ones(num_data)
    return validation.float_array(data_weights, "data_weights", ndim=1, shape=(num_data,))
