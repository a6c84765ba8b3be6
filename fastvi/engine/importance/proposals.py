"""Proposals as the engine draws from them: logits, or means and standard deviations, of each component.

Parameters are (1, d), shared by all data, or (N, d). A draw of component c for (seed, datum, sample) is the
one that the component alone would make; which component a sample takes is a draw of its own.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Self

import numpy as np

from fastvi.core.arrays import Array
from fastvi.core.functions import log_probabilities
from fastvi.engine.linalg.products import Packed
from fastvi.kernels.cpu.importance.importance_sampling import (
    Groups,
    add_normal_logs,
    subtract_log_sums,
    sum_bits,
)
from fastvi.kernels.cpu.random.component_draws import pick_components
from fastvi.kernels.cpu.random.draws import (
    draw_data,
    draw_states,
    draw_states_each,
    fill_uniforms,
    split_seed,
    thresholds,
)
from fastvi.kernels.cpu.random.normal_draws import fill_signed_tails


def _row(parameters: Array, n: int) -> Array:
    """Parameters of datum n."""
    return np.ascontiguousarray(parameters[n if len(parameters) > 1 else 0])


def _some(parameters: Array, where: slice | Array) -> Array:
    return parameters[where] if len(parameters) > 1 else parameters


class BernoulliMixture(NamedTuple):
    """sum_c weights_c Bernoulli(logits_c)."""

    logits: tuple[Array, ...]  # each (N, d) or (1, d)
    weights: Array  # (C,) of sum 1

    def part(self, where: slice | Array) -> Self:
        """That of some of the data."""
        return self._replace(logits=tuple(_some(each, where) for each in self.logits))


class NormalMixture(NamedTuple):
    """sum_c weights_c N(means_c, stds_c^2)."""

    means: tuple[Array, ...]
    stds: tuple[Array, ...]
    weights: Array

    def part(self, where: slice | Array) -> Self:
        return self._replace(
            means=tuple(_some(each, where) for each in self.means),
            stds=tuple(_some(each, where) for each in self.stds),
        )


class Ancestral(NamedTuple):
    """The prior of a deep network, drawn from its top layer down; weights do not need its density.

    ``layers`` are (weights, bias) from the top down, each with a seed of its own for the layer above it.
    """

    top_logits: Array  # (d_top,)
    layers: tuple[tuple[Array, Array], ...]

    def part(self, where: slice | Array) -> Self:
        return self


class Categories(NamedTuple):
    """Categorical distributions of one latent."""

    probabilities: Array  # (N, K) or (1, K)
    log_probs: Array  # of the same shape

    def part(self, where: slice | Array) -> Self:
        return self._replace(
            probabilities=_some(self.probabilities, where), log_probs=_some(self.log_probs, where)
        )


Proposal = BernoulliMixture | NormalMixture | Ancestral


def unpacked(words: Array, num_latents: int) -> Array:
    """Bits of ``words`` (num_words, K) as (K, d) uint8."""
    bits = np.arange(num_latents)
    return ((words[bits >> 5] >> (bits & 31)[:, None]) & 1).astype(np.uint8).T


class BernoulliDraws:
    """Draws of one job's data from a Bernoulli mixture, and their log q."""

    def __init__(self, proposal: BernoulliMixture, seed: int) -> None:
        self._key = split_seed(seed)
        self._weights = proposal.weights
        self._cumulative = np.cumsum(proposal.weights)
        self._thresholds = [thresholds(logits) for logits in proposal.logits]
        self._log_q = [log_probabilities(logits) for logits in proposal.logits]

    def draw(self, data: slice, numbers: Array, first: int, words: Array) -> None:
        """Samples ``first``, ... of some of the job's ``data``, which have ``numbers`` among all."""
        self._draw_component(0, data, numbers, first, words)
        if len(self._thresholds) == 1:
            return
        which, other = np.empty((len(words), 1, words.shape[2]), np.int64), np.empty_like(words)
        for number, own in zip(numbers.tolist(), which, strict=True):
            pick_components(self._cumulative, *self._key, number, first, own[0])
        for c in range(1, len(self._thresholds)):
            self._draw_component(c, data, numbers, first, other)
            np.copyto(words, other, where=which == c)

    def _draw_component(self, c: int, data: slice, numbers: Array, first: int, words: Array) -> None:
        high, low = (_some(part, data) for part in self._thresholds[c])
        draw_data(high, low, *self._key, numbers, first, words)

    def weigh(
        self, data: slice, rows: Array, groups: Groups, num_rows: int, constants: Array, if_zero: Array,
        if_one: Array, log_w: Array, *, with_q: bool = True,
    ) -> None:  # fmt: skip
        """log_w[m, k] = constants_m + sum_i (if_one_i or if_zero_i, by bit i of sample k) - log q(z_k)."""
        log_q = [[_some(part, data) for part in parts] for parts in self._log_q]
        if with_q and len(log_q) == 1:  # in this order they cancel where q is the prior
            if_zero, if_one = if_zero - log_q[0][0], if_one - log_q[0][1]
        sums = np.empty(num_rows)
        sum_bits(rows, groups, constants, if_zero, if_one, sums, log_w)
        if with_q and len(log_q) > 1:
            found = np.empty((len(log_q), *log_w.shape))
            for c, (zero, one) in enumerate(log_q):
                shares = np.full(len(log_w), math.log(self._weights[c]))
                sum_bits(rows, groups, shares, zero, one, sums, found[c])
            subtract_log_sums(found.reshape(len(log_q), -1), log_w.reshape(-1))


