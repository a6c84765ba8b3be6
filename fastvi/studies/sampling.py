"""How far Monte Carlo estimates of log p(x) are from the truth, by proposal, number of samples and d."""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple

import numpy as np

import fastvi
from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork
from fastvi.studies.model import fitted, split
from fastvi.studies.result import Finding, Progress, StudyResult, rows_to_table
from fastvi.studies.settings import Settings

PROPOSALS = ("uniform", "prior", "learned q")

COLUMNS = (
    "proposal",
    "num_latents",
    "num_samples",
    "mean_abs_error",
    "median_abs_error",
    "bias",
    "rms_error",
    "mean_ess",
    "share_pareto_k_above_0.7",
    "share_within_2_std_errors",
)
UNRELIABLE_K = 0.7  # Vehtari, Simpson, Gelman, Yao and Gabry (2024), JMLR 25(72), section 3


class Setup(NamedTuple):
    """A model, images, their exact log p(x), and the proposals by name."""

    model: SigmoidBeliefNetwork
    x: np.ndarray
    truth: np.ndarray
    proposals: dict[str, Any]


def set_up(settings: Settings, num_latents: int, progress: Progress) -> Setup:
    """The fitted model with ``num_latents``, the truth, and a q for each image."""
    model = fitted(settings, num_latents, progress).model
    x = split(settings).test[: settings.num_images]
    q = fastvi.fit_posterior(model, x, objective="reverse_kl").q
    proposals = dict(zip(PROPOSALS, ("uniform", "prior", q), strict=True))
    return Setup(model, x, fastvi.log_marginal(model, x), proposals)


def score(setup: Setup, proposal: str, num_samples: int, seeds: range) -> tuple[Any, ...]:
    """One row of a table: errors against the truth over all images and seeds."""
    estimates = [
        fastvi.estimate_log_marginal(
            setup.model, setup.x, proposal=setup.proposals[proposal], num_samples=num_samples, seed=seed
        )
        for seed in seeds
    ]
    error = np.stack([estimate.log_marginal - setup.truth for estimate in estimates])
    std_error = np.stack([estimate.std_error for estimate in estimates])
    pareto_k = np.stack([estimate.pareto_k for estimate in estimates])
    return (
        proposal,
        setup.model.num_latents,
        num_samples,
        float(np.abs(error).mean()),
        float(np.median(np.abs(error))),
        float(error.mean()),
        float(np.sqrt((error**2).mean())),
        float(np.mean([estimate.ess for estimate in estimates])),
        float((~(pareto_k <= UNRELIABLE_K)).mean()),
        float((np.abs(error) <= 2.0 * std_error).mean()),
    )


def run(settings: Settings, progress: Progress) -> StudyResult:
    """Estimate log p(x) of held-out images by three proposals and compare with the exact value.

    Tables
    ------
    by_samples, by_latents
        proposal, num_latents, num_samples, and over images and seeds: mean_abs_error, median_abs_error, bias
        (mean error) and rms_error in nats, mean_ess, share_pareto_k_above_0.7 (too few samples to tell count
        as above), share_within_2_std_errors (95 % where the stated error is right). There are only 2^d
        distinct weights here, and ties among the largest make k large: it errs on the side of warning.
    seconds (timed)
        proposal, num_samples, seconds for all images and seeds.
    """
    from fastvi.studies.draw_sampling import figures

    seeds = range(settings.seed, settings.seed + settings.num_repeats)
    setup = set_up(settings, settings.num_latents, progress)
    cells = [(proposal, num) for num in settings.num_samples for proposal in PROPOSALS]
    rows, seconds = [], []
    for done, (proposal, num_samples) in enumerate(cells):
        progress(f"{num_samples:,} samples from {proposal}", done, len(cells))
        start = time.perf_counter()
        rows.append(score(setup, proposal, num_samples, seeds))
        seconds.append((proposal, num_samples, time.perf_counter() - start))
    progress("sampled", len(cells), len(cells))

    sweep = []
    for done, num_latents in enumerate(settings.fitted_latents):
        smaller = set_up(settings, num_latents, progress)
        progress(f"{num_latents} latents", done, len(settings.fitted_latents))
        sweep += [score(smaller, proposal, settings.samples_in_sweep, seeds) for proposal in PROPOSALS]
    progress("sampled", 1, 1)
    tables = {"by_samples": rows_to_table(COLUMNS, rows), "by_latents": rows_to_table(COLUMNS, sweep)}
    return StudyResult(
        name="sampling",
        tables=tables,
        findings=_findings(rows, settings.num_latents),
        figures=figures,
        shown=tables,
        timings={"seconds": rows_to_table(("proposal", "num_samples", "seconds"), seconds)},
        models={},
        arrays={},
    )


def _findings(rows: list[tuple[Any, ...]], num_latents: int) -> tuple[Finding, ...]:
    """Mean error of each proposal with as many samples as exact enumeration has states."""
    counts = sorted({row[2] for row in rows})
    nearest = min(counts, key=lambda count: abs(math.log(count) - num_latents * math.log(2)))
    errors = ", ".join(f"{row[3]:.2g} nats ({row[0]})" for row in rows if row[2] == nearest)
    most = [row for row in rows if row[2] == counts[-1]]
    held = ", ".join(f"{row[9]:.0%} ({row[0]})" for row in most)
    return (
        Finding(f"mean absolute error of log p(x) at K = {nearest:,}: {errors}"),
        Finding(f"exact enumeration visits 2^{num_latents} = {1 << num_latents:,} states and has no error"),
        Finding(
            f"at K = {counts[-1]:,} the truth lies within 2 stated standard errors (95 % if normal) in {held}"
        ),
    )
