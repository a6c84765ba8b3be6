"""Functions of NumPy called back from compiled functions of JAX, and the arrays that go in and out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fastvi.interop import differentiable


def host(value: Any) -> np.ndarray:
    """Return what a callback is given as an array; floats of fewer bits, bfloat16 too, as float64."""
    array = np.asarray(value)
    return array if array.dtype.kind in "biu" else array.astype(np.float64, copy=False)


def call(function: Callable[..., Any], shapes: Any, *arguments: Any) -> Any:
    """Call a function of arrays from a compiled one; under ``vmap`` once for each element."""
    guarded = jax.custom_jvp(lambda *own: jax.pure_callback(function, shapes, *own, vmap_method="sequential"))
    guarded.defjvp(_refuse_second_derivatives)
    return guarded(*arguments)


def _refuse_second_derivatives(*_: Any) -> Any:
    raise TypeError("second derivatives must not be asked for: fastvi gives values and first derivatives")


def is_traced(values: Any) -> bool:
    """Tell whether JAX is tracing any of them."""
    return any(isinstance(value, jax.core.Tracer) for value in jax.tree.leaves(values))


def is_real(value: Any) -> bool:
    """Tell whether an array has a floating dtype."""
    return jnp.issubdtype(jnp.result_type(value), jnp.floating)


def common_dtype(values: Any) -> Any:
    """Return the dtype that the floating ones among ``values`` promote to, or JAX's default."""
    real = [value for value in values if is_real(value)]
    return jnp.result_type(*real) if real else jnp.result_type(float)


def checked_parameters(model: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters as arrays of JAX; names and shapes that the model lacks are refused."""
    known = differentiable.parameters(model)
    arrays = {}
    for name, value in given.items():
        if name not in known:
            raise TypeError(f"parameters must be named {', '.join(known)}, got {name!r}")
        arrays[name] = jnp.asarray(value)
        if arrays[name].shape != known[name].shape:
            raise ValueError(f"{name} must have shape {known[name].shape}, got shape {arrays[name].shape}")
        if not is_real(arrays[name]):
            raise TypeError(f"{name} must have a floating dtype, got {arrays[name].dtype}")
    return arrays


def rebuilt(model: Any, arrays: dict[str, Any]) -> Any:
    """Return the model with the arrays that a callback was given."""
    return differentiable.with_parameters(model, {name: host(value) for name, value in arrays.items()})


def like(value: Any, primal: Any) -> Any:
    """Return a float64 result in shape and dtype of an argument of JAX."""
    return np.asarray(value).reshape(primal.shape).astype(primal.dtype)


def structs(values: Any) -> Any:
    """Return shapes and dtypes of arrays."""
    return jax.tree.map(lambda value: jax.ShapeDtypeStruct(value.shape, value.dtype), values)
