"""log p(x) estimated by sampling from the prior, JAX: jitted, K samples of its own for each datum."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

jax.config.update("jax_enable_x64", True)


@partial(jax.jit, static_argnames="num_samples")
def _estimate(weights: Any, bias: Any, prior_logits: Any, x: Any, key: Any, num_samples: int) -> Any:
    def one(datum_and_key: Any) -> Any:
        datum, datum_key = datum_and_key
        shape = (num_samples, prior_logits.shape[0])
        states = jax.random.bernoulli(datum_key, jax.nn.sigmoid(prior_logits), shape).astype(weights.dtype)
        eta = states @ weights.T + bias
        # the softplus of jax_tuned: faster than jax.nn.softplus
        softplus = jnp.maximum(eta, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(eta)))
        log_w = eta @ datum - softplus.sum(axis=1)
        largest = log_w.max()
        scaled = jnp.exp(log_w - largest)
        mean = scaled.mean()
        std_error = scaled.std(ddof=1) / jnp.sqrt(num_samples) / mean
        return largest + jnp.log(mean), std_error

    return lax.map(one, (x, jax.random.split(key, x.shape[0])))


def estimate_log_marginal(
    weights: np.ndarray,
    bias: np.ndarray,
    prior_logits: np.ndarray,
    x: np.ndarray,
    num_samples: int,
    seed: int,
    dtype: str = "float64",
) -> tuple[np.ndarray, np.ndarray]:
    """Log mean weight and its standard error, both (N,): num_samples draws from the prior for each datum."""
    arrays = (np.asarray(array, dtype) for array in (weights, bias, prior_logits, x))
    value, std_error = _estimate(*arrays, jax.random.key(seed), num_samples)
    return np.asarray(value), np.asarray(std_error)
