"""Loop over states around a user's function, and the log-sum-exp of its results."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numba
from numba.extending import is_jitted

from fastvi.kernels.cuda.log_sums import merge_block
from fastvi.kernels.cuda.target import FLOAT64, INT32, INT64, Kernel, array, cuda
from fastvi.kernels.scalar import add_scaled

THREADS = 256
STATES = 1 << 14  # of a block of threads


@lru_cache(maxsize=64)
def user_sums(fn: Any, num_latents: int, dtype: Any, ndim: int) -> Kernel:
    """Return the kernel for fn(x_n, z), x an array of ``ndim`` axes.

    Compiled for the device from the function's own source, as the CPU's loops are: what is not known on a
    GPU (printing, allocating, strings) is an error of the compiler.
    """
    compiled = fn if is_jitted(fn) else numba.njit(fn)

    def user_loop(x, latents, first, num_states, scales, sums, bad):
        """Write sums (blocks, N) of exp(fn - scales) over STATES states each.

        bad[n] is set where fn gave NaN or +inf.
        """
        tops = cuda.shared.array(THREADS, FLOAT64)  # a line each, as in log_sums
        totals = cuda.shared.array(THREADS, FLOAT64)
        z = cuda.local.array(num_latents, FLOAT64)
        block, n, thread = cuda.blockIdx.x, cuda.blockIdx.y, cuda.threadIdx.x
        last = min((block + 1) * STATES, num_states)
        top, total = -math.inf, 0.0
        s = block * STATES + thread
        while s < last:
            for i in range(num_latents):
                z[latents[i]] = float(((first + s) >> i) & 1)
            value = float(compiled(x[n], z))
            if value < math.inf:
                top, total = add_scaled(top, total, value, 1.0)
            else:
                cuda.atomic.max(bad, n, 1)
            s += THREADS
        top, total = merge_block(top, total, tops, totals)
        if thread == 0:
            scales[block, n] = top
            sums[block, n] = total

    numbers = array(FLOAT64, 2)
    types = (array(dtype, ndim), array(INT64, 1), INT64, INT64, numbers, numbers, array(INT32, 1))
    return Kernel(user_loop, types, THREADS, 0, "user_loop")
