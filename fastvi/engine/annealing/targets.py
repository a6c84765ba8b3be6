"""Log joints of rows of (datum, state) and their gradients, where kernels do not know the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from fastvi.engine.annealing.chains import Array
from fastvi.engine.matmul import Packed
from fastvi.engine.network import ACTIVATIONS
from fastvi.kernels.cpu.annealing_rows import bernoulli_rows, normal_rows
from fastvi.kernels.cpu.dense import activate, multiply_slopes

_BLOCK_NUMBERS = 1 << 16  # of a block's widest layer: 512 KiB, the second-level cache


class Target(Protocol):
    """log p(x_n, z) of a model."""

    num_data: int
    operations: float  # of a row
    largest: int  # rows that are worked on together
    in_threads: bool

    def log_joint(self, owners: Array, z: Array) -> Array:
        """log p(x_n, z_r) (rows,) of data n = owners[r] in ascending order and states z (rows, d) uint8."""


class NetworkTarget:
    """Pixels given latents by a network: a decoder, or one layer of a sigmoid belief network."""

    in_threads = True

    def __init__(
        self,
        layers: Sequence[tuple[Array, Array]],
        activation: str,
        noise_std: float | None,
        x: Array,
        log_prior: Callable[[Array], Array],
    ) -> None:
        self._forward = [Packed(weight.T, bias) for weight, bias in layers]
        self._back = [Packed(weight) for weight, _ in layers]
        self._activation, self._noise_std = ACTIVATIONS[activation], noise_std
        self._x, self._log_prior, self.num_data = x.view(), log_prior, len(x)
        self._x.flags.writeable = False  # one compiled kernel for writeable arrays and for others
        width = max(layers[0][0].shape[1], *(len(bias) for _, bias in layers))
        self.largest = max(8, _BLOCK_NUMBERS // width)
        self.operations = sum(2.0 * weight.size + 20.0 * len(bias) for weight, bias in layers) + 100.0

    def log_joint(self, owners: Array, z: Array) -> Array:
        """See ``Target``."""
        return self._log_prior(z) + self._likelihood(owners, z.astype(np.float64))[0]

    def likelihood_and_gradient(self, owners: Array, z: Array) -> tuple[Array, Array]:
        """log p(x_n | z_r) (rows,) and its gradient in z (rows, d), for z float64."""
        value, pull, hidden = self._likelihood(owners, z)
        for i in reversed(range(len(self._back))):
            pull = self._back[i].product(pull)
            if i:
                multiply_slopes(hidden[i], self._activation, pull)
        return value, pull

    def _likelihood(self, owners: Array, z: Array) -> tuple[Array, Array, list[Array]]:
        """log p(x | z), its derivative in the network's output, and the layers' inputs."""
        hidden = [z]
        for layer in self._forward[:-1]:
            values = layer.product(hidden[-1])
            activate(values.reshape(-1), self._activation)
            hidden.append(values)
        eta, value = self._forward[-1].product(hidden[-1]), np.empty(len(z))
        if self._noise_std is None:
            bernoulli_rows(self._x, owners, eta, value)
        else:
            normal_rows(self._x, owners, self._noise_std, eta, value)
        return value, eta, hidden


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
