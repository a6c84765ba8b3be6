"""Log mean weight and effective sample size of given importance weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastvi.core import validation
from fastvi.engine.cuda.arrays import on_device
from fastvi.engine.run.threads import num_threads, parallel_map
from fastvi.kernels.cpu.weights.log_weights import weight_sums

_TASK_ENTRIES = (
    1 << 17
)  # 1 MiB of float64: what a task copies, where it must copy, stays in the second-level cache
Axis = int | tuple[int, ...]  # of the K samples: a tuple such as (0, 1) for (chain, draw)
Value = NDArray[np.float64] | np.float64  # of the shape of log_w without these axes
_TASKS = 8  # for each thread: a task costs some 20 microseconds, and the last ones leave threads idle
_CACHE_LINE_ENTRIES = 8  # rows that lie side by side in memory share cache lines


def log_weight_array(log_w: Any, ndim: tuple[int, ...] | None = None) -> NDArray[Any]:
    """Return ``log_w`` as an array of any real dtype and strides. Sizes of axes are checked later."""
    if on_device(log_w):
        raise TypeError(
            "log_w must lie on the host here, got an array of a GPU: log_mean_exp, effective_sample_size and "
            "LogWeights read those where they are"
        )
    array = validation.number_array(log_w, "log_w", "an array of real numbers")
    if ndim is not None:
        validation.check_shape(array, "log_w", ndim, None)
    elif array.ndim == 0:
        raise ValueError("log_w must have at least 1 axis, got shape ()")
    return array


def weight_rows(array: NDArray[Any], axis: Any = -1) -> tuple[NDArray[Any], tuple[int, ...]]:
    """Return the array as (N, K) with K the entries along ``axis``, and the shape of the other axes."""
    axes = validation.axes(axis, array.ndim)
    last = np.moveaxis(array, axes, range(-len(axes), 0))
    shape, num = last.shape[: -len(axes)], math.prod(last.shape[-len(axes) :])
    if num == 0:
        where = axes[0] if len(axes) == 1 else axes
        raise ValueError(f"log_w must hold at least 1 weight along axis {where}, got shape {array.shape}")
    return last.reshape(math.prod(shape), num), shape


def map_rows(function: Callable[[NDArray[Any], slice], None], rows: NDArray[Any], *, float32: bool) -> None:
    """Call ``function(part, where)`` for parts rows[where] in threads; ``part`` is contiguous and read-only.

    Only a part that is not contiguous, or of another dtype than float64 (or float32 where ``float32``), is
    copied.
    """
    dtype = np.float32 if float32 and rows.dtype == np.float32 else np.float64
    step = max(_TASK_ENTRIES // rows.shape[1], 1 if rows.flags.c_contiguous else _CACHE_LINE_ENTRIES)
    if rows.flags.c_contiguous and rows.dtype == dtype:  # nothing is copied: a few tasks for each thread
        step = max(step, -(-len(rows) // (_TASKS * num_threads())))

    def task(first: int) -> None:
        where = slice(first, first + step)
        # wrong input: a long double may overflow, and uncompiled kernels meet inf - inf
        with np.errstate(over="ignore", invalid="ignore"):
            part = np.require(rows[where], dtype, ["C_CONTIGUOUS", "ALIGNED"]).view()
            part.flags.writeable = (
                False  # one compiled kernel for arrays that are writeable and those that are not
            )
            function(part, where)

    parallel_map(task, range(0, len(rows), step))


def refuse(array: NDArray[Any]) -> None:
    """Raise the ValueError that names the first NaN or +inf."""
    with np.errstate(over="ignore"):
        clean = array.astype(np.float64)
    validation.require(clean, clean < np.inf, "log_w must be finite or -inf")


def row_sums(
    array: NDArray[Any], axis: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], int, tuple[int, ...]]:
    """Return largest log weight, sum of w and of w^2 of each row, K, and the shape of the other axes.

    The sums are relative to the largest weight of the row.
    """
    rows, shape = weight_rows(array, axis)
    largest, total, squares = np.empty(len(rows)), np.empty(len(rows)), np.empty(len(rows))

    def task(part: NDArray[Any], where: slice) -> None:
        weight_sums(part, largest[where], total[where], squares[where])

    map_rows(task, rows, float32=True)
    if np.isnan(total).any():
        refuse(array)
    return largest, total, squares, rows.shape[1], shape


def log_mean_exp(log_w: ArrayLike, axis: Axis = -1) -> Value:
    r"""Logarithm of the mean weight, the importance sampling estimate of log p(x).

    .. math:: \log \frac{1}{K} \sum_{k=1}^K w_k

    The array is read once, rows in parallel. It is not copied where ``axis`` is the last one and contiguous;
    else 1 MiB (or 8 rows) at a time and thread is. The result has the same bits for any number of threads.

    Weights of float32 are computed in float32 and added up in float64: the result is within 3e-7 of that of
    the same numbers as float64, in half the time a number.

    Parameters
    ----------
    log_w : array_like
        Log weights in nats: finite or -inf, with at least one entry along ``axis``. Arrays of float32 are
        read as they are. Arrays of a GPU are summed there and give one of its arrays
        (C-contiguous, the last axis, at most 32,768 rows). DLPack arrays in CPU memory are taken without a
        copy; PyTorch refuses to hand out a tensor that requires a gradient: pass ``log_w.detach()``.
    axis
        The axis of the K samples, or a tuple of axes, such as (0, 1) for (chain, draw).

    Returns
    -------
    float64 array in nats, of the shape of ``log_w`` without ``axis``; a scalar where no axis is left. -inf
    where all weights are 0.

    Raises
    ------
    ValueError
        For NaN or +inf (the first one's index is named), no entries along ``axis``, an axis that ``log_w``
        lacks.
    TypeError
        Where ``log_w`` is not an array of real numbers or ``axis`` neither an int nor a tuple of ints.

    References
    ----------
    Owen (2013), Monte Carlo theory, methods and examples, section 9.1.

    Examples
    --------
    >>> import fastvi
    >>> fastvi.log_mean_exp([[0.0, 1.0], [2.0, 2.0]]).round(3)
    array([0.62, 2.  ])
    """
    if on_device(log_w):
        return _on_its_device(log_w, axis, lambda sums, num: sums.largest + np.log(sums.total / num))
    largest, total, _, num, shape = row_sums(log_weight_array(log_w), axis)
    with np.errstate(divide="ignore"):
        mean: Value = (largest + np.log(total / num)).reshape(shape)[()]
    return mean


def effective_sample_size(log_w: ArrayLike, axis: Axis = -1) -> Value:
    r"""Kish's effective sample size of importance weights.

    .. math:: \frac{(\sum_k w_k)^2}{\sum_k w_k^2}

    Between 1 and K, K for equal weights. It is 0 where all weights are 0: such samples say nothing. That of
    float32 log weights has a relative error below 1.2e-6.

    Parameters
    ----------
    log_w : array_like
        Log weights in nats, as for :func:`log_mean_exp`.
    axis
        The axis of the K samples, or a tuple of axes, such as (0, 1) for (chain, draw).

    Returns
    -------
    float64 array (a number of samples) of the shape of ``log_w`` without ``axis``; a scalar where no axis is
    left.

    Raises
    ------
    ValueError, TypeError
        As :func:`log_mean_exp`.

    References
    ----------
    Kish (1965), Survey Sampling; Owen (2013), Monte Carlo theory, methods and examples, section 9.3.

    Examples
    --------
    >>> import fastvi, numpy
    >>> fastvi.effective_sample_size(numpy.log([[1.0, 1.0, 1.0], [2.0, 1.0, 1.0]])).round(3)
    array([3.   , 2.667])
    """
    if on_device(log_w):
        return _on_its_device(log_w, axis, lambda sums, num: _kish(sums.total, sums.squares, num))
    _, total, squares, num, shape = row_sums(log_weight_array(log_w), axis)
    size: Value = _kish(total, squares, num).reshape(shape)[()]
    return size


def _kish(total: NDArray[np.float64], squares: NDArray[np.float64], num: int) -> NDArray[np.float64]:
    """Return the effective sample size from sums of w and w^2."""
    # rounding must not bring it outside 1 ... K; without a weight it is 0 / 1
    ess = total * total / np.where(total > 0.0, squares, 1.0)
    return np.asarray(np.clip(ess, np.where(total > 0.0, 1.0, 0.0), num))


def _on_its_device(log_w: Any, axis: Any, value: Callable[[Any, int], NDArray[np.float64]]) -> Value:
    """Return ``value`` of the sums of each row as an array of the device of ``log_w``."""
    from fastvi.engine.cuda.log_weights import checked_sums, device_rows

    shape = tuple(log_w.shape)
    if axis not in (-1, len(shape) - 1):
        raise ValueError(f"axis must be the last one for an array of a GPU, got {axis}")
    on, rows = device_rows(log_w)
    with np.errstate(divide="ignore"):
        found = value(checked_sums(on, rows), shape[-1])
    array: Value = on.put(found.reshape(shape[:-1]))  # the device's own, which is used as NumPy's
    return array
