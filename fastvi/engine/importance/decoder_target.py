"""Sampled states of neural decoders: a forward pass for each, some hundred at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.decoder.layers import Pairs
from fastvi.engine.decoder.network import network
from fastvi.engine.importance.proposals import unpacked
from fastvi.engine.importance.targets import BinaryTarget, RealTarget, Sampled
from fastvi.engine.states.data_terms import Terms
from fastvi.kernels.cpu.dense.products import ROWS, pack_rows
from fastvi.kernels.cpu.importance.importance_sampling import (
    add_normal_logs,
    add_panel_sums,
    pack_words,
    subtract_panel_distances,
)


class DecoderLikelihood:
    """log p(x | z) = c(x) + <t(x), h(z)> - A(z), or c(x) - |y(x) - u(z)|^2 for real pixels."""

    def __init__(
        self, layers: Pairs, activation: str, noise_std: float | None, pixels: Array, *, bits: bool = False
    ) -> None:
        self.net, self._data = network(layers, activation, noise_std, pixels, bits=bits)

    def terms(self, x: Array) -> Terms:
        """t(x) (N, hidden units), or y(x), and c(x) (N,)."""
        return self._data.terms(x)

    def add(self, rows: Array, linear: Array, log_w: Array) -> None:
        """log_w[k] += <t, h(z_k)> - A(z_k), or -|y - u(z_k)|^2; ``net.block_rows`` packed z at most."""
        block = self.net.empty_block(log_w.size)
        self.net.forward(rows, log_w.size, block)
        log_w -= block.minus[: log_w.size]
        if block.distances:
            subtract_panel_distances(block.features, block.counts.size, self.net.depth, linear, log_w)
            return
        add_panel_sums(block.features, block.units, block.counts, self.net.depth, linear, log_w)

    def add_states(self, z: Array, linear: Array, log_w: Array) -> None:
        """``add`` for any number of states z (K, d)."""
        step = self.net.block_rows
        for first in range(0, log_w.size, step):
            part = log_w[first : first + step]
            rows = _packed_rows(part.size, z.shape[1])
            pack_rows(np.ascontiguousarray(z[first : first + step]), rows)
            self.add(rows, linear, part)


def _packed_rows(num: int, num_latents: int) -> Array:
    return np.empty(-(-num // ROWS) * ROWS * num_latents)


class BinaryDecoderTarget(BinaryTarget):
    """A decoder with a Bernoulli prior, or with one that is a model.

    Of such a model ``log_prior`` takes states (S, d) uint8 to log p(z).
    """

    def __init__(
        self, layers: Pairs, activation: str, noise_std: float | None, pixels: Array, num_latents: int,
        prior_logits: Array | None, log_prior: Callable[[Array], Array] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(num_latents, prior_logits)
        self._likelihood = DecoderLikelihood(layers, activation, noise_std, pixels, bits=True)
        self._log_prior = log_prior

    def terms(self, x: Array) -> Terms:
        return Terms(np.zeros((len(x), self.num_latents)), self.prepare(x).constant)

    def prepare(self, x: Array) -> Terms:
        return self._likelihood.terms(x)

    def add(self, x: Terms, sampled: Sampled, log_w: Array) -> None:
        step = self._likelihood.net.block_rows
        for m, (words, row) in enumerate(
            zip(sampled.words, log_w.reshape(len(sampled.words), -1), strict=True)
        ):
            for first in range(0, row.size, step):
                part = row[first : first + step]
                rows = _packed_rows(part.size, self.num_latents)
                pack_words(words, self.num_latents, first, part.size, ROWS, rows)
                self._likelihood.add(rows, x.linear[sampled.begin + m], part)
            if self._log_prior is not None:
                row += self._log_prior(unpacked(words, self.num_latents))


class RealDecoderTarget(RealTarget):
    """A decoder with a normal prior."""

    def __init__(
        self, layers: Pairs, activation: str, noise_std: float | None, pixels: Array, num_latents: int,
        prior: tuple[Array, Array] | None,
    ) -> None:  # fmt: skip
        self.num_latents, self._prior = num_latents, prior
        self._likelihood = DecoderLikelihood(layers, activation, noise_std, pixels)

    def prepare(self, x: Array) -> Terms:
        return self._likelihood.terms(x)

    def add(self, x: Terms, n: int, z: Array, log_w: Array) -> None:
        if self._prior is not None:
            add_normal_logs(z, *self._prior, log_w)
        log_w += x.constant[n]
        self._likelihood.add_states(z, x.linear[n], log_w)
