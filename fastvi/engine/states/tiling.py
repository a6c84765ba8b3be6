"""Cuts of 2^d states into tiles: outer bits number the tiles, row and column bits run inside one.

Sizes follow from the caches: the column panel of a block of pixels fills half of the first level, the row
panels of a block a quarter of the second, the running products of a tile half of the second. They depend on
the model's shape and the host alone, never on threads or data, so that neither changes a bit of the result.
"""

from __future__ import annotations

from typing import NamedTuple

from fastvi.engine.run.hardware import caches


class Tiling(NamedTuple):
    """Bits in each group, and the longest block of pixels."""

    outer_bits: int
    row_bits: int
    column_bits: int
    longest_block: int

    @property
    def num_tiles(self) -> int:
        return 1 << self.outer_bits

    @property
    def tile_states(self) -> int:
        return 1 << (self.row_bits + self.column_bits)


_FEWEST_TILES_BITS = 3  # from about 2^12 states on, 8 tiles keep several cores busy


def choose_tiling(num_latents: int, columns: int) -> Tiling:
    """Cut ``num_latents`` bits for register tiles that are ``columns`` wide."""
    level1, level2 = caches()
    longest_block = max(32, level1 // 2 // (columns * 8))
    row_bits = max(3, (level2 // 4 // (longest_block * 8)).bit_length() - 1)
    column_bits = max(4, (level2 // 2 // (16 << row_bits)).bit_length() - 1)
    while row_bits + column_bits > max(num_latents - _FEWEST_TILES_BITS, 9):
        if column_bits > row_bits:
            column_bits -= 1
        else:
            row_bits -= 1
    column_bits = min(column_bits, num_latents)
    row_bits = min(row_bits, num_latents - column_bits)
    return Tiling(num_latents - row_bits - column_bits, row_bits, column_bits, longest_block)


# rows of the product, at least: making the tile (10 ns a state) is then a small part of multiplying by it
_FEWEST_ROWS_BITS = 8


def choose_pair_tiling(num_latents: int) -> Tiling:
    """Cut for one tile that serves all outer states: twice the second-level cache, streamed once for a task.

    Larger tiles have fewer tables to pack (2^row + 2^column numbers for 2^(row + column) states).
    """
    _, level2 = caches()
    bits = max(8, (2 * level2 // 8).bit_length() - 1)
    bits = max(min(bits, num_latents - _FEWEST_ROWS_BITS), 9)
    bits = min(bits, num_latents)
    column_bits = -(-bits // 2)
    return Tiling(num_latents - bits, bits - column_bits, column_bits, 0)
