"""Posteriors that bounds ask about state by state: which have a formula, and the form of the rest."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvi.core import validation
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.inputs.bound_parts import Part
from fastvi.models.enumerable import Enumerable
from fastvi.models.restricted_boltzmann_machine import RestrictedBoltzmannMachine


def check_binary(model: Any, also: str = "") -> None:
    """Refuse a model whose posterior is a density."""
    if getattr(model, "_real_latents", False):
        raise TypeError(f"model must have binary latents{also}, got {validation.shown(model)}")


def factorised_posterior(model: Enumerable, part: Part) -> Bernoulli | None:
    """p(z | x) where it is a product over latents: the hidden units given all visible ones."""
    if not _is_factorised(model, part):
        return None
    assert isinstance(model, RestrictedBoltzmannMachine)
    # einsum, not BLAS, so that the bits of a result do not depend on threads
    logits = np.einsum("nj,jk->nk", part.x.astype(np.float64), model.weights) + model.hidden_bias
    return Bernoulli(logits)


def is_enumerated(model: Enumerable, part: Part) -> bool:
    """Whether these data's posterior takes a sum over states."""
    return part.free.size > 0 and not _is_factorised(model, part)


def _is_factorised(model: Enumerable, part: Part) -> bool:
    return isinstance(model, RestrictedBoltzmannMachine) and bool(part.pixels.all())
