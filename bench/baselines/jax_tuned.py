"""The scan of jax_chunked with the softplus written out, for a user who has profiled it.

On the machine that this was written on (AVX2, two cores) it ran 2.2 to 2.6 times as many terms a second as
jax.nn.softplus.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from baselines.jax_chunked import CHUNK, enumerate_states


def softplus(value: Any) -> Any:
    return jnp.maximum(value, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(value)))


def log_marginal(
    weights: np.ndarray, bias: np.ndarray, prior_logits: np.ndarray, x: np.ndarray
) -> np.ndarray:
    """log p(x_n), shape (N,), of binary x (N, D) under weights (D, d), bias (D,), prior_logits (d,)."""
    chunk = min(CHUNK, 2 ** len(prior_logits))
    return np.asarray(enumerate_states(weights, bias, prior_logits, x, chunk, softplus))
