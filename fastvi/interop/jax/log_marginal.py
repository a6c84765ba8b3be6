"""Exact log p(x) of arrays of JAX, with gradients."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fastvi.interop import differentiable
from fastvi.interop.jax.callbacks import (
    call,
    checked_parameters,
    common_dtype,
    host,
    is_real,
    is_traced,
    like,
    rebuilt,
    structs,
)


def log_marginal(model: Any, x: Any, observed: Any = None, **parameters: Any) -> jax.Array:
    r"""Exact log p(x), differentiable in the model's parameters and in x.

    .. math:: \log p(x_n) = \log \sum_z p(x_n, z)

    Values are those of :func:`fastvi.log_marginal`, gradients those of :func:`fastvi.log_marginal_gradient`.
    A value with its gradient costs what the gradient costs alone, where the model can keep what they share.

    Parameters
    ----------
    model
        Any model whose log p(x) has a gradient. It fixes the shapes, and the values of parameters that are
        not given.
    x : array_like, (N, D)
        As in :func:`fastvi.log_marginal`; an array of JAX or NumPy. Where log p(x, z) is linear in binary
        pixels they may be relaxed to numbers in [0, 1]. A floating array has a gradient.
    observed : array_like of bool, (D,) or (N, D), optional
        Pixels that were seen. It must be known while JAX traces: an array of NumPy.
    **parameters : array_like
        By the names of the model's arrays: ``weights``, ``bias``, ``prior_logits``, and so on. They take the
        place of the model's own.

    Returns
    -------
    jax.Array, (N,)
        In nats, of the dtype that the floating ones among parameters and x promote to. The sums are float64,
        without x64 too.

    Raises
    ------
    ValueError, TypeError
        For names and shapes that the model lacks, and for second derivatives. What only the values tell (x
        that are neither 0 nor 1, a datum of probability 0) is found in the callback: JAX then raises a
        ``JaxRuntimeError`` that holds the line.

    Notes
    -----
    Under ``vmap`` one element is computed after the other (``vmap_method="sequential"``): data belong into
    the axis of x, where they share an enumeration.

    Examples
    --------
    >>> import fastvi, jax, fastvi.interop.jax
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
    >>> value = lambda logits: fastvi.interop.jax.log_marginal(model, [[1, 0]], prior_logits=logits).sum()
    >>> jax.grad(value)(jax.numpy.zeros(1)).round(4)
    Array([0.2439], dtype=float32)
    """
    arrays, pixels = checked_parameters(model, parameters), jnp.asarray(x)
    if pixels.ndim < 1:
        raise ValueError("x must have shape (num_data, num_pixels), got shape ()")
    if is_traced(observed):
        raise TypeError("observed must be an array of NumPy, known while JAX traces, got a tracer")
    mask = None if observed is None else np.asarray(observed)
    if not is_traced((pixels, arrays)):  # refused here, in one line, not by a callback
        differentiable.check_question(rebuilt(model, arrays), host(pixels), mask)
    values = jax.ShapeDtypeStruct(pixels.shape[:1], common_dtype([*arrays.values()] or [pixels]))
    # float64 as pairs of 32 bits: without x64 there are no wider arrays
    num_data, width = differentiable.saved_shape(model, pixels.shape[0])
    kept = jax.ShapeDtypeStruct((num_data, 2 * width), jnp.uint32)

    def value(x: Any, arrays: Any) -> Any:
        found = differentiable.log_marginal_value(rebuilt(model, arrays), host(x), mask)
        return found.astype(values.dtype)

    def forward(x: Any, arrays: Any) -> Any:
        found, saved = differentiable.log_marginal_forward(rebuilt(model, arrays), host(x), mask)
        return found.astype(values.dtype), np.ascontiguousarray(saved).view(np.uint32).reshape(kept.shape)

    def gradients(x: Any, arrays: Any, saved: Any, weights: Any, *, x_gradient: bool) -> Any:
        first = np.ascontiguousarray(saved).view(np.float64).reshape(num_data, width)
        found, pixels = differentiable.log_marginal_backward(
            rebuilt(model, arrays), host(x), mask, first, host(weights), x_gradient=x_gradient
        )
        return {name: like(found[name], arrays[name]) for name in arrays}, *(
            (like(pixels, x),) if x_gradient else ()
        )

    @jax.custom_vjp
    def function(x: Any, arrays: Any) -> Any:
        return call(value, values, x, arrays)

    def fwd(x: Any, arrays: Any) -> Any:
        # a structure, which is known while JAX traces, says whether x has a gradient
        wanted = (None,) if x.perturbed and is_real(x.value) else ()
        primals = {name: primal.value for name, primal in arrays.items()}
        found, saved = call(forward, (values, kept), x.value, primals)
        return found, (x.value, primals, saved, wanted)

    def bwd(residuals: Any, weights: Any) -> Any:
        x, arrays, saved, wanted = residuals
        x_gradient = bool(len(wanted))
        shapes = structs(arrays), *((structs(x),) if x_gradient else ())

        def found_by(*arguments: Any) -> Any:
            return gradients(*arguments, x_gradient=x_gradient)

        found = call(found_by, shapes, x, arrays, saved, weights)
        return found[1] if x_gradient else None, found[0]

    function.defvjp(fwd, bwd, symbolic_zeros=True)
    return function(pixels, arrays)
