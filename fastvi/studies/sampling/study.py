"""Errors of Monte Carlo estimates of log p(x), by proposal, number of samples and d."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

import fastvi
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.distributions.mixture import Mixture
from fastvi.estimators.calibration import LOW_K, Calibration
from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork
from fastvi.studies.common.digits import factorised, fitted, split
from fastvi.studies.common.kept import NOTHING_KEPT, Kept
from fastvi.studies.common.result import Finding, Progress, StudyResult, Table
from fastvi.studies.common.settings import Settings
from fastvi.studies.common.subject import Subject
from fastvi.studies.sampling.figures import PROPOSALS, figures
from fastvi.studies.sampling.log_partition import annealed

_PRIOR_SHARE = 0.1  # of both mixtures: no weight is above 10 p(x | z)

_TIMED = ("seconds", "efficiency")
_SHOWN = ("bias", "rms_error", "relative_variance", "error_ratio", "coverage", "low_k_share", "ess")


class Setup(NamedTuple):
    """A model, images, their exact log p(x), and the proposals by name."""

    model: SigmoidBeliefNetwork
    x: np.ndarray
    truth: np.ndarray
    proposals: dict[str, Bernoulli | Mixture]


def defensive(q: Bernoulli, prior: Bernoulli) -> Mixture:
    """Mostly ``q``; what it leaves out is found by the prior."""
    return Mixture([q, prior], [1.0 - _PRIOR_SHARE, _PRIOR_SHARE])


def set_up(settings: Settings, num_latents: int, progress: Progress) -> Setup:
    """The fitted model with ``num_latents``, the truth, and proposals for each image."""
    model = fitted(settings, num_latents, progress).model
    x = split(settings).test[: settings.num_images]
    learned, means = factorised(model, x, "reverse_kl"), factorised(model, x, "forward_kl")
    prior = Bernoulli(model.prior_logits)
    found = (fastvi.Uniform(num_latents), prior, learned, defensive(learned, prior), defensive(means, prior))
    return Setup(model, x, fastvi.log_marginal(model, x), dict(zip(PROPOSALS, found, strict=True)))


def chi_square(setup: Setup, q: Bernoulli | Mixture) -> np.ndarray:
    """(N,): sum over z of p(x_n, z)^2 / (q(z) p(x_n)^2), less 1: relative variance of one weight."""
    number = np.arange(1 << setup.model.num_latents)
    states = ((number[:, None] >> np.arange(setup.model.num_latents)) & 1).astype(np.uint8)
    log_posterior = setup.model.log_joint(setup.x[:, None], states[None]) - setup.truth[:, None]
    return np.asarray(np.exp(2.0 * log_posterior - q.log_prob(states[:, None]).T).sum(axis=1) - 1.0)


def calibrated(
    setup: Setup, settings: Settings, num_samples: int | Sequence[int], progress: Progress
) -> Calibration:
    """All proposals on one model."""
    step = f"sampling {setup.model.num_latents} latents"
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
    theory = {name: chi_square(setup, q) for name, q in setup.proposals.items()}
    table = calibration.table()
    names, counts = table.pop("proposal"), table.pop("num_samples")
    return {
        "proposal": names,
        "num_latents": [setup.model.num_latents] * len(names),
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
    return "it is about the packaged digits alone"


def run(
    settings: Settings, progress: Progress, *, own: Subject | None = None, kept: Kept = NOTHING_KEPT
) -> StudyResult:
    """Calibrate estimates of log p(x) of held-out images, and of log Z, against the exact values.

    Tables
    ------
    by_samples, by_latents
        proposal, num_latents, num_samples, and over images and repeats: variance (mean over images of that of
        the estimate, nats^2); one_weight_median and one_weight_largest (chi^2(p(z|x) || q), the relative
        variance of a single weight, all states summed, of the median and of the worst image);
        relative_variance_theory (its mean over images, divided by K: what relative_variance is on average,
        though few repeats seldom meet the largest weights of the worst images); and the columns of
        :meth:`fastvi.Calibration.table`. There are only 2^d distinct
        weights here, and ties among the largest make k large: it errs on the side of warning.
    images
        proposal, num_samples, image (its place among the held-out ones), pareto_k (median over repeats), ess,
        std_error (claimed), std, rms_error, coverage.
    ais_log_partition
        num_temperatures, num_chains, log_partition (exact); estimate, low and high of one run; bias and so on
        of all runs.
    seconds, seconds_by_latents, seconds_ais (timed)
        Seconds of one estimate of all images, efficiency 1 / (mean square error * seconds).
    """
    setup = set_up(settings, settings.num_latents, progress)
    calibration = calibrated(setup, settings, settings.num_samples, progress)
    by_samples, seconds = split_timed(columns(setup, calibration))

    sweep: dict[str, list[Any]] = {}
    for num_latents in settings.fitted_latents:
        smaller = set_up(settings, num_latents, progress)
        found = columns(smaller, calibrated(smaller, settings, settings.samples_in_sweep, progress))
        for name, values in found.items():
            sweep.setdefault(name, []).extend(values)
    by_latents, seconds_by_latents = split_timed(sweep)

    ais, seconds_ais = annealed(settings, progress)
    progress("sampled", 1, 1)
    shown = {name: _short(table) for name, table in (("by_samples", by_samples), ("by_latents", by_latents))}
    of_ais = (
        "num_temperatures",
        "log_partition",
        "estimate",
        "low",
        "high",
        "bias",
        "std",
        "std_error",
        "ess",
    )
    return StudyResult(
        name="sampling",
        tables={
            "by_samples": by_samples,
            "by_latents": by_latents,
            "images": _images(calibration),
            "ais_log_partition": ais,
        },
        findings=(*_findings(by_samples, by_latents), *_ais_findings(ais, settings.ais_num_repeats)),
        figures=figures,
        shown={**shown, "ais_log_partition": {name: ais[name] for name in of_ais}},
        timings={"seconds": seconds, "seconds_by_latents": seconds_by_latents, "seconds_ais": seconds_ais},
        models={},
        arrays={},
    )


def _short(table: Table) -> dict[str, list[Any]]:
    """Columns that fit on a line of a terminal."""
    return {name: table[name] for name in ("proposal", "num_latents", "num_samples", *_SHOWN)}


def _images(calibration: Calibration) -> dict[str, list[Any]]:
    """Table of what each image's estimates say of themselves, and what they are."""
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


