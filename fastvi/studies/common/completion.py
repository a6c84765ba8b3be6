"""Completion of images: the unseen pixels given those that are seen, exactly."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastvi
from fastvi.core.functions import sigmoid
from fastvi.fitting.starting_network import pixel_shares
from fastvi.models.boltzmann_machine import BoltzmannMachine
from fastvi.studies.common.result import Progress

MACHINE, NETWORK, BASELINE = "Boltzmann machine", "sigmoid belief network", "independent pixels"
YOURS = "your model"
FIT, MEANS, SAMPLES = "fit", "log-probabilities and means", "samples"
SIDE = 8  # pixels in a row of a digit


class Completion(NamedTuple):
    """Unseen pixels of N images under a model, given those that are seen."""

    num_states: int  # summed for an image
    log_seen: np.ndarray  # (N,): log p(seen), nats; of a Boltzmann machine log p(seen) + log Z
    log_prob: np.ndarray  # (N,): log p(unseen | seen) of the true image, nats
    mean: np.ndarray  # (N, D): p(x_j = 1 | seen); seen pixels have their value
    samples: np.ndarray  # (N, S, D): draws of the whole image given what is seen


def the(model: str) -> str:
    """Name of a model in a sentence."""
    return model if model == YOURS else f"the {model}"


class Clock:
    """Seconds of each step, in the order of the steps."""

    def __init__(self) -> None:
        self.seconds: dict[tuple[str, str], float] = {}

    @contextmanager
    def step(self, model: str, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[model, name] = time.perf_counter() - start


def seen_pixels(num_unseen_rows: int, shape: tuple[int, int] = (SIDE, SIDE)) -> np.ndarray:
    """(D,) bool: all but the uppermost rows of images of ``shape``."""
    return np.arange(shape[0] * shape[1]) >= shape[1] * num_unseen_rows


def complete_by_machine(
    model: BoltzmannMachine,
    x: np.ndarray,
    seen: np.ndarray,
    num_samples: int,
    seed: int,
    clock: Clock,
    progress: Progress,
    *,
    name: str = MACHINE,
    checkpoint: Path | None = None,
) -> Completion:
    """Unseen pixels are the latents; log Z is in log p(x) and in log p(seen), so that neither needs it."""
    num_free = int((~seen).sum())
    with clock.step(name, MEANS):
        posterior = fastvi.exact_posterior(
            model,
            x,
            observed=seen,
            normalized=False,
            checkpoint=checkpoint,
            progress=_report(progress, f"2^{num_free} states an image"),
        )
        log_prob = model.log_joint(None, x) - posterior.log_marginal
    progress("exact samples", 0, 1)
    with clock.step(name, SAMPLES):
        samples = posterior.sample(num_samples, seed).swapaxes(0, 1)
    return Completion(1 << num_free, posterior.log_marginal, log_prob, posterior.mean, samples)


def _report(progress: Progress, step: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(step, done, total)


def complete_by_network(
    model: Any,
    x: np.ndarray,
    seen: np.ndarray,
    num_samples: int,
    seed: int,
    clock: Clock,
    *,
    name: str = NETWORK,
) -> Completion:
    """Complete under a model of binary latents whose binary pixels are independent given those.

    p(x_j = 1 | seen) = p(seen, x_j = 1) / p(seen): a mask of one more pixel for each of them.
    """
    unseen = np.flatnonzero(~seen)
    with clock.step(name, MEANS):
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
    with clock.step(name, SAMPLES):
        z = fastvi.exact_posterior(model, x, observed=seen).sample(num_samples, seed)
        chance = sigmoid(_pixel_logits(model, z, unseen))
        drawn = np.random.default_rng([seed, model.num_latents]).random(chance.shape) < chance
        samples = np.repeat(x[:, None], num_samples, axis=1).astype(np.uint8)
        samples[:, :, unseen] = drawn
    return Completion(1 << model.num_latents, evidence, log_prob, mean, samples)


def _pixel_logits(model: Any, z: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Log odds of ink (N, S, pixels) given z (S, N, d): log p(x, z) with ink in one pixel, less it without.

    They depend on no other pixel, so that each state is asked once, however often it was drawn.
    """
    states, drawn = np.unique(z.reshape(-1, z.shape[-1]), axis=0, return_inverse=True)
    image = np.zeros(model.num_pixels, np.uint8)
    without = model.log_joint(image, states)
    found = np.empty((len(states), len(pixels)))
    for place, pixel in enumerate(pixels):
        image[pixel] = 1
        found[:, place] = model.log_joint(image, states) - without
        image[pixel] = 0
    return found[drawn.reshape(z.shape[:-1]).T]


def complete_by_shares(train: np.ndarray, x: np.ndarray, seen: np.ndarray) -> Completion:
    """Every pixel has its share in the training images, whatever the others are."""
    return _complete_by_shares(np.broadcast_to(pixel_shares(train), x.shape), x, seen)


def complete_by_shares_of_others(x: np.ndarray, seen: np.ndarray) -> Completion:
    """Every pixel has its share in the other images, where there are none to train on."""
    share = np.stack([pixel_shares(np.delete(x, n, axis=0)) for n in range(len(x))])
    return _complete_by_shares(share, x, seen)


def _complete_by_shares(share: np.ndarray, x: np.ndarray, seen: np.ndarray) -> Completion:
    terms = np.where(x == 1, np.log(share), np.log1p(-share))
    return Completion(
        1, terms[:, seen].sum(axis=1), terms[:, ~seen].sum(axis=1), np.where(seen, x, share),
        np.empty((len(x), 0, x.shape[1]), np.uint8),
    )  # fmt: skip
