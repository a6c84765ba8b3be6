"""Tables that are put on a device once: those of a form or of a target, for as long as their owner lives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from fastvi.engine.cuda.device import Device

T = TypeVar("T")

_HELD: WeakKeyDictionary[Any, dict[Device, Any]] = WeakKeyDictionary()


def resident(owner: Any, on: Device, make: Callable[[Device], T]) -> T:
    """``make(on)``, made once for each owner and device."""
    held = _HELD.setdefault(owner, {})
    if on not in held:
        held[on] = make(on)
    found: T = held[on]
    return found
