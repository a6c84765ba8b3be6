"""Variational Renyi bound from given importance weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastvi.core import validation
from fastvi.kernels.cpu.weights.renyi import log_power_means
from fastvi.weights.log_weights import Axis, log_weight_array, map_rows, refuse, weight_rows


def renyi_bound(log_w: ArrayLike, alpha: float, axis: Axis = -1) -> NDArray[np.float64] | np.float64:
    r"""Variational Renyi bound of order alpha, estimated from K log weights.

    .. math:: \frac{1}{1 - \alpha} \log \frac{1}{K} \sum_{k=1}^K w_k^{1 - \alpha}

    It falls with alpha: the largest log weight at -inf, :func:`log_mean_exp` at 0, the ELBO (the mean of
    ``log_w``) at 1, the smallest log weight at +inf. In the limit of many samples it is an upper bound on log
    p(x) where alpha < 0 and a lower bound where alpha > 0. From K samples it is on average too small where
    alpha < 1 and too large where alpha > 1; at alpha = 1 it has no bias.

    Nothing cancels near alpha = 1: for every alpha the error is a few 2^-53 of the largest finite ``|log_w|``
    or of the result.

    Parameters
    ----------
    log_w : array_like
        Log weights in nats, as for :func:`log_mean_exp`.
    alpha
        Any real number, -inf or inf.
    axis
        The axis of the K samples, or a tuple of axes, such as (0, 1) for (chain, draw).

    Returns
    -------
    float64 array in nats, of the shape of ``log_w`` without ``axis``; a scalar where none is left.

    - The log weight itself where all are equal.
    - -inf where all weights are 0, and for alpha >= 1 where any weight is 0.

    Raises
    ------
    ValueError
        As :func:`log_mean_exp`, and for ``alpha`` of nan.
    TypeError
        As :func:`log_mean_exp`, and where ``alpha`` is not a real number.

    References
    ----------
    Li, Turner (2016), Renyi divergence variational inference, NIPS; eq. 6.

    Examples
    --------
    >>> import fastvi
    >>> [round(float(fastvi.renyi_bound([0.0, 1.0], alpha)), 3) for alpha in (0, 0.5, 1, 2)]
    [0.62, 0.562, 0.5, 0.38]
    """
    power = 1.0 - validation.real_number(alpha, "alpha", "a real number")
    array = log_weight_array(log_w)
    rows, shape = weight_rows(array, axis)
    bound = np.empty(len(rows))

    def task(part: NDArray[Any], where: slice) -> None:
        largest, smallest = (end(axis=1).astype(np.float64) for end in (part.max, part.min))
        if not (largest < np.inf).all():  # a NaN is its row's largest
            refuse(array)
        if np.isinf(power):
            bound[where] = largest if power > 0.0 else smallest
        else:
            log_power_means(part, power, largest, smallest, bound[where])

    map_rows(task, rows, float32=True)
    return bound.reshape(shape)[()]
