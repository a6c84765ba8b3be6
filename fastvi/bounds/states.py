"""Posteriors that bounds ask about state by state: which have a formula, and which are enumerated."""

from __future__ import annotations

from fastvi.core import validation
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.inputs.data import Group
from fastvi.rules.base import Rules


def check_binary(rules: Rules, also: str = "") -> None:
    """Refuse a model whose posterior is a density."""
    if rules.real_latents:
        raise TypeError(f"model must have binary latents{also}, got {validation.shown(rules.model)}")


def factorised_posterior(rules: Rules, group: Group) -> Bernoulli | None:
    """Return p(z | x) where it is a product over latents."""
    if rules.has_factorised_posterior(group.observed):
        return rules.factorised_posterior(group.x)
    return None


def is_enumerated(rules: Rules, group: Group) -> bool:
    """Tell whether these data's posterior takes a sum over states."""
    return group.free.size > 0 and not rules.has_factorised_posterior(group.observed)
