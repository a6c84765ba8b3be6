"""A sigmoid belief network as the kernels read it: log p(x, z) = c(x) + <t(x), z> - A(z).

A linear function <centre, z> is moved from t to A, with centre = E[t(x)] for x at the model's mean logits:
what is left of t is small for data like the model's, so that the weights of a tile span less of the range
of a float. The centre depends on the model alone, never on the batch: a datum's log p(x) has the same bits
in any company.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastvi.engine.tiling import Tiling, choose_tiling
from fastvi.kernels.cpu.host import COLUMNS
from fastvi.kernels.cpu.register_tiles import product_tile
from fastvi.kernels.cpu.softplus_product import (
    BITS_32,
    BITS_64,
    SoftplusTables,
    fill_left,
    multiply,
    multiply_direct,
    tile_log_weights,
    tile_weights,
)

Array = NDArray[Any]

# dtype -> largest |log| of a panel entry, largest |log| of a running product. exp(-beta) >= exp(-limit) keeps
# exp(alpha) that flushes to zero (below 1e-308, or 1e-38) under half a unit in the last place of the sum.
_RANGES = {"float64": (340.0, 700.0), "float32": (35.0, 85.0)}


class SoftplusForm(NamedTuple):
    """Tables of A, and what takes data to t(x) and c(x)."""

    tiling: Tiling
    tables: SoftplusTables
    layout: Any
    dtype: str
    order: Array  # (d,) latents from the outermost bit to the last column bit
    weights: Array  # (D, d) columns in that order
    bias: Array  # (D,)
    centre: Array  # (d,) in that order: what is linear in z in the tiles
    offset: Array  # (d,) in that order: what is added to W^T x
    log_constant: float  # what is added to b . x: log p(z = 0), or 0 without the prior

    @property
    def padded_rows(self) -> int:
        panel_rows = product_tile(8 if self.dtype == "float64" else 4).rows
        return -(-(1 << self.tiling.row_bits) // panel_rows) * panel_rows

    @property
    def column_panels(self) -> int:
        return -(-(1 << self.tiling.column_bits) // COLUMNS)

    @property
    def tile_size(self) -> int:
        """Numbers in one packed tile."""
        return self.padded_rows * self.column_panels * COLUMNS

    def fill(self, first: int, tiles: Array, scales: Array, *, in_log_space: bool = False) -> None:
        """Tiles ``first``, ... of exp(<centre, z> - A(z)) into the rows of ``tiles``, each relative to
        exp(scales[t]).

        With ``in_log_space`` the rows are <centre, z> - A(z) itself and the scales 0. A row is packed as
        (column panels, padded rows, COLUMNS); what pads it is 0.
        """
        tables, padded_rows, num_pixels = self.tables, self.padded_rows, self.bias.size
        mantissa = np.empty(self.tile_size, self.dtype)
        bits = mantissa.view(np.int64 if self.dtype == "float64" else np.int32)
        exponent = np.empty_like(bits)
        panel = np.empty(tables.left.size, self.dtype)
        kinds, middles = np.empty(num_pixels, np.int8), np.empty(num_pixels)
        blocks = np.empty(num_pixels + 2, np.int64)
        rows, columns = np.empty_like(tables.row_linear), np.empty_like(tables.column_linear)
        for t in range(len(tiles)):
            num_blocks, constant, direct = fill_left(
                tables, first + t, kinds, middles, blocks, rows, columns, panel
            )
            multiply(
                panel, tables.right, num_pixels, blocks, num_blocks, tables.panel_rows, padded_rows,
                mantissa, exponent,
            )  # fmt: skip
            if direct:
                multiply_direct(tables, kinds, middles, padded_rows, mantissa, bits, exponent, self.layout)
            if in_log_space:
                tile_log_weights(mantissa, exponent, rows, columns, padded_rows, constant, tiles[t])
                scales[t] = 0.0
            else:
                scales[t] = constant + tile_weights(mantissa, exponent, rows, columns, padded_rows, tiles[t])


def softplus_form(
    weights: Array, bias: Array, prior_logits: Array, *, dtype: str = "float64", fold_prior: bool = True
) -> SoftplusForm:
    """Tables for all tiles; ``fold_prior=False`` leaves the prior out of the tiles (and the centre at 0)."""
    num_latents = weights.shape[1]
    # the latents that move the logits most go outermost: the states of a tile are then alike, and little
    # underflows
    order = np.argsort(-np.abs(weights).sum(axis=0) - np.abs(prior_logits), kind="stable")
    weights = np.ascontiguousarray(weights[:, order])
    prior_logits = np.ascontiguousarray(prior_logits[order])
    centre = np.zeros(num_latents)
    if fold_prior:
        mean_logits = _row_sums(weights * _sigmoid(prior_logits)) + bias
        centre = prior_logits + (weights * _sigmoid(mean_logits)[:, None]).sum(axis=0)
    tiling = choose_tiling(num_latents, COLUMNS)
    limit, block_limit = _RANGES[dtype]
    outer, row = tiling.outer_bits, tiling.outer_bits + tiling.row_bits
    groups = [np.ascontiguousarray(part) for part in np.split(weights, [outer, row], axis=1)]
    left_sums, left_middle, left_spread = _centred_sums(groups[1])
    right_sums, right_middle, right_spread = _centred_sums(groups[2])
    panel_rows = product_tile(np.dtype(dtype).itemsize).rows
    with np.errstate(over="ignore"):  # entries beyond the range are not used
        left = _pack(np.exp(left_sums), panel_rows, 0.0)
        right = _pack(np.exp(np.where(right_spread <= limit, -right_sums, 0.0)), COLUMNS, 1.0)
    tables = SoftplusTables(
        left=left,
        right=right.astype(dtype),
        left_middle=left_middle,
        left_spread=left_spread,
        right_middle=right_middle,
        right_spread=right_spread,
        outer_weights=groups[0],
        row_weights=groups[1],
        column_weights=groups[2],
        bias=np.ascontiguousarray(bias),
        outer_linear=centre[:outer].copy(),
        row_linear=centre[outer:row].copy(),
        column_linear=centre[row:].copy(),
        limit=limit,
        block_limit=block_limit,
        longest_block=tiling.longest_block,
        panel_rows=panel_rows,
    )
    layout = BITS_64 if dtype == "float64" else BITS_32
    if fold_prior:
        offset, log_constant = prior_logits - centre, -float(np.logaddexp(0.0, prior_logits).sum())
    else:
        offset, log_constant = np.zeros(num_latents), 0.0
    return SoftplusForm(
        tiling, tables, layout, dtype, order, weights, tables.bias, centre, offset, log_constant
    )


def _sigmoid(logits: Array) -> Array:
    """Good enough for a centre; SciPy's would cost 0.2 s of import."""
    return np.exp(-np.logaddexp(0.0, -logits))


def _row_sums(matrix: Array) -> Array:
    return np.asarray(matrix.sum(axis=1))


def _centred_sums(weights: Array) -> tuple[Array, Array, Array]:
    """Subset sums (2^k, D) of the columns, less the middle of their range; the middle; half the range."""
    above, below = np.maximum(weights, 0.0).sum(axis=1), np.minimum(weights, 0.0).sum(axis=1)
    middle, spread = (above + below) / 2, (above - below) / 2
    sums = np.empty((1 << weights.shape[1], weights.shape[0]))
    sums[0] = -middle
    for i in range(weights.shape[1]):
        np.add(sums[: 1 << i], weights[:, i], out=sums[1 << i : 2 << i])
    return sums, middle, spread


def _pack(table: Array, width: int, padding: float) -> Array:
    """(S, D) to panels of ``width`` states: (ceil(S / width), D, width), flat."""
    num_states, num_pixels = table.shape
    panels = -(-num_states // width)
    padded = np.full((panels * width, num_pixels), padding)
    padded[:num_states] = table
    return np.ascontiguousarray(padded.reshape(panels, width, num_pixels).transpose(0, 2, 1)).reshape(-1)
