"""What the exact questions have in common: device, dtype, size limits, groups of data that see the same
pixels.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastvi.core import validation

Array = NDArray[Any]

MAX_STATES = 1 << 40  # a sum of weeks

_LOG = logging.getLogger("fastvi")


def check_device(device: Any, *, cuda: bool = False, why: str = "") -> str:
    """ "cpu" or "cuda"; a RuntimeError where "cuda" is asked for and cannot be had. "auto" logs why it
    picks what.

    ``cuda`` says whether the question can be answered on a GPU, ``why`` in a few words why not.
    """
    if validation.choice(device, "device", ("cpu", "cuda", "auto")) == "cpu":
        return "cpu"
    reason = why or "this question is answered on the CPU only"
    if cuda:
        from fastvi.engine.cuda.device import Missing, num_devices

        try:
            count = num_devices()
        except Missing as error:
            reason = str(error)
        else:
            if device == "auto":
                _LOG.info("device='auto' picks 'cuda': %d found", count)
            return "cuda"
    if device == "cuda":
        raise RuntimeError(f"device='cuda' is not available: {reason}; use device='cpu'")
    _LOG.info("device='auto' picks 'cpu': %s", reason)
    return "cpu"


def check_dtype(dtype: Any) -> str:
    return validation.choice(dtype, "dtype", ("float64", "float32"))


class Limits(NamedTuple):
    """The most that a call may take."""

    memory: int | None = None  # bytes beyond the arguments; None: whatever it takes
    states: int = MAX_STATES


NO_LIMITS = Limits()


def check_limits(memory_limit: Any, max_states: Any) -> Limits:
    """The arguments ``memory_limit`` and ``max_states``, clean; every question begins with it."""
    if memory_limit is not None:
        memory_limit = validation.positive_int(memory_limit, "memory_limit", maximum=None)
    return Limits(memory_limit, validation.positive_int(max_states, "max_states", maximum=None))


def check_size(limits: Limits, num_latents: int, need: int, text: str) -> None:
    """Refuse a sum over 2^``num_latents`` states, or a call of ``need`` bytes, that is too large; ``text``
    says whose it is.
    """
    if (1 << num_latents) > limits.states:
        raise ValueError(
            f"max_states is {limits.states} (2^40 unless raised), but the model has 2^{num_latents}; {text} "
            f"would take {need:,} bytes"
        )
    if limits.memory is not None and need > limits.memory:
        raise ValueError(f"memory_limit is {limits.memory:,} bytes, but {text} would take {need:,} bytes")


def check_draws(model: Any, num_latents: int, instead: str) -> None:
    """Refuse to draw exactly where that takes a sum over more states than exact questions go through."""
    if (1 << num_latents) > MAX_STATES:
        most = MAX_STATES.bit_length() - 1
        raise ValueError(
            f"model must have at most 2^{most} states to be drawn from exactly, got 2^{num_latents} of "
            f"{model!r}: {instead}"
        )


class Group(NamedTuple):
    """Data that see the same pixels."""

    pixels: Array  # (D,) bool
    members: Array  # indices of the data


def distinct_masks(observed: Array | None, num_data: int, num_pixels: int) -> list[Group]:
    """The data by distinct mask; one group of all where there is no mask."""
    everyone = np.arange(num_data)
    if observed is None or observed.ndim == 1:
        return [Group(np.ones(num_pixels, bool) if observed is None else observed, everyone)]
    masks, member = np.unique(observed, axis=0, return_inverse=True)
    return [Group(mask, everyone[member.reshape(-1) == number]) for number, mask in enumerate(masks)]
