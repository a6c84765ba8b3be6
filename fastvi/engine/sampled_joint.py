"""log p(x_n, z_nk) of given states of each datum, and its gradients: what bounds by sampling climb.

A model is a prior and a network (``row_network``). Memory: rows N K times the width of all layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fastvi.distributions.bernoulli import bernoulli_log_prob, sigmoid
from fastvi.distributions.normal import normal_log_prob
from fastvi.engine.row_network import Evaluated, RowNetwork
from fastvi.engine.threads import parallel_map

Array = NDArray[Any]

_GRADIENT_ROWS = 1024  # whose gradients in the parameters are one task


class Prior(Protocol):
    """p(z) of rows z (rows, d)."""

    def log_prob(self, z: Array) -> Array:
        """(rows,)."""

    def of_latents(self, z: Array) -> Array:
        """Its gradient in z, of real latents."""

    def of_parameters(self, z: Array, share: Array) -> dict[str, Array]:
        """Gradient of sum_r share_r log p(z_r), by the names of the model's parameters."""


class BernoulliPrior(NamedTuple):
    """Independent bits, whose logits are learnt."""

    logits: Array

    def log_prob(self, z: Array) -> Array:
        return np.asarray(bernoulli_log_prob(z, self.logits).sum(axis=1))

    def of_latents(self, z: Array) -> Array:
        raise TypeError("model must have real latents for gradients in them")

    def of_parameters(self, z: Array, share: Array) -> dict[str, Array]:
        return {"prior_logits": (share[:, None] * (z - sigmoid(self.logits))).sum(axis=0)}


class NormalPrior(NamedTuple):
    """Independent normal numbers; the prior stays as it is."""

    mean: Array
    std: Array

    def log_prob(self, z: Array) -> Array:
        return np.asarray(normal_log_prob(z, self.mean, self.std).sum(axis=1))

    def of_latents(self, z: Array) -> Array:
        return (self.mean - z) / np.square(self.std)

    def of_parameters(self, z: Array, share: Array) -> dict[str, Array]:
        return {}


class ModelPrior(NamedTuple):
    """A prior that is a model."""

    log_prior: Callable[[Array], Array]
    gradient: Callable[[Array, Array], dict[str, Array]]

    def log_prob(self, z: Array) -> Array:
        return self.log_prior(z)

    def of_latents(self, z: Array) -> Array:
        raise TypeError("model must have real latents for gradients in them")

    def of_parameters(self, z: Array, share: Array) -> dict[str, Array]:
        return self.gradient(np.ascontiguousarray(z, dtype=np.uint8), share)


class SampledJoint:
    """The joint of data ``x`` (N, D) and states ``z`` (N, K, d).

    Parameters
    ----------
    layers, activation, noise_std
        Of the network.
    names
        What the model calls the weight and the bias of each layer.

    Attributes
    ----------
    value : (N, K)
        log p(x_n, z_nk).
    """

    def __init__(
        self, layers: Sequence[tuple[Array, Array]], activation: str, noise_std: float | None, prior: Prior,
        names: Sequence[tuple[str, str]], x: Array, z: Array,
    ) -> None:  # fmt: skip
        self._network, self._prior = RowNetwork(layers, activation, noise_std, x), prior
        self._names, self._has_noise = names, noise_std is not None
        num_data, num, num_latents = z.shape
        self._shape = z.shape
        self._z = np.ascontiguousarray(z, dtype=np.float64).reshape(-1, num_latents)
        owners, step = np.repeat(np.arange(num_data), num), self._network.block_rows
        starts, cost = range(0, len(owners), step), self._network.operations * len(owners)

        def task(first: int) -> Evaluated:
            return self._network.evaluate(owners[first : first + step], self._z[first : first + step])

        self._blocks, self._cost = parallel_map(task, starts, cost), cost
        likelihood = np.concatenate([np.empty(0), *(block.value for block in self._blocks)])
        self.value = (likelihood + prior.log_prob(self._z)).reshape(num_data, num)

    def of_latents(self) -> Array:
        """Gradient of each value in its z, (N, K, d), of real latents."""
        parts = parallel_map(self._network.of_latents, self._blocks, self._cost)
        likelihood = np.concatenate([np.empty((0, self._shape[2])), *parts])
        return (likelihood + self._prior.of_latents(self._z)).reshape(self._shape)

    def of_parameters(self, share: Array) -> dict[str, Array]:
        """Gradient of sum_nk share_nk log p(x_n, z_nk), ``share`` (N, K), by the model's names."""
        flat = np.ascontiguousarray(share).reshape(-1)
        out = self._prior.of_parameters(self._z, flat)
        step = self._network.block_rows
        together = max(1, _GRADIENT_ROWS // step)

        def task(first: int) -> dict[str, Array]:
            blocks = self._blocks[first : first + together]
            rows = Evaluated(
                np.empty(0),
                np.concatenate([block.pull for block in blocks]),
                [np.concatenate(parts) for parts in zip(*(block.inputs for block in blocks), strict=True)],
            )
            own = flat[first * step : first * step + len(rows.pull)]
            part: dict[str, Array] = {}
            for names, values in zip(self._names, self._network.of_parameters(rows, own), strict=True):
                part.update(zip(names, values, strict=True))
            if self._has_noise:
                part["noise_std"] = np.asarray(self._network.of_noise_std(rows, own))
            return part

        starts = range(0, len(self._blocks), together)
        for some in range(0, len(starts), 8):  # few parts wait to be added
            for part in parallel_map(task, starts[some : some + 8], self._cost):
                for name, value in part.items():
                    out[name] = out[name] + value if name in out else value
        return out
