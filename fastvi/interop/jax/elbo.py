"""The ELBO of arrays of JAX, with gradients."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from fastvi.interop import differentiable_elbo
from fastvi.interop.differentiable_elbo import Sampling
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


def elbo(
    model: Any,
    x: Any,
    logits: Any,
    *,
    num_samples: int | None = None,
    seed: int = 0,
    estimator: str | None = None,
    **parameters: Any,
) -> jax.Array:
    r"""ELBO of q(z | x_n), differentiable in q's logits, in the model's parameters and in x.

    .. math:: E_{q(z | x_n)}[\log p(x_n, z) - \log q(z | x_n)] \le \log p(x_n)

    Parameters
    ----------
    model
        A model with latents beside its pixels.
    x : array_like, (N, D)
    logits : array_like, (N, d)
        Of q(z_i = 1 | x_n): the output of an encoder. Of real latents means, then logarithms of standard
        deviations, (N, 2 d).
    num_samples
        None for the exact bound; a number for the mean of so many log weights a datum.
    seed
        Of the draws, of which the result is a pure function; it must be known while JAX traces.
    estimator
        Of the sampled gradient in the logits, as in :func:`fastvi.fit_encoder`.
    **parameters : array_like
        As in :func:`log_marginal`.

    Returns
    -------
    jax.Array, (N,)
        In nats, of the dtype that the floating ones among logits, parameters and x promote to.

    Raises
    ------
    ValueError, TypeError
        As :func:`log_marginal`, and for models without such a bound.

    References
    ----------
    Jordan, Ghahramani, Jaakkola, Saul (1999), An introduction to variational methods for graphical models,
    eq. 41. Estimators: Kool, van Hoof, Welling (2019); Dong, Mnih, Tucker (2020).

    Examples
    --------
    >>> import fastvi, jax, fastvi.interop.jax
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
    >>> bound = lambda logits: fastvi.interop.jax.elbo(model, [[1, 0]], logits).sum()
    >>> round(float(jax.grad(bound)(jax.numpy.zeros((1, 1)))[0, 0]), 3)
    0.267
    """
    sampling = Sampling(num_samples, seed, estimator).checked(model)
    arrays, pixels, q = checked_parameters(model, parameters), jnp.asarray(x), jnp.asarray(logits)
    if not is_real(q):
        raise TypeError(f"logits must have a floating dtype, got {q.dtype}")
    values = jax.ShapeDtypeStruct(pixels.shape[:1], common_dtype([q, *arrays.values()]))
    if not is_traced((pixels, arrays, q)):
        differentiable_elbo.check_bound(rebuilt(model, arrays), host(pixels), host(q))

    def value(x: Any, arrays: Any, logits: Any) -> Any:
        found = differentiable_elbo.elbo_forward(rebuilt(model, arrays), host(x), host(logits), sampling)
        return found.astype(values.dtype)

    @jax.custom_vjp
    def function(x: Any, arrays: Any, logits: Any) -> Any:
        return call(value, values, x, arrays, logits)

    def fwd(x: Any, arrays: Any, logits: Any) -> Any:
        wanted = (None,) if x.perturbed and is_real(x.value) else ()
        primals = x.value, {name: primal.value for name, primal in arrays.items()}, logits.value
        return call(value, values, *primals), (*primals, wanted)

    def bwd(residuals: Any, weights: Any) -> Any:
        x, arrays, logits, wanted = residuals
        x_gradient = bool(len(wanted))
        shapes = structs(arrays), structs(logits), *((structs(x),) if x_gradient else ())

        def gradients(x: Any, arrays: Any, logits: Any, weights: Any) -> Any:
            found, slope, pixels = differentiable_elbo.elbo_backward(
                rebuilt(model, arrays), host(x), host(logits), host(weights), sampling,
                x_gradient=x_gradient,
            )  # fmt: skip
            of_model = {name: like(found[name], arrays[name]) for name in arrays}
            return of_model, like(slope, logits), *((like(pixels, x),) if x_gradient else ())

        found = call(gradients, shapes, x, arrays, logits, weights)
        return found[2] if x_gradient else None, found[0], found[1]

    function.defvjp(fwd, bwd, symbolic_zeros=True)
    return function(pixels, arrays, q)
