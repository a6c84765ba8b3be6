"""Progress of a long sum: nothing, a line on standard error, or the caller's own function."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

Progress = bool | Callable[[int, int], None]
Report = Callable[[int], None]  # called with the number of states that were just finished


def _duration(seconds: float) -> str:
    """Seconds, or hours and minutes where it takes longer than two minutes."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"


def report_nothing(task: object) -> int:
    """States of a task that no progress counts: 0. Rarely needed work is not part of the planned total."""
    return 0


class Reporter:
    """Counts what is finished and tells whoever asked, at most ten times a second and once at the end."""

    def __init__(self, progress: Progress, total: int, unit: str = "states") -> None:
        self._progress = progress
        self._unit = unit
        self._total = max(total, 1)
        self._done = self._before = 0
        self._lock = threading.Lock()
        self._begin = self._last = time.monotonic()

    def __call__(self, count: int) -> None:
        with self._lock:
            self._done += count
            self._tell()

    def done_before(self, count: int) -> None:
        """Count what a checkpoint holds: it is done, but no part of this process's rate."""
        with self._lock:
            self._done += count
            self._before += count
            self._tell(at_once=True)

    def _tell(self, *, at_once: bool = False) -> None:
        now = time.monotonic()
        soon = now - self._last < 0.1 and self._done < self._total and not at_once
        if self._progress is False or soon:
            return
        self._last = now
        if callable(self._progress):
            self._progress(self._done, self._total)
            return
        rate = (self._done - self._before) / max(now - self._begin, 1e-9)
        end = "\n" if self._done >= self._total else "\r"
        share = self._done / self._total
        text = f"fastvi: {share:6.1%} of {self._total:.3g} {self._unit}"
        if rate > 0:
            text += f", {rate:.3g}/s, {_duration((self._total - self._done) / rate)} left"
        if self._before:
            text += f" ({self._before / self._total:.1%} from a checkpoint)"
        print(text.ljust(79), end=end, file=sys.stderr, flush=True)


def reporter(progress: Progress, total: int, unit: str = "states") -> Reporter | None:
    """Return what tells of progress, or None where nobody asks for it."""
    return None if progress is False else Reporter(progress, total, unit)
