"""A model, its data and a q, judged in one go: truth, bounds, gaps, weights, calibration and cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

import fastvi
from fastvi.core import validation
from fastvi.core.registry import rules_of
from fastvi.inputs.options import check_device
from fastvi.models.boltzmann_machine import BoltzmannMachine
from fastvi.studies.common.completion import Clock
from fastvi.studies.common.result import Progress, StudyResult, Table, rows_to_table
from fastvi.studies.common.subject import Subject
from fastvi.studies.report.figures import figures
from fastvi.studies.report.findings import findings
from fastvi.studies.report.judged import (
    Averaged,
    Fitted,
    Gap,
    best_q,
    calibrated,
    gap_of,
    weigh,
    weighted_bounds,
)
from fastvi.studies.report.settings import ReportSettings
from fastvi.studies.report.truth import CERTIFIED, Sum, Truth, find_truth, sum_of

FITTED = "fitted"


class Judged(NamedTuple):
    """All that a report knows of its data."""

    whose: str  # whose q: "encoder", "given" or "fitted"
    truth: Truth
    gap: Gap
    best: Fitted
    best_gap: Gap
    bounds: dict[int, Averaged]
    weights: fastvi.Estimate
    calibrated: np.ndarray  # places of the data of the calibration
    calibration: fastvi.Calibration | None

    @property
    def has_other(self) -> bool:
        """Tell whether q is another one than the best of each datum."""
        return self.whose != FITTED


def check(settings: ReportSettings, own: Subject, q: Any) -> None:
    """Refuse what a report cannot look at, by a line that says why."""
    model, x = own.model, own.x
    if isinstance(model, BoltzmannMachine):
        raise TypeError(
            f"model must have latents beside its pixels for a report, got {validation.shown(model)}"
        )
    if not len(x):
        raise ValueError("x must hold at least 1 datum for a report, got none")
    rules = rules_of(model, tables=True)
    if not rules.is_table and rules.partition_memory() is not None:
        states = fastvi.plan(model, question="log_partition").states
        if states > settings.max_states:
            raise ValueError(
                f"model must have a log Z of at most {settings.max_states:,} states (max_states) for a "
                f"report, got {states:,}"
            )
    rules.check_data(x, None)
    rules.check_sampling_dtype(settings.dtype)
    check_device(settings.device, cuda=not rules.is_table)
    if q is not None:
        fastvi.elbo(model, x, q, num_samples=1)


def run(
    settings: ReportSettings,
    progress: Progress,
    *,
    own: Subject,
    q: Any = None,
    where: Mapping[str, Any] | None = None,
) -> StudyResult:
    """Judge ``q``, an encoder or a distribution; None: the best q of each datum.

    ``where`` holds the keyword arguments ``device`` and ``executor`` of public functions.

    Tables
    ------
    data
        A row a datum: index, log_marginal with its ends log_marginal_low and log_marginal_high (equal where
        it is exact, certain or of 95 % elsewhere), elbo, elbo_std_error, gap with its ends gap_low and
        gap_high; where q is given best_elbo, best_gap with its ends, amortization_gap (best_elbo - elbo);
        bound_K and bound_K_std_error of each K; ess, pareto_k, max_weight_share of the largest K.
    means
        quantity, mean and std_error (over the data; none of a single one).
    calibration
        A row for each K: bias, std, rms_error, std_error (claimed), error_ratio (claimed / std), coverage,
        low_k_share, low_k_coverage, high_k_share, ess; means over some data and all repeats.
    calibration_data
        index, num_samples, bias, std, coverage.
    """
    check(settings, own, q)
    progress("plan", 0, 1)
    of_sum = sum_of(own.model, len(own.x), settings.max_states)
    found, clock = _judge(settings, progress, own, q, dict(where or {}), of_sum)
    tables: dict[str, Table] = {"means": _means(found, settings), "data": _data(found, own.index)}
    if found.calibration is not None:
        tables |= {
            "calibration": _calibration(found.calibration),
            "calibration_data": _calibration_data(found.calibration, own.index[found.calibrated]),
        }
    seconds = rows_to_table(
        ("step", "seconds"), [(name, value) for (_, name), value in clock.seconds.items()]
    )
    timings: dict[str, Table] = {"seconds": seconds}
    plan = of_sum.plan
    if plan is not None:
        timings["plan"] = {
            "question": ["log_marginal"], "num_data": [plan.num_data], "states": [plan.states],
            "operations": [plan.operations], "bytes": [plan.bytes],
            "predicted_seconds": [plan.predicted_seconds],
        }  # fmt: skip
    return StudyResult(
        name="report",
        tables=tables,
        findings=findings(found, settings, seconds),
        figures=lambda result: figures(result, found.truth.how),
        shown={"means": tables["means"]},
        timings=timings,
        models={},
        arrays={},
    )


def _judge(
    settings: ReportSettings,
    progress: Progress,
    own: Subject,
    given: Any,
    where: dict[str, Any],
    of_sum: Sum,
) -> tuple[Judged, Clock]:
    """Ask all questions in turn. Each has draws of its own."""
    model, x, clock = own.model, own.x, Clock()
    of_fit, of_truth, of_elbo, of_weights, of_blocks, of_repeats = (
        np.random.SeedSequence(settings.seed).generate_state(6, np.uint64).tolist()
    )
    summed = of_sum.within_reach
    whose = FITTED if given is None else "encoder" if isinstance(given, fastvi.Encoder) else "given"
    progress("fitting q", 0, 1)
    with clock.step("", "fit of the best q"):
        best = best_q(model, x, settings, of_fit, summed=summed)
    q = best.q
    if given is not None:
        with clock.step("", "q of the encoder" if whose == "encoder" else "given q"):
            q = given(x) if whose == "encoder" else given
    with clock.step("", "log p(x)"):
        truth = find_truth(model, x, best.q, settings, of_truth, progress, where, of_sum)
    progress("ELBO", 0, 1)
    with clock.step("", "ELBO and gap"):
        gap = gap_of(model, x, q, truth, settings, of_elbo, summed=summed)
    best_gap = gap
    if given is not None:
        best_gap = gap_of(model, x, best.q, truth, settings, of_elbo, summed=summed)
    progress("weights", 0, 1)
    with clock.step("", f"{settings.num_samples:,} weights"):
        weights = weigh(model, x, q, settings, of_weights, where)
    with clock.step("", "importance-weighted bounds"):
        bounds = weighted_bounds(model, x, q, weights, settings, of_blocks)
    progress("calibration", 0, 1)
    with clock.step("", "calibration"):
        some, calibration = calibrated(model, x, q, truth, settings, of_repeats)
    return Judged(whose, truth, gap, best, best_gap, bounds, weights, some, calibration), clock


def _data(found: Judged, index: np.ndarray) -> Table:
    truth, gap, weights = found.truth, found.gap, found.weights
    columns = {
        "index": index, "log_marginal": truth.value, "log_marginal_low": truth.low,
        "log_marginal_high": truth.high, "elbo": gap.elbo, "elbo_std_error": gap.std_error, "gap": gap.value,
        "gap_low": gap.low, "gap_high": gap.high,
    }  # fmt: skip
    if found.has_other:
        best = found.best_gap
        columns |= {
            "best_elbo": best.elbo, "best_gap": best.value, "best_gap_low": best.low,
            "best_gap_high": best.high, "amortization_gap": best.elbo - gap.elbo,
        }  # fmt: skip
    for size, bound in found.bounds.items():
        columns |= {f"bound_{size}": bound.value, f"bound_{size}_std_error": bound.std_error}
    columns |= {
        "ess": weights.ess,
        "pareto_k": weights.pareto_k,
        "max_weight_share": weights.max_weight_share,
    }
    return {name: values.tolist() for name, values in columns.items()}


def _means(found: Judged, settings: ReportSettings) -> Table:
    truth, gap, best = found.truth, found.gap, found.best_gap
    rows = {f"log p(x), {truth.how}": truth.value, "ELBO": gap.elbo, "gap, KL(q || p(z|x))": gap.value}
    if truth.how == CERTIFIED:
        rows = {
            "log p(x), at least": truth.low, "log p(x), at most": truth.high, "ELBO": gap.elbo,
            "gap, KL(q || p(z|x)), at least": gap.low, "at most": gap.high,
        }  # fmt: skip
    if found.has_other:
        rows |= {
            "ELBO of the best q of each datum": best.elbo, "amortisation gap": best.elbo - gap.elbo,
        }  # fmt: skip
    rows |= {f"bound, K = {size:,}": bound.value for size, bound in found.bounds.items()}
    rows[f"effective samples of {settings.num_samples:,}"] = found.weights.ess
    return rows_to_table(
        ("quantity", "mean", "std_error"), [(name, *mean_and_error(values)) for name, values in rows.items()]
    )


def mean_and_error(values: np.ndarray) -> tuple[float, float | None]:
    """Mean over the data and its standard error; None of a single datum."""
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return float(values.mean()), error


def _calibration(found: fastvi.Calibration) -> Table:
    left_out = ("proposal", "seconds", "efficiency")
    return {name: values for name, values in found.table().items() if name not in left_out}


def _calibration_data(found: fastvi.Calibration, index: np.ndarray) -> Table:
    rows = [
        (int(n), entry.num_samples, float(bias), float(std), float(coverage))
        for entry in found.entries
        for n, bias, std, coverage in zip(index, entry.bias, entry.std, entry.coverage, strict=True)
    ]
    return rows_to_table(("index", "num_samples", "bias", "std", "coverage"), rows)
