"""Cost of exact log p(x) as the number of latents grows."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

import fastvi
from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork
from fastvi.studies.common.digits import fitted, split
from fastvi.studies.common.kept import NOTHING_KEPT, Kept
from fastvi.studies.common.result import Finding, Progress, StudyResult, rows_to_table
from fastvi.studies.common.settings import Settings
from fastvi.studies.common.subject import Subject
from fastvi.studies.enumeration import baselines
from fastvi.studies.enumeration.figures import METHODS, figures

_TIMED = ("method", "num_latents", "num_images", "seconds", "extrapolated", "times_fastvi")

_FEWEST_RUNS, _MOST_RUNS = 2, 7
_ENOUGH_SECONDS = 0.6  # no further run beyond the fewest once a method has taken as much at one d


def widened(model: SigmoidBeliefNetwork, num_latents: int, seed: int) -> SigmoidBeliefNetwork:
    """The model's first latents; random ones beyond them. What an enumeration costs depends on neither.

    Random columns are standard normal with prior logits 0; a latent has the same column at every d.
    """
    extra = max(0, num_latents - model.num_latents)
    more = np.stack(
        [np.random.default_rng([seed, k]).standard_normal(model.num_pixels) for k in range(extra)], axis=1
    ) if extra else np.empty((model.num_pixels, 0))  # fmt: skip
    weights = np.concatenate([model.weights, more], axis=1)[:, :num_latents]
    prior_logits = np.concatenate([model.prior_logits, np.zeros(extra)])[:num_latents]
    return SigmoidBeliefNetwork(weights, model.bias, prior_logits)


def best_time(function: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    """Result, and the shortest of a few runs in seconds. The caller has warmed up what is compiled."""
    times: list[float] = []
    while len(times) < _FEWEST_RUNS or (len(times) < _MOST_RUNS and sum(times) < _ENOUGH_SECONDS):
        start = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - start)
    return result, min(times)


def _ways(
    settings: Settings,
) -> dict[str, tuple[int, Callable[[SigmoidBeliefNetwork, np.ndarray], np.ndarray]]]:
    """Method -> largest d that is measured, and the function."""

    def on_arrays(
        function: Callable[..., np.ndarray],
    ) -> Callable[[SigmoidBeliefNetwork, np.ndarray], np.ndarray]:
        return lambda model, x: function(model.weights, model.bias, model.prior_logits, x.astype(np.float64))

    return {
        "Python loop": (settings.largest_python, on_arrays(baselines.python_loop)),
        "NumPy": (settings.largest_numpy, on_arrays(baselines.numpy_chunks)),
        "compiled loop": (settings.largest_loop, on_arrays(baselines.compiled_loop)),
        "fastvi": (max(settings.enumeration_latents), fastvi.log_marginal),
    }


def refusal(own: Subject) -> str | None:
    """Return why the study cannot look at a caller's own model and data, or None."""
    return "it is about the packaged digits alone"


def run(
    settings: Settings, progress: Progress, *, own: Subject | None = None, kept: Kept = NOTHING_KEPT
) -> StudyResult:
    """Time four ways of computing log p(x) of held-out images at each d, and compare what they return.

    Tables
    ------
    agreement
        num_latents, num_states, mean_log_marginal (nats an image) and, for each method that was measured at
        this d, the largest absolute difference from fastvi over the images.
    seconds (timed)
        method, num_latents, num_images, seconds (for all images), extrapolated (from the method's largest
        measured d, by a factor 2 a latent), times_fastvi.
    """
    base = fitted(settings, settings.num_latents, progress, kept).model
    x = split(settings).test[: settings.enumeration_num_images]
    ways = _ways(settings)
    for _, function in ways.values():  # compile
        function(widened(base, 2, settings.seed), x)
    agreement, seconds = [], []
    last: dict[str, tuple[int, float]] = {}
    sweep = settings.enumeration_latents
    for done, num_latents in enumerate(sweep):
        progress(f"enumerating 2^{num_latents} states in each way", done, len(sweep))
        model = widened(base, num_latents, settings.seed)
        truth, own_seconds = best_time(lambda model=model: fastvi.log_marginal(model, x))  # type: ignore[misc]
        difference: dict[str, float | None] = {}
        for method in METHODS:
            largest, function = ways[method]
            if method == "fastvi":
                last[method] = num_latents, own_seconds
            elif num_latents <= largest:
                result, taken = best_time(lambda f=function, model=model: f(model, x))  # type: ignore[misc]
                last[method] = num_latents, taken
                difference[method] = float(np.abs(result - truth).max())
            from_latents, taken = last[method]
            predicted = taken * 2.0 ** (num_latents - from_latents)
            guessed = from_latents < num_latents
            seconds.append((method, num_latents, len(x), predicted, guessed, predicted / own_seconds))
        agreement.append(
            (num_latents, 1 << num_latents, float(truth.mean()), *(difference.get(m) for m in METHODS[:-1]))
        )
    progress("enumerated", len(sweep), len(sweep))
    columns = ("num_latents", "num_states", "mean_log_marginal", *(_difference_name(m) for m in METHODS[:-1]))
    table = rows_to_table(columns, agreement)
    return StudyResult(
        name="enumeration",
        tables={"agreement": table},
        findings=_findings(seconds, [row[3:] for row in agreement]),
        figures=figures,
        shown={"agreement": table, f"seconds for {len(x)} images (~: extrapolated)": _by_method(seconds)},
        timings={"seconds": rows_to_table(_TIMED, seconds)},
        models={},
        arrays={},
    )


def _difference_name(method: str) -> str:
    return f"max_abs_difference_{method.lower().replace(' ', '_')}"


def _by_method(seconds: list[tuple[str, int, int, float, bool, float]]) -> dict[str, list[str]]:
    """Seconds as text, a row for each d and a column for each method."""
    table = {"d": [str(row[1]) for row in seconds if row[0] == "fastvi"]}
    for method in METHODS:
        own = [(value, guessed) for name, _, _, value, guessed, _ in seconds if name == method]
        table[method] = [f"{'~' if guessed else ''}{value:.2g}" for value, guessed in own]
    return table


def _findings(
    seconds: list[tuple[str, int, int, float, bool, float]], differences: list[tuple[float | None, ...]]
) -> tuple[Finding, ...]:
    worst = max(value for row in differences for value in row if value is not None)
    limit = 10.0 ** np.ceil(np.log10(max(worst, 1e-16)))
    found = [Finding(f"all ways agree within {limit:.0e} nats wherever more than one was measured")]
    for method in METHODS[:-1]:
        measured = [row for row in seconds if row[0] == method and not row[4]]
        if measured:
            _, d, _, taken, _, ratio = measured[-1]
            times = f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"
            name = "chunked NumPy" if method == "NumPy" else f"the {method}"
            text = f"at d = {d} {name} takes {times} times as long as fastvi ({taken:.2g} s, measured)"
            found.append(Finding(text, timed=True))
    _, d, num_images, taken, _, _ = [row for row in seconds if row[0] == "fastvi"][-1]
    text = f"fastvi: {num_images} images under 2^{d} = {1 << d:,} states in {taken:.2g} s"
    return (*found, Finding(text, timed=True))
