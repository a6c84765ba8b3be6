"""Errors of Monte Carlo estimates of log p(x), by proposal, number of samples and d."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

import fastvi
from fastvi.core.registry import rules_of
from fastvi.estimators.calibration import Calibration
from fastvi.studies.common.digits import fitted, split
from fastvi.studies.common.kept import NOTHING_KEPT, Kept
from fastvi.studies.common.result import Progress, StudyResult, Table
from fastvi.studies.common.settings import Settings
from fastvi.studies.common.states import no_latent_bits, not_answered
from fastvi.studies.common.subject import Subject, digits_subject
from fastvi.studies.common.words import counted, first_of
from fastvi.studies.sampling.figures import figures
from fastvi.studies.sampling.findings import findings
from fastvi.studies.sampling.important import (
    histogram,
    left_out_arrays,
    median_datum,
    states_table,
    worst_datum,
)
from fastvi.studies.sampling.log_partition import annealed, trained_machine
from fastvi.studies.sampling.proposals import LEARNED, Setup, chi_square, set_up

MOST_LATENTS = 14  # of a caller's own model: all 2^d states of every datum are listed

_TIMED = ("seconds", "efficiency")
_HEADS = {  # of tables on a terminal -> column
    "proposal": "proposal",
    "d": "num_latents",
    "K": "num_samples",
    "bias": "bias",
    "error": "rms_error",
    "claimed / true": "error_ratio",
    "95 % hold": "coverage",
    "ESS": "ess",
}
_AIS_HEADS = {
    "temperatures": "num_temperatures",
    "exact": "log_partition",
    "estimate": "estimate",
    "95 % from": "low",
    "to": "high",
    "error": "rms_error",
    "claimed": "std_error",
}


def calibrated(
    setup: Setup, settings: Settings, num_samples: int | Sequence[int], progress: Progress
) -> Calibration:
    """All proposals on one model."""
    step = f"sampling {rules_of(setup.model).num_latents} latents"
    return fastvi.calibrate(
        setup.model,
        setup.x,
        proposals=setup.proposals,
        num_samples=num_samples,
        num_repeats=settings.num_repeats,
        seed=settings.seed,
        truth=setup.truth,
        progress=lambda done, total: progress(step, done, total),
    )


def columns(setup: Setup, calibration: Calibration) -> dict[str, list[Any]]:
    """The calibration's table with d, the variance and what theory says."""
    theory = {name: chi_square(setup, name) for name in setup.proposals}
    table = calibration.table()
    names, counts = table.pop("proposal"), table.pop("num_samples")
    return {
        "proposal": names,
        "num_latents": [rules_of(setup.model).num_latents] * len(names),
        "num_samples": counts,
        "variance": [float((entry.std**2).mean()) for entry in calibration.entries],
        "one_weight_median": [float(np.median(theory[name])) for name in names],
        "one_weight_largest": [float(theory[name].max()) for name in names],
        "relative_variance_theory": [
            float(theory[name].mean()) / k for name, k in zip(names, counts, strict=True)
        ],
        **table,
    }


def split_timed(table: Table) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Columns that repeat, and those that hold seconds."""
    keys = ("proposal", "num_latents", "num_samples")
    return (
        {name: values for name, values in table.items() if name not in _TIMED},
        {name: table[name] for name in (*keys, *_TIMED)},
    )


def refusal(own: Subject) -> str | None:
    """Return why the study cannot look at a caller's own model and data, or None."""
    if "log_partition" in fastvi.supported(own.model):
        return None  # log Z is estimated at least
    forward = "fit_posterior(objective='forward_kl')"
    lack = not_answered(own, "log_marginal", "estimate_log_marginal", forward)
    return no_latent_bits(own, MOST_LATENTS) or lack


