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

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastvi.engine.data_terms import BinaryData, Data, RealData, Terms
from fastvi.engine.form import Form
from fastvi.engine.tiling import Tiling, choose_pair_tiling
from fastvi.kernels.cpu.tile_logs import add_linear, exponentiate, outer_terms, pair_tile

if TYPE_CHECKING:
    from fastvi.engine.pair_batch import PairBatch

Array = NDArray[Any]


def wave_tiles(tiling: Tiling) -> int:
    """Tiles of a wave: 15 ms for a datum, 4 minutes for a chunk."""
    return max(1, (1 << 28) // tiling.tile_states)


def filled_tiles(tiling: Tiling) -> int:
    """Tiles that are filled together."""
    return max(1, (1 << 20) // tiling.tile_states)


@dataclass(frozen=True, eq=False)
class PairForm(Form):
    """One tile of J(inner) + <centre, inner>, and what outer bits add to it."""

    couplings: Array  # (d, d) symmetric, zero diagonal, in the form's order; may hold -inf
    log_tile: Array  # packed
    tile: Array  # exp(log_tile - tile_scale), packed
    tile_scale: float

    tells_masses = True

    @property
    def wave_tiles(self) -> int:  # type: ignore[override]
        return wave_tiles(self.tiling)

    @property
    def filled_tiles(self) -> int:  # type: ignore[override]
        return filled_tiles(self.tiling)

    @property
    def operations(self) -> int:
        return 16

    def outer_terms(self, first: int, count: int) -> tuple[Array, Array]:
        """What the outer states ``first`` .. add: to the coefficients of inner bits (count, inner bits), and
        to the constant (count,).
        """
        linear = np.empty((count, self.num_latents - self.tiling.outer_bits))
        constant = np.empty(count)
        outer_terms(self.couplings, self.centre, self.tiling.outer_bits, first, linear, constant)
        return linear, constant

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
        # -inf couplings count where both bits are set, and nowhere else (0 * inf is nan)
        blocked = np.isneginf(self.couplings)
        finite = np.where(blocked, 0.0, self.couplings)
        terms = self.data.terms(x)
        out = np.empty(z.shape[:-1])
        for n in range(len(x)):
            bits = z[n].astype(np.float64)
            linear = terms.linear[n] + self.centre
            barred = np.isneginf(linear)
            pairs = 0.5 * np.einsum("...i,ij,...j->...", bits, finite, bits)
            value = pairs + (bits * np.where(barred, 0.0, linear)).sum(axis=-1) + terms.constant[n]
            bad = np.einsum("...i,ij,...j->...", bits, blocked.astype(np.float64), bits) > 0
            out[n] = np.where(bad | (bits * barred).any(axis=-1), -np.inf, value)
        return out

    def batch(self, terms: Terms) -> PairBatch:
        from fastvi.engine.pair_batch import PairBatch

        return PairBatch(self, terms)


class PairParts(NamedTuple):
    """What a form is made of: log p(x, z) = c(x) + <t(x) + centre, z> + sum_{i<j} J_ij z_i z_j."""

    order: Array  # (d,)
    couplings: Array  # (d, d)
    centre: Array  # (d,)
    data: Data


def _build(parts: PairParts) -> PairForm:
    order, couplings, centre, data = parts
    tiling = choose_pair_tiling(order.size)
    inner = tiling.outer_bits
    # sizes follow from the tiling alone
    blank = PairForm(tiling, order, centre, data, couplings, np.empty(0), np.empty(0), 0.0)
    log_tile = np.empty(blank.tile_size)
    pair_tile(
        np.ascontiguousarray(couplings[inner:, inner:]), centre[inner:].copy(), tiling.row_bits,
        blank.padded_rows, log_tile,
    )  # fmt: skip
    tile = log_tile.copy()
    scale = exponentiate(tile, 1 << tiling.row_bits, blank.padded_rows, 1 << tiling.column_bits)
    return PairForm(tiling, order, centre, data, couplings, log_tile, tile, float(scale))


def _order(couplings: Array, linear: Array) -> Array:
    """The latents that move the energy most go outermost: what is left inside spans less."""
    strength = np.where(np.isfinite(couplings), np.abs(couplings), 0.0).sum(axis=1) + np.abs(linear)
    return np.argsort(-strength, kind="stable")


def boltzmann_form(couplings: Array, bias: Array, observed: Array) -> PairForm:
    """Boltzmann machine: sums over the units that are not ``observed`` (d,); data are those that are."""
    return _build(boltzmann_parts(couplings, bias, observed))


def boltzmann_parts(couplings: Array, bias: Array, observed: Array) -> PairParts:
    """The same before any tile is made."""
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
    return PairParts(order, inside, centre, data)


def sparse_coding_form(weights: Array, bias: Array, noise_std: float, prior_logits: Array) -> PairForm:
    """x ~ N(W z + b, s^2 I): J = -W^T W / s^2 off its diagonal, half of the diagonal in what is linear."""
    return _build(sparse_coding_parts(weights, bias, noise_std, prior_logits))


def sparse_coding_parts(weights: Array, bias: Array, noise_std: float, prior_logits: Array) -> PairParts:
    """The same before any tile is made."""
    scaled = weights / noise_std
    gram = np.einsum("ji,jk->ik", scaled, scaled)  # not BLAS
    linear = prior_logits - 0.5 * np.diag(gram)
    couplings = -gram
    np.fill_diagonal(couplings, 0.0)
    order = _order(couplings, linear)
    mean = 1.0 / (1.0 + np.exp(-np.clip(prior_logits, -500, 500)))
    # E[t(x)] for x at the model's mean
    centre = (linear + (gram * mean).sum(axis=1))[order]
    data = RealData(
        np.ascontiguousarray(weights[:, order]),
        np.ascontiguousarray(bias),
        noise_std,
        linear[order] - centre,
        -float(np.logaddexp(0.0, prior_logits).sum()),
    )
    return PairParts(order, np.ascontiguousarray(couplings[np.ix_(order, order)]), centre, data)
