"""Sums over states of the data of one chunk, merged wave by wave."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.kernels.cpu.states.log_sums import merge_log_sums, merge_moments


class Sums(NamedTuple):
    """Per datum: the sum is total * exp(largest); no tile had a scale above exp(bound)."""

    largest: Array
    total: Array
    bound: Array

    @classmethod
    def zero(cls, num_data: int) -> Sums:
        numbers = np.zeros((3, num_data))
        numbers[:2] = -np.inf
        return cls(numbers[0], numbers[2], numbers[1])

    def merge(self, part: Sums) -> None:
        merge_log_sums(self.largest, self.total, part.largest, part.total)
        np.maximum(self.bound, part.bound, out=self.bound)

    def log(self) -> Array:
        if np.count_nonzero(self.total) == self.total.size:  # then there is nothing to be silent about
            return self.largest + np.log(self.total)
        with np.errstate(divide="ignore"):
            return self.largest + np.log(self.total)


class Moments(NamedTuple):
    """Sums, and per latent the part of the sum whose states have its bit: ones * exp(bound)."""

    largest: Array  # (N,)
    total: Array  # (N,)
    bound: Array  # (N,)
    ones: Array  # (N, d) in the form's order

    @classmethod
    def zero(cls, num_data: int, num_latents: int, *, with_ones: bool = True) -> Moments:
        return cls(*Sums.zero(num_data), np.zeros((num_data if with_ones else 0, num_latents)))

    def merge(self, part: Moments) -> None:
        merge_moments(*self, *part)
