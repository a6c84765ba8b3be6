"""Completion of images: the unseen pixels given those that are seen, exactly."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

import fastvi
from fastvi.core.functions import sigmoid
from fastvi.fitting.starting_network import pixel_shares
from fastvi.models.boltzmann_machine import BoltzmannMachine
from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork
from fastvi.studies.common.result import Progress

MACHINE, NETWORK, BASELINE = "Boltzmann machine", "sigmoid belief network", "independent pixels"
FIT, MEANS, SAMPLES = "fit", "log-probabilities and means", "samples"
SIDE = 8  # pixels in a row of an image


class Completion(NamedTuple):
    """Unseen pixels of N images under a model, given those that are seen."""

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


def complete_by_machine(
    model: BoltzmannMachine,
    x: np.ndarray,
    seen: np.ndarray,
    num_samples: int,
    seed: int,
    clock: Clock,
    progress: Progress,
) -> Completion:
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
    return Completion(1 << num_free, log_prob, posterior.mean, samples)


def _report(progress: Progress, step: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(step, done, total)


def complete_by_network(
    model: SigmoidBeliefNetwork, x: np.ndarray, seen: np.ndarray, num_samples: int, seed: int, clock: Clock
) -> Completion:
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
    return Completion(1 << model.num_latents, log_prob, mean, samples)


def complete_by_shares(train: np.ndarray, x: np.ndarray, seen: np.ndarray) -> Completion:
    """Every pixel has its share in the training images, whatever the others are."""
    share = pixel_shares(train)
    terms = np.where(x == 1, np.log(share), np.log1p(-share))
    return Completion(
        1, terms[:, ~seen].sum(axis=1), np.where(seen, x, share), np.empty((len(x), 0, x.shape[1]))
    )
