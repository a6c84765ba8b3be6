"""Targets of estimates: log p(x, z) of sampled states, less log q(z), some data and samples at a time.

A target knows a model's parameters, no data. ``bind`` takes one job's data and proposal; what it returns
fills rows of log weights.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple, Protocol

import numpy as np

from fastvi.core.arrays import Array
from fastvi.core.functions import log_probabilities
from fastvi.engine.importance.proposals import (
    Ancestral,
    AncestralDraws,
    BernoulliDraws,
    BernoulliMixture,
    NormalDraws,
    NormalMixture,
)
from fastvi.engine.states.data_terms import Terms
from fastvi.kernels.cpu.importance.importance_sampling import Groups, pick_rows

BinaryProposal = BernoulliMixture | Ancestral

# more latents are cut into groups of up to 6 bits: a tile's rows, 49 KB at d = 100, are read faster than the
# fewer of groups of 8 bits, 193 KB, and take a quarter of the memory. 100,000 samples of 784 pixels on two
# Zen 3 cores, groups of 5, 6, 7 and 8 bits: 60, 55, 60 and 84 ms
_FEW_LATENTS = 32

WEIGHT, JOINT = "log p(x, z) - log q(z)", "log p(x, z)"


class Filler(Protocol):
    """A target with the data of one job."""

    def fill(self, begin: int, first: int, log_w: Array) -> None:
        """Log weights (M, K) of samples ``first``, ... of the job's data ``begin``, ...; contiguous."""


class Target(ABC):
    """p(x, z) for sampled z."""

    @abstractmethod
    def bind(self, x: Array, numbers: Array, proposal: Any, seed: int, part: str) -> Filler:
        """The data ``x``, which have ``numbers`` (N,) among all, and their proposal.

        Rows are filled with WEIGHT, or with the ``part`` JOINT of it.
        """


class Sampled(NamedTuple):
    """States of M data and K samples of each, and in which rows of tables they are."""

    begin: int  # the first datum
    words: Array  # (M, num_words, K)
    rows: Array  # (M * K * G,)


def bit_groups(num_latents: int, largest: int = 8) -> tuple[Groups, int]:
    """Groups of up to ``largest`` bits, as equal as 32-bit words allow, and the number of rows of all."""
    first_bit, num_bits = [], []
    for start in range(0, num_latents, 32):
        size = min(32, num_latents - start)
        count = -(-size // largest)
        for g in range(count):
            first_bit.append(start + g * size // count)
            num_bits.append(start + (g + 1) * size // count - first_bit[-1])
    ends = np.cumsum([1 << bits for bits in num_bits])
    first_row = ends - [1 << bits for bits in num_bits]
    groups = Groups(*(np.array(part, dtype=np.int64) for part in (first_bit, num_bits, first_row)))
    return groups, int(ends[-1])


class BinaryTarget(Target):
    """log p(x, z) = c(x) + <t(x), z> + log p(z) + the rest, z binary, log p(z) a sum over bits.

    ``prior_logits`` None leaves log p(z) to the rest.
    """

    def __init__(self, num_latents: int, prior_logits: Array | None) -> None:
        self.num_latents = num_latents
        self.groups, self.num_rows = bit_groups(num_latents, 8 if num_latents <= _FEW_LATENTS else 6)
        self.prior_zero, self.prior_one = np.zeros(num_latents), np.zeros(num_latents)
        if prior_logits is not None:
            self.prior_zero, self.prior_one = log_probabilities(prior_logits)

    @abstractmethod
    def terms(self, x: Array) -> Terms:
        """t(x) (N, d) and c(x) (N,)."""

    @abstractmethod
    def add(self, x: Any, sampled: Sampled, log_w: Array) -> None:
        """Add the rest to the flat ``log_w`` (M * K,); ``x`` is what ``prepare`` made of the job's data."""

    def prepare(self, x: Array) -> Any:
        """Whatever of the data ``add`` needs."""
        return None

    def split(self, x: Array) -> tuple[Terms, Any]:
        """Terms of the data that are looked up, and whatever ``add`` needs of them."""
        return self.terms(x), self.prepare(x)

    def bind(self, x: Array, numbers: Array, proposal: BinaryProposal, seed: int, part: str) -> _BinaryFiller:
        return _BinaryFiller(self, x, numbers, proposal, seed, part)


class _BinaryFiller:
    def __init__(
        self, target: BinaryTarget, x: Array, numbers: Array, proposal: BinaryProposal, seed: int, part: str
    ) -> None:
        self._target, self._numbers, self._with_q = target, numbers, part == WEIGHT
        self._terms, self._rest = target.split(x)
        self._draws: BernoulliDraws | AncestralDraws
        if isinstance(proposal, Ancestral):
            self._draws = AncestralDraws(proposal, seed)
        else:
            self._draws = BernoulliDraws(proposal, seed)

    def fill(self, begin: int, first: int, log_w: Array) -> None:
        target, (num_data, num) = self._target, log_w.shape
        words = np.empty((num_data, -(-target.num_latents // 32), num), np.int64)
        rows = np.empty((num_data, num * target.groups.first_bit.size), np.int32)
        data = slice(begin, begin + num_data)
        self._draws.draw(data, self._numbers[data], first, words)
        pick_rows(words, target.groups, rows)
        if_one = self._terms.linear[data] + target.prior_one
        self._draws.weigh(
            data, rows, target.groups, target.num_rows, self._terms.constant[data], target.prior_zero[None],
            if_one, log_w, with_q=self._with_q,
        )  # fmt: skip
        target.add(self._rest, Sampled(begin, words, rows.reshape(-1)), log_w.reshape(-1))


class RealTarget(Target):
    """log p(x, z) of real z."""

    num_latents: int

    @abstractmethod
    def prepare(self, x: Array) -> Any:
        """Whatever of the data ``add`` needs."""

    @abstractmethod
    def add(self, x: Any, n: int, z: Array, log_w: Array) -> None:
        """Add log p(x_n, z_k) of samples z (K, d) to ``log_w`` (K,)."""

    def bind(self, x: Array, numbers: Array, proposal: NormalMixture, seed: int, part: str) -> _RealFiller:
        return _RealFiller(self, x, numbers, proposal, seed, part)


class _RealFiller:
    def __init__(
        self, target: RealTarget, x: Array, numbers: Array, proposal: NormalMixture, seed: int, part: str
    ) -> None:
        self._target, self._numbers, self._with_q = target, numbers, part == WEIGHT
        self._x, self._draws = target.prepare(x), NormalDraws(proposal, seed)

    def fill(self, begin: int, first: int, log_w: Array) -> None:
        for m, row in enumerate(log_w):
            n = begin + m
            z = np.empty((row.size, self._target.num_latents))
            self._draws.draw(n, int(self._numbers[n]), first, z)
            row[:] = 0.0
            self._target.add(self._x, n, z, row)
            if self._with_q:
                self._draws.subtract(n, z, row)
