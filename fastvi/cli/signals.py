"""SIGTERM, which batch schedulers send before they kill, handled like Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Terminated(KeyboardInterrupt):
    """SIGTERM as an exception. Code that saves at Ctrl-C saves at it too."""


class Received:
    """Count of the SIGTERMs that have come."""

    def __init__(self) -> None:
        self.count = 0

    @property
    def terminated(self) -> bool:
        """Tell whether one has come."""
        return self.count > 0

    def __call__(self, number: int, frame: Any) -> None:
        """Count a SIGTERM and raise :class:`Terminated`."""
        self.count += 1
        # timeout(1) sends two at once, and the second must not cut the saving short. A third does: the first
        # may have been lost, raised where Python ignores exceptions
        if self.count != 2:
            raise Terminated


@contextmanager
def sigterm() -> Iterator[Received]:
    """Raise :class:`Terminated` in this thread at SIGTERM; afterwards restore its handler.

    A handler of the program that this one runs in stays, and so does a signal that is ignored; only the main
    thread can have one.
    """
    received = Received()
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield received
        return
    signal.signal(signal.SIGTERM, received)
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
