"""Register tiles in use, from the vector unit that Numba compiles for.

The processor that counts is Numba's target. That is the host, unless NUMBA_CPU_NAME, NUMBA_CPU_FEATURES or
NUMBA_ENABLE_AVX say otherwise: a cluster of unlike machines that compiles for "generic" has generic shapes
on all of them. On the host itself a handful of shapes is timed, once (`shape_race.py`).
FASTVI_REGISTER_TILES picks shapes by name whatever the target: any shape is right on any processor, LLVM
splits vectors that are too wide.
"""

from __future__ import annotations

import os
from typing import Any

from llvmlite import binding
from numba.core import config
from numba.core.codegen import get_host_cpu_features

from fastvi.kernels.shape_race import kept_or_fastest
from fastvi.kernels.shapes import COLUMNS, TILES, RegisterTile, RegisterTiles, tiles_of

__all__ = [
    "CHOSEN", "COLUMNS", "LAYER_64", "MATMUL_64", "PRODUCT_32", "PRODUCT_64", "TILES", "RegisterTile",
    "RegisterTiles",
]  # fmt: skip


def _target() -> tuple[str, str, bool]:
    """Return name and features of the processor that Numba compiles for, and whether it is the host."""
    settings: Any = config  # made at run time
    name, features = settings.CPU_NAME, settings.CPU_FEATURES
    # those of the host are without AVX where NUMBA_ENABLE_AVX=0
    return (
        name or binding.get_host_cpu_name(),
        get_host_cpu_features() if features is None else features,
        name is None and features is None and bool(settings.ENABLE_AVX),
    )


def _kind(name: str, features: str) -> str:
    """Return the name of the tiles of a processor."""
    enabled = set(features.split(","))
    if "+avx512f" in enabled:
        return "avx512"
    if "+avx2" in enabled:
        return "znver1" if name == "znver1" else "avx2"
    return "generic"


def _chosen() -> RegisterTiles:
    """Return the tiles in use.

    "other" is "avx512" where the target's are not, else "avx2"; "usual" is the target's without a race.
    """
    name, features, is_host = _target()
    kind, asked = _kind(name, features), os.environ.get("FASTVI_REGISTER_TILES", "")
    if asked == "other":
        return TILES["avx2" if kind == "avx512" else "avx512"]
    if asked in TILES:
        return TILES[asked]
    if asked not in ("", "usual"):
        try:
            return tiles_of(asked)
        except (ValueError, TypeError) as error:
            allowed = ", ".join([*TILES, "other", "usual"])
            raise ValueError(
                f"FASTVI_REGISTER_TILES must be one of {allowed}, or three shapes {COLUMNS} numbers wide "
                f"like 6x2x4,8x1x8,6x2x4, got {asked!r}"
            ) from error
    if asked or not is_host or getattr(config, "DISABLE_JIT"):  # noqa: B009 (a setting made at run time)
        return TILES[kind]
    return kept_or_fastest(kind, name, features)


CHOSEN = _chosen()
PRODUCT_64, PRODUCT_32, MATMUL_64 = CHOSEN
# a network's layers: states come in powers of two, and so do the rows of their panels
LAYER_64 = MATMUL_64._replace(rows=1 << (MATMUL_64.rows.bit_length() - 1))
