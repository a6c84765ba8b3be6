"""Learning by bounds against exact maximum likelihood: what is lost on held-out digits, and why."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np

import fastvi
from fastvi.core.functions import sigmoid
from fastvi.fitting.fit_model import Objective
from fastvi.fitting.starting_network import starting_network
from fastvi.studies.common.completion import SIDE, Clock, complete_by_network, seen_pixels
from fastvi.studies.common.digits import split, whole
from fastvi.studies.common.kept import NOTHING_KEPT, Kept
from fastvi.studies.common.named import named
from fastvi.studies.common.result import Finding, Progress, StudyResult, array_name, rows_to_table
from fastvi.studies.common.settings import Settings
from fastvi.studies.common.subject import Subject
from fastvi.studies.learning.figures import ENCODER, EXACT, OWN, REWEIGHTED, SLEEP, WEIGHTED, figures

_OBJECTIVES: dict[str, Objective] = {
    EXACT: "exact", OWN: "elbo", ENCODER: "elbo", WEIGHTED: "importance_weighted", SLEEP: "wake_sleep",
    REWEIGHTED: "reweighted_wake_sleep",
}  # fmt: skip
_WITHOUT_ENCODER = (EXACT, OWN)
_PICTURES = 8  # images that are completed, samples that are drawn
_MOST_LATENTS, _FEWEST_DATA = 16, 20  # of a caller's own
_HELD_OUT = 5  # one of so many of a caller's data is held out


class Task(NamedTuple):
    """Data to learn from and to be held out (N, D), the shape of images, and numbers of latents to learn."""

    train: np.ndarray
    test: np.ndarray
    shape: tuple[int, int] | None
    latents: tuple[int, ...]


class Learned(NamedTuple):
    """A way to learn, what came of it, and how long it took."""

    model: Any
    encoder: fastvi.Encoder
    history: np.ndarray
    seconds: float


class Gaps(NamedTuple):
    """log p(x) of held-out images (N,), and what the ELBO of a best and of the encoder's q leaves of it."""

    log_marginal: np.ndarray
    approximation: np.ndarray
    amortization: np.ndarray


def train_by(
    name: str, start: Any, encoder: fastvi.Encoder, train: np.ndarray, test: np.ndarray, settings: Settings,
    kept: Kept = NOTHING_KEPT,
) -> Learned:  # fmt: skip
    """Learn in one way. All take the same steps from one start; where no encoder is trained one is fitted."""
    options: dict[str, Any] = {
        "num_epochs": settings.learning_num_epochs, "learning_rate": settings.learning_rate,
        "seed": settings.seed,
    }  # fmt: skip
    place = f"learning_{start.num_latents}_{array_name(name)}"
    begin = time.perf_counter()
    fit = whole(lambda: fastvi.fit_model(
        start, train, objective=_OBJECTIVES[name], held_out=test,
        encoder=None if name in _WITHOUT_ENCODER else encoder, checkpoint=kept.checkpoint(place), **options,
    ))  # fmt: skip
    seconds = time.perf_counter() - begin
    found = fit.encoder
    if found is None:
        found = whole(lambda: fastvi.fit_encoder(
            fit.model, train, encoder, checkpoint=kept.checkpoint(f"{place}_encoder"), **options
        )).encoder  # fmt: skip
    return Learned(fit.model, found, fit.history, seconds)


def gaps(learned: Learned, x: np.ndarray, seed: int) -> Gaps:
    """Log p(x) = ELBO(encoder) + approximation gap + amortisation gap (Cremer, Li, Duvenaud 2018)."""
    log_marginal = fastvi.log_marginal(learned.model, x)
    own = fastvi.fit_posterior(learned.model, x, seed=seed)
    amortized = fastvi.elbo(learned.model, x, learned.encoder).value
    return Gaps(log_marginal, log_marginal - own.objective, own.objective - amortized)


def refusal(own: Subject) -> str | None:
    """Return why the study cannot look at a caller's own model and data, or None."""
    model = own.model
    if isinstance(model, fastvi.JointTable | fastvi.BoltzmannMachine) or "exact_posterior" not in (
        fastvi.supported(model)
    ):
        return (
            f"it takes the number of binary latents from the model, and this {type(model).__name__} has none"
        )
    if model.num_latents > _MOST_LATENTS:
        return f"it learns networks of at most {_MOST_LATENTS} latents, and the model has {model.num_latents}"
    if not np.isin(own.x, (0, 1)).all():
        return "it learns from data of 0 and 1, and these have other values"
    if len(own.x) < _FEWEST_DATA:
        return f"it learns from at least {_FEWEST_DATA} data, and these are {len(own.x)}"
    return None


def _task(settings: Settings, own: Subject | None) -> Task:
    if own is None:
        parts = split(settings)
        return Task(parts.train, parts.test, (SIDE, SIDE), settings.learning_latents)
    order = np.random.default_rng(settings.seed).permutation(len(own.x))
    held_out = len(own.x) // _HELD_OUT
    x = np.ascontiguousarray(own.x[order], dtype=np.uint8)
    return Task(x[held_out:], x[:held_out], own.image_shape, (own.model.num_latents,))


