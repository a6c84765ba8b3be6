"""Cost of exact log p(x) as the number of latents grows."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import fastvi
from fastvi.core.registry import rules_of
from fastvi.engine.run.threads import num_threads
from fastvi.models.restricted_boltzmann_machine import RestrictedBoltzmannMachine
from fastvi.studies.common.digits import fitted, split
from fastvi.studies.common.kept import NOTHING_KEPT, Kept
from fastvi.studies.common.result import Finding, Progress, StudyResult, rows_to_table
from fastvi.studies.common.settings import Settings
from fastvi.studies.common.states import no_latent_bits, not_answered, require_finite
from fastvi.studies.common.subject import Subject
from fastvi.studies.common.words import counted, first_of, rounded
from fastvi.studies.enumeration import baselines
from fastvi.studies.enumeration.figures import METHODS, duration, figures
from fastvi.studies.enumeration.models import is_plain_network, narrowed, widened

_TIMED = ("method", "threads", "num_latents", "num_images", "seconds", "extrapolated", "times_fastvi")

MOST_LATENTS = 24  # of a caller's own model: one call takes about a second for 100 data
_FEWEST_RUNS, _MOST_RUNS = 2, 7
_ENOUGH_SECONDS = 0.6  # no further run beyond the fewest once a method has taken as much at one d


class Time(NamedTuple):
    """Row of the table of seconds, by the names of its columns."""

    method: str
    threads: int
    num_latents: int
    num_images: int
    seconds: float
    extrapolated: bool
    times_fastvi: float


class Way(NamedTuple):
    """A way of summing over all states."""

    largest: int  # d that is measured
    threads: int
    function: Callable[[Any, np.ndarray], np.ndarray]


def best_time(function: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    """Result, and the shortest of a few runs in seconds. The caller has warmed up what is compiled."""
    times: list[float] = []
    while len(times) < _FEWEST_RUNS or (len(times) < _MOST_RUNS and sum(times) < _ENOUGH_SECONDS):
        start = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - start)
    return result, min(times)


def _ways(settings: Settings, plain: bool, largest: int) -> dict[str, Way]:
    """By name: all four for a network, else what takes nothing but log p(x, z)."""

    def on_arrays(function: Callable[..., np.ndarray]) -> Callable[[Any, np.ndarray], np.ndarray]:
        return lambda model, x: function(model.weights, model.bias, model.prior_logits, x.astype(np.float64))

    own = Way(largest, num_threads(), fastvi.log_marginal)
    if not plain:
        return {"NumPy": Way(settings.largest_numpy, 1, baselines.numpy_log_joint), "fastvi": own}
    ways = (
        Way(settings.largest_python, 1, on_arrays(baselines.python_loop)),
        Way(settings.largest_numpy, 1, on_arrays(baselines.numpy_chunks)),
        Way(settings.largest_loop, num_threads(), on_arrays(baselines.compiled_loop)),
        own,
    )
    return dict(zip(METHODS, ways, strict=True))


def refusal(own: Subject) -> str | None:
    """Return why the study cannot look at a caller's own model and data, or None."""
    if isinstance(own.model, RestrictedBoltzmannMachine):
        return "it sums over latents, and log p(x) of a restricted machine is a formula but for log Z"
    return no_latent_bits(own, MOST_LATENTS) or not_answered(own, "log_marginal")


def _sweep(settings: Settings, subject: Subject) -> dict[int, Any]:
    """D -> the model of d latents."""
    sizes = settings.enumeration_latents
    if not subject.own:
        return {size: widened(subject.model, size, settings.seed) for size in sizes}
    whole = rules_of(subject.model).num_latents
    smaller = {size: narrowed(subject.model, size) for size in sizes if size < whole}
    return {size: model for size, model in smaller.items() if model is not None} | {whole: subject.model}