def run(
    settings: Settings, progress: Progress, *, own: Subject | None = None, kept: Kept = NOTHING_KEPT
) -> StudyResult:
    """Calibrate estimates of log p(x), and of log Z, against the exact values.

    Latents are drawn uniformly, from the prior, from a learned q (independent latents, smallest
    KL(q || p(z | x))) and from mixtures: nine tenths learned q and a tenth prior ("learned q + prior"), nine
    tenths of the q with the exact posterior means and a tenth prior ("exact means + prior"). log Z is that of
    a restricted Boltzmann machine fitted to the digits, or of a caller's own machine.

    Tables
    ------
    by_samples, by_latents
        proposal, num_latents, num_samples, and over data and repeats: variance (mean over data of that of
        the estimate, nats^2); one_weight_median and one_weight_largest (chi^2(p(z|x) || q), the relative
        variance of a single weight, all states summed, of the median and of the worst datum);
        relative_variance_theory (its mean over data, divided by K: what relative_variance is on average,
        though few repeats seldom meet the largest weights of the worst data); and the columns of
        :meth:`fastvi.Calibration.table`. There are only 2^d distinct
        weights here, and ties among the largest make k large: it errs on the side of warning.
        by_latents is of the digits alone.
    images
        proposal, num_samples, image (its place among those looked at), pareto_k (median over repeats), ess,
        std_error (claimed), std, rms_error, coverage.
    states
        A row a datum: index, log_marginal, num_states, states_for_99_percent (the fewest states that have
        99 % of p(x)).
        For each proposal the share of draws that meet one of these, and the relative variance of one weight.
        Of the learned q: left_out (posterior probability of states to which q gives less than a hundredth of
        theirs), and the state of the largest term of the variance, with its probabilities and its share.
    log_joint
        Share of draws by log p(x, z) in the limit of many draws, of the datum with the median
        states_for_99_percent.
    ais_log_partition
        num_temperatures, num_chains, log_partition (exact); estimate, low and high of one run; bias and so on
        of all runs.
    seconds, seconds_by_latents, seconds_ais (timed)
        Seconds of one estimate of all data, efficiency 1 / (mean square error * seconds).
    """
    tables: dict[str, Table] = {}
    timings: dict[str, Table] = {}
    arrays: dict[str, dict[str, Any]] = {}
    shown: dict[str, Table] = {}
    subject = own or digits_subject(settings, progress, kept=kept)
    subject = first_of(subject, settings.num_images)
    if no_latent_bits(subject, MOST_LATENTS) is None:
        progress("exact log p(x) and proposals", 0, 1)
        setup = set_up(subject.model, subject.x)
        calibration = calibrated(setup, settings, settings.num_samples, progress)
        tables["by_samples"], timings["seconds"] = split_timed(columns(setup, calibration))
        shown[f"estimates of log p(x), {counted(subject)}, nats"] = _under(_HEADS, tables["by_samples"])
        tables["images"] = _images(calibration)
        states = states_table(setup, subject.index)
        tables |= {"states": states, "log_joint": histogram(setup, median_datum(states))}
        if LEARNED in setup.proposals:
            arrays["left_out"] = left_out_arrays(setup, worst_datum(states))
    if own is None:
        tables["by_latents"], timings["seconds_by_latents"] = split_timed(_sweep(settings, progress, kept))
        shown[f"the same at K = {settings.samples_in_sweep:,}, by latents"] = _under(
            _HEADS, tables["by_latents"]
        )
    if own is None or "log_partition" in fastvi.supported(own.model):
        machine = trained_machine(settings, progress, kept) if own is None else own.model
        tables["ais_log_partition"], timings["seconds_ais"] = annealed(machine, settings, progress)
        title = f"log Z of {_machine(machine, own)} by annealed importance sampling, nats"
        shown[title] = _under(_AIS_HEADS, tables["ais_log_partition"])
    progress("sampled", 1, 1)
    return StudyResult(
        name="sampling",
        tables=tables,
        findings=findings(tables, subject, settings),
        figures=partial(figures, subject=subject),
        shown=shown,
        timings=timings,
        models={},
        arrays=arrays,
    )


def _machine(machine: Any, own: Subject | None) -> str:
    return (
        f"the {type(machine).__name__} of {own.title}" if own else "a restricted Boltzmann machine of digits"
    )


def _sweep(settings: Settings, progress: Progress, kept: Kept) -> dict[str, list[Any]]:
    """Columns of networks of 2, 4, ... latents, each fitted to the digits."""
    sweep: dict[str, list[Any]] = {}
    x = split(settings).test[: settings.num_images]
    for num_latents in settings.fitted_latents:
        smaller = set_up(fitted(settings, num_latents, progress, kept).model, x)
        found = columns(smaller, calibrated(smaller, settings, settings.samples_in_sweep, progress))
        for name, values in found.items():
            sweep.setdefault(name, []).extend(values)
    return sweep


def _under(heads: dict[str, str], table: Table) -> dict[str, list[Any]]:
    """Columns that fit on a line of a terminal, under heads that are words."""
    return {head: table[name] for head, name in heads.items()}


def _images(calibration: Calibration) -> dict[str, list[Any]]:
    """Table of what each datum's estimates say of themselves, and what they are."""
    names = ("pareto_k", "ess", "std_error", "std", "rms_error", "coverage")
    table: dict[str, list[Any]] = {"proposal": [], "num_samples": [], "image": []}
    for entry in calibration.entries:
        size = len(calibration.truth)
        table["proposal"] += [entry.proposal] * size
        table["num_samples"] += [entry.num_samples] * size
        table["image"] += range(size)
        for name in names:
            table.setdefault(name, []).extend(getattr(entry, name).tolist())
    return table