def run(
    settings: Settings, progress: Progress, *, own: Subject | None = None, kept: Kept = NOTHING_KEPT
) -> StudyResult:
    """Learn a sigmoid belief network in each way, from the same digits and start in as many steps.

    Or from a caller's data, of which a fifth is held out, with as many latents as the caller's model.

    Tables
    ------
    learning
        num_latents, way, log_marginal (mean over held-out data, nats, of the best epoch), std_error (over
        images), behind_exact (mean of exact training's less its own, image by image), its std_error
        (behind_std_error), approximation_gap, amortization_gap (means over the first held-out images),
        best_epoch.
    history
        num_latents, way, epoch, log_marginal: held-out, exact.
    seconds (timed)
        num_latents, way, num_steps, seconds, seconds_per_step (both with an epoch's scores).
    """
    task = _task(settings, own)
    train, test = task.train, task.test
    few = test[: settings.num_images]
    ways = list(_OBJECTIVES)
    rows, curves, timings = [], [], []
    pictures: dict[str, np.ndarray] = {}
    total, done = len(task.latents) * len(ways), 0
    for num_latents in task.latents:
        start = starting_network(train, num_latents, settings.seed)
        hidden = settings.learning_num_hidden
        encoder = fastvi.Encoder.random(train.shape[1], hidden, num_latents, settings.seed + 1)
        found: dict[str, Gaps] = {}
        all_of_exact: np.ndarray | None = None
        for name in ways:
            progress(f"{name}, {num_latents} latents", done, total)
            done += 1
            if name == OWN and num_latents > settings.learning_own_latents:
                continue
            learned = train_by(name, start, encoder, train, test, settings, kept)
            found[name] = gaps(learned, few, settings.seed)
            value = fastvi.log_marginal(learned.model, test)
            all_of_exact = value if all_of_exact is None else all_of_exact
            behind, root = all_of_exact - value, len(test) ** 0.5
            rows.append((
                num_latents, name, float(value.mean()), float(value.std(ddof=1) / root), float(behind.mean()),
                float(behind.std(ddof=1) / root), float(found[name].approximation.mean()),
                float(found[name].amortization.mean()), int(np.argmax(learned.history)),
            ))  # fmt: skip
            curves += [
                (num_latents, name, epoch, float(score)) for epoch, score in enumerate(learned.history)
            ]
            steps = settings.learning_num_epochs * -(-len(train) // 100)
            timings.append((num_latents, name, steps, learned.seconds, learned.seconds / max(1, steps)))
            if num_latents == task.latents[-1] and task.shape is not None:
                pictures |= _pictures(name, learned, few, task.shape, settings.seed)
    columns = (
        "num_latents", "way", "log_marginal", "std_error", "behind_exact", "behind_std_error",
        "approximation_gap", "amortization_gap", "best_epoch",
    )  # fmt: skip
    table = rows_to_table(columns, rows)
    seconds = rows_to_table(("num_latents", "way", "num_steps", "seconds", "seconds_per_step"), timings)
    history = rows_to_table(("num_latents", "way", "epoch", "log_marginal"), curves)
    result = StudyResult(
        name="learning",
        tables={"learning": table, "history": history},
        findings=_findings(table, seconds),
        figures=figures,
        shown={"learning": table},
        timings={"seconds": seconds},
        models={},
        arrays={}
        if task.shape is None
        else {"pictures": pictures | {"x": few[:_PICTURES], "shape": np.array(task.shape)}},
    )
    return named(result, own)


def _pictures(
    name: str, learned: Learned, x: np.ndarray, shape: tuple[int, int], seed: int
) -> dict[str, np.ndarray]:
    """Pixel probabilities of samples, and exact means of the upper half given the lower."""
    z, _ = learned.model.sample(_PICTURES, seed)
    # einsum without optimize= does not call BLAS
    chance = sigmoid(np.einsum("si,ji->sj", z.astype(np.float64), learned.model.weights) + learned.model.bias)
    mean = complete_by_network(
        learned.model, x[:_PICTURES], seen_pixels(shape[0] // 2, shape), 1, seed, Clock()
    ).mean
    word = array_name(name)
    return {f"samples_{word}": chance, f"completions_{word}": mean}


def _findings(table: dict[str, list[Any]], seconds: dict[str, list[Any]]) -> tuple[Finding, ...]:
    found = []
    sizes = sorted(set(table["num_latents"]))
    for size in sizes:
        own = [i for i, d in enumerate(table["num_latents"]) if d == size]
        behind = ", ".join(
            f"{table['way'][i]} {table['behind_exact'][i]:.2f} +- {table['behind_std_error'][i]:.2f}"
            for i in own[1:]
        )
        value = table["log_marginal"][own[0]]
        text = f"{size} latents: exact training reaches {value:.2f} nats a held-out datum; behind it {behind}"
        found.append(Finding(text))
    last = [i for i, d in enumerate(table["num_latents"]) if d == sizes[-1]]
    gap = ", ".join(
        f"{table['way'][i]} {table['approximation_gap'][i]:.2f} + {table['amortization_gap'][i]:.2f}"
        for i in last
    )
    found.append(
        Finding(f"{sizes[-1]} latents, what a best factorised q leaves + what the encoder adds, nats: {gap}")
    )
    times = ", ".join(f"{seconds['way'][i]} {1e3 * seconds['seconds_per_step'][i]:.1f}" for i in last)
    found.append(Finding(f"{sizes[-1]} latents, milliseconds a step: {times}", timed=True))
    return tuple(found)
