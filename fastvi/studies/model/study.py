"""The common first step: sigmoid belief networks fitted to the digits by exact maximum likelihood."""

from __future__ import annotations

import numpy as np

import fastvi
from fastvi.fitting.starting_network import pixel_shares
from fastvi.studies.common.digits import fitted, split
from fastvi.studies.common.kept import NOTHING_KEPT, Kept
from fastvi.studies.common.result import Finding, Progress, StudyResult, rows_to_table
from fastvi.studies.common.settings import Settings
from fastvi.studies.common.subject import Subject
from fastvi.studies.model.figures import figures


def independent_pixels(train: np.ndarray, test: np.ndarray) -> tuple[float, float]:
    """Mean log p(x) of both parts where every pixel has its own probability and there are no latents."""
    share = pixel_shares(train)
    log_one, log_zero = np.log(share), np.log1p(-share)
    first, second = (float(np.where(x == 1, log_one, log_zero).sum(axis=1).mean()) for x in (train, test))
    return first, second


def refusal(own: Subject) -> str | None:
    """Return why the study cannot look at a caller's own model and data, or None."""
    return "it fits networks to the packaged digits, and your model is fitted already"


def run(
    settings: Settings, progress: Progress, *, own: Subject | None = None, kept: Kept = NOTHING_KEPT
) -> StudyResult:
    """Fit a model for each d of ``settings.fitted_latents`` and score it exactly.

    Tables
    ------
    fit
        num_latents (0: independent pixels), mean_log_marginal_train, mean_log_marginal_test (nats an image).
    learning_curves
        num_latents, epoch (0: the start), mean_log_marginal (of the training images).
    """
    parts = split(settings)
    rows = [(0, *independent_pixels(parts.train, parts.test))]
    curves: list[tuple[int, int, float]] = []
    models = {}
    for num_latents in settings.fitted_latents:
        found = fitted(settings, num_latents, progress, kept)
        train, test = float(found.objective), float(fastvi.log_marginal(found.model, parts.test).mean())
        rows.append((num_latents, train, test))
        curves += [(num_latents, epoch, float(value)) for epoch, value in enumerate(found.history)]
        models[f"model_{num_latents}_latents"] = found.model
    gain = rows[-1][2] - rows[0][2]
    text = (
        f"{settings.num_latents} binary latents explain held-out digits {gain:.2f} nats an image better "
        f"than independent pixels ({rows[-1][2]:.2f} against {rows[0][2]:.2f})"
    )
    fit = rows_to_table(("num_latents", "mean_log_marginal_train", "mean_log_marginal_test"), rows)
    return StudyResult(
        name="model",
        tables={
            "fit": fit,
            "learning_curves": rows_to_table(("num_latents", "epoch", "mean_log_marginal"), curves),
        },
        findings=(Finding(text),),
        figures=figures,
        shown={"fit": fit},
        timings={},
        models=models,
        arrays={"held_out": {"x": parts.test, "labels": parts.test_labels}},
    )
