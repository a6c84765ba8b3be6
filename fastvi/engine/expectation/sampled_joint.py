"""log p(x_n, z_nk) of given states of each datum, and its gradients: what bounds by sampling climb.

A model is a prior and a network (``row_network``). Memory: rows N K times the width of all layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from fastvi.core.arrays import Array
from fastvi.core.functions import normal_log_prob, sigmoid
from fastvi.engine.decoder.large_logits import are_large
from fastvi.engine.decoder.layers import Pairs
from fastvi.engine.decoder.row_network import Evaluated, RowNetwork
from fastvi.engine.expectation.binary_layer import BinaryLayer
from fastvi.engine.expectation.q_draws import log_probabilities_of, weighted_sum_of
from fastvi.engine.linalg.products import matmul
from fastvi.engine.run.threads import parallel_map

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
        return log_probabilities_of(self.logits[None], z[None])[0]

    def of_latents(self, z: Array) -> Array:
        raise TypeError("model must have real latents for gradients in them")

    def of_parameters(self, z: Array, share: Array) -> dict[str, Array]:
        return {"prior_logits": weighted_sum_of(z, share, sigmoid(self.logits))}


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


class Likelihood(Protocol):
    """log p(x | z) of rows."""

    value: Array  # (rows,)

    def of_latents(self) -> Array:
        """Gradient of each row's value in its z, (rows, d)."""

    def of_parameters(self, share: Array) -> dict[str, Array]:
        """Gradient of sum_r share_r value_r, by the names of the model's parameters."""

    def units(self) -> Array:
        """Units that the last layer reads, (rows, units)."""


class _LayerLikelihood:
    """Bernoulli pixels given bits by one layer."""

    def __init__(
        self, layer: tuple[Array, Array], names: tuple[str, str], x: Array, z: Array, dtype: str
    ) -> None:
        self._layer, self._names, self._z = BinaryLayer(*layer, x, z, dtype), names, z
        self.value = self._layer.value

    def of_latents(self) -> Array:
        raise TypeError("model must have real latents for gradients in them")

    def of_parameters(self, share: Array) -> dict[str, Array]:
        return dict(zip(self._names, self._layer.of_parameters(share), strict=True))

    def units(self) -> Array:
        return self._z.reshape(-1, self._z.shape[2]).astype(np.float64)


class _NetworkLikelihood:
    """Pixels given latents by a network, in blocks of rows."""

    def __init__(
        self, network: RowNetwork, names: Sequence[tuple[str, str]], has_noise: bool, z: Array, num_units: int
    ) -> None:
        self._network, self._names, self._has_noise, self._num_units = network, names, has_noise, num_units
        num_data, num, self._num_latents = z.shape
        owners, step = np.repeat(np.arange(num_data), num), network.block_rows
        rows = np.ascontiguousarray(z, dtype=np.float64).reshape(-1, self._num_latents)

        def task(first: int) -> Evaluated:
            return network.evaluate(owners[first : first + step], rows[first : first + step])

        self._cost = network.operations * len(owners)
        self._blocks = parallel_map(task, range(0, len(owners), step), self._cost)
        self.value = np.concatenate([np.empty(0), *(block.value for block in self._blocks)])

    def of_latents(self) -> Array:
        parts = parallel_map(self._network.of_latents, self._blocks, self._cost)
        return np.concatenate([np.empty((0, self._num_latents)), *parts])

    def units(self) -> Array:
        return np.concatenate([np.empty((0, self._num_units)), *(block.inputs[-1] for block in self._blocks)])

    def of_parameters(self, share: Array) -> dict[str, Array]:
        step = self._network.block_rows
        out: dict[str, Array] = {}
        together = max(1, _GRADIENT_ROWS // step)

        def task(first: int) -> dict[str, Array]:
            blocks = self._blocks[first : first + together]
            rows = Evaluated(
                np.empty(0),
                np.concatenate([block.pull for block in blocks]),
                [np.concatenate(parts) for parts in zip(*(block.inputs for block in blocks), strict=True)],
            )
            own = share[first * step : first * step + len(rows.pull)]
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


class SampledJoint:
    """The joint of data ``x`` (N, D) and states ``z`` (N, K, d), uint8 or float64.

    Parameters
    ----------
    layers, activation, noise_std
        Of the network.
    names
        What the model calls the weight and the bias of each layer.
    dtype
        Of the logits of pixels given bits by one layer; networks, and logits so large that they are looked at
        one by one, are float64.

    Attributes
    ----------
    value : (N, K)
        log p(x_n, z_nk).
    """

    def __init__(
        self, layers: Pairs, activation: str, noise_std: float | None, prior: Prior,
        names: Sequence[tuple[str, str]], x: Array, z: Array, dtype: str = "float64",
    ) -> None:  # fmt: skip
        self._z, self._shape, self._prior = z.reshape(-1, z.shape[2]), z.shape, prior
        self._likelihood: Likelihood
        bits = z.dtype == np.uint8
        large = noise_std is None and are_large(layers, activation, np.zeros(0))
        if len(layers) == 1 and noise_std is None and bits and not large:
            self._likelihood = _LayerLikelihood(layers[0], names[0], x, z, dtype)
        else:
            network = RowNetwork(layers, activation, noise_std, x, bits=bits)
            num_units = layers[-1][0].shape[1]
            self._likelihood = _NetworkLikelihood(network, names, noise_std is not None, z, num_units)
        self._x, self._noise_std, self._last_layer = x, noise_std, layers[-1]
        self.value = (self._likelihood.value + prior.log_prob(self._z)).reshape(z.shape[:2])

    def of_latents(self) -> Array:
        """Gradient of each value in its z, (N, K, d), of real latents."""
        return (self._likelihood.of_latents() + self._prior.of_latents(self._z)).reshape(self._shape)

    def of_pixels(self, share: Array) -> Array:
        """Gradient of sum_k share_nk log p(x_n, z_nk) in x_n, (N, D)."""
        weight, bias = self._last_layer
        units = np.einsum(
            "nk,nki->ni", share, self._likelihood.units().reshape(*share.shape, weight.shape[1])
        )
        total = share.sum(axis=1)[:, None]
        outputs = matmul(units, np.ascontiguousarray(weight.T)) + total * bias
        if self._noise_std is None:
            return outputs
        return (outputs - total * self._x) / self._noise_std / self._noise_std

    def of_parameters(self, share: Array) -> dict[str, Array]:
        """Gradient of sum_nk share_nk log p(x_n, z_nk), ``share`` (N, K), by the model's names."""
        flat = np.ascontiguousarray(share).reshape(-1)
        return self._prior.of_parameters(self._z, flat) | self._likelihood.of_parameters(flat)
