"""Shapes of register tiles, by name: what a processor is given until its own are measured.

A register tile is ``rows x COLUMNS`` numbers that stay in vector registers while a kernel runs over the
reduction axis. ``COLUMNS`` is one number for all kernels and processors: what one kernel writes the next can
read, and sums over states run in as many lanes everywhere, so that no such result depends on the shape.

Measured, 10^9 numbers a second of one core, rows x vectors x lanes. Product of float64 on Zen 3 (which can
multiply 24.5): 6x2x4 23.1, 5x2x4 22.5, 3x3x4 21.2, 12x1x4 20.3, 4x2x4 18.7, 4x3x4 (spills) 11.6. On Zen 1
(AVX2 in two 128-bit halves): 2x4x2 8.1, 4x3x4 7.5, 6x2x2 7.1, 4x2x2 7.0, 4x2x4 6.3, 8x1x4 5.5. On Zen 4, two
cores with AVX-512: 8x1x8 54.7, 16x1x8 53.9, 4x2x4 47.4, 8x2x8 38.
"""

from __future__ import annotations

from typing import NamedTuple

COLUMNS = 8


class RegisterTile(NamedTuple):
    """``rows`` broadcast scalars against ``vectors`` vectors of ``lanes`` numbers."""

    rows: int
    vectors: int
    lanes: int


class RegisterTiles(NamedTuple):
    """One tile for each micro-kernel. All are equally wide."""

    product_64: RegisterTile
    product_32: RegisterTile
    matmul_64: RegisterTile


TILES = {
    "avx512": RegisterTiles(RegisterTile(16, 1, 8), RegisterTile(16, 1, 8), RegisterTile(8, 1, 8)),
    "avx2": RegisterTiles(RegisterTile(6, 2, 4), RegisterTile(8, 1, 8), RegisterTile(6, 2, 4)),
    "znver1": RegisterTiles(RegisterTile(2, 4, 2), RegisterTile(4, 2, 4), RegisterTile(4, 2, 4)),
    # 128-bit vectors: SSE2, NEON
    "generic": RegisterTiles(RegisterTile(2, 4, 2), RegisterTile(4, 2, 4), RegisterTile(2, 4, 2)),
}


# what is tried on a processor of each kind, beside its tiles above
def tiles_of(text: str) -> RegisterTiles:
    """Return the tiles that a text like "6x2x4,8x1x8,6x2x4" names: rows x vectors x lanes of each.

    ValueError where it names none, or tiles of another width.
    """
    tiles = [RegisterTile(*map(int, part.split("x"))) for part in text.split(",")]
    if any(tile.vectors * tile.lanes != COLUMNS or min(tile) < 1 for tile in tiles):
        raise ValueError(f"register tiles must be {COLUMNS} numbers wide, got {text!r}")
    if len(tiles) != len(RegisterTiles._fields):
        raise ValueError(f"{len(RegisterTiles._fields)} register tiles must be named, got {text!r}")
    return RegisterTiles(*tiles)


def name_of(tiles: RegisterTiles) -> str:
    """Return the text from which ``tiles_of`` makes these tiles."""
    return ",".join("x".join(map(str, tile)) for tile in tiles)


# what is tried on a processor of each kind, beside its tiles above: for products of float64, of float32, of
# matrices. Those of matrices all have as many lanes: a network's softplus is summed in lanes, and keeps its
# bits whichever wins
CANDIDATES = {
    name: [[tiles_of(",".join([text] * 3))[0] for text in kind.split()] for kind in kinds]
    for name, kinds in {
        "avx512": ("8x1x8 6x2x4 4x2x4", "8x1x8 12x1x8", "16x1x8"),
        "avx2": ("5x2x4 4x2x4 2x4x2", "12x1x8 4x2x4", "5x2x4 4x2x4"),
        "znver1": ("6x2x4 4x2x4 6x4x2", "8x1x8 6x2x4", "6x2x4 5x2x4"),
        "generic": ("4x4x2 3x4x2", "8x2x4 6x2x4", "4x4x2 3x4x2"),
    }.items()
}
