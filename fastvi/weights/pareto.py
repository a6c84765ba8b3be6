"""Pareto smoothed importance sampling."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastvi.kernels.cpu.weights.pareto import pareto_k_rows, smooth_rows
from fastvi.weights.log_weights import Axis, log_weight_array, map_rows, refuse, weight_rows


def pareto_k(log_w: ArrayLike, *, axis: Axis = -1) -> NDArray[np.float64] | np.float64:
    r"""Pareto k-hat: the shape of the tail of the importance weights.

    A generalised Pareto distribution is fitted to the weights above the (M + 1)-th largest,

    .. math:: M = \lceil \min(K / 5, 3 \sqrt{K}) \rceil,

    by the method of Zhang and Stephens (2009), with the paper's weakly informative prior: k is averaged with
    1/2, which counts as 10 observations. The weights have 1/k finite moments: below 0.5 their variance is
    finite; above min(1 - 1 / log10(K), 0.7) an importance sampling estimate is not to be relied on: the
    warnings of an :class:`~fastvi.Estimate` begin there. Samples are taken as independent.

    Parameters
    ----------
    log_w : array_like
        Log weights in nats, of any number of axes: finite or -inf, K >= 1. Read as :func:`log_mean_exp` reads
        them; computed in float64.
    axis
        The axis of the K samples, or a tuple of axes, such as (0, 1) for (chain, draw).

    Returns
    -------
    float64 array of the shape of ``log_w`` without ``axis``; a scalar where none is left.

    - inf where fewer than 5 weights lie above the cutoff, as for equal weights or K <= 20, where all that do
      are equal (to 1e-12 in their logarithms; 50 equal weights and 435 zeros, say), and where the fit
      overflows: there is nothing to judge by. Weights that are all equal are no alarm: look at
      :func:`effective_sample_size`, which is then K, or of m equal weights and zeros m.
    - nan where all weights are 0.

    Weights equal to the cutoff are not in the tail (as in ArviZ 0.x), nor are those below 2.2e-308 of the
    largest.

    Raises
    ------
    ValueError
        For NaN or +inf (the first one's index is named), K = 0, or an axis that ``log_w`` lacks.
    TypeError
        Where ``log_w`` is not an array of real numbers or ``axis`` neither an int nor a tuple of ints.

    References
    ----------
    Vehtari, Simpson, Gelman, Yao, Gabry (2024), Pareto smoothed importance sampling, JMLR 25(72). Zhang,
    Stephens (2009), A new and efficient estimation method for the generalized Pareto distribution,
    Technometrics 51(3).

    Examples
    --------
    >>> import fastvi, numpy
    >>> fastvi.pareto_k(3 * numpy.random.default_rng(0).normal(size=(2, 1000))).round(2)
    array([1.18, 0.92])
    """
    array = log_weight_array(log_w)
    rows, shape = weight_rows(array, axis)
    k = np.empty(len(rows))

    def task(part: NDArray[Any], where: slice) -> None:
        if not pareto_k_rows(part, k[where]):
            refuse(array)

    map_rows(task, rows, float32=True)
    return k.reshape(shape)[()]


def psis(
    log_w: ArrayLike, *, axis: Axis = -1
) -> tuple[NDArray[np.float64], NDArray[np.float64] | np.float64]:
    r"""Pareto smoothed log weights, and k-hat.

    The tail of each row (see :func:`pareto_k`), in ascending order, is replaced by the quantiles of the
    fitted distribution at (i - 1/2) / M, i = 1 ... M, none larger than the row's largest weight. The other
    weights stay as they are, and nothing is normalised: ``log_mean_exp(smoothed_log_w)`` is the smoothed
    estimate of log p(x), and ArviZ's weights are ``smoothed_log_w`` minus its log-sum-exp. Equal weights in
    the tail are ranked by position. The ``psislw`` of arviz-stats takes - ``log_w``, the negative of log
    weights, and rounds the length M of the tail down (``floor``) where the paper, the R package loo and
    fastvi round it up (``ceil``).

    Parameters
    ----------
    log_w : array_like
        Log weights in nats, as for :func:`pareto_k`; left as they are.
    axis
        The axis of the K samples, or a tuple of axes, such as (0, 1) for (chain, draw).

    Returns
    -------
    smoothed_log_w : float64 array of the shape of ``log_w``, in nats
        Equal to ``log_w`` in rows whose k is inf or nan.
    k : float64 array of the shape of ``log_w`` without ``axis``; a scalar where none is left

    Raises
    ------
    ValueError, TypeError
        As :func:`pareto_k`.

    References
    ----------
    Vehtari, Simpson, Gelman, Yao, Gabry (2024), Pareto smoothed importance sampling, JMLR 25(72), algorithm
    1.

    Examples
    --------
    >>> import fastvi, numpy
    >>> smoothed, k = fastvi.psis(3 * numpy.random.default_rng(0).normal(size=1000))
    >>> round(float(k), 2), round(float(fastvi.log_mean_exp(smoothed)), 2)
    (1.18, 3.78)
    """
    array = log_weight_array(log_w)
    rows, shape = weight_rows(array, axis)
    k, smoothed = np.empty(len(rows)), np.empty(rows.shape)

    def task(part: NDArray[Any], where: slice) -> None:
        if not smooth_rows(part, smoothed[where], k[where]):
            refuse(array)

    map_rows(task, rows, float32=True)
    axes = axis if isinstance(axis, tuple) else (axis,)
    lengths = (array.shape[index] for index in axes)
    whole = np.moveaxis(smoothed.reshape(*shape, *lengths), range(-len(axes), 0), axes)
    return whole, k.reshape(shape)[()]
