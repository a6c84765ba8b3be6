"""Missing data: the lower part of an image is seen, the upper part is summed out or filled in, exactly."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import fastvi
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
    YOURS,
    Clock,
    Completion,
    complete_by_machine,
    complete_by_network,
    complete_by_shares,
    complete_by_shares_of_others,
    seen_pixels,
    the,
)
from fastvi.studies.common.digits import fitted, split
from fastvi.studies.common.kept import NOTHING_KEPT, Kept
from fastvi.studies.common.named import named
from fastvi.studies.common.result import (
    Finding,
    Progress,
    StudyResult,
    Table,
    array_name,
    no_progress,
    rows_to_table,
)
from fastvi.studies.common.settings import Settings
from fastvi.studies.common.subject import Subject
from fastvi.studies.missing.figures import figures
from fastvi.studies.missing.lower_half import sums_and_parts
from fastvi.studies.missing.pseudo_likelihood import fit_boltzmann_machine, unit_terms

_MOST_UNSEEN = 32  # pixels of a Boltzmann machine: 2^32 states an image
_MOST_LATENTS = 20  # each unseen pixel asks for a sum over all their states


class Task(NamedTuple):
    """Images (N, D), which of their pixels are seen, and the models that are asked, by name."""

    x: np.ndarray
    places: np.ndarray  # in the data set
    labels: list[int | None]
    shape: tuple[int, int]
    seen: np.ndarray
    models: dict[str, Any]
    summed: str  # the model whose log p(seen) is set beside single completions

    @property
    def num_rows(self) -> int:
        """Rows that are not seen."""
        return int((~self.seen).sum()) // self.shape[1]


def refusal(own: Subject) -> str | None:
    """Return why the study cannot look at a caller's own model and data, or None."""
    model, questions = own.model, fastvi.supported(own.model)
    if own.image_shape is None:
        return "it hides rows of images, and these data are no images"
    if not np.isin(own.x, (0, 1)).all():
        return "it fills in pixels of 0 and 1, and these data have others"
    if isinstance(model, BoltzmannMachine):
        if own.image_shape[1] > _MOST_UNSEEN:
            return f"a row of {own.image_shape[1]} unseen pixels has more than 2^{_MOST_UNSEEN} states"
        return None
    asked = ("log_marginal(observed=...)", "exact_posterior")
    if isinstance(model, fastvi.JointTable) or not all(question in questions for question in asked):
        return f"this {type(model).__name__} cannot sum unseen pixels and latents out exactly"
    if model.num_latents > _MOST_LATENTS:
        return f"it sums over all states for each unseen pixel, of at most {_MOST_LATENTS} latents"
    real = isinstance(model, fastvi.BinarySparseCoding)
    if real or getattr(model, "likelihood", "bernoulli") != "bernoulli":
        return f"this {type(model).__name__} has no pixels of 0 and 1"
    return None


def run(
    settings: Settings, progress: Progress, *, own: Subject | None = None, kept: Kept = NOTHING_KEPT
) -> StudyResult:
    """Give the uppermost rows of held-out images from the rest, by summing over all that they might be.

    Of a caller's images as large a part is hidden. Their baseline has the shares of ink in the other images.

    Tables
    ------
    images
        A row an image and model: index (place in the data set), label, model, log_prob (log p(upper | lower)
        of the true image, nats), mean_abs_error (mean over unseen pixels of |x_j - p(x_j = 1 | lower)|).
    means
        model, num_states (summed for an image), and over the images mean_log_prob, mean_gain (over
        independent pixels, nats), share_better (of images with a gain), mean_abs_error.
    lower_half
        index, label, log_seen (log p(lower): a sum over all upper parts; of a Boltzmann machine + log Z),
        log_true (log p of the true image, one term of that sum), num_drawn (upper parts drawn given the
        lower), num_distinct (different ones), log_best_drawn (log p of the most probable), share_drawn (of
        p(lower), that the different ones add up to). By the network, or the caller's model.
    fit
        model, mean_pseudo_log_likelihood_train, mean_pseudo_log_likelihood_test: the sum over pixels of
        log p(x_j | all others), nats an image. Of digits only.
    seconds (timed)
        model, step, num_images, num_states (an image; none in the fit), seconds (for all images).
    """
    clock = Clock()
    task = _digits(settings, progress, kept, clock) if own is None else _own(own, settings)
    drawn = {
        name: settings.missing_num_completions if name == task.summed else settings.missing_num_samples
        for name in task.models
    }
    completions: dict[str, Completion] = {}
    few = seen_pixels(1, task.shape)
    for name, model in task.models.items():
        _complete(
            name, model, task.x[:1], few, 1, settings.seed, Clock(), no_progress, NOTHING_KEPT
        )  # compile
        completions[name] = _complete(
            name, model, task.x, task.seen, drawn[name], settings.seed, clock, progress, kept
        )
    completions[BASELINE] = (
        complete_by_shares(split(settings).train, task.x, task.seen)
        if own is None
        else complete_by_shares_of_others(task.x, task.seen)
    )
    sums, parts = sums_and_parts(task.models[task.summed], completions[task.summed], task.places, task.labels)
    images, summary = _tables(task, completions)
    tables: dict[str, Table] = {"images": images, "means": summary, "lower_half": sums}
    machines: dict[str, Any] = {}
    if own is None:
        machine, split_ = task.models[MACHINE], split(settings)
        tables["fit"] = _fit_table(machine, split_.train, split_.test)
        machines["boltzmann_machine"] = machine
    seconds: list[tuple[str, str, int, int | None, float]] = [
        (model, step, settings.num_train, None, taken)
        if step == FIT
        else (model, step, len(task.x), completions[model].num_states, taken)
        for (model, step), taken in clock.seconds.items()
    ]
    result = StudyResult(
        name="missing",
        tables=tables,
        findings=_findings(task, completions, sums, clock),
        figures=figures,
        shown={"means": summary, "lower_half": sums},
        timings={"seconds": rows_to_table(("model", "step", "num_images", "num_states", "seconds"), seconds)},
        models=machines,
        arrays={"completions": _completions(settings, task, completions, parts)},
    )
    return named(result, own)


