"""Terms that outer states add under a pair form, for CUDA.

The mathematics is that of ``kernels/cpu/states/tile_logs.py``.
"""

from __future__ import annotations

from fastvi.kernels.cuda.target import FLOAT64, INT64, array, cuda, kernel
from fastvi.kernels.outer_terms import outer_state

THREADS = 128


@kernel(
    array(FLOAT64, 2),
    array(FLOAT64, 1),
    INT64,
    INT64,
    FLOAT64,
    array(FLOAT64, 2),
    array(FLOAT64, 1),
    threads=THREADS,
)
def outer_terms(couplings, centre, num_outer, first, scale, linear, constant):
    """Write the scaled coefficients and constants that outer states ``first``, ... add to inner bits."""
    t = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
    if t >= constant.size:
        return
    constant[t] = scale + outer_state(couplings, centre, num_outer, first + t, linear[t])
