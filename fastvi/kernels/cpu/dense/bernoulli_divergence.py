"""KL between Bernoulli distributions, one after another."""

from __future__ import annotations

import math

from fastvi.kernels.jit import inline, kernel
from fastvi.kernels.scalar import softplus

# (exp(t) - 1 - t) / t^2 = sum_k t^k / (k + 2)!, the highest power first; 17 terms leave less than 1e-17 at
# |t| = 1
SERIES = tuple(1 / math.factorial(k + 2) for k in reversed(range(17)))


@inline
def _h(t):
    """Return exp(t) - 1 - t; for |t| <= 1 by its series (Horner's scheme): expm1(t) - t would cancel."""
    if abs(t) > 1.0:
        return math.expm1(t) - t
    total = 0.0
    for coefficient in SERIES:
        total = total * t + coefficient
    return total * t * t


@kernel
def bernoulli_divergences(a, b, out):
    """Set out[i] to the divergence of a distribution with logit a[i] from one with logit b[i].

    With NumPy the formula's 80 steps took 0.1 ms for 8 latents (Zen 3), as long as all else of a bound.
    """
    for i in range(out.size):
        p, q = a[i], b[i]
        if math.isinf(p):  # q is a point mass: -log p of that point
            out[i] = softplus(-q if p > 0.0 else q)
        elif math.isinf(q):  # p rules out what q does not
            out[i] = math.inf
        else:
            small, other_small = math.exp(-abs(p)), math.exp(-abs(q))
            total, change, whole = 0.0, q - p, 1.0 + small
            for k in range(2):  # both values of the bit
                own, other, more = (p, q, change) if k == 0 else (-p, -q, -change)
                share, rest = (1.0, small) if own >= 0.0 else (small, 1.0)
                if abs(change) <= 1.0:
                    total += share * _h(-math.log1p(rest / whole * math.expm1(-more)))
                else:  # the large parts meet before the small ones are added
                    tails = math.log1p(small) - math.log1p(other_small)
                    total -= share * (min(other, 0.0) - min(own, 0.0) + tails)
            out[i] = total / whole
