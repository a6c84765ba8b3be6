"""KL(q || p(z | x)) and KL(p(z | x) || q): a formula where there is one, else a sum over states."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastvi.bounds.kl_divergence import kl_divergence
from fastvi.bounds.linear_posterior import linear_divergence
from fastvi.bounds.states import check_binary, factorised_posterior, is_enumerated
from fastvi.engine.expectation import expectations
from fastvi.engine.posterior.log_sum import log_sums
from fastvi.engine.run.runs import Run
from fastvi.inputs import requests
from fastvi.inputs.bound_parts import Part, parts_of
from fastvi.models.enumerable import Enumerable
from fastvi.models.linear_gaussian import LinearGaussian


def posterior_divergence(
    model: Enumerable,
    x: ArrayLike | None,
    q: Any,
    observed: ArrayLike | None,
    device: str,
    memory_limit: int | None,
    max_states: int,
    *,
    from_posterior: bool,
) -> np.ndarray:
    """(N,) in nats; every argument is checked."""
    requests.check_device(device)
    limits = requests.check_limits(memory_limit, max_states)
    if not isinstance(model, LinearGaussian):
        check_binary(model, " or be a LinearGaussian")
    question = parts_of(model, x, q, observed, False, limits, summed=partial(_is_summed, model))
    out = np.empty(question.num_data)
    for part in question.parts:
        out[part.members] = _of_part(model, part, from_posterior)
    return out


def _is_summed(model: Enumerable, part: Part) -> bool:
    return not isinstance(model, LinearGaussian) and is_enumerated(model, part)


def _of_part(model: Enumerable, part: Part, from_posterior: bool) -> np.ndarray:
    if isinstance(model, LinearGaussian):
        return linear_divergence(model, part, from_posterior=from_posterior)
    if part.free.size == 0:  # all units were observed: both have one state
        return np.where(model._closed_form(part.x, part.pixels) > -np.inf, 0.0, np.nan)
    posterior = factorised_posterior(model, part)
    if posterior is not None:
        return kl_divergence(posterior, part.q) if from_posterior else kl_divergence(part.q, posterior)
    form = model._form(part.pixels, "float64")
    evidence = log_sums(form, part.x, Run())
    return expectations.posterior_divergence(
        form, part.x, part.q.logits, evidence, from_posterior=from_posterior
    )
