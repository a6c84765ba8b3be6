"""Weights of states that were drawn from open subcubes."""

from __future__ import annotations

import math

from fastvi.kernels.jit import kernel


@kernel
def weigh_open(words, picks, log_shares, log_zero, log_one, closed, log_w):
    """Take log p(x, z) to log(C + p(x, z) / (pi q(z))), C = exp(closed).

    Parameters
    ----------
    words : (num_words, K), the states
    picks : (K,), the subcubes that they were drawn from
    log_shares : (m,), log pi
    log_zero, log_one : (m, f), log q of each bit
    closed : log of what was summed exactly
    log_w : (K,), in place
    """
    for k in range(log_w.size):
        pick = picks[k]
        log_q = log_shares[pick]
        for i in range(log_zero.shape[1]):
            log_q += log_one[pick, i] if (words[i >> 5, k] >> (i & 31)) & 1 else log_zero[pick, i]
        large, small = closed, log_w[k] - log_q
        if small > large:
            large, small = small, large
        log_w[k] = large if large == -math.inf else large + math.log1p(math.exp(small - large))
