"""Reductions of a block's threads by trees in shared memory, in a fixed order.

Every thread must call.
"""

from __future__ import annotations

from fastvi.kernels.cuda.target import cuda, device


@device
def block_max(value, held):
    """Return the largest of the threads' values.

    ``held`` is a shared array of one number a thread that no thread still reads.
    """
    thread = cuda.threadIdx.x
    held[thread] = value
    cuda.syncthreads()
    half = held.size // 2
    while half > 0:
        if thread < half:
            held[thread] = max(held[thread], held[thread + half])
        cuda.syncthreads()
        half //= 2
    return held[0]


@device
def block_sum(value, held):
    """Return the sum of the threads' values."""
    thread = cuda.threadIdx.x
    held[thread] = value
    cuda.syncthreads()
    half = held.size // 2
    while half > 0:
        if thread < half:
            held[thread] += held[thread + half]
        cuda.syncthreads()
        half //= 2
    return held[0]
