"""Chains of annealed importance sampling: groups of chains are tasks, some temperatures at a time.

A row is a chain of a datum: row n M + m is chain m of datum n. A chain depends on nothing but (datum, chain),
so any grouping and any number of threads give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from fastvi.core.arrays import Array
from fastvi.core.options import DType
from fastvi.engine.run.progress import Report
from fastvi.engine.run.threads import num_threads, parallel_map
from fastvi.kernels.cpu.annealing.words import REVERSED
from fastvi.kernels.cpu.random.draws import split_seed

_LARGEST_GROUP = 64  # chains that pass over a tile of weights together
_GROUPS_PER_THREAD = 8  # in memory at once
_TASK_OPERATIONS = 3e8  # a fraction of a second


class Chains(Protocol):
    """A group of rows that are carried from place to place; place 0 starts them, the last is num_steps."""

    log_w: Array
    operations: float  # of a place

    def run(self, first_place: int, last_place: int) -> None: ...


class Schedule(NamedTuple):
    """Settings of all chains of a call. Reversed chains start at ``states`` and run from the model back."""

    num_steps: int  # K temperatures k / K
    num_chains: int  # M, of each datum
    seed: int
    report: Report
    states: Array | None = None  # (rows, d)
    dtype: DType = "float64"  # of the logits, where a model has a choice

    @property
    def key(self) -> tuple[int, int]:
        return split_seed(self.seed)

    def tag(self, kind: int) -> int:
        """``kind``, with the bit of reversed chains where they are."""
        return kind if self.states is None else kind | REVERSED

    def step_and_move(self, place: int) -> tuple[int, int]:
        """At a place > 0: the step whose weight is added, and the temperature to move at, 0 for none."""
        if self.states is None:
            return place, place if place < self.num_steps else 0
        return self.num_steps + 1 - place, self.num_steps - place

    def share(self, step: int) -> float:
        """Share of the inverse temperature that a step adds."""
        return step / self.num_steps - (step - 1) / self.num_steps

    def starts(self, first: int, num: int, num_units: int, dtype: Any) -> Array:
        """Room for the states of rows, holding where reversed chains start."""
        if self.states is None:
            return np.zeros((num, num_units), dtype)
        return np.array(self.states[first : first + num], dtype, order="C")


def _group_starts(num_rows: int, largest: int) -> range:
    """As many groups for each thread, none larger than ``largest``."""
    threads = num_threads()
    rounds = max(1, -(-num_rows // (threads * largest)))
    return range(0, num_rows, max(1, -(-num_rows // (threads * rounds))))


def all_chains(
    build: Callable[[int, int], Chains],
    num_rows: int,
    num_places: int,
    report: Report,
    *,
    largest: int | None = None,
    in_threads: bool = True,
) -> Array:
    """Log weights (num_rows,) of chains; ``build(first, num)`` makes those of a group of rows.

    ``largest`` is how many rows a group may have; ``in_threads`` is False where a function of the caller's
    must not leave the calling thread.
    """
    starts, log_w = _group_starts(num_rows, largest or _LARGEST_GROUP), np.empty(num_rows)
    wave = _GROUPS_PER_THREAD * num_threads()
    for begin in range(0, len(starts), wave):
        groups = [build(first, min(starts.step, num_rows - first)) for first in starts[begin : begin + wave]]
        held = slice(starts[begin], starts[begin] + sum(group.log_w.size for group in groups))
        _run(groups, num_places, report, in_threads)
        log_w[held] = np.concatenate([group.log_w for group in groups])
    return log_w


def _run(groups: list[Chains], num_places: int, report: Report, in_threads: bool) -> None:
    """All places of a wave of groups, so many at a time that Ctrl-C and progress need not wait."""
    largest = max(group.operations for group in groups)
    num_rows = sum(group.log_w.size for group in groups)
    some = max(1, int(_TASK_OPERATIONS / largest))
    for first in range(0, num_places + 1, some):
        last = min(first + some, num_places + 1)

        def task(group: Chains, first: int = first, last: int = last) -> None:
            group.run(first, last)

        parallel_map(task, groups, (last - first) * largest * len(groups) if in_threads else 0.0)
        report((last - max(first, 1)) * num_rows)
