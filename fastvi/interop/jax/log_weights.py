"""Functions of log weights that are arrays of JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fastvi.core import validation
from fastvi.interop.jax.callbacks import (
    call,
    host,
    is_real,
    is_traced,
    structs,
)
from fastvi.weights import importance_weighted_bound as bounds
from fastvi.weights import log_weights, pareto


def _weights(log_w: Any) -> jax.Array:
    array = jnp.asarray(log_w)
    if not is_traced(array):  # refused here, in one line, not by a callback
        log_weights.refuse(host(array))
    return array if is_real(array) else array.astype(jnp.result_type(float))


def _shares(log_w: jax.Array, axis: int) -> jax.Array:
    """Weights over their sum; 0 where all are 0."""
    largest = log_w.max(axis, keepdims=True)
    w = jnp.exp(log_w - jnp.where(jnp.isneginf(largest), 0.0, jax.lax.stop_gradient(largest)))
    total = w.sum(axis, keepdims=True)
    return w / jnp.where(total > 0.0, total, 1.0)


def log_mean_exp(log_w: Any, axis: int = -1) -> jax.Array:
    """Logarithm of the mean weight along ``axis``, with its gradient: each weight over their sum.

    Parameters
    ----------
    log_w : array_like
        Log weights in nats: finite or -inf.
    axis
        The axis of the samples.

    Returns
    -------
    jax.Array
        :func:`fastvi.log_mean_exp` in the dtype of ``log_w``, without ``axis``. Where all weights are 0 it is
        -inf, and its gradient 0.

    Raises
    ------
    ValueError, TypeError
        As :func:`fastvi.log_mean_exp`.

    Examples
    --------
    >>> import jax, fastvi.interop.jax
    >>> fastvi.interop.jax.log_mean_exp(jax.numpy.array([0.0, 1.0]))
    Array(0.6201145, dtype=float32)
    """
    array = _weights(log_w)
    if not -array.ndim <= axis < array.ndim:
        raise ValueError(f"axis must lie in {-array.ndim} ... {array.ndim - 1}, got {axis}")
    place = axis % array.ndim
    shape = array.shape[:place] + array.shape[place + 1 :]
    values = jax.ShapeDtypeStruct(shape, array.dtype)

    def value(own: Any) -> Any:
        return np.asarray(log_weights.log_mean_exp(host(own), place)).astype(values.dtype)

    @jax.custom_vjp
    def function(own: Any) -> Any:
        return call(value, values, own)

    # through the function itself, which has a derivative of its own
    function.defvjp(
        lambda own: (function(own), own),
        lambda own, pull: (_shares(own, place) * jnp.expand_dims(pull, place),),
    )
    return function(array)


def importance_weighted_bound(log_w: Any, num_samples: int) -> jax.Array:
    """Importance-weighted bound (N,) of log weights (N, K), with its gradient.

    Parameters
    ----------
    log_w : array_like, (N, K)
    num_samples
        k in 1 ... K: the bound is the mean over disjoint blocks of k samples.

    Returns
    -------
    jax.Array, (N,)
        :func:`fastvi.importance_weighted_bound` in the dtype of ``log_w``.

    Raises
    ------
    ValueError, TypeError
        As :func:`fastvi.importance_weighted_bound`.

    References
    ----------
    Burda, Grosse, Salakhutdinov (2016), Importance Weighted Autoencoders, ICLR; eq. 8.

    Examples
    --------
    >>> import fastvi.interop.jax
    >>> fastvi.interop.jax.importance_weighted_bound([[0.0, 1.0, 2.0, 3.0]], 2)
    Array([1.6201146], dtype=float32)
    """
    array = _weights(log_w)
    if array.ndim != 2:
        raise ValueError(f"log_w must have 2 axes, got shape {array.shape}")
    size = validation.positive_int(num_samples, "num_samples")
    if size > array.shape[1]:
        raise ValueError(f"num_samples must be at most K = {array.shape[1]}, got {size}")
    values = jax.ShapeDtypeStruct(array.shape[:1], array.dtype)

    def value(own: Any) -> Any:
        return bounds.importance_weighted_bound(host(own), size).astype(values.dtype)

    @jax.custom_vjp
    def function(own: Any) -> Any:
        return call(value, values, own)

    def bwd(own: Any, pull: Any) -> Any:
        count = own.shape[1] // size
        shares = _shares(own[:, : count * size].reshape(-1, count, size), 2)
        used = (shares * (pull / count)[:, None, None]).reshape(-1, count * size)
        return (jnp.pad(used, ((0, 0), (0, own.shape[1] - count * size))),)

    function.defvjp(lambda own: (function(own), own), bwd)
    return function(array)


def effective_sample_size(log_w: Any, axis: int = -1) -> jax.Array:
    """Kish's effective sample size along ``axis``, without a gradient.

    Parameters
    ----------
    log_w : array_like
    axis
        The axis of the samples.

    Returns
    -------
    jax.Array
        :func:`fastvi.effective_sample_size` in the dtype of ``log_w``.

    Examples
    --------
    >>> import jax, fastvi.interop.jax
    >>> fastvi.interop.jax.effective_sample_size(jax.numpy.zeros((2, 5)))
    Array([5., 5.], dtype=float32)
    """
    array = _weights(log_w)
    place = axis % array.ndim
    values = jax.ShapeDtypeStruct(array.shape[:place] + array.shape[place + 1 :], array.dtype)
    return _without_gradient(lambda own: log_weights.effective_sample_size(own, place), values, array)


def pareto_k(log_w: Any) -> jax.Array:
    """Pareto k-hat of the largest weights of each row, without a gradient.

    Parameters
    ----------
    log_w : array_like, (N, K)

    Returns
    -------
    jax.Array, (N,)
        :func:`fastvi.pareto_k` in the dtype of ``log_w``.

    Examples
    --------
    >>> import jax, fastvi.interop.jax
    >>> bool(fastvi.interop.jax.pareto_k(jax.numpy.linspace(0, 1, 200)[None])[0] < 0)
    True
    """
    array = _weights(log_w)
    values = jax.ShapeDtypeStruct(array.shape[:-1], array.dtype)
    return _without_gradient(pareto.pareto_k, values, array)


def psis(log_w: Any) -> tuple[jax.Array, jax.Array]:
    """Pareto smoothed log weights and k-hat, without gradients.

    Parameters
    ----------
    log_w : array_like, (N, K)

    Returns
    -------
    smoothed_log_w : jax.Array, (N, K)
    k : jax.Array, (N,)
        As :func:`fastvi.psis`, in the dtype of ``log_w``.

    Examples
    --------
    >>> import jax, fastvi.interop.jax
    >>> smoothed, k = fastvi.interop.jax.psis(jax.random.normal(jax.random.key(0), (3, 100)))
    >>> smoothed.shape, k.shape
    ((3, 100), (3,))
    """
    array = _weights(log_w)
    values = structs(array), jax.ShapeDtypeStruct(array.shape[:-1], array.dtype)
    found: tuple[jax.Array, jax.Array] = _without_gradient(pareto.psis, values, array)
    return found


def _without_gradient(function: Callable[[np.ndarray], Any], values: Any, log_w: jax.Array) -> Any:
    def value(own: Any) -> Any:
        return jax.tree.map(
            lambda found, struct: np.asarray(found).astype(struct.dtype), function(host(own)), values
        )

    return call(value, values, jax.lax.stop_gradient(log_w))
