"""Importance sampling on a GPU.

States are drawn there, weighed and summed; eight bytes a sample come back, for k-hat.

The draws are the CPU's, bit for bit; log weights differ by rounding. Sums are made segment by segment of
2^14 samples and merged in order, so that they do not depend on the batch.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.core.functions import log_probabilities
from fastvi.engine.cuda.device import Device, device
from fastvi.engine.cuda.place import UnsupportedError
from fastvi.engine.cuda.resident import resident
from fastvi.engine.importance.coding_target import CodingTarget
from fastvi.engine.importance.pair_target import PairTarget
from fastvi.engine.importance.proposals import BernoulliMixture
from fastvi.engine.importance.softplus_target import LARGEST_LOG, ProductTarget, splits_before
from fastvi.engine.importance.targets import WEIGHT
from fastvi.engine.run.slices import slices
from fastvi.engine.run.threads import parallel_map
from fastvi.engine.states.data_terms import LARGEST_ON_DEVICE
from fastvi.kernels.cpu.random.draws import split_seed, thresholds
from fastvi.kernels.cuda.draws import THREADS as DRAW_THREADS
from fastvi.kernels.cuda.draws import draw_states
from fastvi.kernels.cuda.importance_sampling import (
    ADD_PRODUCTS,
    ADD_SOFTPLUS,
    BLOCK_SAMPLES,
    GROUP_BITS,
    PIXELS,
    THREADS,
    add_linear,
    add_pairs,
)
from fastvi.kernels.cuda.log_weights import SEGMENT, WEIGHT_SUMS, add_segments

_LOG = logging.getLogger("fastvi")

MOST_DATA = 1 << 15  # a grid has at most 65,535 blocks along its second axis


class _Table(NamedTuple):
    """Rows of one kind of pixels."""

    rows: Any  # (tiles, rows, PIXELS)
    splits: Any  # (tiles,)
    direct: bool


def _tables(target: ProductTarget) -> list[_Table]:
    """Products for the pixels whose exponentials fit, logits for the others."""
    weights, bias, d = target.weights, target.bias, target.num_latents
    fits = np.abs(weights).sum(axis=1) + np.abs(bias) <= LARGEST_LOG - 1.0
    found = []
    for direct, pixels in ((False, np.flatnonzero(fits)), (True, np.flatnonzero(~fits))):
        if not pixels.size:
            continue
        tiles, groups = -(-pixels.size // PIXELS), -(-d // GROUP_BITS)
        logits = np.zeros((groups, 1 << GROUP_BITS, tiles * PIXELS))
        for g in range(groups):
            part = logits[g, :, : pixels.size]
            part[0] = bias[pixels] if g == 0 else 0.0
            for i in range(min(GROUP_BITS, d - GROUP_BITS * g)):
                part[1 << i : 2 << i] = part[: 1 << i] + weights[pixels, GROUP_BITS * g + i]
        logits[0, :, pixels.size :] = -np.inf  # a factor of 1, a softplus of 0
        growth = np.zeros(tiles * PIXELS)
        growth[: pixels.size] = np.logaddexp(0.0, np.maximum(weights[pixels], 0.0).sum(axis=1) + bias[pixels])
        splits = splits_before(growth.reshape(tiles, PIXELS).max(axis=1)).astype(np.int32)
        rows = (logits if direct else np.exp(logits)).reshape(-1, tiles, PIXELS)
        found.append(_Table(np.ascontiguousarray(rows.transpose(1, 0, 2)), splits, direct))
    return found


def refusal(target: Any, proposal: Any) -> str:
    """Why a GPU does not sample this, in a few words; empty where it does."""
    if not isinstance(target, ProductTarget | PairTarget) or getattr(target, "log_prior", None) is not None:
        models = "networks of one layer of latents, Boltzmann machines and sparse coding"
        return f"samples {models}, not this model"
    if getattr(target, "dtype", "float64") != "float64":
        return "weighs sampled states in float64 only"
    if not isinstance(proposal, BernoulliMixture) or len(proposal.logits) != 1:
        return "draws from one Bernoulli distribution a datum, not from mixtures"
    return ""


class CudaFiller:
    """A target with the data of one job, as ``engine/importance/targets.py`` has them on the CPU."""

    def __init__(self, target: Any, x: Array, numbers: Array, proposal: Any, seed: int, part: str) -> None:
        if reason := refusal(target, proposal):
            raise UnsupportedError(f"device='cuda' {reason}; use device='cpu'")
        self._target = target
        self._terms, self._numbers, self._key = target.terms(x), numbers, split_seed(seed)
        logits = proposal.logits[0]
        self._thresholds = thresholds(logits)
        log_zero, log_one = log_probabilities(logits)
        if_one = self._terms.linear + target.prior_one
        if_zero = np.broadcast_to(target.prior_zero, if_one.shape)
        if part == WEIGHT:
            with np.errstate(invalid="ignore"):  # of bits that are never drawn
                if_zero, if_one = if_zero - log_zero, if_one - log_one
        self._linear = np.ascontiguousarray(if_zero), np.ascontiguousarray(if_one)
        self._bind_large(x, numbers, proposal, seed, part)

    def _bind_large(self, x: Array, numbers: Array, proposal: Any, seed: int, part: str) -> None:
        """Data whose terms a GPU's one word does not bear are weighed on the CPU."""
        self._large = np.empty(0, np.int64)
        if not isinstance(self._target, CodingTarget):
            return
        large = self._target.large(x, LARGEST_ON_DEVICE)
        self._large = np.flatnonzero(large)
        if self._large.size:
            _LOG.info("%d of %d data are sampled on the CPU: their terms are too large", large.sum(), len(x))
            self._filler = self._target.bind(x[large], numbers[large], proposal.part(large), seed, part)

    def _refill(self, begin: int, first: int, log_w: Array) -> None:
        """Log weights (M, K) of samples ``first``, ... of the job's data ``begin``, ... that are large."""

        def task(k: int) -> None:
            self._filler.fill(k, first, log_w[self._large[k] - begin][None])

        inside = (self._large >= begin) & (self._large < begin + len(log_w))
        parallel_map(task, np.flatnonzero(inside).tolist())

    def _product_tables(self, on: Device) -> list[_Table]:
        return [
            table._replace(rows=on.put(table.rows), splits=on.put(table.splits))
            for table in _tables(self._target)
        ]

    def log_weights(self, on: Device, begin: int, first: int, num_data: int, num: int) -> Any:
        """Log weights (num_data, num) on a device, of samples from ``first`` and data from ``begin``.

        At most MOST_DATA data of the job.
        """
        some, d = slice(begin, begin + num_data), self._target.num_latents
        words = on.empty((num_data, -(-d // 32), num), np.int64)
        log_w = on.empty((num_data, num), np.float64)
        high, low = (part[some] if len(part) > 1 else part for part in self._thresholds)
        on.launch(
            draw_states, (-(-num // DRAW_THREADS), num_data), on.put(high), on.put(low), *self._key,
            on.put(np.asarray(self._numbers[some], np.int64)), first, words,
        )  # fmt: skip
        if_zero, if_one = (on.put(part[some]) for part in self._linear)
        grid = -(-num // THREADS), num_data
        on.launch(add_linear, grid, words, if_zero, if_one, on.put(self._terms.constant[some]), log_w)
        if isinstance(self._target, ProductTarget):
            for table in resident(self._target, on, self._product_tables):
                on.launch(
                    ADD_SOFTPLUS if table.direct else ADD_PRODUCTS, (-(-num // BLOCK_SAMPLES), num_data),
                    table.rows, table.splits, d, float(self._target.sign), words, log_w,
                )  # fmt: skip
        elif isinstance(self._target, PairTarget):
            couplings = self._target.couplings
            on.launch(add_pairs, grid, words, resident(self._target, on, lambda to: to.put(couplings)), log_w)
        if ((self._large >= begin) & (self._large < begin + num_data)).any():
            found = on.get(log_w)
            self._refill(begin, first, found)
            log_w = on.put(found)
        return log_w

    def fill(self, begin: int, first: int, log_w: Array) -> None:
        on = device()
        for part in slices(len(log_w), MOST_DATA):
            found = self.log_weights(on, begin + part.start, first, part.stop - part.start, log_w.shape[1])
            log_w[part] = on.get(found)


class Sums(NamedTuple):
    """Sums of each row, on the host."""

    largest: Array
    total: Array
    squares: Array
    smallest: Array


def row_sums(on: Device, log_w: Any) -> Sums:
    """Largest, sums of w and w^2, smallest of each row of a device's (N, K), N at most MOST_DATA."""
    num_data, num = log_w.shape
    segments = -(-num // SEGMENT)
    parts = [on.empty((num_data, segments), np.float64) for _ in range(4)]
    on.launch(WEIGHT_SUMS[str(np.dtype(log_w.dtype))], (segments, num_data), log_w, *parts)
    running = [on.full(num_data, value) for value in (-np.inf, 0.0, 0.0, np.inf)]
    on.launch(add_segments, num_data, *parts, *running)
    return Sums(*(on.get(part) for part in running))
