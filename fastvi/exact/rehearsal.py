"""Seconds, states and tasks of sums over states, from a short run of what a question calls.

A rehearsal carries out the first task of each reduction and counts the others. What is measured for one datum
and for a few is a straight line in the number of data.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastvi.engine.elimination.form import EliminatedForm
from fastvi.engine.posterior import details
from fastvi.engine.posterior.log_sum import log_sums, log_sums_and_means
from fastvi.engine.run.runs import Run
from fastvi.engine.run.slices import num_chunks
from fastvi.inputs.memory import Asked
from fastvi.rules.base import NO_DATA, Rules
from fastvi.rules.ways import TERM

_WORK = 1 << 29  # states times data of one measured wave, at most: a fraction of a second
_DETAILED_WORK = 1 << 26  # the same where each takes an exponential
_DATA = 2048  # that are measured together, at most: their tables leave the second-level cache
_CLOSED_DATA = 1 << 14  # the same where no states are summed
_ENOUGH = 0.05  # seconds that tell what a closed form takes
_TERM_OF_MOMENTS, _TERM_OF_MODES = 5.0, 25.0  # times what log Z takes; grids of 14 ... 20 units a side
_PRODUCTS = {"exact_posterior": 2, "log_marginal_gradient": 3}  # of each state and datum; else 1


class Cost(NamedTuple):
    """What a part of a question takes."""

    states: int = 0
    operations: int = 0
    shards: int = 0
    seconds: float = 0.0

    def plus(self, other: Cost) -> Cost:
        return Cost(
            self.states + other.states,
            self.operations + other.operations,
            self.shards + other.shards,
            self.seconds + other.seconds,
        )


class Reduction(NamedTuple):
    """One reduction of a chunk of data."""

    tasks: int
    seconds: float  # of all tasks
    chunk: int | None = None  # data that it takes at a time, where these are fewer than a chunk


class Line(NamedTuple):
    """Cost of data that see the same observed, as their number grows."""

    making: float  # seconds of the form
    first: float  # of one datum
    slope: float  # of each further one
    reductions: tuple[Reduction, ...]
    states: int
    operations: int  # of a state, and products of each state and datum
    products: int

    def cost(self, num_data: int) -> Cost:
        """Of so many data."""
        if not num_data:
            return Cost(seconds=self.making)
        chunks = num_chunks(num_data)
        seconds = self.making + chunks * self.first + (num_data - chunks) * self.slope
        shards = 0
        for tasks, own, chunk in self.reductions:
            times = chunks if chunk is None else -(-num_data // chunk)
            shards += times * tasks
            seconds += (times - chunks) * own
        operations = 2 * self.states * (self.operations * chunks + self.products * num_data)
        return Cost(self.states, operations, shards, seconds)

    def scaled(self, states: int, operations: int) -> Line:
        """That of another form of so many states, each of so many operations."""
        more = states / max(1, self.states)
        filled = operations / max(1, self.operations)
        scaled = tuple(
            Reduction(max(1, round(tasks * more)), seconds * more * filled, chunk)
            for tasks, seconds, chunk in self.reductions
        )
        return Line(
            self.making * filled, self.first * more * filled, self.slope * more, scaled, states, operations,
            self.products,
        )  # fmt: skip


class Rehearsal(Run):
    """A run whose reductions end after their first task."""

    def __init__(self) -> None:
        super().__init__()
        self.spent = 0.0
        self.reductions: list[Reduction] = []

    def reduce(
        self, zero: Any, tasks: Sequence[Any], work: Callable[..., Any], states: Callable[..., int]
    ) -> Any:
        """``zero`` with the first task merged into it."""
        if not tasks:
            return zero
        part, seconds = _timed(lambda: work(tasks[0]))
        zero.merge(part)
        self.spent += seconds
        # not len: of a range beyond 2^63 there is none
        count = -(-(tasks.stop - tasks.start) // tasks.step) if isinstance(tasks, range) else len(tasks)
        whole = states(tasks[0])
        if whole:  # the last task may be shorter; what progress is not told of is not planned
            times = count - 1 + states(tasks[-1]) / whole
            self.reductions.append(Reduction(count, seconds * times))
        return zero

    def seconds(self, elapsed: float) -> float:
        """Of the whole, where the rehearsal took ``elapsed``."""
        return elapsed - self.spent + sum(reduction.seconds for reduction in self.reductions)


def line_of_sum(rules: Rules, observed: np.ndarray, asked: Asked, most_data: int) -> Line:
    """Of a sum over states; a prior that is a model is left out."""
    if rules.deep_prior is not None:
        rules = rules.without_deep_prior()
    form, making = _timed(lambda: rules.form(observed, asked.dtype))
    if making < 30.0:  # it may have compiled
        making = _timed(lambda: rules.form(observed, asked.dtype))[1]
    if _is_long(form):
        return _line_by_rates(form, making, asked)
    detailed, gradient = asked.top_k or asked.pairwise, asked.question == "log_marginal_gradient"
    work = _DETAILED_WORK if detailed else _WORK
    few = max(1, min(most_data, _DATA, work // form.wave_states(0)))
    raw = _made_up(rules, few)
    (checked, _), checking = _timed(lambda: rules.check_data(raw, None))
    x = np.ascontiguousarray(checked[:, observed])

    def ask(part: np.ndarray, run: Run) -> None:
        if gradient:
            rules.gradient(part, np.ones(len(part)), observed, run)
        elif asked.question == "log_marginal":
            log_sums(form, part, run)
        else:
            evidence, mean = log_sums_and_means(form, part, run)
            if rules.is_closed(observed):
                rules.closed_form(part, observed)
            if detailed:
                k = min(max(1, asked.top_k), 1 << form.num_latents)
                details.details(form, part, evidence, mean, k, run, pairwise=asked.pairwise)

    inside = making if gradient else 0.0  # the form is made once more
    first, slope, run = _line(ask, x, inside)
    chunk = _gradient_chunk(form) if gradient else None
    reductions = [*run.reductions[:1], *(part._replace(chunk=chunk) for part in run.reductions[1:])]
    return Line(
        making, first, slope + checking / few, tuple(reductions), form.num_states, form.operations,
        _PRODUCTS.get(asked.question, 1),
    )  # fmt: skip


def _is_long(form: Any) -> bool:
    """Tell whether it has one task, of more than the work of a short run: nothing of it can be rehearsed."""
    return isinstance(form, EliminatedForm) and form.num_states > _WORK


def _line_by_rates(form: Any, making: float, asked: Asked) -> Line:
    """Of units that are eliminated, by what a term took: measured on two cores of a Zen 3."""
    each = TERM * form.num_states
    if asked.pairwise or asked.question == "log_marginal_gradient":
        each *= _TERM_OF_MOMENTS * form.num_latents  # means given each unit in turn
    elif asked.top_k:
        each *= _TERM_OF_MODES
    elif asked.question == "exact_posterior":
        each *= _TERM_OF_MOMENTS
    tasks = (Reduction(1, each),)
    return Line(making, each, each, tasks, form.num_states, form.operations, _PRODUCTS.get(asked.question, 1))


def line_of_closed(rules: Rules, observed: np.ndarray, asked: Asked, most_data: int) -> Line:
    """Of what takes no sum over states."""

    def ask(part: np.ndarray, run: Run) -> None:
        if asked.question == "log_marginal_gradient":
            rules.gradient(part, np.ones(len(part)), observed, run)
            return
        with contextlib.suppress(ValueError):  # of data that cannot be integrated the time until that is said
            rules.closed_form(part, observed)

    count = 4
    while True:  # one that is integrated may take a second
        x = np.ascontiguousarray(
            rules.check_data(_made_up(rules, min(count, max(1, most_data))), None)[0][:, observed]
        )
        if count >= min(_CLOSED_DATA, most_data) or _timed(lambda x=x: ask(x, Run()))[1] >= _ENOUGH:  # type: ignore[misc]
            break
        count *= 4
    first, slope, _ = _line(ask, x, 0.0)
    return Line(0.0, first, slope, (), 0, 0, 0)


def cost_of_log_z(rules: Rules, *, gradient: bool) -> Cost:
    """Of log Z, or of its gradient."""
    form, making = _timed(rules.partition_form)
    if _is_long(form):
        return _line_by_rates(
            form, making, Asked("log_marginal_gradient" if gradient else "log_partition")
        ).cost(1)

    def ask(part: np.ndarray, run: Run) -> None:
        if gradient:
            rules.partition_gradient(run)
        else:
            log_sums(form, part, run)

    first, _, run = _line(ask, NO_DATA, making if gradient else 0.0)
    products = _PRODUCTS["log_marginal_gradient"] if gradient else 1
    line = Line(
        _timed(rules.partition_form)[1], first, 0.0, tuple(run.reductions), form.num_states,
        form.operations, products,
    )  # fmt: skip
    return line.cost(1)


def _line(
    ask: Callable[[np.ndarray, Run], None], x: np.ndarray, inside: float
) -> tuple[float, float, Rehearsal]:
    """Seconds of the first datum, less those spent ``inside``, of each further one, and a run with one."""
    one, run = _rehearsed(ask, x[:1])
    if len(x) == 1:
        return max(0.0, one - inside), 0.0, run
    some, _ = _rehearsed(ask, x)
    return max(0.0, one - inside), max(0.0, (some - one) / (len(x) - 1)), run


def _rehearsed(ask: Callable[[np.ndarray, Run], None], x: np.ndarray) -> tuple[float, Rehearsal]:
    """Predicted seconds, the smaller of two runs; one more before them compiles."""
    found = []
    for _ in range(3):
        run = Rehearsal()
        with np.errstate(all="ignore"):  # sums over a part of the states may be nothing
            elapsed = _timed(lambda run=run: ask(x, run))[1]  # type: ignore[misc]
        found.append((run.seconds(elapsed), run))
    return min(found[1:], key=lambda pair: pair[0])


def _gradient_chunk(form: Any) -> int | None:
    """Data that the second pass takes at a time."""
    from fastvi.engine.decoder.block_form import BlockForm
    from fastvi.engine.decoder.network_gradient import CHUNK_DATA

    return CHUNK_DATA if isinstance(form, BlockForm) else None


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    begin = time.perf_counter()
    value = function()
    return value, time.perf_counter() - begin


def _made_up(rules: Rules, num_data: int) -> np.ndarray:
    """Data of coin flips, not checked yet; of real latents draws."""
    if rules.real_latents:
        return np.asarray(rules.model.sample(num_data, 0)[1])
    size = rules.num_latents if rules.whole_data else rules.num_pixels
    return np.random.default_rng(0).integers(0, 2, (num_data, size))
