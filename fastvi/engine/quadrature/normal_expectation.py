"""E_q[log p(x | z)] of a decoder for a normal q of up to three latents, by the trapezoid rule.

With z = mean + L v the integrand is a normal density in v times log p(x | z), and the rule's error falls
faster than any power of the step where log p(x | z) is smooth (Trefethen and Weideman 2014). Lattices and the
copies that check them are those of ``lattices.py``, in cells that cover a ball; lines from kink to kink serve
networks of "relu" and "leaky_relu" (``kinks.py``). Levels go on until nothing moves by more than 1e-10 max(1,
|result|), 1e-8 where f is not smooth, or 2^21 nodes are not enough: what moved by more than 1e-8 then is
reported.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from fastvi.core.accuracy import uncertain
from fastvi.core.arrays import Array
from fastvi.engine.decoder.layers import Pairs
from fastvi.engine.importance.decoder_target import DecoderLikelihood
from fastvi.engine.quadrature.kinks import is_smooth, kinks_of, line_nodes
from fastvi.engine.quadrature.lattices import SEEN, added, lattice, num_nodes, shifted
from fastvi.engine.run.threads import finished

MOST_LATENTS = 3
_REACH = 8.5  # standard deviations: what lies beyond has 2e-15 of the mass of three latents
_CELL, _LEVEL_ORDER = 0.5, 6  # edge of a cell, and nodes of a piece of a line at level 0
_MOST_NODES = 1 << 21
_BLOCK = 1 << 13
_GROUP_DATA = 1 << 10  # that are worked on at a time
_TOLERANCE, CERTIFIED = 1e-10, 1e-8


def _check_size(d: int) -> None:
    if d > MOST_LATENTS:
        raise ValueError(
            f"model must have at most {MOST_LATENTS} latents for an exact ELBO under a Normal, got {d}; pass "
            "num_samples to estimate it"
        )


@cache
def _cells(d: int) -> Array:
    """Cells (C, d) that meet the ball of radius ``_REACH``."""
    side = np.arange(-round(_REACH / _CELL), round(_REACH / _CELL))
    index = np.stack(np.meshgrid(*[side] * d, indexing="ij"), axis=-1).reshape(-1, d)
    nearest = np.maximum(np.maximum(index, -1 - index), 0) * _CELL
    return np.ascontiguousarray(index[np.square(nearest).sum(axis=1) <= _REACH**2])


class Slopes(NamedTuple):
    """E_q[log p(x | z)] of a datum, and how far it moved last.

    Where L is diagonal also its derivatives in q's means and log standard deviations (d,).
    """

    value: float
    of_mean: Array
    of_log_std: Array
    moved: float

    @property
    def certified(self) -> bool:
        return self.moved <= CERTIFIED * max(1.0, abs(self.value))


class NormalExpectation:
    """The expectation under normal q, datum by datum, with its derivatives.

    d/d mean = E[f(z) v] / std and d/d log std = E[f(z) (v^2 - 1)] (Stein's identity), z = mean + std v, by
    the same nodes and weights as the value, for which f is the same.
    """

    def __init__(
        self, layers: Pairs, activation: str, noise_std: float | None, pixels: Array,
        x: Array,
    ) -> None:  # fmt: skip
        self._d = layers[0][0].shape[1]
        _check_size(self._d)
        self._likelihood = DecoderLikelihood(layers, activation, noise_std, pixels)
        self._terms = self._likelihood.terms(x)
        self._kinks = kinks_of(layers, activation)
        self._tolerance = _TOLERANCE if is_smooth(layers, activation) else CERTIFIED

    def __call__(self, n: int, mean: Array, scale: Array) -> Slopes:
        """At q of datum n, z = mean + scale v."""
        return finished([self.steps(n, mean, scale)])[0]

    def steps(self, n: int, mean: Array, scale: Array) -> Generator[None, None, Slopes]:
        """At q of datum n: levels go on until nothing moves; yields between steps of the work."""
        d, turn = self._d, np.eye(self._d)
        if self._kinks is not None:
            turn = self._kinks.across(scale)
        turned = np.einsum("ik,kj->ij", scale, turn)
        sums = np.zeros((2, 2 + 2 * d))
        level = 0
        while True:
            for copy in range(2):
                if copy or self._kinks is not None:
                    sums[copy] = 0.0
                for v, weights in self._nodes(copy, level, mean, turned):
                    self._add(n, v, weights, mean, turned, turn, sums[copy])
                    yield
            one, other = sums[:, 1:] / sums[:, :1]
            value, away = 0.5 * (one + other), np.abs(one - other) / SEEN
            constant = float(self._terms.constant[n])
            moved, total = float(away.max()), float(value[0]) + constant
            level += 1
            if moved <= self._tolerance * max(1.0, abs(total)) or self._visited(level) > _MOST_NODES:
                # of_log_std is E[f v^2] - E[f]
                std = np.sqrt(np.square(scale).sum(axis=1))
                return Slopes(total, value[1 : 1 + d] / std, value[1 + d :] - value[0], moved)

    def _visited(self, level: int) -> int:
        lines = self._kinks is not None
        each = _LEVEL_ORDER + 2 * level if lines else 1
        return 2 * len(_cells(self._d)) * num_nodes(self._d - lines, level) * each

    def _nodes(self, copy: int, level: int, mean: Array, turned: Array) -> Iterator[tuple[Array, Array]]:
        """Nodes and weights that a rule takes at a level, the nested one anew, block by block."""
        d, cells = self._d, _cells(self._d)
        if self._kinks is not None:
            offsets = (shifted if copy else lattice)(d - 1, level)
            order = _LEVEL_ORDER + 2 * (level + copy)
            yield from line_nodes(self._kinks, mean, turned, cells, _CELL, offsets, order)
            return
        offsets = (shifted if copy else added)(d, level)
        for first in range(0, len(offsets) * len(cells), _BLOCK):
            number = np.arange(first, min(first + _BLOCK, len(offsets) * len(cells)))
            v = (cells[number % len(cells)] + offsets[number // len(cells)]) * _CELL
            yield v, np.ones(len(v))

    def _add(
        self, n: int, v: Array, weights: Array, mean: Array, turned: Array, turn: Array, sums: Array
    ) -> None:
        """Add the density's mass, and its products with f, f v and f v^2, v turned back to the latents."""
        f = np.zeros(len(v))
        self._likelihood.add_states(mean + np.einsum("sk,ik->si", v, turned), self._terms.linear[n], f)
        mass = weights * np.exp(-0.5 * np.square(v).sum(axis=1))
        part, back = mass * f, np.einsum("sk,ik->si", v, turn)
        sums[0] += mass.sum()
        sums[1] += part.sum()
        sums[2 : 2 + self._d] += (part[:, None] * back).sum(axis=0)
        sums[2 + self._d :] += (part[:, None] * np.square(back)).sum(axis=0)


def expected_log_likelihood(
    layers: Pairs, activation: str, noise_std: float | None, pixels: Array, x: Array,
    mean: Array, scale: Array,
) -> Array:  # fmt: skip
    """(N,) for z = mean_n + scale_n v, ``mean`` (N, d), ``scale`` (N, d, d), and the seen ``pixels``."""
    expectation = NormalExpectation(layers, activation, noise_std, pixels, x)
    found: list[Slopes] = []
    for part in range(0, len(x), _GROUP_DATA):
        members = range(part, min(part + _GROUP_DATA, len(x)))
        found += finished([expectation.steps(n, mean[n], scale[n]) for n in members])
    report_uncertain(found)
    return np.array([one.value for one in found])


def report_uncertain(found: Sequence[Slopes]) -> None:
    """Warn of data whose expectation is not certified."""
    certified = np.array([one.certified for one in found], bool)
    uncertain("E_q[log p(x | z)]", np.array([one.moved for one in found]), certified)
