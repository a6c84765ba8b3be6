"""Shapes of the register tiles, chosen from the vector unit of the host.

A register tile is ``rows x COLUMNS`` numbers that stay in vector registers while a kernel runs over the
reduction axis; ``COLUMNS`` is one number for all kernels, so that what one writes the next can read.

Measured on a Zen 1 core (AVX2 in two 128-bit halves), 10^9 factors a second of the product kernel, rows x
vectors x lanes: 2x4x2 8.1, 4x3x4 7.5, 6x2x2 7.1, 4x2x2 7.0, 2x4x4 6.8, 4x2x4 6.3, 8x1x4 5.5, 4x4x2 (spills)
4.1. For the matrix product: 6x2x4 9.6-10.9, 4x2x4 9.5-9.9, 4x3x4 9.2-10.0, 4x2x2 7.8-9.3.
"""

from __future__ import annotations

from typing import NamedTuple

from llvmlite import binding


class RegisterTile(NamedTuple):
    """``rows`` broadcast scalars against ``vectors`` vectors of ``lanes`` numbers."""

    rows: int
    vectors: int
    lanes: int


def _host() -> tuple[str, bool]:
    features = binding.get_host_cpu_features()
    return binding.get_host_cpu_name(), bool(features.get("avx512f", False))


_NAME, _AVX512 = _host()

COLUMNS = 16 if _AVX512 else 8
PRODUCT_64: RegisterTile
PRODUCT_32: RegisterTile
if _AVX512:
    PRODUCT_64 = RegisterTile(8, 2, 8)
    PRODUCT_32 = RegisterTile(8, 1, 16)
    MATMUL_64 = RegisterTile(8, 2, 8)
elif _NAME == "znver1":
    PRODUCT_64 = RegisterTile(2, 4, 2)
    PRODUCT_32 = RegisterTile(4, 2, 4)
    MATMUL_64 = RegisterTile(4, 2, 4)
elif binding.get_host_cpu_features().get("avx2", False):
    PRODUCT_64 = RegisterTile(4, 2, 4)
    PRODUCT_32 = RegisterTile(8, 1, 8)
    MATMUL_64 = RegisterTile(4, 2, 4)
else:  # 128-bit vectors: SSE2, NEON
    PRODUCT_64 = RegisterTile(2, 4, 2)
    PRODUCT_32 = RegisterTile(4, 2, 4)
    MATMUL_64 = RegisterTile(2, 4, 2)
