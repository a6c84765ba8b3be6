"""Progress of a long sum: nothing, a line on standard error, or the caller's own function."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

Progress = bool | Callable[[int, int], None]


class Reporter:
    """Counts what is finished and tells whoever asked, at most ten times a second and once at the end."""

    def __init__(self, progress: Progress, total: int, unit: str = "states") -> None:
        self._progress = progress
        self._unit = unit
        self._total = max(total, 1)
        self._done = 0
        self._lock = threading.Lock()
        self._begin = self._last = time.monotonic()

    def __call__(self, count: int) -> None:
        with self._lock:
            self._done += count
            self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        if self._progress is False or (now - self._last < 0.1 and self._done < self._total):
            return
        self._last = now
        if callable(self._progress):
            self._progress(self._done, self._total)
            return
        rate = self._done / max(now - self._begin, 1e-9)
        left = (self._total - self._done) / rate
        end = "\n" if self._done >= self._total else "\r"
        share = self._done / self._total
        text = f"fastvi: {share:6.1%} of {self._total:.3g} {self._unit}, {rate:.3g}/s, {left:.1f} s left   "
        print(text, end=end, file=sys.stderr, flush=True)
