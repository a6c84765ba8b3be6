"""Posteriors that bounds ask about state by state: which have a formula, and the form of the rest."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvi import validation
from fastvi.bounds.questions import Part
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.engine import requests
from fastvi.engine.form import Form
from fastvi.models.enumerable import Enumerable
from fastvi.models.restricted_boltzmann_machine import RestrictedBoltzmannMachine


def check_binary(model: Any, also: str = "") -> None:
    """Refuse a model whose posterior is a density."""
    if getattr(model, "_real_latents", False):
        raise TypeError(f"model must have binary latents{also}, got {validation.shown(model)}")


def factorised_posterior(model: Enumerable, part: Part) -> Bernoulli | None:
    """p(z | x) where it is a product over latents: the hidden units given all visible ones."""
    if not isinstance(model, RestrictedBoltzmannMachine) or not part.pixels.all():
        return None
    # einsum, not BLAS, so that the bits of a result do not depend on threads
    logits = np.einsum("nj,jk->nk", part.x.astype(np.float64), model.weights) + model.hidden_bias
    return Bernoulli(logits)


def enumerated_form(model: Enumerable, part: Part, memory_limit: int | None, max_states: int) -> Form:
    """What is summed for these data, refused where it is too large."""
    size = part.free.size, len(part.members), model.num_pixels
    requests.check_size(*size, memory_limit, max_states)
    prior = model._deep_prior
    while prior is not None:  # summed out for each state of the layer below it
        size = prior.num_latents, 1 << prior.num_pixels, prior.num_pixels
        requests.check_size(*size, memory_limit, max_states, what="its prior")
        prior = prior._deep_prior
    return model._form(part.pixels, "float64")
