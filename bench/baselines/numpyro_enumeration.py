"""sum_n log p(x_n) of a sigmoid belief network as a NumPyro program, its latents enumerated in parallel.

With an empty guide the ELBO is the evidence.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import numpyro
from numpyro.distributions import Bernoulli
from numpyro.infer import TraceEnum_ELBO

jax.config.update("jax_enable_x64", True)


def _model(weights: Any, bias: Any, prior_logits: Any, x: Any) -> None:
    with numpyro.plate("data", len(x)):
        eta = bias
        for i in range(len(prior_logits)):
            z = numpyro.sample(f"z_{i}", Bernoulli(logits=prior_logits[i]), infer={"enumerate": "parallel"})
            eta = eta + z[..., None] * weights[:, i]
        numpyro.sample("x", Bernoulli(logits=eta).to_event(1), obs=x)


def _guide(*_: Any) -> None:
    """Nothing to approximate."""


@jax.jit
def _loss(weights: Any, bias: Any, prior_logits: Any, x: Any) -> Any:
    elbo = TraceEnum_ELBO(max_plate_nesting=1)
    return elbo.loss(jax.random.key(0), {}, _model, _guide, weights, bias, prior_logits, x)


def log_likelihood(weights: np.ndarray, bias: np.ndarray, prior_logits: np.ndarray, x: np.ndarray) -> float:
    """sum_n log p(x_n) of binary x (N, D) under weights (D, d), bias (D,), prior_logits (d,)."""
    return -float(_loss(weights, bias, prior_logits, x))
