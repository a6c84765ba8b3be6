"""Missing data: the lower part of an image is seen, the upper part is summed out or filled in, exactly."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

import fastvi
from fastvi.core.functions import sigmoid
from fastvi.models.boltzmann_machine import BoltzmannMachine
from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork
from fastvi.studies.common.result import Finding, Progress, StudyResult, no_progress, rows_to_table
from fastvi.studies.common.settings import Settings
from fastvi.studies.missing.pseudo_likelihood import fit_boltzmann_machine, unit_terms
from fastvi.studies.model.study import fitted, split

MACHINE, NETWORK, BASELINE = "Boltzmann machine", "sigmoid belief network", "independent pixels"
FIT, MEANS, SAMPLES = "fit", "log-probabilities and means", "samples"
SIDE = 8  # pixels in a row of an image


class Answer(NamedTuple):
    """What a model says about the unseen pixels of N images, given those that are seen."""

    num_states: int  # summed for an image
    log_prob: np.ndarray  # (N,): log p(unseen | seen) of the true image, nats
    mean: np.ndarray  # (N, 64): p(x_j = 1 | seen); seen pixels have their value
    samples: np.ndarray  # (N, S, 64): draws of the whole image given what is seen


class Clock:
    """Seconds of each step, in the order of the steps."""

    def __init__(self) -> None:
        self.seconds: dict[tuple[str, str], float] = {}

    @contextmanager
    def step(self, model: str, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[model, name] = time.perf_counter() - start


def seen_pixels(num_unseen_rows: int) -> np.ndarray:
    """(64,) bool: all but the uppermost rows."""
    return np.arange(SIDE * SIDE) >= SIDE * num_unseen_rows


def ask_machine(
    model: BoltzmannMachine,
    x: np.ndarray,
    seen: np.ndarray,
    num_samples: int,
    seed: int,
    clock: Clock,
    progress: Progress,
) -> Answer:
    """Unseen pixels are the latents; log Z is in log p(x) and in log p(seen), so that neither needs it."""
    num_free = int((~seen).sum())
    with clock.step(MACHINE, MEANS):
        posterior = fastvi.exact_posterior(
            model,
            x,
            observed=seen,
            normalized=False,
            progress=_report(progress, f"2^{num_free} states an image"),
        )
        log_prob = model.log_joint(None, x) - posterior.log_marginal
    progress("exact samples", 0, 1)
    with clock.step(MACHINE, SAMPLES):
        samples = posterior.sample(num_samples, seed).swapaxes(0, 1)
    return Answer(1 << num_free, log_prob, posterior.mean, samples)


def _report(progress: Progress, step: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(step, done, total)


def ask_network(
    model: SigmoidBeliefNetwork, x: np.ndarray, seen: np.ndarray, num_samples: int, seed: int, clock: Clock
) -> Answer:
    """p(x_j = 1 | seen) = p(seen, x_j = 1) / p(seen): a mask of one more pixel for each of them."""
    unseen = np.flatnonzero(~seen)
    with clock.step(NETWORK, MEANS):
        evidence = fastvi.log_marginal(model, x, observed=seen)
        log_prob = fastvi.log_marginal(model, x) - evidence
        data = np.repeat(x[None], len(unseen), axis=0)
        masks = np.repeat(seen[None], len(unseen), axis=0)
        each = np.arange(len(unseen))
        data[each, :, unseen] = 1
        masks[each, unseen] = True
        with_pixel = fastvi.log_marginal(
            model, data.reshape(-1, x.shape[1]), observed=np.repeat(masks, len(x), axis=0)
        )
        mean = x.astype(np.float64)
        mean[:, unseen] = np.minimum(np.exp(with_pixel.reshape(len(unseen), -1) - evidence).T, 1.0)
    with clock.step(NETWORK, SAMPLES):
        draws = fastvi.exact_posterior(model, x, observed=seen).sample(num_samples, seed)
        z = np.ascontiguousarray(draws.swapaxes(0, 1))
        # einsum without optimize= does not call BLAS
        chance = sigmoid(np.einsum("nsk,jk->nsj", z.astype(np.float64), model.weights) + model.bias)
        drawn = np.random.default_rng([seed, model.num_latents]).random(chance.shape) < chance
        samples = np.where(seen, x[:, None], drawn).astype(np.uint8)
    return Answer(1 << model.num_latents, log_prob, mean, samples)


def ask_baseline(train: np.ndarray, x: np.ndarray, seen: np.ndarray) -> Answer:
    """Every pixel has its share in the training images, whatever the others are."""
    share = (train.sum(axis=0) + 0.5) / (len(train) + 1.0)
    terms = np.where(x == 1, np.log(share), np.log1p(-share))
    return Answer(1, terms[:, ~seen].sum(axis=1), np.where(seen, x, share), np.empty((len(x), 0, x.shape[1])))


def run(settings: Settings, progress: Progress) -> StudyResult:
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
    from fastvi.studies.missing.figures import figures

    parts = split(settings)
    count = settings.missing_num_images
    x, index = parts.test[:count], parts.test_index[:count]
    seen = seen_pixels(settings.missing_num_rows)
    network = fitted(settings, settings.num_latents, progress).model
    progress("fitting a Boltzmann machine by pseudo-likelihood", 0, 1)
    clock = Clock()
    with clock.step(MACHINE, FIT):
        machine = fit_boltzmann_machine(parts.train, settings.missing_penalty)
    drawn, seed = settings.missing_num_samples, settings.seed
    few = seen_pixels(1)
    ask_machine(machine, x[:1], few, 1, seed, Clock(), no_progress)  # compile
    ask_network(network, x[:1], few, 1, seed, Clock())
    answers = {MACHINE: ask_machine(machine, x, seen, drawn, seed, clock, progress)}
    progress("the sigmoid belief network", 0, 1)
    answers[NETWORK] = ask_network(network, x, seen, drawn, seed, clock)
    answers[BASELINE] = ask_baseline(parts.train, x, seen)

    images: list[tuple[int, int, str, float, float]] = []
    rows = []
    base = answers[BASELINE].log_prob
    for name, answer in answers.items():
        error = np.abs(x - answer.mean)[:, ~seen].mean(axis=1)
        gain = answer.log_prob - base
        columns = (index, parts.test_labels[:count], [name] * len(x), answer.log_prob, error)
        images += zip(*(np.asarray(column).tolist() for column in columns), strict=True)
        means = (answer.log_prob.mean(), gain.mean(), (gain > 0).mean(), error.mean())
        rows.append((name, answer.num_states, *(float(value) for value in means)))
    summary = rows_to_table(
        ("model", "num_states", "mean_log_prob", "mean_gain", "share_better", "mean_abs_error"), rows
    )
    seconds: list[tuple[str, str, int, int | None, float]] = [
        (model, step, len(parts.train), None, taken)
        if step == FIT
        else (model, step, len(x), answers[model].num_states, taken)
        for (model, step), taken in clock.seconds.items()
    ]
    return StudyResult(
        name="missing",
        tables={
            "images": rows_to_table(("index", "label", "model", "log_prob", "mean_abs_error"), images),
            "means": summary,
            "fit": _fit_table(machine, parts.train, parts.test),
        },
        findings=_findings(settings, answers, clock),
        figures=figures,
        shown={"means": summary},
        timings={"seconds": rows_to_table(("model", "step", "num_images", "num_states", "seconds"), seconds)},
        models={"boltzmann_machine": machine},
        arrays={"completions": _completions(answers, x, index, seen)},
    )


def _fit_table(machine: BoltzmannMachine, train: np.ndarray, test: np.ndarray) -> dict[str, list[float]]:
    share = (train.sum(axis=0) + 0.5) / (len(train) + 1.0)
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
    answers: dict[str, Answer], x: np.ndarray, index: np.ndarray, seen: np.ndarray
) -> dict[str, np.ndarray]:
    """Posterior means and samples, for the pictures and for whoever wants to look closer."""
    found = {"index": index, "x": x, "seen": seen}
    for name, answer in answers.items():
        word = array_name(name)
        found[f"mean_{word}"] = answer.mean
        if answer.samples.shape[1]:
            found[f"samples_{word}"] = answer.samples
    return found


def array_name(model: str) -> str:
    """A model's name in names of arrays."""
    return model.lower().replace(" ", "_")


def _findings(settings: Settings, answers: dict[str, Answer], clock: Clock) -> tuple[Finding, ...]:
    unseen = f"the upper {settings.missing_num_rows} rows given the others"
    values = ", ".join(f"{answer.log_prob.mean():.2f} ({name})" for name, answer in answers.items())
    machine, base = answers[MACHINE], answers[BASELINE]
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
