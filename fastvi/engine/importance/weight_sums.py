"""Sums and largest entries of streams of log weights: a state that does not grow with their length.

Sums are relative to each stream's largest weight, so they merge by one exponential; the largest entries
are the same whatever the order. Merged in a fixed order of fixed chunks, everything has the same bits for
any number of threads and workers.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.run.slices import data_slices
from fastvi.engine.run.threads import parallel_map
from fastvi.kernels.cpu.weights.log_weight_streams import add_sums, collect_largest, pareto_k_streams
from fastvi.kernels.cpu.weights.pareto import EQUAL

_FIT_OPERATIONS = 500  # about, for each entry of a tail: a logarithm for each point of the fit's grid


class WeightSums:
    """N streams.

    Attributes
    ----------
    largest, smallest
        Log weights (N,). A stream's smallest is not followed any further once it differs from the largest:
        equal or not is the question.
    total, squares
        Sums (N,) of w and w^2 relative to the largest.
    """

    def __init__(self, num_data: int, tail_size: int) -> None:
        self._tail_size = tail_size
        self.largest, self.smallest, self._lowest = np.empty(num_data), np.empty(num_data), np.empty(num_data)
        for array, value in ((self.largest, -np.inf), (self.smallest, np.inf), (self._lowest, -np.inf)):
            array.fill(value)
        self.total, self.squares = np.zeros(num_data), np.zeros(num_data)
        self._tail = np.empty((num_data, 0))
        self._filled = np.zeros(num_data, np.int64)

    @property
    def num_data(self) -> int:
        return self.largest.size

    @property
    def lowest(self) -> Array:
        """Log weights that an entry must exceed to matter to a stream's tail (N,)."""
        return self._lowest

    @property
    def alike(self) -> Array:
        """Where all weights are equal."""
        return self.smallest >= self.largest - EQUAL

    def add(self, largest: Array, total: Array, squares: Array, where: slice = slice(None)) -> None:
        """Take the sums of weights, each relative to its own largest."""
        add_sums(self.largest[where], self.total[where], self.squares[where], largest, total, squares)

    def make_room(self, num_more: int) -> None:
        """Widen the tails for ``num_more`` entries each, to 1.5 times what is kept at most."""
        kept, (num_data, width) = self._tail_size + 1, self._tail.shape
        most = kept + kept // 2
        needed = min(most, int(self._filled.max(initial=0)) + num_more)
        if needed > width:
            tail = np.empty((num_data, min(most, max(needed, 2 * width))))
            tail[:, :width], tail[:, width:] = self._tail, -np.inf
            self._tail = tail

    def collect(self, rows: Array, lengths: Array, largest: Array, where: slice) -> None:
        """Offer rows[n, :lengths[n]], none above largest[n], to the tails ``where``; there must be room."""
        collect_largest(
            rows,
            lengths,
            largest,
            self._tail_size + 1,
            self._tail[where],
            self._filled[where],
            self._lowest[where],
        )

    def merge(self, part: WeightSums, first: int = 0) -> None:
        """Take all that ``part``, which stays as it is, has of streams ``first``, ..."""
        where = slice(first, first + part.num_data)
        lengths, largest = part._filled.copy(), part.largest.copy()
        rows = part._tail.copy() if part is self else part._tail.view()
        rows.flags.writeable = False
        self.make_room(int(lengths.max(initial=0)))

        def collect(some: slice) -> None:
            own = slice(first + some.start, first + some.stop)
            self.collect(rows[some], lengths[some], largest[some], own)

        parallel_map(collect, data_slices(part.num_data), lengths.sum())
        self.add(largest, part.total.copy(), part.squares.copy(), where)
        np.minimum(self.smallest[where], part.smallest, out=self.smallest[where])

    def take(self, which: Array) -> Self:
        """The streams ``which``, copied."""
        out = type(self)(0, self._tail_size)
        for name, value in vars(self).items():
            setattr(out, name, value[which].copy() if isinstance(value, np.ndarray) else value)
        return out

    def pareto_k(self, num_samples: int) -> Array:
        """K of each stream of ``num_samples`` weights; -inf where all weights are equal."""
        out = np.empty(self.num_data)

        def fit(where: slice) -> None:
            pareto_k_streams(self._tail[where], self._filled[where], num_samples, self._tail_size, out[where])

        parallel_map(fit, data_slices(self.num_data), float(self._tail.size * _FIT_OPERATIONS))
        out[self.alike] = -np.inf
        return out

    def __getstate__(self) -> dict[str, Any]:
        """Arrays of its own, so that copies share nothing, and no room beyond what is filled."""
        state = dict(vars(self))
        for name, value in state.items():
            if isinstance(value, np.ndarray):
                state[name] = value.copy()
        state["_tail"] = self._tail[:, : int(self._filled.max(initial=0))].copy()
        return state
