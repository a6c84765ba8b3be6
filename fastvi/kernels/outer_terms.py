"""Coefficients that an outer state adds under a pair form, written once for both targets."""

from __future__ import annotations

from fastvi.kernels.jit import inline


@inline
def outer_state(couplings, centre, num_outer, state, linear):
    """Write the coefficients of inner bits to ``linear``; return the part that joins the constant."""
    value = 0.0
    for i in range(linear.size):
        linear[i] = 0.0
    for i in range(num_outer):
        if (state >> i) & 1:
            value += centre[i]
            for j in range(i):
                if (state >> j) & 1:
                    value += couplings[i, j]
            for j in range(linear.size):
                linear[j] += couplings[i, num_outer + j]
    return value
