"""Missing data: the lower part of an image is seen, the upper part is summed out or filled in, exactly."""

from __future__ import annotations

import numpy as np

from fastvi.fitting.starting_network import pixel_shares
from fastvi.models.boltzmann_machine import BoltzmannMachine
from fastvi.studies.common.completion import (
    BASELINE,
    FIT,
    MACHINE,
    MEANS,
    NETWORK,
    SAMPLES,
    SIDE,
    Clock,
    Completion,
    complete_by_machine,
    complete_by_network,
    complete_by_shares,
    seen_pixels,
)
from fastvi.studies.common.digits import fitted, split
from fastvi.studies.common.kept import NOTHING_KEPT, Kept
from fastvi.studies.common.result import (
    Finding,
    Progress,
    StudyResult,
    array_name,
    no_progress,
    rows_to_table,
)
from fastvi.studies.common.settings import Settings
from fastvi.studies.common.subject import Subject
from fastvi.studies.missing.figures import figures
from fastvi.studies.missing.pseudo_likelihood import fit_boltzmann_machine, unit_terms


def refusal(own: Subject) -> str | None:
    """Return why the study cannot look at a caller's own model and data, or None."""
    return "it is about the packaged digits alone"


def run(
    settings: Settings, progress: Progress, *, own: Subject | None = None, kept: Kept = NOTHING_KEPT
) -> StudyResult:
    """The uppermost rows of held-out images given the rest, by summing over all that they might be.

    Tables
    ------
    images
        A row an image and model: index (place in the data set), label, model, log_prob (log p(upper | lower)
        of the true image, nats), mean_abs_error (mean over unseen pixels of |x_j - p(x_j = 1 | lower)|).
    means
        model, num_states (summed for an image), and over the images mean_log_prob, mean_gain (over
        independent pixels, nats), share_better (of images with a gain), mean_abs_error.
    fit
        model, mean_pseudo_log_likelihood_train, mean_pseudo_log_likelihood_test: the sum over pixels of
        log p(x_j | all others), nats an image.
    seconds (timed)
        model, step, num_images, num_states (an image; none in the fit), seconds (for all images).
    """
    parts = split(settings)
    count = settings.missing_num_images
    x, index = parts.test[:count], parts.test_index[:count]
    seen = seen_pixels(settings.missing_num_rows)
    network = fitted(settings, settings.num_latents, progress, kept).model
    progress("fitting a Boltzmann machine by pseudo-likelihood", 0, 1)
    clock = Clock()
    with clock.step(MACHINE, FIT):
        machine = fit_boltzmann_machine(parts.train, settings.missing_penalty)
    drawn, seed = settings.missing_num_samples, settings.seed
    few = seen_pixels(1)
    complete_by_machine(machine, x[:1], few, 1, seed, Clock(), no_progress)  # compile
    complete_by_network(network, x[:1], few, 1, seed, Clock())
    completions = {MACHINE: complete_by_machine(machine, x, seen, drawn, seed, clock, progress)}
    progress("the sigmoid belief network", 0, 1)
    completions[NETWORK] = complete_by_network(network, x, seen, drawn, seed, clock)
    completions[BASELINE] = complete_by_shares(parts.train, x, seen)

    images: list[tuple[int, int, str, float, float]] = []
    rows = []
    base = completions[BASELINE].log_prob
    for name, completion in completions.items():
        error = np.abs(x - completion.mean)[:, ~seen].mean(axis=1)
        gain = completion.log_prob - base
        columns = (index, parts.test_labels[:count], [name] * len(x), completion.log_prob, error)
        images += zip(*(np.asarray(column).tolist() for column in columns), strict=True)
        means = (completion.log_prob.mean(), gain.mean(), (gain > 0).mean(), error.mean())
        rows.append((name, completion.num_states, *(float(value) for value in means)))
    summary = rows_to_table(
        ("model", "num_states", "mean_log_prob", "mean_gain", "share_better", "mean_abs_error"), rows
    )
    seconds: list[tuple[str, str, int, int | None, float]] = [
        (model, step, len(parts.train), None, taken)
        if step == FIT
        else (model, step, len(x), completions[model].num_states, taken)
        for (model, step), taken in clock.seconds.items()
    ]
    return StudyResult(
        name="missing",
        tables={
            "images": rows_to_table(("index", "label", "model", "log_prob", "mean_abs_error"), images),
            "means": summary,
            "fit": _fit_table(machine, parts.train, parts.test),
        },
        findings=_findings(settings, completions, clock),
        figures=figures,
        shown={"means": summary},
        timings={"seconds": rows_to_table(("model", "step", "num_images", "num_states", "seconds"), seconds)},
        models={"boltzmann_machine": machine},
        arrays={"completions": _completions(completions, x, index, seen)},
    )


def _fit_table(machine: BoltzmannMachine, train: np.ndarray, test: np.ndarray) -> dict[str, list[float]]:
    share = pixel_shares(train)
    zero = np.zeros_like(machine.couplings)
    rows = []
    for name, couplings, bias in (
        (BASELINE, zero, np.log(share / (1.0 - share))),
        (MACHINE, machine.couplings, machine.bias),
    ):
        values = (unit_terms(couplings, bias, part.astype(np.float64)).sum(axis=1) for part in (train, test))
        rows.append((name, *(float(value.mean()) for value in values)))
    columns = ("model", "mean_pseudo_log_likelihood_train", "mean_pseudo_log_likelihood_test")
    return rows_to_table(columns, rows)


def _completions(
    completions: dict[str, Completion], x: np.ndarray, index: np.ndarray, seen: np.ndarray
) -> dict[str, np.ndarray]:
    """Posterior means and samples, for the pictures and for whoever wants to look closer."""
    found = {"index": index, "x": x, "seen": seen}
    for name, completion in completions.items():
        word = array_name(name)
        found[f"mean_{word}"] = completion.mean
        if completion.samples.shape[1]:
            found[f"samples_{word}"] = completion.samples
    return found


def _findings(settings: Settings, completions: dict[str, Completion], clock: Clock) -> tuple[Finding, ...]:
    unseen = f"the upper {settings.missing_num_rows} rows given the others"
    values = ", ".join(
        f"{completion.log_prob.mean():.2f} ({name})" for name, completion in completions.items()
    )
    machine, base = completions[MACHINE], completions[BASELINE]
    better = int((machine.log_prob > base.log_prob).sum())
    num_free, num_images = settings.missing_num_rows * SIDE, len(base.log_prob)
    asked, drawn = (clock.seconds[MACHINE, step] for step in (MEANS, SAMPLES))
    return (
        Finding(f"mean log-probability of {unseen}, nats an image: {values}"),
        Finding(f"the {MACHINE} does better than {BASELINE} on {better} of {num_images} images"),
        Finding(
            f"{num_images} images under 2^{num_free} = {1 << num_free:,} states each: log-probabilities and "
            f"means in {asked:.2g} s, {settings.missing_num_samples} exact samples of each in {drawn:.2g} s",
            timed=True,
        ),
    )
