"""Stages of a run that must lose nothing: each in a process of its own, with a share of the time.

A stage is a list of checks that a child process goes through in order. Before and after each it writes a
line of JSON, so that whatever ends the process, what was done is known, and which check ended it. A crash, a
check that takes too long or an error that leaves the GPU's context unusable costs that check alone: the next
ones run in a new process.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

# after these, every call of the process fails
STICKY = (
    "ILLEGAL_ADDRESS",
    "ILLEGAL_INSTRUCTION",
    "MISALIGNED_ADDRESS",
    "INVALID_ADDRESS_SPACE",
    "INVALID_PC",
    "LAUNCH_FAILED",
    "LAUNCH_TIMEOUT",
    "HARDWARE_STACK_ERROR",
    "CUDA_ERROR_ASSERT",
    "ECC_UNCORRECTABLE",
    "CONTEXT_IS_DESTROYED",
    "illegal memory access",
    "illegal instruction",
    "misaligned address",
    "unspecified launch failure",
    "device-side assert",
)
_STICKY_STATUS = 70
_POLL = 0.1  # seconds


def sticky(text: str) -> bool:
    """Whether an error's words say that the process can use its GPU no longer."""
    return any(word in text for word in STICKY)


class Absent(Exception):
    """What a check needs is not there."""


class Checks:
    """The child's side: runs checks from number ``first`` on, a line before and a line after each."""

    def __init__(self, lines: Path, first: int = 0) -> None:
        self._lines, self._first, self._next = lines, first, 0

    def __call__(self, name: str, call: Callable[[], dict[str, Any] | None]) -> None:
        number, self._next = self._next, self._next + 1
        if number < self._first:
            return
        self._write(number, name, "begun")
        begin = time.perf_counter()
        try:
            found, state = call() or {}, "ok"
        except Absent as error:
            found, state = {"error": str(error)}, "absent"
        except BaseException as error:  # whatever it is, the next check is to run
            text = " ".join(str(error).split())
            where = traceback.extract_tb(error.__traceback__)[-1]
            found = {
                "error": f"{type(error).__name__}: {text}"[:600],
                "where": f"{Path(where.filename).name}:{where.lineno}",
            }
            state = "failed"
            traceback.print_exc()
        self._write(number, name, state, check_seconds=time.perf_counter() - begin, **found)
        if state == "failed" and sticky(found["error"]):
            os._exit(_STICKY_STATUS)  # no destructor may touch the context

    def _write(self, number: int, name: str, state: str, **more: Any) -> None:
        line = json.dumps({"number": number, "name": name, "state": state, **more}, default=float)
        with self._lines.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
            file.flush()
            os.fsync(file.fileno())


@dataclass(frozen=True)
class Stage:
    """A name, seconds of the whole run that it may take, and the most that one check may take."""

    name: str
    share: float
    each: float


def read_checks(lines: Path) -> list[dict[str, Any]]:
    """The last line of each check, in order; a line that was cut off is left out."""
    found: dict[int, dict[str, Any]] = {}
    if lines.exists():
        for line in lines.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            found[record["number"]] = record
    return [found[number] for number in sorted(found)]


def run_stage(
    stage: Stage,
    command: Sequence[str],
    lines: Path,
    log: IO[str],
    seconds: float,
    changed: Callable[[list[dict[str, Any]]], None] = lambda checks: None,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """The stage's checks and how it ended, after ``seconds`` at most.

    ``command`` is given ``--stage``, ``--lines`` and ``--first``; ``changed`` is told of every check.
    """
    begin = clock()
    deadline = begin + seconds
    first, ended = 0, "done"
    while True:
        process = subprocess.Popen(
            [*command, "--stage", stage.name, "--lines", str(lines), "--first", str(first)],
            stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            why = _watch(process, lines, stage.each, deadline, changed, clock)
        finally:
            _end(process)
        checks = read_checks(lines)
        if why == "":
            break
        broken = checks and checks[-1]["state"] == "begun"
        if broken:
            checks[-1] |= {"state": "failed", "error": why}
            with lines.open("a", encoding="utf-8") as file:
                file.write(f"\n{json.dumps(checks[-1])}\n")
        following = checks[-1]["number"] + 1 if checks else 0
        if clock() >= deadline:
            ended = f"out of time: {why}"
            break
        if following == first:  # nothing was even begun: another process would end likewise
            ended = why
            break
        first = following
    return {"ended": ended, "seconds": clock() - begin, "checks": read_checks(lines)}


def _watch(
    process: subprocess.Popen[bytes],
    lines: Path,
    each: float,
    deadline: float,
    changed: Callable[[list[dict[str, Any]]], None],
    clock: Callable[[], float],
) -> str:
    """Wait for the process; why it has to go or has gone, nothing if it has done all."""
    seen: Any = None
    since = clock()
    while True:
        status = process.poll()
        checks = read_checks(lines)
        last = (len(checks), checks[-1]["state"]) if checks else None
        if last != seen:
            seen, since = last, clock()
            changed(checks)
        if status is not None:
            if status == _STICKY_STATUS:
                return "an error left the GPU's context unusable"
            return "" if status == 0 else f"the process ended with status {status}"
        now = clock()
        if now >= deadline:
            return "the stage's time was over"
        if now - since > each:
            return f"it took more than {each:.0f} s"
        time.sleep(_POLL)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Of the process and all that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
