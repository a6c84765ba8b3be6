"""What an exact question would take, before it is asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastvi.core import validation
from fastvi.core.options import METHODS, QUESTIONS, DType, Method, Question
from fastvi.core.registry import rules_of
from fastvi.exact.rehearsal import Cost, Line, cost_of_log_z, line_of_closed, line_of_sum
from fastvi.exact.search_plan import plan_search
from fastvi.inputs.data import Group, by_mask
from fastvi.inputs.memory import Asked, all_states, predicted_bytes
from fastvi.inputs.method import rules_by
from fastvi.inputs.options import check_dtype
from fastvi.models.base import LatentVariableModel
from fastvi.rules.base import Rules

_MOST_MEASURED = 8  # sizes of masks that are measured; the costs of others follow from the nearest one's


@dataclass(frozen=True)
class Plan:
    """Cost of a question on this machine; ``print`` shows it as a table.

    Attributes
    ----------
    question : str
    num_data : int
    states : int
        States that are summed, for all data together where they share them; those of log Z among them.
    operations : int
        Floating-point operations, roughly: two a state and pixel, two a state and datum, for each pass.
    bytes : int
        Peak memory beyond the arguments, results included, for data that need not be converted (uint8, or
        float64 where pixels are real): what ``memory_limit`` is held against.
    shards : int
        Tasks that an ``executor`` gets, one after which a ``checkpoint`` may be written.
    predicted_seconds : float
        On all threads of this process, extrapolated from a short run. inf for "log_marginal_bounds" where a
        search of 1,000 bounds did not come to 1e-3 nats.
    ways : str
        Of a model whose sums have several ways, what is taken, then the others, with seconds by fixed rates
        for one datum: those that ``method="auto"`` compares. Of many masks the one that takes longest. For
        "log_marginal_bounds" how far a short search came, for a datum that the model drew (for log Z, of a
        model that has one), and what enumeration takes.

    Examples
    --------
    >>> import fastvi
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0, 0.0], [-1.0, 1.0]], [0.0, 0.5], [0.0, 0.0])
    >>> plan = fastvi.plan(model, 100)
    >>> plan.question, plan.num_data, plan.states, plan.shards
    ('log_marginal', 100, 4, 1)
    >>> plan.operations > 0, plan.bytes < 2**30, plan.predicted_seconds < 60, plan.ways
    (True, True, True, '')
    """

    question: str
    num_data: int
    states: int
    operations: int
    bytes: int
    shards: int
    predicted_seconds: float
    ways: str = ""

    def __str__(self) -> str:
        rows: tuple[tuple[str, str], ...] = (
            ("question", self.question),
            ("data", f"{self.num_data:,}"),
            ("states", f"{self.states:,}" + (f" (2^{math.log2(self.states):.4g})" if self.states else "")),
            ("operations", f"{self.operations:.3g}"),
            ("peak memory", f"{self.bytes / 2**20:,.0f} MiB"),
            ("shards", f"{self.shards:,}"),
            ("predicted time", duration(self.predicted_seconds)),
        )
        if self.ways:
            rows += (("ways", self.ways),)
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    if seconds == math.inf:
        return "unknown"
    for unit, size in (("years", 31557600.0), ("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.3g} {unit}"
    return f"{seconds:.3g} s" if seconds >= 0.1 else f"{1e3 * seconds:.2g} ms"


def plan(
    model: LatentVariableModel,
    num_data: int = 1,
    *,
    question: Question = "log_marginal",
    observed: ArrayLike | None = None,
    normalized: bool = True,
    top_k: int = 0,
    pairwise: bool = False,
    method: Method = "auto",
    dtype: DType = "float64",
    num_epochs: int | None = None,
    batch_size: int | None = None,
) -> Plan:
    """States, operations, memory, shards and seconds of an exact question, from a short run on this machine.

    One wave of states is summed for a few made-up data, twice, and the time of the whole is extrapolated:
    right within a factor of two on a machine that does nothing else, for data that take the fast path (which
    data of the model's own kind do). Of many masks a few are measured. Elimination of more than 2^29 terms
    is not run: fixed rates say what it takes.

    Parameters
    ----------
    model
        Any model of this package but a :class:`~fastvi.JointTable`; a :class:`~fastvi.LogJoint` is run on
        zeros and ones, as many as it has latents.
    num_data
        N, at least 0.
    question
        "log_marginal", "log_partition" (of a Boltzmann machine; N does not matter), "exact_posterior"
        (evidence and means), "log_marginal_gradient", "log_marginal_bounds" or "fit", which is
        :func:`~fastvi.fit_model` by objective "exact": a gradient for each batch, and log p(x) of the data
        before the first and after each epoch. Its shards are epochs; the time of Adam's steps is left out.
    observed : array_like of bool, (D,) or (N, D), optional
        Which pixels would be seen; all where not given, none of a Boltzmann machine.
    normalized
        As in :func:`~fastvi.log_marginal`: whether log Z is summed, too, of a model that has one.
    top_k, pairwise
        As in :func:`~fastvi.exact_posterior`.
    method, dtype
        As in :func:`~fastvi.log_marginal`.
    num_epochs, batch_size
        Of a "fit" alone, as in :func:`~fastvi.fit_model`; None is 50 and 100.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError, TypeError
        For wrong input.

    Examples
    --------
    >>> import fastvi
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0, 0.0], [-1.0, 1.0]], [0.0, 0.5], [0.0, 0.0])
    >>> fastvi.plan(model, 100).states
    4
    """
    rules = rules_of(model)
    question = validation.choice(question, "question", QUESTIONS)
    num_data = validation.positive_int(num_data, "num_data", 1 if question == "fit" else 0)
    asked = Asked(
        question, check_dtype(dtype), validation.positive_int(top_k, "top_k", 0),
        validation.flag(pairwise, "pairwise"), validation.flag(normalized, "normalized"),
    )  # fmt: skip
    if question == "fit":
        return _plan_of_fit(rules, num_data, asked, observed, method, num_epochs, batch_size)
    _refuse(question, num_epochs=num_epochs, batch_size=batch_size)
    rules = rules_by(rules, method, question, top_k=asked.top_k)
    for name, given in (("top_k", asked.top_k), ("pairwise", asked.pairwise)):
        if given and question != "exact_posterior":
            raise ValueError(f"{name} must be left out where question is {question!r}, got {given}")
    if question == "log_partition":
        if rules.partition_memory() is None:
            raise TypeError(f"model must have a log Z, got {validation.shown(model)}")
        return _planned(rules, num_data, [], asked._replace(normalized=True))
    if question == "log_marginal_bounds":
        return _plan_of_search(rules, num_data, observed, asked)
    if question == "log_marginal_gradient":
        rules.zero_gradient()  # refuses what has no parameters
        asked = asked._replace(normalized=True)
    return _planned(rules, num_data, _groups(rules, num_data, question, observed), asked)


def _refuse(question: str, **given: Any) -> None:
    """Refuse arguments of another question."""
    for name, value in given.items():
        if value is not None:
            came = validation.shown(value)
            raise ValueError(f"{name} must be left out where question is {question!r}, got {came}")


def _plan_of_fit(
    rules: Rules, num_data: int, asked: Asked, observed: Any, method: Any, num_epochs: Any, batch_size: Any
) -> Plan:
    """Of each epoch's gradients, a batch each and the last one smaller, and of the scores."""
    given = {**asked._asdict(), "method": validation.choice(method, "method", METHODS)}
    usual = {**Asked("fit")._asdict(), "method": "auto"}
    changed = {name: value for name, value in given.items() if value != usual[name]}
    _refuse("fit", observed=observed, **changed)
    epochs = 50 if num_epochs is None else validation.positive_int(num_epochs, "num_epochs", 0)
    batch = 100 if batch_size is None else validation.positive_int(batch_size, "batch_size")
    rules.zero_gradient()  # refuses what has no parameters
    model, everything = rules.subject, np.ones(rules.num_pixels, bool)  # a machine's units are seen
    parts = [(epochs + 1, plan(model, num_data, observed=everything))]
    for size, times in ((min(batch, num_data), num_data // batch), (num_data % batch, 1)):
        if size and times and epochs:
            found = plan(model, size, question="log_marginal_gradient", observed=everything)
            parts.append((epochs * times, found))
    return Plan(
        "fit", num_data,
        sum(times * part.states for times, part in parts),
        sum(times * part.operations for times, part in parts),
        max(part.bytes for _, part in parts),
        epochs,
        sum(times * part.predicted_seconds for times, part in parts),
        parts[-1][1].ways,
    )  # fmt: skip


def _plan_of_search(rules: Rules, num_data: int, observed: ArrayLike | None, asked: Asked) -> Plan:
    """Of a search, beside the enumeration of the same data."""
    enumerated = asked._replace(question="log_marginal")
    groups = _groups(rules, num_data, enumerated.question, observed)
    seen = groups[0].observed if groups else rules.everything
    found = plan_search(rules, seen)
    exact = _planned(rules, num_data, groups, enumerated)
    first, gap, count, seconds = found[:4]
    ways = (
        f"bounds: {first:.2g} nats wide at first, {gap:.2g} after {count} subcubes ({duration(seconds)} a "
        f"datum); enumeration: {duration(exact.predicted_seconds)} for all data"
    )
    return Plan(
        asked.question, num_data, 0, 0, found.bytes(num_data), found.tasks(num_data),
        num_data * found.predicted_seconds if num_data else 0.0, ways,
    )  # fmt: skip


def _groups(rules: Rules, num_data: int, question: str, observed: ArrayLike | None) -> list[Group]:
    """The data by mask, as the question will group them."""
    if observed is None:
        everything = np.ones(rules.num_pixels, bool)
        mask: np.ndarray | None = everything if rules.free_latents(everything).size else ~everything
    else:
        mask = validation.observed_mask(observed, num_data, rules.num_pixels)
    masks = by_mask(mask, num_data, rules.num_pixels)
    return [
        Group(seen, members, None, rules.free_latents(seen), _is_closed(rules, seen, question))
        for seen, members in masks
    ]


def _is_closed(rules: Rules, observed: np.ndarray, question: str) -> bool:
    if question == "log_marginal":
        return rules.is_closed(observed)
    return question == "log_marginal_gradient" and rules.has_closed_gradient(observed)


def _planned(rules: Rules, num_data: int, groups: Sequence[Group], asked: Asked) -> Plan:
    """The costs of all groups, and of log Z, one after the other."""
    need = predicted_bytes(rules, groups, asked)  # refuses real latents whose states are asked for
    total = Cost()
    for cost in _costs(rules, groups, asked):
        total = total.plus(cost)
    if rules.deep_prior is not None and groups:
        own = _cost_of_prior(rules, asked)
        for _ in groups:  # each form has a table of its own
            total = total.plus(own)
    if asked.normalized and rules.partition_memory() is not None:
        total = total.plus(cost_of_log_z(rules, gradient=asked.question == "log_marginal_gradient"))
    return Plan(
        asked.question, num_data, total.states, total.operations, need, total.shards, total.seconds,
        rules.ways_told([group.observed for group in groups if not group.closed], asked.normalized, duration),
    )  # fmt: skip


def _cost_of_prior(rules: Rules, asked: Asked) -> Cost:
    """Of a prior that is a model: the table of all states, and of a gradient the prior's own."""
    prior = rules.deep_prior
    assert prior is not None
    total = Cost()
    questions = ["log_marginal"]
    if asked.question == "log_marginal_gradient":
        questions.append(asked.question)
    states = 1 << rules.num_latents
    for question in questions:
        seen = all_states(prior, states)
        seen = seen._replace(closed=_is_closed(prior, seen.observed, question))
        found = _planned(prior, states, [seen], Asked(question))
        # the table is made without the run's executor, in no shards
        shards = 0 if question == "log_marginal" else found.shards
        total = total.plus(Cost(found.states, found.operations, shards, found.predicted_seconds))
    return total


def _costs(rules: Rules, groups: Sequence[Group], asked: Asked) -> list[Cost]:
    """Of each group.

    Where masks are of many sizes, some are measured; the cost of another one is that of the nearest, in
    proportion to states and to operations of a state.
    """
    by_size: dict[tuple[bool, int, int], list[Group]] = {}
    for group in groups:
        size = group.closed, int(group.free.size), int(group.observed.sum())
        by_size.setdefault(size, []).append(group)
    sizes = sorted(by_size)
    step = max(1.0, len(sizes) / _MOST_MEASURED)
    lines: dict[tuple[bool, int, int], Line] = {}
    for size in sizes if step == 1.0 else [sizes[int((k + 0.5) * step)] for k in range(_MOST_MEASURED)]:
        most = max(group.num_data for group in by_size[size])
        measure = line_of_closed if size[0] else line_of_sum
        lines[size] = measure(rules, by_size[size][0].observed, asked, most)
    costs = []
    for size, alike in by_size.items():
        nearest = min(lines, key=lambda other: [abs(a - b) for a, b in zip(other, size, strict=True)])
        line = lines[nearest]
        if nearest != size and not size[0]:
            form = rules.memory(alike[0].observed, asked.dtype)
            line = line.scaled(form.num_states, form.operations)
        costs += [line.cost(group.num_data) for group in alike]
    return costs
