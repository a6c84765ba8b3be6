"""Peak memory of an exact question beyond its arguments, results among it, known before any work begins.

What is kept for each datum, and the worst of what is done in turn: a form made, and its passes over the data
of one chunk. The buffers are those of the functions that are named beside each number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fastvi.engine.memory.form import NUMBER, FormMemory
from fastvi.engine.run import slices
from fastvi.inputs.data import Group
from fastvi.rules.base import Rules

PAIR_DATA = 256  # whose second moments are put in order at a time
_TABLE_STATES = 1 << 16  # of a prior that is a rules, at a time
# what is small and many, a task and its future (1 KiB), say: up to 0.5 MiB of 30 were measured on two threads
_SMALL = 1 << 17
_GROUP = 1280  # Python's own objects of a group: what they are is measured, not counted


class Asked(NamedTuple):
    """A question (or "other" sums over states), and the arguments that its memory depends on."""

    question: str
    dtype: str = "float64"
    top_k: int = 0
    pairwise: bool = False
    normalized: bool = True  # whether log Z is summed, too


OTHER = Asked("other", normalized=False)  # bounds and fits


def all_states(prior: Rules, states: int) -> Group:
    """Return the states of the layer above, which are data of this prior."""
    observed = np.ones(prior.num_pixels, bool)
    return Group(observed, range(states), None, prior.free_latents(observed))


def predicted_bytes(rules: Rules, groups: Sequence[Group], asked: Asked) -> int:
    """Peak of ``asked`` for data that need not be converted."""
    need = _counted(rules, groups, asked)
    return need + need // 16 + _SMALL


def _counted(rules: Rules, groups: Sequence[Group], asked: Asked) -> int:
    question = asked.question
    gradient = question == "log_marginal_gradient"
    partition = rules.partition_memory() if asked.normalized else None
    log_z = 0 if partition is None else _passes(rules, partition, 1, 1, gradient=gradient)
    if question == "log_partition":
        return log_z
    peak = max((_group_bytes(rules, group, asked) for group in groups), default=0)
    if partition is not None:  # its form is there before the sums begin
        peak = max(peak + partition.tables, log_z)
    num_data = sum(group.num_data for group in groups)
    copies, grouping = _copies(rules, groups, num_data, kept=question == "exact_posterior")
    return copies + max(grouping, NUMBER * num_data * _numbers(rules, asked) + peak) + _parameters(rules)


def _parameters(rules: Rules) -> int:
    """Room for what is as small as the parameters: gradients, masks, weights of the pixels that are seen."""
    return 4 * NUMBER * (rules.num_pixels + 1) * (rules.num_latents + 1)


def _numbers(rules: Rules, asked: Asked) -> int:
    """What is kept of a datum until the end: its place, and what is returned."""
    d = rules.num_latents
    if asked.question != "exact_posterior":
        return 2
    # evidence before and after log Z, means, known latents
    found = 3 + d + -(-d // NUMBER)
    if asked.top_k or asked.pairwise:
        k = max(1, asked.top_k)
        # entropies; the best states and their probabilities; second moments
        found += 1 + k + -(-k * d // NUMBER) + (d * d if asked.pairwise else 0)
    return found


def _copies(rules: Rules, groups: Sequence[Group], num_data: int, *, kept: bool) -> tuple[int, int]:
    """Bytes of the parts of the data, and what it takes to make them (``data.groups_of``).

    Data that see everything are not copied, unless they are ``kept`` after the call.
    """
    each = rules.pixel_bytes
    parts = sum(group.num_data * int(group.observed.sum()) for group in groups) * each
    if len(groups) == 1:
        if groups[0].observed.all():
            return (parts if kept else 0), 0
        return parts, num_data * rules.num_pixels * each
    # clean data, and their masks as np.unique sorts them; a mask and some objects are kept for each group
    clean, masks = num_data * rules.num_pixels * each, 2 * num_data * (rules.num_pixels + 2 * NUMBER)
    return parts + len(groups) * (rules.num_pixels + _GROUP), clean + masks


def _group_bytes(rules: Rules, group: Group, asked: Asked) -> int:
    """Peak of one group's part of the question."""
    pixels, num_data = group.observed, group.num_data
    gradient = asked.question == "log_marginal_gradient"
    if group.closed and asked.question == OTHER.question:
        return 0
    if group.closed:
        return rules.gradient_bytes(num_data, pixels) if gradient else rules.closed_bytes(num_data, pixels)
    memory, chunk = rules.memory(pixels, asked.dtype), min(num_data, slices.CHUNK_DATA)
    passes = _passes(
        rules, memory, num_data, chunk, gradient=gradient, means=asked.question != "log_marginal"
    )
    if gradient:
        finish = memory.tables + rules.gradient_bytes(num_data, pixels)
        return max(passes, finish, _gradient_above(rules))
    if asked.question == "log_marginal":
        return passes
    if (
        asked.question == OTHER.question
    ):  # state by state, or a product with q's probabilities in place of exp<t, z>
        bits = 10 * NUMBER * chunk * memory.num_latents
        return max(passes, memory.tables + memory.details(chunk, 1, pairwise=False)) + bits
    if rules.is_closed(pixels):  # log p(x) has the bits that log_marginal has
        kept = memory.tables + 2 * NUMBER * num_data * memory.num_latents
        passes = max(passes, kept + rules.closed_bytes(num_data, pixels))
    if not (asked.top_k or asked.pairwise):
        return passes
    k, free, d = min(max(1, asked.top_k), 1 << memory.num_latents), memory.num_latents, rules.num_latents
    # details of all data; these in the order of all latents, the best states as bits of the free, and of all
    details = NUMBER * num_data * (free + 1 + 2 * k + (free * free if asked.pairwise else 0))
    ordered = NUMBER * min(num_data, PAIR_DATA) * (2 * d * d + free * free) if asked.pairwise else 0
    finish = details + ordered + num_data * k * (2 * d + free)
    chunks = details if num_data > chunk else 0  # of one chunk they are what is returned
    return max(
        passes, memory.tables + max(finish, chunks + memory.details(chunk, k, pairwise=asked.pairwise))
    )


def _passes(
    rules: Rules, memory: FormMemory, num_data: int, chunk: int, *, gradient: bool = False,
    means: bool = False,
) -> int:  # fmt: skip
    """Making a form and summing over its states, a chunk at a time (``log_sum`` and ``state_moments``)."""
    making = memory.making
    prior = rules.deep_prior
    if prior is not None:  # its table of all states: ``softplus_form``
        states = min(_TABLE_STATES, 1 << rules.num_latents)
        everything = all_states(prior, states)
        making += _counted(prior, [everything], Asked("log_marginal")) + states * rules.num_latents
    # evidence, and where there are any means
    kept = NUMBER * num_data * (1 + (memory.num_latents if means or gradient else 0))
    waves = memory.moments(chunk) if means or gradient else memory.sums(chunk)
    if gradient:
        waves = max(waves, memory.state_moments(chunk))
    return max(making, memory.tables + kept + waves)


def _gradient_above(rules: Rules) -> int:
    """Peak of the gradient of a prior that is a rules, for which all states are data."""
    prior = rules.deep_prior
    if prior is None:
        return 0
    states = 1 << rules.num_latents
    everything = all_states(prior, states)
    seen = everything._replace(closed=prior.has_closed_gradient(everything.observed))
    # sums of posteriors, numbers of states, the states
    held = states * (3 * NUMBER + rules.num_latents)
    return held + _counted(prior, [seen], Asked("log_marginal_gradient"))