def pick(table: Table, proposal: str, key: str, value: int, name: str) -> Any:
    """One number: that of a proposal in the row where column ``key`` is ``value``."""
    row = list(zip(table["proposal"], table[key], strict=True)).index((proposal, value))
    return table[name][row]


def _findings(by_samples: Table, by_latents: Table) -> tuple[Finding, ...]:
    counts, sizes = (sorted(set(t)) for t in (by_samples["num_samples"], by_latents["num_latents"]))
    num_latents = by_samples["num_latents"][0]
    nearest = min(counts, key=lambda count: abs(math.log(count) - num_latents * math.log(2)))

    def all_proposals(table: Table, key: str, value: int, name: str, form: str) -> str:
        return ", ".join(f"{pick(table, p, key, value, name):{form}} ({p})" for p in PROPOSALS)

    def at(name: str, count: int, form: str) -> str:
        return all_proposals(by_samples, "num_samples", count, name, form)

    def at_size(name: str, size: int) -> str:
        return all_proposals(by_latents, "num_latents", size, name, ".2g")

    few, many, most = sizes[0], sizes[-1], counts[-1]
    return (
        Finding(
            f"root mean square error of log p(x) at K = {nearest:,}, nats: {at('rms_error', nearest, '.2g')}"
        ),
        Finding(f"exact enumeration visits 2^{num_latents} = {1 << num_latents:,} states and has no error"),
        Finding(
            "relative variance of one weight, all states summed, median image: "
            f"d = {few}: {at_size('one_weight_median', few)}; "
            f"d = {many}: {at_size('one_weight_median', many)}"
        ),
        Finding(f"the same, worst image: d = {many}: {at_size('one_weight_largest', many)}"),
        Finding(f"at K = {most:,} the stated 95 % intervals hold the truth in {at('coverage', most, '.0%')}"),
        *_low_k_finding(by_samples, most),
    )


def _low_k_finding(table: Table, count: int) -> tuple[Finding, ...]:
    """Coverage where k-hat sees nothing wrong, of the proposals that have such estimates."""
    parts = [
        f"{pick(table, name, 'num_samples', count, 'low_k_coverage'):.0%} of {share:.0%} ({name})"
        for name in PROPOSALS
        if (share := pick(table, name, "num_samples", count, "low_k_share")) > 0
    ]
    text = f"the same among estimates with pareto_k < {LOW_K}, of the share of all that these are: "
    return (Finding(text + ", ".join(parts)),) if parts else ()


def _ais_findings(ais: Table, num_repeats: int) -> tuple[Finding, ...]:
    first, last = (
        f"{ais['rms_error'][i]:.2g} nats with {ais['num_temperatures'][i]:,} temperature(s)" for i in (0, -1)
    )
    return (
        Finding(
            f"root mean square error of log Z over {num_repeats} runs of annealed importance sampling of "
            f"{ais['num_chains'][0]} chains: {first}, {last}"
        ),
    )
