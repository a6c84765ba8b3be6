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
from fastvi.models.enumerable import Enumerable

PAIR_DATA = 256  # whose second moments are put in order at a time
_TABLE_STATES = 1 << 16  # of a prior that is a model, at a time
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


class Seen(NamedTuple):
    """Data that see the same pixels."""

    pixels: np.ndarray
    num_data: int
    closed: bool  # whether the question is answered without a sum over states


def predicted_bytes(model: Enumerable, groups: Sequence[Seen], asked: Asked) -> int:
    """Peak of ``asked`` for data that need not be converted."""
    need = _counted(model, groups, asked)
    return need + need // 16 + _SMALL


def _counted(model: Enumerable, groups: Sequence[Seen], asked: Asked) -> int:
    question = asked.question
    gradient = question == "log_marginal_gradient"
    partition = model._partition_memory() if asked.normalized else None
    log_z = 0 if partition is None else _passes(model, partition, 1, 1, gradient=gradient)
    if question == "log_partition":
        return log_z
    peak = max((_group_bytes(model, group, asked) for group in groups), default=0)
    if partition is not None:  # its form is there before the sums begin
        peak = max(peak + partition.tables, log_z)
    num_data = sum(group.num_data for group in groups)
    copies, grouping = _copies(model, groups, num_data, kept=question == "exact_posterior")
    return copies + max(grouping, NUMBER * num_data * _numbers(model, asked) + peak) + _parameters(model)


def _parameters(model: Enumerable) -> int:
    """Room for what is as small as the parameters: gradients, masks, weights of the pixels that are seen."""
    return 4 * NUMBER * (model.num_pixels + 1) * (model.num_latents + 1)


def _numbers(model: Enumerable, asked: Asked) -> int:
    """What is kept of a datum until the end: its place, and what is returned."""
    d = model.num_latents
    if asked.question != "exact_posterior":
        return 2
    # evidence before and after log Z, means, known latents
    found = 3 + d + -(-d // NUMBER)
    if asked.top_k or asked.pairwise:
        k = max(1, asked.top_k)
        # entropies; the best states and their probabilities; second moments
        found += 1 + k + -(-k * d // NUMBER) + (d * d if asked.pairwise else 0)
    return found


def _copies(model: Enumerable, groups: Sequence[Seen], num_data: int, *, kept: bool) -> tuple[int, int]:
    """Bytes of the parts of the data, and what it takes to make them (``question.seen_groups``).

    Data that see everything are not copied, unless they are ``kept`` after the call.
    """
    each = model._pixel_bytes
    parts = sum(group.num_data * int(group.pixels.sum()) for group in groups) * each
    if len(groups) == 1:
        if groups[0].pixels.all():
            return (parts if kept else 0), 0
        return parts, num_data * model.num_pixels * each
    # clean data, and their masks as np.unique sorts them; a mask and some objects are kept for each group
    clean, masks = num_data * model.num_pixels * each, 2 * num_data * (model.num_pixels + 2 * NUMBER)
    return parts + len(groups) * (model.num_pixels + _GROUP), clean + masks


def _group_bytes(model: Enumerable, group: Seen, asked: Asked) -> int:
    """Peak of one group's part of the question."""
    pixels, num_data = group.pixels, group.num_data
    gradient = asked.question == "log_marginal_gradient"
    if group.closed and asked.question == OTHER.question:
        return 0
    if group.closed:
        return model._gradient_bytes(num_data, pixels) if gradient else model._closed_bytes(num_data, pixels)
    memory, chunk = model._memory(pixels, asked.dtype), min(num_data, slices.CHUNK_DATA)
    passes = _passes(
        model, memory, num_data, chunk, gradient=gradient, means=asked.question != "log_marginal"
    )
    if gradient:
        finish = memory.tables + model._gradient_bytes(num_data, pixels)
        return max(passes, finish, _gradient_above(model))
    if asked.question == "log_marginal":
        return passes
    if (
        asked.question == OTHER.question
    ):  # state by state, or a product with q's probabilities in place of exp<t, z>
        bits = 10 * NUMBER * chunk * memory.num_latents
        return max(passes, memory.tables + memory.details(chunk, 1, pairwise=False)) + bits
    if model._is_closed(pixels):  # log p(x) has the bits that log_marginal has
        kept = memory.tables + 2 * NUMBER * num_data * memory.num_latents
        passes = max(passes, kept + model._closed_bytes(num_data, pixels))
    if not (asked.top_k or asked.pairwise):
        return passes
    k, free, d = min(max(1, asked.top_k), 1 << memory.num_latents), memory.num_latents, model.num_latents
    # details of all data; these in the order of all latents, the best states as bits of the free, and of all
    details = NUMBER * num_data * (free + 1 + 2 * k + (free * free if asked.pairwise else 0))
    ordered = NUMBER * min(num_data, PAIR_DATA) * (2 * d * d + free * free) if asked.pairwise else 0
    finish = details + ordered + num_data * k * (2 * d + free)
    chunks = details if num_data > chunk else 0  # of one chunk they are what is returned
    return max(
        passes, memory.tables + max(finish, chunks + memory.details(chunk, k, pairwise=asked.pairwise))
    )


def _passes(
    model: Enumerable, memory: FormMemory, num_data: int, chunk: int, *, gradient: bool = False,
    means: bool = False,
) -> int:  # fmt: skip
    """Making a form and summing over its states, a chunk at a time (``log_sum`` and ``state_moments``)."""
    making = memory.making
    prior = model._deep_prior
    if prior is not None:  # its table of all states: ``softplus_form``
        states = min(_TABLE_STATES, 1 << model.num_latents)
        everything = Seen(np.ones(prior.num_pixels, bool), states, False)
        making += _counted(prior, [everything], Asked("log_marginal")) + states * model.num_latents
    # evidence, and where there are any means
    kept = NUMBER * num_data * (1 + (memory.num_latents if means or gradient else 0))
    waves = memory.moments(chunk) if means or gradient else memory.sums(chunk)
    if gradient:
        waves = max(waves, memory.state_moments(chunk))
    return max(making, memory.tables + kept + waves)


def _gradient_above(model: Enumerable) -> int:
    """Peak of the gradient of a prior that is a model, for which all states are data."""
    prior = model._deep_prior
    if prior is None:
        return 0
    states = 1 << model.num_latents
    everything = np.ones(prior.num_pixels, bool)
    seen = Seen(everything, states, prior._has_closed_gradient(everything))
    # sums of posteriors, numbers of states, the states
    held = states * (3 * NUMBER + model.num_latents)
    return held + _counted(prior, [seen], Asked("log_marginal_gradient"))
