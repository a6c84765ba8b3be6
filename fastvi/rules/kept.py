"""What is made of a small model, kept for its next question.

Tables of 2^8 states and 64 pixels take 0.2 ms to be made and filled, a sum over them 0.02 ms. A model is
immutable, so that what was made of it once still holds. It stands in the model's rules, of which a pickle
holds none, and is gone with the model. Of the models asked about last only a few keep anything.
"""

from __future__ import annotations

import contextlib
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from fastvi.rules.base import Rules

# of a thing that is kept; a model has one of each kind: a form, those of log Z and of a likelihood, a target
MOST_BYTES = 1 << 20
MOST_MODELS = 8

T = TypeVar("T")

_models: deque[weakref.ref[Rules]] = deque()  # in the order in which they began to keep something


def kept(rules: Rules, kind: str, key: Any, make: Callable[[], T], num_bytes: Callable[[], int]) -> T:
    """Return what ``make`` gives, or what it gave before for an equal ``key``.

    ``num_bytes`` tells, after it was made, how large it is; what is larger than ``MOST_BYTES`` is not kept.
    """
    mine: dict[str, tuple[Any, T]] = vars(rules).get("_kept", _NOTHING)
    found = mine.get(kind)
    if found is not None and found[0] == key:
        return found[1]
    made = make()
    if num_bytes() <= MOST_BYTES:
        _keeper(rules)[kind] = key, made
    return made


_NOTHING: dict[str, Any] = {}


def _keeper(rules: Rules) -> dict[str, Any]:
    """Where ``rules`` keep things; those that began first give theirs up for it.

    No lock, which a forked child could inherit closed: two threads at once make a dictionary each, and one of
    them is lost with what it holds.
    """
    mine: dict[str, Any] | None = vars(rules).get("_kept")
    if mine is None:
        mine = vars(rules)["_kept"] = {}
        _models.append(weakref.ref(rules))
        with contextlib.suppress(IndexError):  # another thread took the last one away
            while len(_models) > MOST_MODELS:
                oldest = _models.popleft()()
                if oldest is not None:
                    vars(oldest).pop("_kept", None)
    return mine
