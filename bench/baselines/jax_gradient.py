"""Gradient of the sum of exact log p(x) of a sigmoid belief network, JAX: reverse mode through the scan.

Each step is checkpointed: what it computed is computed again on the way back, and not kept for all chunks.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from baselines.jax_chunked import CHUNK
from baselines.jax_tuned import softplus

jax.config.update("jax_enable_x64", True)


def _log_likelihood(weights: Any, bias: Any, prior_logits: Any, x: Any, chunk: int) -> Any:
    num_latents = prior_logits.shape[0]
    projected = x @ weights

    @jax.checkpoint
    def step(total: Any, start: Any) -> Any:
        index = start + jnp.arange(chunk)
        states = ((index[:, None] >> jnp.arange(num_latents)) & 1).astype(jnp.float64)
        eta = states @ weights.T + bias
        shared = states @ prior_logits - softplus(eta).sum(axis=1)
        chunk_total = jax.nn.logsumexp(projected @ states.T + shared, axis=1)
        return jnp.logaddexp(total, chunk_total), None

    empty = jnp.full(x.shape[0], -jnp.inf)
    total, _ = lax.scan(step, empty, jnp.arange(0, 2**num_latents, chunk))
    return (total + x @ bias - softplus(prior_logits).sum()).sum()


@partial(jax.jit, static_argnames="chunk")
def _gradient(weights: Any, bias: Any, prior_logits: Any, x: Any, chunk: int) -> Any:
    return jax.grad(_log_likelihood, argnums=(0, 1, 2))(weights, bias, prior_logits, x, chunk)


def log_marginal_gradient(
    weights: np.ndarray, bias: np.ndarray, prior_logits: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Gradients of sum_n log p(x_n) in weights (D, d), bias (D,) and prior_logits (d,)."""
    chunk = min(CHUNK, 2 ** len(prior_logits))
    return tuple(np.asarray(part) for part in _gradient(weights, bias, prior_logits, x, chunk))
