"""Gradients in q's parameters from samples and their scores, where no sum over states is in reach.

With samples z_k ~ q, k = 1 ... K, weights w_k = p(x, z_k) / q(z_k) and d log q(z) / d logit_i = z_i - m_i.
"""

from __future__ import annotations

import numpy as np

from fastvi.core.functions import sigmoid
from fastvi.engine.expectation.q_draws import weighted_sums_of


def leave_one_out(log_w: np.ndarray, z: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Gradient of the ELBO by the score function, with the mean of the other samples as its control.

    Parameters
    ----------
    log_w : (N, K), K >= 2
    z : (N, K, d) of 0 and 1
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
    return weighted_sums_of(z, centred, mean)


def vimco(log_w: np.ndarray, z: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Gradient of the K-sample bound E[log 1/K sum_k w_k], with shapes as in :func:`leave_one_out`.

    Each sample's score is multiplied by what the bound changes when its weight is replaced by the geometric
    mean of the others', less its share of the weights; the mean of the scores, whose expectation is 0, is
    added so that nothing is left where all weights are equal.

    References
    ----------
    A. Mnih, D. Rezende (2016), Variational inference for Monte Carlo objectives, ICML, eq. 10 and 11.
    """
    num = log_w.shape[1]
    largest = log_w.max(axis=1, keepdims=True)
    w = np.exp(log_w - largest)
    total = w.sum(axis=1, keepdims=True)
    others = (log_w.sum(axis=1, keepdims=True) - log_w) / (num - 1)  # log of the geometric mean
    # without the largest weight the others may be beyond every double beside it
    top = log_w.argmax(axis=1)[:, None]
    rest = log_w.copy()
    np.put_along_axis(rest, top, -np.inf, axis=1)
    second = rest.max(axis=1, keepdims=True)
    log_rest = second + np.log(np.exp(rest - second).sum(axis=1, keepdims=True))
    of_top = np.logaddexp(log_rest, np.take_along_axis(others, top, 1)) - largest
    np.put_along_axis(w, top, 0.0, axis=1)  # so that no logarithm of 0 is taken where it is replaced
    without = np.log(total - w + np.exp(others - largest))
    np.put_along_axis(w, top, 1.0, axis=1)
    np.put_along_axis(without, top, of_top, axis=1)
    signal = np.log(total) - without
    return weighted_sums_of(z, signal - w / total + 1.0 / num, mean)


def disarm(
    log_w: np.ndarray, z: np.ndarray, opposite_log_w: np.ndarray, opposite: np.ndarray, logits: np.ndarray
) -> np.ndarray:
    """Gradient of the ELBO from pairs of opposite draws: z_i = [u_i < m_i] and [1 - u_i < m_i] of the same u.

    Parameters
    ----------
    log_w, opposite_log_w : (N, K)
    z, opposite : (N, K, d) of 0 and 1
    logits : (N, d)

    References
    ----------
    Z. Dong, A. Mnih, G. Tucker (2020), DisARM: an antithetic gradient estimator for binary latent variables,
    NeurIPS, eq. 7; M. Yin, M. Zhou (2019), ARM, ICLR, of which it is the mean given both draws.
    """
    share = 0.5 / log_w.shape[1] * (log_w - opposite_log_w)
    # where both draws agree their difference is 0
    mean = np.full(logits.shape, 0.5)
    signs = weighted_sums_of(z, share, mean) - weighted_sums_of(opposite, share, mean)
    return signs * sigmoid(np.abs(logits))


def reweighted(log_w: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Gradient of E_p(z|x)[log q(z)]: sum_k (w_k / sum w) score_k; biased, less so as K grows.

    Parameters
    ----------
    log_w : (N, K)
    score : (N, K, P)
        Gradient of log q(z_k) in q's parameters.

    References
    ----------
    J. Bornschein, Y. Bengio (2015), Reweighted wake-sleep, ICLR, eq. 9.
    """
    return np.einsum("nk,nki->ni", normalized_weights(log_w), score)


def normalized_weights(log_w: np.ndarray) -> np.ndarray:
    """w_k / sum_k w_k, (N, K)."""
    w = np.exp(log_w - log_w.max(axis=1, keepdims=True))
    return w / w.sum(axis=1, keepdims=True)
