"""Digits that all studies look at, and the networks fitted to them by exact maximum likelihood."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeVar

import numpy as np

import fastvi
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.fitting.fit_results import Fit, ModelFit
from fastvi.fitting.starting_network import starting_network
from fastvi.fitting.training import INTERRUPTED
from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork
from fastvi.studies.common.kept import NOTHING_KEPT, Kept
from fastvi.studies.common.result import Progress
from fastvi.studies.common.settings import Settings

AnyFit = TypeVar("AnyFit", bound=Fit)


class Split(NamedTuple):
    """Training and held-out images (N, 64), the held-out labels and their places in the data set."""

    train: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray
    test_index: np.ndarray


_NUM_TRAIN = 1500  # the first of a random order; the other 297 are held out, whatever the size of the fit

# one process fits each model once
_FITTED: dict[tuple[int, int, int, float, int], ModelFit[SigmoidBeliefNetwork]] = {}


def split(settings: Settings) -> Split:
    """A random split: the data set is ordered by writer, so its end is not like its beginning."""
    data = fastvi.datasets.digits()
    order = np.random.default_rng(settings.seed).permutation(len(data.images))
    train, test = order[: settings.num_train], order[_NUM_TRAIN:]
    return Split(data.images[train], data.images[test], data.labels[test], test)


def fitted(
    settings: Settings, num_latents: int, progress: Progress, kept: Kept = NOTHING_KEPT
) -> ModelFit[SigmoidBeliefNetwork]:
    """Fit of ``num_latents`` latents; it depends on nothing else but the settings of the fit."""
    key = (
        settings.seed, settings.num_train, settings.num_epochs, settings.fit_learning_rate, num_latents
    )  # fmt: skip
    if key not in _FITTED:
        train = split(settings).train
        step = f"fitting {num_latents} latents by exact maximum likelihood"
        start = starting_network(train, num_latents, settings.seed)
        _FITTED[key] = whole(lambda: fastvi.fit_model(
            start, train, objective="exact", num_epochs=settings.num_epochs,
            learning_rate=settings.fit_learning_rate, seed=settings.seed,
            checkpoint=kept.checkpoint(f"fit_{num_latents}_latents"),
            progress=lambda done, total: progress(step, done, total),
        ))  # fmt: skip
    return _FITTED[key]


def factorised(
    model: SigmoidBeliefNetwork, x: np.ndarray, objective: Literal["reverse_kl", "forward_kl"]
) -> Bernoulli:
    """The best factorised q of each image."""
    q = fastvi.fit_posterior(model, x, objective=objective).q
    assert isinstance(q, Bernoulli)
    return q


def whole(fit: Callable[[], AnyFit]) -> AnyFit:
    """Result of ``fit``. Ctrl-C, at which a fit keeps the best so far and says so, ends the study."""

    def quiet(record: logging.LogRecord) -> bool:
        return record.msg != INTERRUPTED

    log = logging.getLogger("fastvi")
    log.addFilter(quiet)
    try:
        found = fit()
    finally:
        log.removeFilter(quiet)
    if found.interrupted:
        raise KeyboardInterrupt
    return found
