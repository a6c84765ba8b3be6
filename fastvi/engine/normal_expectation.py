"""E_q[log p(x | z)] of a decoder for a normal q of up to three latents, by the trapezoid rule.

With z = mean + L u the integrand is a normal density in u times log p(x | z), and the rule's error falls
faster than any power of the step where log p(x | z) is smooth (Trefethen and Weideman 2014), with the square
of the step at the kinks of "relu". The step is halved until the result moves by no more than 1e-10
max(1, |result|), or, at the kinks, until 2^20 nodes are reached, which is an error unless the last halving
moved it by less than 1e-6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastvi.engine.importance.decoder_target import DecoderLikelihood
from fastvi.engine.threads import parallel_map

Array = NDArray[Any]

MOST_LATENTS = 3
_REACH = 8.5  # standard deviations: what lies beyond has 2e-17 of the mass
_FIRST = 16  # intervals in each direction
_MOST_NODES = 1 << 20
_TOLERANCE, _AT_KINKS = 1e-10, 1e-6


def _grid(intervals: int, d: int) -> tuple[Array, Array]:
    """Nodes (S, d) and weights (S,) of sum 1."""
    line = np.linspace(-_REACH, _REACH, intervals + 1)
    density = np.exp(-0.5 * line * line)
    density /= density.sum()
    nodes = np.stack(np.meshgrid(*[line] * d, indexing="ij"), axis=-1).reshape(-1, d)
    weights = density
    for _ in range(d - 1):
        weights = np.multiply.outer(weights, density)
    flat = weights.reshape(-1)
    kept = flat > 1e-19  # of at most 2^20 nodes: 1e-13 of the mass, in the far corners
    return nodes[kept], flat[kept]


def _check_size(d: int) -> None:
    if d > MOST_LATENTS:
        raise ValueError(
            f"model must have at most {MOST_LATENTS} latents for an exact ELBO under a Normal, got {d}; pass "
            "num_samples to estimate it"
        )


def expected_log_likelihood(
    layers: Sequence[tuple[Array, Array]], activation: str, noise_std: float | None, pixels: Array, x: Array,
    mean: Array, scale: Array,
) -> Array:  # fmt: skip
    """(N,) for z = mean_n + scale_n u, ``mean`` (N, d), ``scale`` (N, d, d), and the seen ``pixels``."""
    d = mean.shape[1]
    _check_size(d)
    likelihood = DecoderLikelihood(layers, activation, noise_std, pixels)
    terms, out = likelihood.terms(x), np.empty(len(x))

    def at(n: int, intervals: int) -> float:
        nodes, weights = _grid(intervals, d)
        # einsum, not BLAS, so that the bits of a result do not depend on threads
        z = mean[n] + np.einsum("sk,ik->si", nodes, scale[n])
        values = np.zeros(len(z))
        likelihood.add_states(z, terms.linear[n], values)
        return float((weights * values).sum() / weights.sum() + terms.constant[n])

    def task(n: int) -> None:
        intervals, value = _FIRST, at(n, _FIRST)
        while True:
            intervals *= 2
            before, value = value, at(n, intervals)
            moved = abs(value - before)
            if moved <= _TOLERANCE * max(1.0, abs(value)):
                break
            if (2 * intervals + 1) ** d > _MOST_NODES:
                if not moved <= _AT_KINKS * max(1.0, abs(value)):
                    raise ValueError(
                        f"model must be smooth enough for 2^20 nodes, got a datum (number {n}) whose ELBO "
                        f"still moved by {moved:.2g} when the step was halved; pass num_samples to sample it"
                    )
                break
        out[n] = value

    parallel_map(task, range(len(x)), math.inf)
    return out


class Slopes(NamedTuple):
    """E_q[log p(x | z)] of a datum, and how it changes with q's means and log standard deviations (d,)."""

    value: float
    of_mean: Array
    of_log_std: Array


class LikelihoodSlopes:
    """The expectation under a normal q of independent latents, datum by datum, with its derivatives.

    d/d mean = E[f(z) u] / std and d/d log std = E[f(z) (u^2 - 1)] (Stein's identity), u = (z - mean) / std,
    by the same nodes and weights as the value, for which f is the same.
    """

    def __init__(
        self, layers: Sequence[tuple[Array, Array]], activation: str, noise_std: float | None, x: Array
    ) -> None:
        self._likelihood = DecoderLikelihood(layers, activation, noise_std, np.ones(x.shape[1], bool))
        self._terms, self._d = self._likelihood.terms(x), layers[0][0].shape[1]
        _check_size(self._d)

    def __call__(self, n: int, mean: Array, std: Array) -> Slopes:
        """At q of datum n; the step is halved until nothing moves by more than 1e-10 of the value."""
        intervals, found = _FIRST, self._at(n, mean, std, _FIRST)
        while True:
            intervals *= 2
            before, found = found, self._at(n, mean, std, intervals)
            moved = _distance(found, before)
            if moved <= _TOLERANCE * max(1.0, abs(found.value)):
                return found
            if (2 * intervals + 1) ** self._d > _MOST_NODES:
                if moved <= _AT_KINKS * max(1.0, abs(found.value)):
                    return found
                raise ValueError(
                    f"model must be smooth enough for 2^20 nodes, got a datum (number {n}) whose ELBO still "
                    f"moved by {moved:.2g} when the step was halved; pass num_samples to sample it"
                )

    def _at(self, n: int, mean: Array, std: Array, intervals: int) -> Slopes:
        nodes, weights = _grid(intervals, self._d)
        values = np.zeros(len(nodes))
        self._likelihood.add_states(mean + std * nodes, self._terms.linear[n], values)
        weights = weights / weights.sum()
        value = float((weights * values).sum())
        rest = (weights * (values - value))[:, None]
        of_mean = (rest * nodes).sum(axis=0) / std
        of_log_std = (rest * (np.square(nodes) - 1.0)).sum(axis=0)
        return Slopes(value + float(self._terms.constant[n]), of_mean, of_log_std)


def _distance(found: Slopes, before: Slopes) -> float:
    """The largest difference of any part."""
    of_mean, of_log_std = found.of_mean - before.of_mean, found.of_log_std - before.of_log_std
    return max(abs(found.value - before.value), float(np.abs(of_mean).max()), float(np.abs(of_log_std).max()))
