"""Boltzmann machines of which an independent set of units is summed in closed form.

Of units I that are not coupled among themselves each is a factor, given the states r of all others:

    sum_z exp(z' J z / 2 + <t, z>) = sum_r exp(r' J r / 2 + <t, r> + sum_{i in I} softplus(t_i + J_i r))

so that 2^(d - |I|) states are left. The softplus sum makes tiles as that of a restricted Boltzmann machine
does, which is the case without couplings among the others. What these add is linear in a tile's bits but for
the couplings between them, which are one tile for all outer states (as in ``pair_form.py``).

Couplings of -inf become finite ones that leave the states they exclude less than a rounding of the sum.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np

from fastvi.core.arrays import Array
from fastvi.core.functions import centre_sigmoid
from fastvi.engine.states.data_terms import BinaryData
from fastvi.engine.states.softplus_form import SoftplusForm, build_softplus
from fastvi.kernels.cpu.states.tile_logs import exponentiate, pair_tile

# exp(-60) of a factor, or of a sum over 2^40 states by 2^-40 exp(-60), is below 2^-53 of it
_EXCLUDED = 60.0


@dataclass(frozen=True, eq=False)
class IndependentSetForm(SoftplusForm):
    """A softplus sum over the units of the set, and pairs of the units that are summed state by state."""

    couplings: Array  # (d, d) symmetric, finite, in the form's order
    log_pairs: Array  # packed: logarithms of ``tables.pair_tile``
    pair_scale: float  # log of what that tile was divided by; the data's constant holds it

    @property
    def operations(self) -> int:
        return super().operations + 2

    def _fill_in_steps(
        self, first: int, which: Iterable[int], tiles: Array, scales: Array, in_log_space: bool
    ) -> None:
        which = list(which)
        super()._fill_in_steps(first, which, tiles, scales, in_log_space)
        for t in which:
            if in_log_space:
                tiles[t] += self.log_pairs
            else:
                tiles[t] *= self.tables.pair_tile

    def log_joint(self, x: Array, z: Array) -> Array:
        bits = z.astype(np.float64)
        pairs = 0.5 * np.einsum("...i,ij,...j->...", bits, self.couplings, bits)
        return super().log_joint(x, z) + (pairs - self.pair_scale)


def independent_set_form(
    couplings: Array, bias: Array, observed: Array, closed: Array, states: Array | None = None
) -> IndependentSetForm:
    """Sum a Boltzmann machine over the units that are neither ``observed`` (d,) nor ``closed`` (d,).

    Closed units are not coupled among themselves. Data are the observed ones. Where they are coupled with
    closed ones, a form holds for the data that have these ``states`` (d,) of the observed units.
    """
    seen, summed, inside = (np.flatnonzero(which) for which in (observed, closed, ~(observed | closed)))
    on = seen[:0] if states is None else np.flatnonzero(observed & (states == 1))
    fields_of = bias + couplings[:, on].sum(axis=1)
    weights = _finite(couplings[np.ix_(summed, inside)], fields_of[summed])
    impossible = np.isneginf(fields_of[summed])  # closed units that must be off
    factors = np.where(impossible, -2.0 * _EXCLUDED, fields_of[summed])
    weights[impossible] = 0.0
    pairs, linear = couplings[np.ix_(inside, inside)], bias[inside]
    between = couplings[np.ix_(seen, inside)]
    most = (
        np.maximum(linear, 0.0).sum() + np.where(between > 0.0, between, 0.0).sum()
        + np.logaddexp(0.0, factors + np.maximum(weights, 0.0).sum(axis=1)).sum()
    )  # fmt: skip
    pairs = np.where(np.isneginf(pairs), -(most + np.maximum(pairs, 0.0).sum() + _EXCLUDED), pairs)
    strength = np.abs(weights).sum(axis=0) + np.abs(pairs).sum(axis=1) + np.abs(linear)
    order = np.argsort(-strength, kind="stable")
    weights, linear = np.ascontiguousarray(weights[:, order]), linear[order]
    pairs, between = np.ascontiguousarray(pairs[np.ix_(order, order)]), between[:, order]
    # tiles are flat where what is linear in z takes away the slopes at z = 1/2: of the softplus sum, and of
    # the pairs of a tile, which are in a tile of their own
    slope = centre_sigmoid(weights.sum(axis=1) / 2 + factors)
    flat = -(weights * slope[:, None]).sum(axis=0)
    flat_pairs = -0.5 * pairs.sum(axis=1)
    centre = flat + flat_pairs
    data = BinaryData(
        np.ascontiguousarray(between), np.ascontiguousarray(bias[seen]), linear - centre, 0.0,
        np.ascontiguousarray(couplings[np.ix_(seen, seen)]),
    )  # fmt: skip
    plain = build_softplus(order, weights, factors, centre, data, 1.0, "float64", None)
    outer = plain.tiling.outer_bits
    log_pairs = np.empty(plain.tile_size)
    inner = np.ascontiguousarray(pairs[outer:, outer:])
    pair_tile(inner, flat_pairs[outer:].copy(), plain.tiling.row_bits, plain.padded_rows, log_pairs)
    tile = log_pairs.copy()
    num_rows, num_columns = 1 << plain.tiling.row_bits, 1 << plain.tiling.column_bits
    scale = float(exponentiate(tile, num_rows, plain.padded_rows, num_columns))
    # kernels keep linear parts with the sign of A
    tables = plain.tables._replace(
        linear=-np.concatenate([centre[:outer], flat[outer:]]),
        pairs=np.ascontiguousarray(-pairs[:outer]),
        pair_tile=tile,
    )
    parts = {field.name: getattr(plain, field.name) for field in fields(plain)}
    parts |= {"tables": tables, "data": data._replace(constant=scale)}
    return IndependentSetForm(**parts, couplings=pairs, log_pairs=log_pairs - scale, pair_scale=scale)


def _finite(weights: Array, fields_of: Array) -> Array:
    """Couplings of closed units, -inf replaced by what turns each of their factors into 1 + exp(-60)."""
    fields_of = np.where(np.isneginf(fields_of), 0.0, fields_of)
    most = np.maximum(fields_of, 0.0) + np.maximum(weights, 0.0).sum(axis=1)
    return np.where(np.isneginf(weights), -(most + _EXCLUDED)[:, None], weights)
