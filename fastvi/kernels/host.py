"""Shapes of the register tiles, chosen from the vector unit that Numba compiles for.

A register tile is ``rows x COLUMNS`` numbers that stay in vector registers while a kernel runs over the
reduction axis; ``COLUMNS`` is one number for all kernels, so that what one writes the next can read.

The processor that counts is Numba's target. That is the host, unless NUMBA_CPU_NAME, NUMBA_CPU_FEATURES or
NUMBA_ENABLE_AVX say otherwise: a cluster of unlike machines that compiles for "generic" has generic shapes
on all of them. FASTVI_REGISTER_TILES picks shapes by name whatever the target, for tests: any shape is right
on any processor, LLVM splits vectors that are too wide.

Measured on a Zen 1 core (AVX2 in two 128-bit halves), 10^9 factors a second of the product kernel, rows x
vectors x lanes: 2x4x2 8.1, 4x3x4 7.5, 6x2x2 7.1, 4x2x2 7.0, 2x4x4 6.8, 4x2x4 6.3, 8x1x4 5.5, 4x4x2 (spills)
4.1. For the matrix product: 6x2x4 9.6-10.9, 4x2x4 9.5-9.9, 4x3x4 9.2-10.0, 4x2x2 7.8-9.3.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from llvmlite import binding
from numba.core import config
from numba.core.codegen import get_host_cpu_features


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

    @property
    def columns(self) -> int:
        """Numbers in a row."""
        return self.matmul_64.vectors * self.matmul_64.lanes


TILES = {
    "avx512": RegisterTiles(RegisterTile(16, 1, 8), RegisterTile(16, 1, 8), RegisterTile(8, 1, 8)),
    "avx2": RegisterTiles(RegisterTile(6, 2, 4), RegisterTile(8, 1, 8), RegisterTile(6, 2, 4)),
    "znver1": RegisterTiles(RegisterTile(2, 4, 2), RegisterTile(4, 2, 4), RegisterTile(4, 2, 4)),
    # 128-bit vectors: SSE2, NEON
    "generic": RegisterTiles(RegisterTile(2, 4, 2), RegisterTile(4, 2, 4), RegisterTile(2, 4, 2)),
}


def _of_target() -> str:
    """Return the name of the tiles for the processor that Numba compiles for."""
    settings: Any = config  # made at run time
    name, features = settings.CPU_NAME or binding.get_host_cpu_name(), settings.CPU_FEATURES
    if features is None:
        features = get_host_cpu_features()  # those of the host, without AVX where NUMBA_ENABLE_AVX=0
    enabled = set(features.split(","))
    if "+avx512f" in enabled:
        return "avx512"
    if "+avx2" in enabled:
        return "znver1" if name == "znver1" else "avx2"
    return "generic"


def _chosen() -> str:
    """Return the name of the tiles in use.

    "other" is "avx512" where the target's are not, else "avx2".
    """
    asked = os.environ.get("FASTVI_REGISTER_TILES", "")
    if asked == "other":
        return "avx2" if _of_target() == "avx512" else "avx512"
    if asked and asked not in TILES:
        allowed = ", ".join([*TILES, "other"])
        raise ValueError(f"FASTVI_REGISTER_TILES must be one of {allowed}, got {asked!r}")
    return asked or _of_target()


CHOSEN = TILES[_chosen()]
COLUMNS = CHOSEN.columns
PRODUCT_64, PRODUCT_32, MATMUL_64 = CHOSEN
