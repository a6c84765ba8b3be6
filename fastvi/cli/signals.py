"""SIGTERM, which batch schedulers send before they kill: handled as Ctrl-C is."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Terminated(KeyboardInterrupt):
    """A SIGTERM; whatever saves at Ctrl-C saves at it."""


class Received:
    """Whether a SIGTERM has come."""

    def __init__(self) -> None:
        self.terminated = False

    def __call__(self, number: int, frame: Any) -> None:
        if not self.terminated:  # further ones must not cut the saving short: timeout(1) sends two
            self.terminated = True
            raise Terminated


@contextmanager
def sigterm() -> Iterator[Received]:
    """Raise :class:`Terminated` in this thread at SIGTERM; afterwards its handler is what it was.

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
