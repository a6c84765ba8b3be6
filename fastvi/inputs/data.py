"""Data of a question: the arguments ``x`` and ``observed``, checked once and grouped by what is seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastvi.core import validation
from fastvi.core.foreign import PLAIN
from fastvi.engine.states.remote_data import refuse_pixels
from fastvi.rules.base import Rules

NO_SUM = "where log p(x) takes no sum over states (that is computed on the CPU)"  # so its data must be there


class Group(NamedTuple):
    """Data that see the same pixels."""

    observed: np.ndarray  # (D,) bool
    members: Any  # indices of the data; a range where data are planned for
    x: Any  # (members, pixels seen), or data of a GPU; None where data are planned for
    free: np.ndarray  # latents that are not observed
    closed: bool = False  # whether the question is answered without summing over their states
    q: Any = None  # of a bound: a distribution over the free latents, of (free,) or (members, free)

    @property
    def num_data(self) -> int:
        return len(self.members)


def is_on_host(x: Any) -> bool:
    """Tell whether ``x`` is no array of a GPU."""
    if x is None or isinstance(x, PLAIN):
        return True
    from fastvi.engine.cuda.arrays import on_device

    return not on_device(x)


def on_device_of(result: np.ndarray, groups: list[Group]) -> Any:
    """Return the result where the data lie: a device array for data of a GPU."""
    for group in groups:
        if not isinstance(group.x, np.ndarray):
            return group.x.on.put(result)
    return result


def read_data(
    rules: Rules,
    x: ArrayLike | None,
    observed: ArrayLike | None,
    device: str | None = None,
    *,
    relaxed: bool = False,
) -> tuple[Any, np.ndarray | None]:
    """Return clean data (N, D) and the mask of what was observed, or None where all was.

    Data of a GPU stay there, as ``DeviceData``, where ``device`` is "cuda". None says that this question
    reads none.
    """
    if not is_on_host(observed):
        raise TypeError("observed must lie on the host, where data are grouped by it, got an array of a GPU")
    if not is_on_host(x):
        from fastvi.engine.cuda.arrays import device_data, refuse_unless_asked

        refuse_unless_asked(x, device)
        if isinstance(observed, str):
            raise TypeError(f"observed must be a mask for data on a GPU, got {validation.shown(observed)}")
        found = device_data(x, rules.num_pixels)
        if not rules.reads_device_data:
            refuse_pixels(found, f"for a {type(rules.model).__name__}")
        return found, validation.observed_mask(observed, len(found), rules.num_pixels)
    if x is None and not rules.data_optional:
        raise TypeError(f"x must be an array of shape (num_data, {rules.num_pixels}), got None")
    try:
        return (rules.check_relaxed_data if relaxed else rules.check_data)(x, observed)
    except (TypeError, ValueError) as error:
        text = str(error)
        missing = ", got nan at index" in text or "got a masked array" in text
        if observed is not None or not missing or rules.whole_data or relaxed:  # bridges take masks alone
            raise
        advice = 'pass observed="auto" where NaN or a mask says what was not seen'
        raise type(error)(f"{text}; {advice}") from None


def by_mask(
    observed: np.ndarray | None, num_data: int, num_pixels: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return each distinct mask (D,) and the indices of its data; all data where there is no mask."""
    everyone = np.arange(num_data)
    if observed is None or observed.ndim == 1:
        return [(np.ones(num_pixels, bool) if observed is None else observed, everyone)]
    masks, member = np.unique(observed, axis=0, return_inverse=True)
    return [(mask, everyone[member.reshape(-1) == number]) for number, mask in enumerate(masks)]


def groups_of(rules: Rules, data: Any, mask: np.ndarray | None, *, kept: bool = False) -> Iterator[Group]:
    """Group clean data by what they see.

    A group's x is the caller's own array where all data see everything, unless it is ``kept``.
    """
    if mask is None:
        masks = [(rules.everything, np.arange(len(data)))]
    else:
        masks = by_mask(mask, len(data), rules.num_pixels)
    for observed, members in masks:
        if not isinstance(data, np.ndarray):
            part: Any = data.seen(members, observed)
        elif (
            mask is not None and not observed.all()
        ):  # take's result lies in order, that of an index has to be copied once more
            rows = data[members] if len(members) < len(data) else data
            part = rows.take(np.flatnonzero(observed), axis=1)
        elif len(members) < len(data):
            part = np.ascontiguousarray(data[members])
        else:
            part = data.copy() if kept else data
        yield Group(observed, members, part, rules.free_latents(observed))
