"""What outer states add under a pair form, as ``kernels/cpu/states/tile_logs.py`` has it."""

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
    """What the outer states ``first``, ... add to the coefficients of inner bits, and to the constant, with
    ``scale``.
    """
    t = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
    if t >= constant.size:
        return
    constant[t] = scale + outer_state(couplings, centre, num_outer, first + t, linear[t])
