"""Log joints of rows of (datum, state) and their gradients, where kernels do not know the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.decoder.layers import Pairs
from fastvi.engine.decoder.row_network import RowNetwork


class Target(Protocol):
    """log p(x_n, z) of a model."""

    num_data: int
    operations: float  # of a row
    largest: int  # rows that are worked on together
    in_threads: bool

    def log_joint(self, owners: Array, z: Array) -> Array:
        """Log p(x_n, z_r) (rows,) of data n = owners[r] in ascending order and states z (rows, d) uint8."""


class NetworkTarget:
    """Pixels given latents by a network: a decoder, or one layer of a sigmoid belief network."""

    in_threads = True

    def __init__(
        self,
        layers: Pairs,
        activation: str,
        noise_std: float | None,
        x: Array,
        log_prior: Callable[[Array], Array],
        *,
        bits: bool = False,
    ) -> None:
        self._network = RowNetwork(layers, activation, noise_std, x, bits=bits)
        self._log_prior, self.num_data = log_prior, len(x)
        self.largest = self._network.block_rows
        self.operations = self._network.operations + 100.0

    def log_joint(self, owners: Array, z: Array) -> Array:
        """See ``Target``."""
        return self._log_prior(z) + self._network.evaluate(owners, z.astype(np.float64)).value

    def likelihood_and_gradient(self, owners: Array, z: Array) -> tuple[Array, Array]:
        """Log p(x_n | z_r) (rows,) and its gradient in z (rows, d), for z float64."""
        rows = self._network.evaluate(owners, z)
        return rows.value, self._network.of_latents(rows)


class UserTarget:
    """A log joint that the caller wrote: ``table(x (n, ...), z (s, d))`` gives (n, s)."""

    operations = 1000.0  # a guess
    largest = 1 << 12

    def __init__(self, table: Callable[[Array, Array], Array], x: Array, *, in_threads: bool) -> None:
        self._table, self._x, self.num_data, self.in_threads = table, x, len(x), in_threads

    def log_joint(self, owners: Array, z: Array) -> Array:
        """See ``Target``: one call for the rows of a datum."""
        ends: Any = np.flatnonzero(np.diff(owners, append=-1)) + 1
        out, begin = np.empty(len(z)), 0
        for end in ends:
            n = owners[begin]
            out[begin:end] = self._table(self._x[n : n + 1], z[begin:end])[0]
            begin = end
        return out
