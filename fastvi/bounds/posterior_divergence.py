"""KL(q || p(z | x)) and KL(p(z | x) || q): a formula where there is one, else a sum over states."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastvi.bounds.bounds_of_tables import ask_table, divergence_of_table
from fastvi.bounds.kl_divergence import kl_divergence
from fastvi.bounds.normal_divergence import divergence_of_normal_posterior
from fastvi.bounds.states import check_binary, factorised_posterior, is_enumerated
from fastvi.core.registry import rules_of
from fastvi.engine.expectation import expectations
from fastvi.engine.posterior.log_sum import log_sums
from fastvi.engine.run.runs import Run
from fastvi.inputs.data import Group
from fastvi.inputs.options import check_device, check_limits
from fastvi.inputs.variational import read_bound
from fastvi.models.base import LatentVariableModel
from fastvi.models.joint_table import JointTable
from fastvi.rules.base import Rules
from fastvi.rules.joint_table import JointTableRules


def posterior_divergence(
    model: LatentVariableModel | JointTable,
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
    rules = rules_of(model, tables=True)
    check_device(device)
    limits = check_limits(memory_limit, max_states)
    if isinstance(rules, JointTableRules):
        of_table = ask_table(rules, x, q, observed, limits)
        return divergence_of_table(of_table, from_posterior=from_posterior)
    if not rules.has_normal_posterior:
        check_binary(rules, " or be a LinearGaussian")
    question = read_bound(rules, x, q, observed, False, limits, summed=partial(_is_summed, rules))
    out = np.empty(question.num_data)
    for group in question.groups:
        out[group.members] = _of_group(rules, group, from_posterior)
    return out


def _is_summed(rules: Rules, group: Group) -> bool:
    return not rules.has_normal_posterior and is_enumerated(rules, group)


def _of_group(rules: Rules, group: Group, from_posterior: bool) -> np.ndarray:
    if rules.has_normal_posterior:
        posterior = rules.normal_posterior(group.x, group.observed)
        return divergence_of_normal_posterior(posterior, group.q, from_posterior=from_posterior)
    if group.free.size == 0:  # all units were observed: both have one state
        return np.where(rules.closed_form(group.x, group.observed) > -np.inf, 0.0, np.nan)
    product = factorised_posterior(rules, group)
    if product is not None:
        return kl_divergence(product, group.q) if from_posterior else kl_divergence(group.q, product)
    form = rules.kept_form(group.observed)
    evidence = log_sums(form, group.x, Run())
    return expectations.posterior_divergence(
        form, group.x, group.q.logits, evidence, from_posterior=from_posterior
    )
