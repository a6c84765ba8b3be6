"""Checks that the bounds share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastvi import validation
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.engine import requests
from fastvi.models.sigmoid_belief_network import factorised


def model_data_q(
    model: Any, x: ArrayLike, q: Any, memory_limit: int | None, max_states: int
) -> tuple[np.ndarray, np.ndarray]:
    """Clean data (N, D) and the logits (d,) or (N, d) of q, checked against the model and the limits."""
    factorised(model)
    data = validation.binary_matrix(x, "x", model.num_pixels)
    validation.instance(q, "q", Bernoulli)
    logits = q.logits
    if logits.shape not in ((model.num_latents,), (len(data), model.num_latents)):
        raise ValueError(
            f"q must have logits of shape ({model.num_latents},) or ({len(data)}, {model.num_latents}), "
            f"got shape {logits.shape}"
        )
    requests.check_size(model.num_latents, len(data), model.num_pixels, memory_limit, max_states)
    return data, logits
