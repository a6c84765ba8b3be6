"""Philox4x32-10, a random number generator without state.

It gives 128 random bits as a function of a counter and a key.

J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11
(2011), section 3.

Words are 32-bit numbers held in 64-bit integers. The product of two of them may wrap around in a signed
integer; its bits are the right ones all the same, also for Python's own integers under NUMBA_DISABLE_JIT=1
(mixing uint64 with int64 would give floats in Numba).
"""

from __future__ import annotations

from fastvi.kernels.jit import inline

WORD = 0xFFFFFFFF
MULTIPLIER_0, MULTIPLIER_1 = 0xD2511F53, 0xCD9E8D57
WEYL_0, WEYL_1 = 0x9E3779B9, 0xBB67AE85


@inline
def _round(c0, c1, c2, c3, k0, k1):
    """Return the counter after one round."""
    left, right = c0 * MULTIPLIER_0, c2 * MULTIPLIER_1
    return (
        ((right >> 32) & WORD) ^ c1 ^ k0,
        right & WORD,
        ((left >> 32) & WORD) ^ c3 ^ k1,
        left & WORD,
    )


@inline
def _next_key(k0, k1):
    """Return the key of the next round."""
    return (k0 + WEYL_0) & WORD, (k1 + WEYL_1) & WORD


@inline
def philox(c0, c1, c2, c3, k0, k1):
    """Return the four words of counter (c0, c1, c2, c3) and key (k0, k1). All words are in [0, 2^32)."""
    # ten rounds spelt out, so that nothing is left of the key schedule in a loop over counters
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    k0, k1 = _next_key(k0, k1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    k0, k1 = _next_key(k0, k1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    k0, k1 = _next_key(k0, k1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    k0, k1 = _next_key(k0, k1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    k0, k1 = _next_key(k0, k1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    k0, k1 = _next_key(k0, k1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    k0, k1 = _next_key(k0, k1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    k0, k1 = _next_key(k0, k1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    k0, k1 = _next_key(k0, k1)
    return _round(c0, c1, c2, c3, k0, k1)
