"""The common first step: sigmoid belief networks fitted to the digits by exact maximum likelihood."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

import fastvi
from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork
from fastvi.studies.common.result import Finding, Progress, StudyResult, rows_to_table
from fastvi.studies.common.settings import Settings
from fastvi.studies.model.learn import learn


class Split(NamedTuple):
    """Training and held-out images (N, 64), the held-out labels and their places in the data set."""

    train: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray
    test_index: np.ndarray


class Fitted(NamedTuple):
    """A model and the mean log-likelihood of each epoch of its fit."""

    model: SigmoidBeliefNetwork
    history: tuple[float, ...]


_NUM_TRAIN = 1500  # the first of a random order; the other 297 are held out, whatever the size of the fit

_FITTED: dict[tuple[int, int, int, int], Fitted] = {}  # one process fits each model once


def split(settings: Settings) -> Split:
    """A random split: the data set is ordered by writer, so its end is not like its beginning."""
    data = fastvi.datasets.digits()
    order = np.random.default_rng(settings.seed).permutation(len(data.images))
    train, test = order[: settings.num_train], order[_NUM_TRAIN:]
    return Split(data.images[train], data.images[test], data.labels[test], test)


def fitted(settings: Settings, num_latents: int, progress: Progress) -> Fitted:
    """The model with ``num_latents`` latents; it depends on nothing else but the settings of the fit."""
    key = (settings.seed, settings.num_train, settings.num_epochs, num_latents)
    if key not in _FITTED:
        step = f"fitting {num_latents} latents by exact maximum likelihood"
        parameters, history = learn(
            split(settings).train.astype(np.float64),
            num_latents,
            settings.num_epochs,
            settings.seed,
            lambda epoch: progress(step, epoch, settings.num_epochs),
        )
        _FITTED[key] = Fitted(SigmoidBeliefNetwork(*parameters), tuple(history))
    return _FITTED[key]


def independent_pixels(train: np.ndarray, test: np.ndarray) -> tuple[float, float]:
    """Mean log p(x) of both parts where every pixel has its own probability and there are no latents."""
    share = (train.sum(axis=0) + 0.5) / (len(train) + 1.0)
    log_one, log_zero = np.log(share), np.log1p(-share)
    first, second = (float(np.where(x == 1, log_one, log_zero).sum(axis=1).mean()) for x in (train, test))
    return first, second


def run(settings: Settings, progress: Progress) -> StudyResult:
    """Fit a model for each d of ``settings.fitted_latents`` and score it exactly.

    Tables
    ------
    fit
        num_latents (0: independent pixels), mean_log_marginal_train, mean_log_marginal_test (nats an image).
    learning_curves
        num_latents, epoch, mean_log_marginal (of the batches as they were visited).
    """
    from fastvi.studies.model.figures import figures

    parts = split(settings)
    rows = [(0, *independent_pixels(parts.train, parts.test))]
    curves: list[tuple[int, int, float]] = []
    models = {}
    for num_latents in settings.fitted_latents:
        model, history = fitted(settings, num_latents, progress)
        train, test = (float(fastvi.log_marginal(model, x).mean()) for x in (parts.train, parts.test))
        rows.append((num_latents, train, test))
        curves += [(num_latents, epoch, value) for epoch, value in enumerate(history, start=1)]
        models[f"model_{num_latents}_latents"] = model
    gain = rows[-1][2] - rows[0][2]
    text = (
        f"{settings.num_latents} binary latents explain held-out digits {gain:.2f} nats an image better than "
        f"independent pixels ({rows[-1][2]:.2f} against {rows[0][2]:.2f})"
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
