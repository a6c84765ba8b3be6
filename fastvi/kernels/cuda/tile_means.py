"""Means over tiles: a factorised q gives each tile a probability, so that nothing needs a scale."""

from __future__ import annotations

from fastvi.kernels.bits import bit_sum
from fastvi.kernels.cuda.blocks import block_sum
from fastvi.kernels.cuda.target import FLOAT64, INT64, array, cuda, kernel
from fastvi.kernels.scalar import exp_fast

THREADS = 256


@kernel(
    array(FLOAT64, 2), array(FLOAT64, 1), INT64, INT64, array(FLOAT64, 2), array(FLOAT64, 1), threads=THREADS
)
def add_tile_means(sums, base, first, num_tiles, outer, means):
    """Add sum_t sums[t, n] * exp(base[n] + <outer[n], bits of first + t>) to means[n].

    n is the number of the block.
    """
    parts = cuda.shared.array(THREADS, FLOAT64)
    n, thread = cuda.blockIdx.x, cuda.threadIdx.x
    share = (num_tiles + THREADS - 1) // THREADS
    total = 0.0
    t = thread * share
    while t < min(num_tiles, (thread + 1) * share):
        total += sums[t, n] * exp_fast(base[n] + bit_sum(outer[n], first + t))
        t += 1
    total = block_sum(total, parts)
    if thread == 0:
        means[n] += total
