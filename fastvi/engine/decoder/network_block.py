"""A block of states as every datum sees it: what a forward pass fills and a batch is multiplied by."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.kernels.cpu.dense.products import ROWS


class Block(NamedTuple):
    """Features of a block of states, for every datum."""

    features: Array  # h packed as rows, compressed
    units: Array  # (panels * depth,) units that are left
    counts: Array  # (panels,)
    minus: Array  # (padded rows,) A, inf where a row is padding
    distances: bool  # whether the features are u, to which data have distances


def empty_block(num_rows: int, depth: int, *, distances: bool, dtype: str = "float64") -> Block:
    """Room for states in whole panels; all of it is padding."""
    panels = -(-num_rows // ROWS)
    return Block(
        np.zeros(panels * depth * ROWS, dtype),
        np.empty(panels * depth, np.int32),
        np.zeros(panels, np.int64),
        np.full(panels * ROWS, np.inf),
        distances,
    )


def block_part(block: Block, first: int, num_rows: int, depth: int) -> Block:
    """Views of the panels that hold ``num_rows`` states from ``first``, the first of a panel."""
    begin, end = first // ROWS, -(-(first + num_rows) // ROWS)
    return Block(
        block.features[begin * depth * ROWS : end * depth * ROWS],
        block.units[begin * depth : end * depth],
        block.counts[begin:end],
        block.minus[begin * ROWS : end * ROWS],
        block.distances,
    )
