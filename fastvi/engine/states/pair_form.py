"""Models that are quadratic in z as the kernels read them: -A(z) = sum over i < j of J_ij z_i z_j.

Boltzmann machines, and sparse coding (J = -W^T W / s^2). With z = (outer, inner), a state's weight is that of
its inner bits alone, times a function linear in the inner bits whose coefficients depend on the outer ones:

    J(z) = J(outer) + J(inner) + sum_i inner_i (sum_o J_io outer_o)

so all tiles are one tile. A datum and an outer state together are a datum of that tile, with t_i + sum_o J_io
outer_o in place of t_i: a batch is one matrix product with a fixed factor, one multiply-add a state. For N =
1 this is the split in three groups (outer, row, column) of Williams (2005), "A new algorithm for optimal
2-constraint satisfaction and its implications", Theoretical Computer Science 348.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.core.functions import bernoulli_log_prob
from fastvi.engine.run.slices import small_slices
from fastvi.engine.run.threads import parallel_map
from fastvi.engine.states.data_terms import (
    BinaryData,
    Data,
    Terms,
    WordData,
    inverse_square,
    log_density_scale,
    power_below,
    two_words,
)
from fastvi.engine.states.pair_batch import OuterWords, PairBatch
from fastvi.engine.states.sums import Sums
from fastvi.engine.states.tile_form import TileForm
from fastvi.engine.states.tiling import Tiling, choose_pair_tiling
from fastvi.kernels.cpu.states.pair_words import (
    datum_log_tiles,
    gram_words,
    log_space_words,
    multiply_by_exponentials,
    outer_words,
    pair_tile_words,
)
from fastvi.kernels.cpu.states.posterior_sums import LogTiles, row_peaks
from fastvi.kernels.cpu.states.tile_logs import add_linear, exponentiate, outer_terms

# of c(x), t(x) and the tile: what rounding takes from smaller ones is below 2^-13, so that exponentials of it
# move no number past a threshold
LARGEST_TERM = 2.0**40

_GROUP_NUMBERS = 1 << 15  # log joints of a datum that are kept at a time: half of the second-level cache


def wave_tiles(tiling: Tiling) -> int:
    """Tiles of a wave: 15 ms for a datum, 4 minutes for a chunk."""
    return max(1, (1 << 28) // tiling.tile_states)


def filled_tiles(tiling: Tiling) -> int:
    """Tiles that are filled together."""
    return max(1, (1 << 20) // tiling.tile_states)


@dataclass(frozen=True, eq=False)
class PairForm(TileForm):
    """One tile of J(inner) + <centre, inner>, and what outer bits add to it."""

    couplings: Array  # (d, d) symmetric, zero diagonal, in the form's order; may hold -inf
    couplings_low: Array  # what rounding took from them
    log_tile: Array  # packed
    log_tile_low: Array  # what rounding took from it
    tile: Array  # exp(log_tile - tile_scale), packed
    tile_scale: float

    tells_masses = True

    @property
    def wave_tiles(self) -> int:
        return wave_tiles(self.tiling)

    @property
    def filled_tiles(self) -> int:
        return filled_tiles(self.tiling)

    @property
    def operations(self) -> int:
        return 16

    def outer_terms(self, first: int, count: int) -> tuple[Array, Array]:
        """Terms that outer states ``first`` .. add: to the inner bits (count, d_inner) and the constant."""
        linear = np.empty((count, self.num_latents - self.tiling.outer_bits))
        constant = np.empty(count)
        outer_terms(self.couplings, self.centre, self.tiling.outer_bits, first, linear, constant)
        return linear, constant

    def outer_words(self, first: int, count: int) -> OuterWords:
        """``outer_terms`` in two words each."""
        shape = (count, self.num_latents - self.tiling.outer_bits)
        found = OuterWords(np.empty(shape), np.empty(shape), np.empty(count), np.empty(count))
        outer_words(
            self.couplings, self.couplings_low, self.centre, self.tiling.outer_bits, first, *found
        )  # fmt: skip
        return found

    def too_large(self, terms: Terms) -> Array:
        with np.errstate(over="ignore"):
            size = np.abs(terms.constant) + np.abs(terms.linear).sum(axis=1)
        return (size > LARGEST_TERM) & (size < np.inf)

    def fill(self, first: int, tiles: Array, scales: Array, *, in_log_space: bool = False) -> None:
        row_bits, column_bits = self.tiling.row_bits, self.tiling.column_bits
        linear, constant = self.outer_terms(first, len(tiles))
        for t in range(len(tiles)):
            add_linear(
                self.log_tile, linear[t, :row_bits], linear[t, row_bits:], constant[t], self.padded_rows,
                tiles[t],
            )  # fmt: skip
            scales[t] = 0.0
            if not in_log_space:
                scales[t] = exponentiate(tiles[t], 1 << row_bits, self.padded_rows, 1 << column_bits)

    def log_joint(self, x: Array, z: Array) -> Array:
        return log_joint_of_pairs(self.couplings, self.centre, self.data.terms(x), z)

    def batch(self, terms: Terms) -> PairBatch:
        return PairBatch(self, terms)


def log_joint_of_pairs(couplings: Array, centre: Array, terms: Terms, z: Array) -> Array:
    """Log p(x_n, z) (N, ...) of states z (N, ..., d), by the definition."""
    # -inf couplings count where both bits are set, and nowhere else (0 * inf is nan)
    blocked = np.isneginf(couplings)
    finite = np.where(blocked, 0.0, couplings)
    out = np.empty(z.shape[:-1])
    for n in range(len(z)):
        bits = z[n].astype(np.float64)
        linear = terms.linear[n] + centre
        barred = np.isneginf(linear)
        pairs = 0.5 * np.einsum("...i,ij,...j->...", bits, finite, bits)
        value = pairs + (bits * np.where(barred, 0.0, linear)).sum(axis=-1) + terms.constant[n]
        bad = np.einsum("...i,ij,...j->...", bits, blocked.astype(np.float64), bits) > 0
        out[n] = np.where(bad | (bits * barred).any(axis=-1), -np.inf, value)
    return out


@dataclass(frozen=True, eq=False)
class SparseCodingForm(PairForm):
    """Binary sparse coding.

    Its log joints may be far smaller than what they are made of, so that single states are added up in two
    words and each datum has log tiles of its own.
    """

    def too_large(self, terms: Terms) -> Array:
        return super().too_large(terms) | (np.abs(self.log_tile).max() > LARGEST_TERM)

    def log_space_wave(self, terms: Terms, negligible: Array, first: int) -> Sums:
        count = min(self.filled_tiles, self.tiling.num_tiles - first)
        outer, sums = self.outer_words(first, count), Sums.zero(len(negligible))
        linear, linear_low, constant, constant_low = terms.words()

        def task(part: slice) -> None:
            log_space_words(
                self.log_tile, self.log_tile_low, first, self.tiling.row_bits, self.padded_rows, linear[part],
                linear_low[part], constant[part], constant_low[part], *outer, self.negligible,
                negligible[part], sums.largest[part], sums.total[part],
            )  # fmt: skip

        states = count * self.tiling.tile_states
        parallel_map(task, small_slices(len(negligible), states), 4.0 * len(negligible) * states)
        return sums

    def visit_states(
        self, kernel: Any, terms: Terms, shift: Array, first: int, sums: tuple[Array, ...], *,
        most: int | None = None,
    ) -> None:  # fmt: skip
        self.visit_flips(kernel, terms, shift, first, sums, np.zeros(len(shift), np.int64), most=most)

    def visit_flips(
        self, kernel: Any, terms: Terms, shift: Array, first: int, sums: tuple[Array, ...], origin: Array, *,
        most: int | None = None,
    ) -> None:  # fmt: skip
        """``visit_states`` with datum n's states counted from origin[n]: state s stands for s ^ origin[n]."""
        last = first + min(most or self.filled_tiles, self.tiling.num_tiles - first)
        linear, linear_low, constant, constant_low = terms.words()
        num_outer, row_bits, column_bits, _ = self.tiling
        # a power of two that divides the waves' beginnings, so that a group's states are those of another one
        group = math.gcd(max(1, _GROUP_NUMBERS // self.tile_size), first, last - first)
        no_linear = np.zeros((1, self.num_latents))
        shift = np.where(np.isposinf(shift), 0.0, shift)  # of data of probability 0
        shared = {start: self.outer_words(start, group) for start in range(first, last, group)}

        def task(n: int) -> None:
            own, tiles = slice(n, n + 1), np.empty((group, self.tile_size))
            peaks, parts = np.empty((group, 1 << row_bits)), tuple(array[own] for array in sums)
            for start in range(first, last, group):
                begin = start ^ (int(origin[n]) & (self.tiling.num_tiles - 1) & -group)
                outer = shared[begin] if begin in shared else self.outer_words(begin, group)
                datum_log_tiles(
                    self.log_tile, self.log_tile_low, begin, row_bits, linear[n], linear_low[n], constant[n],
                    constant_low[n], *outer, int(origin[n]), tiles,
                )  # fmt: skip
                row_peaks(tiles, 1 << row_bits, self.padded_rows, 1 << column_bits, peaks)
                states = LogTiles(
                    tiles, peaks, start, num_outer, row_bits, self.padded_rows, no_linear, shift[own],
                    self.negligible,
                )  # fmt: skip
                kernel(states, *parts)

        parallel_map(task, range(len(shift)), 8.0 * len(shift) * (last - first) * self.tile_size)

    def log_joint(self, x: Array, z: Array) -> Array:
        data, out = self.data, np.empty(z.shape[:-1])
        assert isinstance(data, WordData)
        for n in range(len(x)):
            bits = z[n].astype(np.float64)
            with np.errstate(over="ignore"):
                means = np.einsum("...i,ji->...j", bits, data.weights)
                squares = np.square((x[n] - data.bias - means) / data.noise_std).sum(axis=-1)
            prior = bernoulli_log_prob(z[n], data.prior_logits).sum(axis=-1)
            out[n] = prior - 0.5 * squares - log_density_scale(data.bias.size, data.noise_std)
        return out


class PairParts(NamedTuple):
    """Parts that a form is made of: log p(x, z) = c(x) + <t(x) + centre, z> + sum_{i<j} J_ij z_i z_j."""

    order: Array  # (d,)
    couplings: Array  # (d, d)
    couplings_low: Array  # (d, d) what rounding took from them
    centre: Array  # (d,)
    data: Data


def _build(kind: type[PairForm], parts: PairParts) -> PairForm:
    order, couplings, couplings_low, centre, data = parts
    tiling = choose_pair_tiling(order.size)
    inner, none = tiling.outer_bits, np.empty(0)
    # sizes follow from the tiling alone
    blank = kind(tiling, order, centre, data, couplings, couplings_low, none, none, none, 0.0)
    log_tile, log_tile_low = np.empty(blank.tile_size), np.empty(blank.tile_size)
    pair_tile_words(
        np.ascontiguousarray(couplings[inner:, inner:]), np.ascontiguousarray(couplings_low[inner:, inner:]),
        centre[inner:].copy(), tiling.row_bits, blank.padded_rows, log_tile, log_tile_low,
    )  # fmt: skip
    tile = log_tile.copy()
    scale = exponentiate(tile, 1 << tiling.row_bits, blank.padded_rows, 1 << tiling.column_bits)
    multiply_by_exponentials(log_tile_low, tile)
    return replace(blank, log_tile=log_tile, log_tile_low=log_tile_low, tile=tile, tile_scale=float(scale))


def _order(couplings: Array, linear: Array) -> Array:
    """The latents that move the energy most go outermost: what is left inside spans less."""
    strength = np.where(np.isfinite(couplings), np.abs(couplings), 0.0).sum(axis=1) + np.abs(linear)
    return np.argsort(-strength, kind="stable")


def boltzmann_form(couplings: Array, bias: Array, observed: Array) -> PairForm:
    """Boltzmann machine: sums over the units that are not ``observed`` (d,); data are those that are."""
    return _build(PairForm, boltzmann_parts(couplings, bias, observed))


def boltzmann_parts(couplings: Array, bias: Array, observed: Array) -> PairParts:
    """Parts of ``boltzmann_form``, before any tile is made."""
    free = np.flatnonzero(~observed)
    seen = np.flatnonzero(observed)
    inside, field = couplings[np.ix_(free, free)], bias[free]
    order = _order(inside, field)
    inside, field = np.ascontiguousarray(inside[np.ix_(order, order)]), field[order]
    between = couplings[np.ix_(seen, free)][:, order]
    # as if each unit were on with probability 1/2
    finite = np.where(np.isfinite(between), between, 0.0)
    centre = field + 0.5 * finite.sum(axis=0)
    data = BinaryData(
        np.ascontiguousarray(between),
        np.ascontiguousarray(bias[seen]),
        field - centre,
        0.0,
        np.ascontiguousarray(couplings[np.ix_(seen, seen)]),
    )
    return PairParts(order, inside, np.zeros_like(inside), centre, data)


def sparse_coding_form(weights: Array, bias: Array, noise_std: float, prior_logits: Array) -> PairForm:
    """X ~ N(W z + b, s^2 I): J = -W^T W / s^2 off its diagonal, half of the diagonal in what is linear."""
    return _build(SparseCodingForm, sparse_coding_parts(weights, bias, noise_std, prior_logits))


def sparse_coding_parts(weights: Array, bias: Array, noise_std: float, prior_logits: Array) -> PairParts:
    """Parts of ``sparse_coding_form``, before any tile is made."""
    unit = power_below(noise_std)
    gram, gram_low = np.zeros((2, weights.shape[1], weights.shape[1]))
    gram_words(np.ascontiguousarray(weights * unit), *inverse_square(noise_std * unit), gram, gram_low)
    half, half_low = -0.5 * np.diag(gram), -0.5 * np.diag(gram_low)
    linear, linear_low = add_words(prior_logits, np.zeros_like(prior_logits), half, half_low)
    couplings, couplings_low = -gram, -gram_low
    for matrix in (couplings, couplings_low):
        np.fill_diagonal(matrix, 0.0)
    order = _order(couplings, linear)
    # not ``sigmoid``, whose last bits are others where a logit is negative: they would be in every result
    mean = 1.0 / (1.0 + np.exp(-np.clip(prior_logits, -500, 500)))
    # E[t(x)] for x at the model's mean
    centre = linear + (gram * mean).sum(axis=1)
    offset, offset_low = add_words(linear, linear_low, -centre, np.zeros_like(centre))
    data = WordData(
        np.ascontiguousarray(weights[:, order]),
        np.ascontiguousarray(bias),
        noise_std,
        offset[order],
        offset_low[order],
        two_words(np.concatenate([np.minimum(-prior_logits, 0.0), -np.log1p(np.exp(-np.abs(prior_logits)))])),
        prior_logits[order],
        float(0.5 * np.abs(couplings).sum() + np.abs(centre).sum()),
    )
    high, low = (np.ascontiguousarray(matrix[np.ix_(order, order)]) for matrix in (couplings, couplings_low))
    return PairParts(order, high, low, centre[order], data)


def add_words(a: Array, a_low: Array, b: Array, b_low: Array) -> tuple[Array, Array]:
    """The sums of finite numbers in two words (``kernels.double_word``)."""
    high = a + b
    virtual = high - a
    low = (a - (high - virtual)) + (b - virtual) + (a_low + b_low)
    total = high + low
    return total, low - (total - high)
