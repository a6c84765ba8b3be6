"""Certified intervals around log p(x)."""

from __future__ import annotations

import logging
import os
from concurrent.futures import Executor
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from fastvi.core import validation
from fastvi.core.limits import MAX_BOUNDS, TOLERANCE
from fastvi.core.registry import rules_of
from fastvi.engine.posterior.log_sum import log_sums
from fastvi.engine.run.progress import Progress
from fastvi.engine.run.runs import Run
from fastvi.engine.subcubes.intervals import intervals
from fastvi.exact.bounds import Bounds, OpenSubcubes, marks_of
from fastvi.inputs.data import groups_of, read_data
from fastvi.inputs.options import Options
from fastvi.inputs.question import Question
from fastvi.models.base import Model
from fastvi.rules.base import NO_DATA, Rules, log_probabilities
from fastvi.rules.joint_table import JointTableRules
from fastvi.rules.questions import LOG_MARGINAL_BOUNDS

_LOG = logging.getLogger("fastvi")
_FEW_STATES = 1 << 28  # of log Z, which are summed at once: 0.1 s


def log_marginal_bounds(
    model: Model,
    x: ArrayLike | None = None,
    *,
    observed: ArrayLike | None = None,
    normalized: bool = True,
    tolerance: float = TOLERANCE,
    max_bounds: int = MAX_BOUNDS,
    executor: Executor | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Progress = False,
) -> Bounds:
    r"""Interval that holds log p(x) for certain, for any number of binary latents, as narrow as asked for.

    A subcube fixes some latents. The sum of p(x, z) over the others has an upper bound: with log p(x, z) =
    c + <t, z> - A(z) and A convex, A lies above its tangent at any q, and under the tangent the sum is a
    product,

    .. math::
        \log \sum_{z \in \text{subcube}} p(x, z) \le \max_{q \in [0,1]^{\text{free}}}
        c + \langle t, q \rangle + H(q) - A(q).

    The search splits the subcube of the largest bound and sums small ones exactly. What is summed bounds p(x)
    from below, what is summed and the bounds of the rest from above, at any moment. The first lower bound is
    the ELBO of a factorised q, so that the interval is never infinite.

    It pays for few data of many pixels and more than some 24 latents, where enumeration takes long; for 8 x 8
    pixels it does not. See "Which way is for whom" in the documentation.

    Parameters
    ----------
    model
        A :class:`~fastvi.SigmoidBeliefNetwork` with ``prior_logits``, :class:`~fastvi.BinarySparseCoding`,
        :class:`~fastvi.BoltzmannMachine`, :class:`~fastvi.RestrictedBoltzmannMachine`; a
        :class:`~fastvi.JointTable`, whose interval is a point.
    x, observed, normalized
        As in :func:`~fastvi.log_marginal`. Of a machine log Z is summed exactly where that takes at most 2^28
        states, and bounded like a datum elsewhere, once for all data.
    tolerance
        Nats, above 0: a datum's search ends where its interval is at most so wide.
    max_bounds
        Subcubes that a datum's search may bound or sum, at least 1; log Z may take as many. Two bounds take
        some 70 microseconds of a core at 24 latents and 784 pixels.
    executor
        Any ``concurrent.futures.Executor``, or a client of Dask: 8 data are searched there at a time.
    checkpoint
        A file that keeps finished and (without an executor) open searches, as in
        :func:`~fastvi.log_marginal`.
    progress
        True for a line on standard error, or a function of (data done, data in all).

    Returns
    -------
    Bounds
        The same bits for any number of threads or workers, and for a datum in any batch. Ctrl-C ends the
        search early: what is certain so far is returned, and the logger "fastvi" says so.

    Raises
    ------
    ValueError, TypeError
        For wrong input, and for models whose A is not known to be convex.

    Notes
    -----
    Memory: an open subcube takes 5 f + 8 bytes while its datum is searched (f latents; 8 data are searched at
    a time), and f / 4 + 8 in the result. There are at most ``max_bounds / 2`` of a datum.

    References
    ----------
    T. S. Jaakkola and M. I. Jordan (1996), Computing upper and lower bounds on likelihoods in intractable
    networks, UAI. A. H. Land and A. G. Doig (1960), An automatic method of solving discrete programming
    problems, Econometrica 28 (branch and bound).

    Examples
    --------
    >>> import fastvi
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
    >>> bounds = fastvi.log_marginal_bounds(model, [[1, 0]])
    >>> bounds.lower.round(6), bounds.upper.round(6)
    (array([-0.998273]), array([-0.998273]))
    """
    rules = rules_of(model, tables=True)
    normalized = validation.flag(normalized, "normalized")
    tolerance = validation.positive_float(tolerance, "tolerance")
    max_bounds = validation.positive_int(max_bounds, "max_bounds")
    options = Options(executor=executor, checkpoint=checkpoint, progress=progress)
    if isinstance(rules, JointTableRules):
        options.checked_for_table()
        lower, upper = rules.log_marginal_interval(x, observed)
        bounds = Bounds(lower, upper, np.zeros(len(lower), np.int64), np.zeros(len(lower), bool))
        return replace(bounds, converged=bounds.gap <= tolerance)
    if LOG_MARGINAL_BOUNDS not in rules.questions:
        rules.subcube_form(rules.everything)  # which says why not
    data, mask = read_data(rules, x, observed)
    options = options.checked()
    groups = [
        group._replace(closed=rules.is_closed(group.observed)) for group in groups_of(rules, data, mask)
    ]
    question = Question(rules, len(data), groups, options)
    run = question.run(
        "log_marginal_bounds", question.num_data, normalized, tolerance, max_bounds, unit="data"
    )
    return _bounded(question, tolerance, max_bounds, run, normalized)


