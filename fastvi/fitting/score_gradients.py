"""Unbiased gradients in a Bernoulli q's logits from samples, where no sum over states is in reach.

With samples z_k ~ q, k = 1 ... K, weights w_k = p(x, z_k) / q(z_k) and d log q(z) / d logit_i = z_i - m_i.
"""

from __future__ import annotations

import numpy as np


def leave_one_out(log_w: np.ndarray, z: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Of the ELBO: the score function with the mean of the other samples as its control.

    Parameters
    ----------
    log_w : (N, K), K >= 2
    z : (N, K, d)
    mean : (N, d)

    Returns
    -------
    (N, d)

    References
    ----------
    W. Kool, H. van Hoof, M. Welling (2019), Buy 4 REINFORCE samples, get a baseline for free!, ICLR workshop.
    """
    num = log_w.shape[1]
    centred = (log_w - log_w.mean(axis=1, keepdims=True)) / (num - 1)
    return np.einsum("nk,nki->ni", centred, z - mean[:, None])


def vimco(log_w: np.ndarray, z: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Of the importance-weighted bound E[log 1/K sum_k w_k]: shapes as in :func:`leave_one_out`.

    Each sample's score is multiplied by what the bound changes when its weight is replaced by the geometric
    mean of the others'.

    References
    ----------
    A. Mnih, D. Rezende (2016), Variational inference for Monte Carlo objectives, ICML, eq. 10 and 11.
    """
    num = log_w.shape[1]
    largest = log_w.max(axis=1, keepdims=True)
    w = np.exp(log_w - largest)
    total = w.sum(axis=1, keepdims=True)
    others = (log_w.sum(axis=1, keepdims=True) - log_w) / (num - 1)  # log of the geometric mean
    without = np.log(total - w + np.exp(others - largest))
    signal = np.log(total) - without
    return np.einsum("nk,nki->ni", signal - w / total, z - mean[:, None])
