"""A sampled ELBO and its gradients, JAX: jitted, leave-one-out in q's logits, automatic in the model."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)


def _mean_log_joint(parameters: Any, x: Any, z: Any) -> Any:
    """Sum over data of the mean over samples, and log p(x, z) (N, K)."""
    weights, bias, prior_logits = parameters
    eta = z @ weights.T + bias
    # the softplus of jax_tuned: faster than jax.nn.softplus
    softplus = jnp.maximum(eta, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(eta)))
    log_joint = (x[:, None] * eta - softplus).sum(axis=2)
    log_joint += (z * prior_logits - jax.nn.softplus(prior_logits)).sum(axis=2)
    return log_joint.mean(axis=1).sum(), log_joint


@jax.jit
def bound(parameters: Any, x: Any, logits: Any, z: Any) -> Any:
    """ELBO (N,), its gradient in the logits (N, d), and in the parameters, summed over data; z (N, K, d)."""
    (_, log_joint), of_model = jax.value_and_grad(_mean_log_joint, has_aux=True)(parameters, x, z)
    log_q = (z * logits[:, None] - jax.nn.softplus(logits)[:, None]).sum(axis=2)
    log_w = log_joint - log_q
    centred = (log_w - log_w.mean(axis=1, keepdims=True)) / (z.shape[1] - 1)
    slope = jnp.einsum("nk,nki->ni", centred, z - jax.nn.sigmoid(logits)[:, None])
    return log_w.mean(axis=1), slope, of_model


@partial(jax.jit, static_argnames="num_samples")
def _sampled(parameters: Any, x: Any, logits: Any, key: Any, num_samples: int) -> Any:
    shape = (x.shape[0], num_samples, logits.shape[1])
    z = jax.random.bernoulli(key, jax.nn.sigmoid(logits)[:, None], shape).astype(logits.dtype)
    return bound(parameters, x, logits, z)


def sampled_bound(
    weights: np.ndarray, bias: np.ndarray, prior_logits: np.ndarray, x: np.ndarray, logits: np.ndarray,
    num_samples: int, seed: int, dtype: str = "float64",
) -> Any:  # fmt: skip
    """The same with draws of its own, all of it in ``dtype``."""
    *parameters, x, logits = (np.asarray(array, dtype) for array in (weights, bias, prior_logits, x, logits))
    found = _sampled(tuple(parameters), x, logits, jax.random.key(seed), num_samples)
    return jax.tree.map(np.asarray, found)