def _bounded(question: Question, tolerance: float, max_bounds: int, run: Run, normalized: bool) -> Bounds:
    rules, num_data = question.rules, question.num_data
    partition = rules.subcube_partition_form() if normalized else None
    lower, upper, num_bounds = np.empty(num_data), np.empty(num_data), np.zeros(num_data, np.int64)
    left, stopped, own, log_z = [], False, tolerance, (0.0, 0.0)
    exact_form = None if partition is None else rules.kept_partition_form()
    if exact_form is not None and exact_form.num_states <= _FEW_STATES:
        summed, error = float(log_sums(exact_form, NO_DATA, Run())[0]), _closed_error(rules)
        log_z = summed - error, summed + error
    elif partition is not None:
        own = 0.5 * tolerance  # each of the two sums has one half
        found = intervals(partition, NO_DATA, own, max_bounds, run)
        log_z, stopped = (float(found.lower[0]), float(found.upper[0])), found.stopped
    for group in question.groups:
        some = group.members
        if group.closed:
            exact = rules.closed_form(group.x, group.observed)
            error = _closed_error(rules)
            lower[some], upper[some] = exact - error, exact + error
            continue
        form = rules.subcube_form(group.observed)
        found = intervals(form, group.x, own, max_bounds, None if stopped else run)
        stopped |= found.stopped
        lower[some], upper[some], num_bounds[some] = found.lower, found.upper, found.covers.num_bounds
        marks = marks_of(found.terms)
        left.append(OpenSubcubes(some, group.observed, group.free[form.order], marks, found.covers))
    if stopped:
        _LOG.warning(
            "log_marginal_bounds was interrupted: the intervals are certain, but wider than asked for"
        )
    if partition is None:
        add = rules.constant if not normalized else 0.0
        lower, upper = lower + add, upper + add
    else:
        lower, upper = lower - log_z[1], upper - log_z[0]
    impossible = upper == -np.inf
    lower, upper = np.nextafter(lower, -np.inf), np.nextafter(upper, np.inf)
    lower[impossible] = upper[impossible] = -np.inf
    if rules.is_probability:
        upper = log_probabilities(upper)
    bounds = Bounds(lower, upper, num_bounds, np.zeros(num_data, bool), tuple(left))
    return replace(bounds, converged=bounds.gap <= tolerance)


def _closed_error(rules: Rules) -> float:
    """Nats by which roundings may move what takes no sum over states."""
    sizes = (np.abs(array[np.isfinite(array)]).sum() for array in rules.model.arrays().values())
    return float((rules.num_pixels + rules.num_latents + 40) * 2.0**-52 * (1.0 + sum(sizes)))