def run(
    settings: Settings, progress: Progress, *, own: Subject | None = None, kept: Kept = NOTHING_KEPT
) -> StudyResult:
    """Time ways of computing log p(x) at each number of latents d, and compare what they return.

    The ways are a loop in plain Python, NumPy on chunks of states, the two loops of the definition compiled
    by Numba, and fastvi. Python and NumPy use one thread (a matrix product in NumPy may use more), the
    compiled loop as many as fastvi. A network fitted to the digits has ``num_latents`` latents; for a larger
    d random ones are added, for the cost alone. Of a caller's own model the first d latents are taken where
    they make a model, and fastvi is compared with NumPy where the model is no sigmoid belief network.

    Tables
    ------
    agreement
        num_latents, random_latents (of them, those that were added), num_states, mean_log_marginal (nats a
        datum) and, for each method that was measured at this d, the largest absolute difference from fastvi.
    seconds (timed)
        method, threads, num_latents, num_images, seconds (for all data), extrapolated (from the method's
        largest measured d, by a factor 2 a latent), times_fastvi.
    """
    subject = own or _digits(settings, progress, kept)
    subject = first_of(subject, settings.enumeration_num_images)
    x = subject.x
    sweep = _sweep(settings, subject)
    ways = _ways(settings, is_plain_network(subject.model), max(sweep))
    for way in ways.values():  # compile
        if min(sweep) <= way.largest:
            way.function(sweep[min(sweep)], x)
    agreement: list[tuple[Any, ...]] = []
    seconds: list[Time] = []
    last: dict[str, tuple[int, float]] = {}
    for done, (num_latents, model) in enumerate(sweep.items()):
        progress(f"enumerating 2^{num_latents} states in each way", done, len(sweep))
        truth, own_seconds = best_time(partial(fastvi.log_marginal, model, x))
        require_finite(truth)
        difference: dict[str, float | None] = {}
        for method, way in ways.items():
            if method == "fastvi":
                last[method] = num_latents, own_seconds
            elif num_latents <= way.largest:
                result, taken = best_time(partial(way.function, model, x))
                last[method] = num_latents, taken
                difference[method] = float(np.abs(result - truth).max())
            if method in last:
                from_latents, taken = last[method]
                predicted = taken * 2.0 ** (num_latents - from_latents)
                guessed = from_latents < num_latents
                seconds.append(
                    Time(
                        method, way.threads, num_latents, len(x), predicted, guessed, predicted / own_seconds
                    )
                )
        added = 0 if subject.own else max(0, num_latents - subject.model.num_latents)
        numbers = (num_latents, added, 1 << num_latents, float(truth.mean()))
        agreement.append((*numbers, *(difference.get(method) for method in ways if method != "fastvi")))
    progress("enumerated", len(sweep), len(sweep))
    others = [method for method in ways if method != "fastvi"]
    columns = ("num_latents", "random_latents", "num_states", "mean_log_marginal")
    table = rows_to_table((*columns, *map(_difference_name, others)), agreement)
    return StudyResult(
        name="enumeration",
        tables={"agreement": table},
        findings=_findings(subject, seconds, agreement),
        figures=partial(figures, subject=subject),
        shown={
            "largest difference from fastvi, nats": _shown(table, others),
            f"seconds for {counted(subject)} (~: extrapolated)": _by_method(seconds),
        },
        timings={"seconds": rows_to_table(_TIMED, list(seconds))},
        models={},
        arrays={},
    )


def _digits(settings: Settings, progress: Progress, kept: Kept) -> Subject:
    """All held-out digits, of which this study takes a number of its own."""
    model = fitted(settings, settings.num_latents, progress, kept).model
    parts, shape = split(settings), fastvi.datasets.digits().image_shape
    return Subject(model, parts.test, "digits", parts.test_index, parts.test_labels, shape)


def _difference_name(method: str) -> str:
    return f"max_abs_difference_{method.lower().replace(' ', '_')}"


def _shown(table: dict[str, list[Any]], others: list[str]) -> dict[str, list[Any]]:
    """The table of agreement under heads that fit a terminal."""
    heads = {"d": "num_latents", "of them random": "random_latents", "mean log p(x)": "mean_log_marginal"}
    heads |= {method: _difference_name(method) for method in others}
    return {head: table[name] for head, name in heads.items()}


def _by_method(seconds: list[Time]) -> dict[str, list[str]]:
    """Seconds as text, a row for each d and a column for each method."""
    sizes = sorted({row.num_latents for row in seconds})
    texts = {
        (row.method, row.num_latents): f"{'~' if row.extrapolated else ''}{row.seconds:.2g}"
        for row in seconds
    }
    table = {"d": [str(size) for size in sizes]}
    for method in METHODS:
        if any(row.method == method for row in seconds):
            table[method] = [texts.get((method, size), "") for size in sizes]
    return table


def _findings(subject: Subject, seconds: list[Time], agreement: list[tuple[Any, ...]]) -> tuple[Finding, ...]:
    differences = [value for row in agreement for value in row[4:] if value is not None]
    found = []
    if differences:
        limit = 10.0 ** np.ceil(np.log10(max(*differences, 1e-16)))
        text = f"all ways agree within {limit:.0e} nats wherever more than one was measured"
        found.append(Finding(text))
    if any(row[1] for row in agreement):
        text = (
            f"the network has {subject.model.num_latents} fitted latents; for a larger d random ones are "
            "added, to see the cost"
        )
        found.append(Finding(text))
    threads = {row.method: row.threads for row in seconds}
    for method in METHODS[:-1]:
        measured = [row for row in seconds if row.method == method and not row.extrapolated]
        if measured:
            row = measured[-1]
            name = "NumPy on chunks of states" if method == "NumPy" else f"the {method}"
            text = (
                f"at d = {row.num_latents} {name} ({_threads(row.threads)}) takes {rounded(row.times_fastvi)}"
                f" times as long as fastvi ({_threads(threads['fastvi'])}): {duration(row.seconds)}, measured"
            )
            found.append(Finding(text, timed=True))
    row = [row for row in seconds if row.method == "fastvi"][-1]
    states = f"2^{row.num_latents} = {1 << row.num_latents:,} states"
    text = f"fastvi: {counted(subject)} under {states} in {duration(row.seconds)}"
    return (*found, Finding(text, timed=True))


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
