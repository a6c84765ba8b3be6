"""Importance-weighted bound from given importance weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastvi.core import validation
from fastvi.core.deprecation import renamed
from fastvi.kernels.cpu.weights.block_bounds import mean_block_bounds
from fastvi.weights.log_weights import log_weight_array, map_rows, refuse, weight_rows


def _block_sizes(num_samples: Any, num: int) -> tuple[NDArray[np.int64], bool]:
    """Return the block sizes (M,), and whether a single one was asked for."""
    several = isinstance(num_samples, (list, tuple, range))
    # no other object is asked for its axes, which it may answer with an error of its own
    several = several or (isinstance(num_samples, np.ndarray) and num_samples.ndim == 1)
    names = {"num_samples": num_samples}
    if several:
        names = {f"num_samples[{i}]": size for i, size in enumerate(num_samples)}
        if not names:
            raise ValueError("num_samples must hold at least 1 number, got none")
    sizes = [validation.positive_int(size, name) for name, size in names.items()]
    for name, size in zip(names, sizes, strict=True):
        if size > num:
            raise ValueError(f"{name} must be at most K = {num}, got {size}")
    return np.array(sizes, np.int64), not several


@renamed(num_particles="num_samples")
def importance_weighted_bound(
    log_w: ArrayLike,
    num_samples: int | Sequence[int],
    *,
    axis: int = -1,
) -> NDArray[np.float64]:
    r"""Importance-weighted lower bound on log p(x), estimated without bias from K samples.

    .. math:: \frac{1}{B} \sum_{b=1}^B \log \frac{1}{k} \sum_{i=(b-1)k+1}^{bk} w_i

    with k = ``num_samples`` and B = floor(K / k): the average over disjoint consecutive blocks of k
    samples. Its expectation is L_k of Burda et al. (2016), eq. 8: the ELBO for k = 1, rising to log p(x) with
    k. The K - B k samples that fill no block are not used.

    Parameters
    ----------
    log_w : array_like
        (N, K) log weights in nats of independent samples, as for :func:`log_mean_exp`.
    num_samples
        k, in 1 ... K; or several of them, for which the exponentials are taken once (in rows whose finite log
        weights lie within 600 nats).
    axis
        The axis of the K samples.

    Returns
    -------
    (N,) float64 in nats, (N, M) for M numbers; -inf where all weights of a block are 0.

    Raises
    ------
    ValueError
        For NaN or +inf, also among samples that are not used, for K = 0, another number of axes than 2, or
        ``num_samples`` outside 1 ... K.
    TypeError
        Where ``log_w`` is not an array of real numbers or ``num_samples`` neither an int nor a sequence of
        ints.

    Notes
    -----
    The average over all subsets of k samples has no closed form, and more blocks do not pay: with K = 1,000
    log-normal weights, averaging over 20 permutations of the samples divided the variance by at most 1.03 for
    a standard deviation of log w of 1, and by at most 1.19 for 4, at 20 times the cost.

    References
    ----------
    Burda, Grosse, Salakhutdinov (2016), Importance Weighted Autoencoders, ICLR; eq. 8.

    Examples
    --------
    >>> import fastvi
    >>> fastvi.importance_weighted_bound([[0.0, 1.0, 2.0, 3.0]], [1, 2, 4]).round(3)
    array([[1.5  , 1.62 , 2.054]])
    """
    array = log_weight_array(log_w, (2,))
    rows, _ = weight_rows(array, validation.axis(axis, array.ndim))
    sizes, single = _block_sizes(num_samples, rows.shape[1])
    bounds = np.empty((len(rows), sizes.size))

    def task(part: NDArray[Any], where: slice) -> None:
        mean_block_bounds(part, sizes, bounds[where])

    map_rows(task, rows, float32=False)
    if np.isnan(bounds).any():
        refuse(array)
    return bounds[:, 0].copy() if single else bounds
