"""Chains of binary sparse coding: those of a pairwise energy, in two words for data whose terms are large."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.core.functions import log_probabilities
from fastvi.engine.annealing.chains import Schedule, all_chains
from fastvi.engine.annealing.units import Piece, UnitChains, independent
from fastvi.engine.states.coding_words import CodingWords
from fastvi.engine.states.data_terms import RealData, largest_size
from fastvi.engine.states.pair_form import sparse_coding_parts
from fastvi.kernels.cpu.annealing.annealing_pairs import anneal_pairs
from fastvi.kernels.cpu.annealing.annealing_words import DATA
from fastvi.kernels.cpu.annealing.coding_words import anneal_coding_words


class _Ways(NamedTuple):
    """Parameters of both kernels, and which data (N,) take the second one."""

    one_word: tuple[Any, ...]
    two_words: tuple[Any, ...]
    large: Array


class _CodingChains(UnitChains):
    """Rows of data that are large and of others, wherever they lie."""

    def __init__(self, ways: _Ways, schedule: Schedule, operations: float, first: int, num: int) -> None:
        super().__init__(anneal_pairs, ways.one_word, schedule, DATA, operations, first, num)
        self._ways = ways

    def pieces(self) -> list[Piece]:
        num = len(self.log_w)
        large = self._ways.large[(self._first + np.arange(num)) // self._schedule.num_chains]
        ends = [0, *(np.flatnonzero(np.diff(large)) + 1).tolist(), num]
        return [
            Piece(slice(start, end), anneal_coding_words, self._ways.two_words)
            if large[start]
            else Piece(slice(start, end), anneal_pairs, self._ways.one_word)
            for start, end in pairwise(ends)
        ]


def sparse_coding_log_weights(
    weights: Array,
    bias: Array,
    noise_std: float,
    prior_logits: Array,
    x: Array,
    base: Array,
    schedule: Schedule,
) -> Array:
    """Log weights (N M,) of binary sparse coding, from units of logits ``base`` (N, d)."""
    num_pixels, num_latents = weights.shape
    words = CodingWords.of(sparse_coding_parts(weights, bias, noise_std, prior_logits), x)
    large = words.large | (np.abs(base).sum(axis=1) > largest_size(num_pixels))
    with np.errstate(over="ignore", invalid="ignore"):  # of large ones, which are not used
        one_word = _one_word(weights, bias, noise_std, prior_logits, x, base)
    two_words = (
        words.couplings, words.couplings_low, base, *words.terms.words(), *log_probabilities(base),
    )  # fmt: skip
    operations = float(num_latents * (num_latents + 50)) * (4.0 if large.any() else 1.0)
    build = partial(_CodingChains, _Ways(one_word, two_words, large), schedule, operations)
    return all_chains(build, len(x) * schedule.num_chains, schedule.num_steps, schedule.report)


def _one_word(
    weights: Array, bias: Array, noise_std: float, prior_logits: Array, x: Array, base: Array
) -> tuple[Array, ...]:
    scaled = weights / noise_std
    couplings = -np.einsum("ji,jk->ik", scaled, scaled)
    offset = prior_logits + 0.5 * np.diag(couplings)
    np.fill_diagonal(couplings, 0.0)
    prior = -float(np.logaddexp(0.0, prior_logits).sum())
    terms = RealData(weights, bias, noise_std, offset, prior).terms(x)
    never = np.empty((0, 0), np.int64)
    return couplings, never, base, terms.linear - base, terms.constant + independent(base)
