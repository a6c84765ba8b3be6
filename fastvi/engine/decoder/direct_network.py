"""A network as the kernels read it where its logits are large.

The features of a state are the log probabilities of its pixels, and t(x) says which of them a datum has. No
sum has terms of both signs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.decoder.large_logits import LargeLogits, log_sigmoids
from fastvi.engine.decoder.network_block import Block, empty_block
from fastvi.engine.linalg.products import row_block
from fastvi.kernels.cpu.dense.products import ROWS, compress, pack_rows


@dataclass(frozen=True, eq=False)
class DirectNetwork:
    """In the place of a ``Network``, to forms and samplers: log p(x | z) = <t(x), h(z)>."""

    num_latents: int
    logits: LargeLogits

    @property
    def dtype(self) -> str:
        """Type of the log probabilities."""
        return "float64"

    @property
    def depth(self) -> int:
        """Log probabilities of a state."""
        return 2 * self.logits.num_pixels

    @property
    def widest(self) -> int:
        """Inputs of the layer that has most, or log probabilities."""
        return max(self.depth, self.logits.widest)

    @property
    def operations(self) -> int:
        """Operations that a state takes."""
        return int(self.logits.operations)

    @property
    def block_rows(self) -> int:
        """States that are worked on together: a power of two."""
        return max(32, 1 << (row_block(self.depth).bit_length() - 1))

    def empty_block(self, num_rows: int) -> Block:
        """Room for states in whole panels; all of it is padding."""
        return empty_block(num_rows, self.depth, distances=False)

    def forward(self, rows: Array, num_rows: int, out: Block) -> None:
        """From packed latents to the features; A is 0, inf where a logit overflows."""
        panels = rows.reshape(-1, self.num_latents, ROWS)
        z = np.ascontiguousarray(panels.transpose(0, 2, 1)).reshape(-1, self.num_latents)[:num_rows]
        eta = self.logits(z)
        known = np.isfinite(eta)  # of real latents a logit may overflow
        pack_rows(log_sigmoids(np.where(known, eta, 0.0)), out.features)
        compress(out.features, self.depth, out.units, out.counts)
        out.minus[:num_rows] = np.where(known.all(axis=1), 0.0, np.inf)
