"""Questions of fits to a model beyond its public methods.

Nothing is validated here but what is said to be: fits check their arguments once, before the first step.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from fastvi.core.accuracy import reported, working_on
from fastvi.core.registry import rules_of
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.distributions.normal import Normal
from fastvi.engine.decoder.block_form import BlockForm
from fastvi.engine.decoder.large_logits import largest_reach
from fastvi.engine.run.runs import Run
from fastvi.inputs.data import Group, by_mask, groups_of
from fastvi.inputs.memory import Asked
from fastvi.inputs.options import NO_LIMITS
from fastvi.inputs.question import check_size
from fastvi.rules.base import log_marginal_of, log_probabilities, without_partition
from fastvi.rules.questions import LOG_MARGINAL, LOG_MARGINAL_GRADIENT

Gradient = dict[str, np.ndarray]
Question = Literal["log_marginal", "gradient", "states"]  # the last sums states whatever the model


def _everything(model: Any) -> np.ndarray:
    return np.ones(model.num_pixels, bool)


# ---- what a model is -------------------------------------------------------------------------------------


def prior_parameters(model: Any, num_data: int) -> np.ndarray:
    """Parameters (N, P) of the prior where it is a distribution, else logits of 0: where a q starts."""
    prior = rules_of(model).prior()
    if isinstance(prior, Normal):
        own = np.concatenate([prior.mean, np.log(prior.std)])
    elif isinstance(prior, Bernoulli):
        own = prior.logits
    else:
        own = np.zeros(model.num_latents)
    return np.tile(own, (num_data, 1))


def check_has_prior(model: Any) -> None:
    """Refuse models without p(z) and p(x | z) of their own, whose log joint has a gradient."""
    rules_of(model).learnable()
    if rules_of(model).prior() is None:
        raise TypeError(f"model must have a prior p(z) and a likelihood p(x | z), got {model!r}")


def check_data(model: Any, x: Any, name: str, observed: Any = None) -> tuple[np.ndarray, np.ndarray | None]:
    """The argument ``name`` as clean data (N, D), and the mask of what was observed, or None."""
    if x is None:
        raise TypeError(f"{name} must be an array of data, got None")
    return rules_of(model, tables=True).check_data(x, observed, name)


def check_states(
    model: Any,
    num_data: int,
    question: Question,
    observed: np.ndarray | None = None,
    *,
    learned: bool = False,
) -> None:
    """Refuse sums over more states than a call may take; ``observed`` None: every pixel is seen.

    A model that is ``learned`` is enumerated: its first step couples all units, whatever its couplings were.
    """
    rules = rules_of(model)
    if question != "states":
        asked = LOG_MARGINAL if question == "log_marginal" else LOG_MARGINAL_GRADIENT
        rules = rules.by("enumeration" if learned else "auto", asked)
    closed = {"log_marginal": rules.is_closed, "gradient": rules.has_closed_gradient}.get(question)
    groups = [
        Group(mask, members, None, rules.free_latents(mask), closed is not None and closed(mask))
        for mask, members in by_mask(observed, num_data, model.num_pixels)
    ]
    check_size(rules, groups, Asked("log_marginal"), NO_LIMITS)


# ---- parameters ------------------------------------------------------------------------------------------


def parameter_names(model: Any, *, exactly: bool) -> list[str]:
    """Parameters that can be learned from log p(x) (``exactly``) or from bounds.

    Refused where there are none.
    """
    return list(rules_of(model).zero_gradient() if exactly else rules_of(model).learnable())


# ---- log p(x) --------------------------------------------------------------------------------------------


@reported
def exact_log_marginal(model: Any, x: np.ndarray, observed: np.ndarray | None = None) -> np.ndarray:
    """Log p(x_n), (N,): the bits of :func:`~fastvi.log_marginal`."""
    rules, found = rules_of(model).by("auto", LOG_MARGINAL), np.empty(len(x))
    for group in groups_of(rules, x, observed):
        working_on(group.members)
        found[group.members] = log_marginal_of(rules, group.x, group.observed, Run())
    return found if rules.partition_memory() is None else log_probabilities(found - rules.log_z)


def exact_gradient(
    model: Any, x: np.ndarray, weights: np.ndarray, observed: np.ndarray | None = None
) -> Gradient:
    """Gradient of sum_n weights_n log p(x_n): the bits of :func:`~fastvi.log_marginal_gradient`."""
    rules, run, found = rules_of(model).by("auto", LOG_MARGINAL_GRADIENT), Run(), Gradient()
    with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is refused below
        for group in groups_of(rules, x, observed):
            part = rules.gradient(group.x, weights[group.members], group.observed, run)
            found = {name: found[name] + value for name, value in part.items()} if found else part
        found = without_partition(rules, found, float(weights.sum()), run)
    for name, value in found.items():
        if not np.isfinite(value).all():
            raise ValueError(
                f"x must have a positive probability for the gradient to exist, got NaN or infinity in {name}"
            )
    return found


# ---- expectations under q --------------------------------------------------------------------------------


def form_of(model: Any) -> Any:
    """Form that the engine sums over the states of ``model``."""
    return rules_of(model).form(_everything(model))


def tiled_form(model: Any) -> Any:
    """Form whose tiles give the gradient of an exact ELBO; refused where its sums would lose digits."""
    form = form_of(model)
    if isinstance(form, BlockForm):
        raise ValueError(
            f"model must keep the sum of its |weights|, |bias| and |prior_logits| below "
            f"{largest_reach(model.num_pixels):g}, up to which the exact ELBO has an exact gradient, got "
            f"{model!r} beyond it; pass num_samples to climb by samples"
        )
    return form


def expected_log_likelihood(model: Any, x: np.ndarray, q: Bernoulli | Normal) -> np.ndarray:
    """E_q[log p(x_n | z)] (N,), exact."""
    return np.asarray(rules_of(model).reconstruction(x, _everything(model), q))
