"""Unbiased gradients in a normal q's means and logarithms of standard deviations, through its draws.

With z_k = mean + std eps_k and log w_k = log p(x, z_k) - log q(z_k), the weights' slope in z_k, q held
fixed, is g_k = d log p(x, z_k) / dz + eps_k / std. What q's own change adds has mean 0 (Roeder) or is taken
into account (Tucker), and where q is the posterior every g_k is 0.
"""

from __future__ import annotations

import numpy as np


def through_draws(slope: np.ndarray, noise: np.ndarray, std: np.ndarray, share: np.ndarray) -> np.ndarray:
    """sum_k share_k g_k dz_k, in means and logarithms of standard deviations.

    Parameters
    ----------
    slope : (N, K, d)
        d log p(x_n, z_nk) / dz.
    noise : (N, K, d)
        eps.
    std : (N, d)
    share : (N, K)
        1 / K for the ELBO; squares of normalised weights for the K-sample bound.

    Returns
    -------
    (N, 2 d)

    References
    ----------
    G. Roeder, Y. Wu, D. Duvenaud (2017), Sticking the landing, NeurIPS (the ELBO). G. Tucker, D. Lawson, S.
    Gu, C. J. Maddison (2019), Doubly reparameterized gradient estimators for Monte Carlo objectives, ICLR,
    eq. 7.
    """
    pull = share[:, :, None] * (slope + noise / std[:, None])
    return np.concatenate([pull.sum(axis=1), (pull * noise).sum(axis=1) * std], axis=1)