def _digits(settings: Settings, progress: Progress, kept: Kept, clock: Clock) -> Task:
    """Held-out digits, under a Boltzmann machine of their pixels and a network."""
    parts, count = split(settings), settings.missing_num_images
    network = fitted(settings, settings.num_latents, progress, kept).model
    progress("fitting a Boltzmann machine by pseudo-likelihood", 0, 1)
    with clock.step(MACHINE, FIT):
        machine = fit_boltzmann_machine(parts.train, settings.missing_penalty)
    return Task(
        parts.test[:count], parts.test_index[:count], parts.test_labels[:count].tolist(), (SIDE, SIDE),
        seen_pixels(settings.missing_num_rows), {MACHINE: machine, NETWORK: network}, NETWORK,
    )  # fmt: skip


def _own(own: Subject, settings: Settings) -> Task:
    """Return a caller's first images, with as large a part hidden as of the digits."""
    assert own.image_shape is not None
    height, width = own.image_shape
    num_rows = max(1, height * settings.missing_num_rows // SIDE)
    if isinstance(own.model, BoltzmannMachine):
        num_rows = min(num_rows, _MOST_UNSEEN // width)
    count = settings.missing_num_images
    x = np.ascontiguousarray(own.x[:count], dtype=np.uint8)
    labels = [None] * len(x) if own.labels is None else own.labels[:count].tolist()
    seen = seen_pixels(num_rows, own.image_shape)
    return Task(x, own.index[:count], labels, own.image_shape, seen, {YOURS: own.model}, YOURS)


def _complete(
    name: str, model: Any, x: np.ndarray, seen: np.ndarray, num_samples: int, seed: int, clock: Clock,
    progress: Progress, kept: Kept,
) -> Completion:  # fmt: skip
    if isinstance(model, BoltzmannMachine):
        return complete_by_machine(
            model, x, seen, num_samples, seed, clock, progress, name=name,
            checkpoint=kept.checkpoint("missing_states"),
        )  # fmt: skip
    progress(name, 0, 1)
    return complete_by_network(model, x, seen, num_samples, seed, clock, name=name)


def _tables(task: Task, completions: dict[str, Completion]) -> tuple[Table, Table]:
    images: list[tuple[Any, ...]] = []
    rows = []
    base = completions[BASELINE].log_prob
    for name, completion in completions.items():
        error = np.abs(task.x - completion.mean)[:, ~task.seen].mean(axis=1)
        gain = completion.log_prob - base
        images += zip(
            task.places.tolist(), task.labels, [name] * len(task.x), completion.log_prob.tolist(),
            error.tolist(), strict=True,
        )  # fmt: skip
        means = (completion.log_prob.mean(), gain.mean(), (gain > 0).mean(), error.mean())
        rows.append((name, completion.num_states, *(float(value) for value in means)))
    summary = rows_to_table(
        ("model", "num_states", "mean_log_prob", "mean_gain", "share_better", "mean_abs_error"), rows
    )
    return rows_to_table(("index", "label", "model", "log_prob", "mean_abs_error"), images), summary


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
    settings: Settings, task: Task, completions: dict[str, Completion], parts: np.ndarray
) -> dict[str, Any]:
    """Posterior means and samples, for the pictures and for whoever wants to look closer."""
    machine = isinstance(task.models[task.summed], BoltzmannMachine)
    found = {
        "index": task.places, "x": task.x, "seen": task.seen, "shape": np.array(task.shape),
        "log_prob_drawn": parts, "plus_log_z": np.array(machine),
    }  # fmt: skip
    for name, completion in completions.items():
        word = array_name(name)
        found[f"mean_{word}"] = completion.mean
        if completion.samples.shape[1]:
            found[f"samples_{word}"] = completion.samples[:, : settings.missing_num_samples]
    return found


def _findings(
    task: Task, completions: dict[str, Completion], sums: Table, clock: Clock
) -> tuple[Finding, ...]:
    values = ", ".join(
        f"{completion.log_prob.mean():.2f} ({name})" for name, completion in completions.items()
    )
    name, base, num_images = next(iter(task.models)), completions[BASELINE], len(task.x)
    better = int((completions[name].log_prob > base.log_prob).sum())
    below = np.mean(np.array(sums["log_seen"]) - sums["log_true"])
    share = float(np.mean(sums["share_drawn"]))
    states = completions[name].num_states
    asked, drawn = (clock.seconds[name, step] for step in (MEANS, SAMPLES))
    of = "" if name == MACHINE else f" of {name}"
    return (
        Finding(
            f"mean log-probability of the upper {task.num_rows} of {task.shape[0]} rows given the others, "
            f"nats an image: {values}"
        ),
        Finding(f"{the(name)} does better than {BASELINE} on {better} of {num_images} images"),
        Finding(
            f"log p(lower part) is a sum over all upper parts: the true one is on average {below:.2f} nats "
            f"below it, and {sums['num_drawn'][0]:,} draws hold {100 * share:.2g} % of it ({task.summed})"
        ),
        Finding(
            f"{num_images} images under 2^{states.bit_length() - 1} = {states:,} states each{of}: "
            f"log-probabilities and means in {asked:.2g} s, {completions[name].samples.shape[1]:,} exact "
            f"samples of each in {drawn:.2g} s",
            timed=True,
        ),
    )