class AncestralDraws:
    """Draws from the prior of a deep network; the target leaves log p(z) out, so there is no log q."""

    def __init__(self, proposal: Ancestral, seed: int) -> None:
        self._top = thresholds(proposal.top_logits)
        self._layers = [Packed(np.ascontiguousarray(weights.T), bias) for weights, bias in proposal.layers]
        self._keys = [split_seed(seed)]
        for _ in proposal.layers:
            inner = np.random.SeedSequence(seed, spawn_key=(1,)).generate_state(1, np.uint64)[0]
            seed = int(inner)
            self._keys.insert(0, split_seed(seed))

    def draw(self, data: slice, numbers: Array, first: int, words: Array) -> None:
        for number, own in zip(numbers.tolist(), words, strict=True):
            self._draw_datum(number, first, own)

    def _draw_datum(self, number: int, first: int, words: Array) -> None:
        num = words.shape[1]
        size = self._top[0].size
        above = words if not self._layers else np.empty((-(-size // 32), num), np.int64)
        draw_states(*self._top, *self._keys[0], number, first, above)
        for key, layer in zip(self._keys[1:], self._layers, strict=True):
            # not einsum: its last bits depend on whether there is one sample or more
            logits = layer.product(unpacked(above, size).astype(np.float64))
            size = layer.num_columns
            above = np.empty((-(-size // 32), num), np.int64)
            draw_states_each(*thresholds(logits), *key, number, first, above)
        words[...] = above

    def weigh(
        self, data: slice, rows: Array, groups: Groups, num_rows: int, constants: Array, if_zero: Array,
        if_one: Array, log_w: Array, *, with_q: bool = True,
    ) -> None:  # fmt: skip
        """log_w[m, k] = constants_m + sum_i (if_one_i or if_zero_i, by bit i of sample k)."""
        sums = np.empty(num_rows)
        sum_bits(rows, groups, constants, if_zero, if_one, sums, log_w)


class NormalDraws:
    """Draws of one job's data from a normal mixture, and their log q."""

    def __init__(self, proposal: NormalMixture, seed: int) -> None:
        self._key = split_seed(seed)
        self._proposal, self._cumulative = proposal, np.cumsum(proposal.weights)

    def draw(self, n: int, number: int, first: int, z: Array) -> None:
        """Z (K, d): samples ``first``, ... of the job's datum n, which is ``number`` among all."""
        from scipy.special import ndtri

        means, stds, _ = self._proposal
        fill_signed_tails(*self._key, number, first, z)
        numbers = np.copysign(ndtri(np.abs(z)), z)
        np.multiply(numbers, _row(stds[0], n), out=z)
        z += _row(means[0], n)
        if len(means) == 1:
            return
        which = np.empty(len(z), np.int64)
        pick_components(self._cumulative, *self._key, number, first, which)
        for c in range(1, len(means)):
            own = which == c
            z[own] = numbers[own] * _row(stds[c], n) + _row(means[c], n)

    def subtract(self, n: int, z: Array, log_w: Array) -> None:
        """log_w[k] -= log q(z_k)."""
        means, stds, weights = self._proposal
        log_q = np.zeros((len(means), len(z)))
        for c, (mean, std) in enumerate(zip(means, stds, strict=True)):
            add_normal_logs(z, _row(mean, n), _row(std, n), log_q[c])
            log_q[c] += math.log(weights[c])
        if len(means) == 1:
            log_w -= log_q[0]
        else:
            subtract_log_sums(log_q, log_w)


class CategoryDraws:
    """Draws of categories with ``probabilities`` (N, K) or (1, K), the last axis of sum 1 up to rounding.

    A draw is the first category whose cumulative probability is above the uniform number of (seed, datum,
    sample). A category of probability 0 is never drawn.
    """

    def __init__(self, probabilities: Array, seed: int) -> None:
        self._probabilities, self._key = probabilities, split_seed(seed)
        self._shared = _cumulative(probabilities[0]) if len(probabilities) == 1 else None

    def draw(self, n: int, number: int, first: int, num: int) -> Array:
        """Samples ``first``, ... (num,) of the job's datum n, which is ``number`` among all."""
        uniforms = np.empty(num)
        fill_uniforms(*self._key, number, first, uniforms)
        cumulative, last = _cumulative(self._probabilities[n]) if self._shared is None else self._shared
        return np.minimum(np.searchsorted(cumulative, uniforms, side="right"), last)


def _cumulative(row: Array) -> tuple[Array, int]:
    """Cumulative sums, and the last category of any probability: rounding may leave the total below 1."""
    return np.cumsum(row), int(np.flatnonzero(row)[-1])
