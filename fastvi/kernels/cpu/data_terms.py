"""What one datum contributes: t(x) = W^T x, c(x) = b . x. Own loops, since BLAS sums in another order for
other thread counts.
"""

from __future__ import annotations

from fastvi.kernels.jit import kernel


@kernel
def linear_terms(x, weights, bias, constant, offset, linear, values):
    """linear[n] = offset + sum of the rows of ``weights`` where x[n] is 1; values[n] = constant + the same
    of ``bias``.
    """
    for n in range(x.shape[0]):
        value = constant
        for i in range(offset.size):  # a slice assignment would do the same and take 5 s more to compile
            linear[n, i] = offset[i]
        for j in range(x.shape[1]):
            if x[n, j] != 0:
                value += bias[j]
                for i in range(weights.shape[1]):
                    linear[n, i] += weights[j, i]
        values[n] = value
