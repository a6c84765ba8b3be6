"""Cases in processes of their own, each with a limit of time that ends the process and not the run."""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import queue
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

LIMIT_SECONDS = 60.0  # of a case
FIRST_SECONDS = 300.0  # of a plain call, which compiles
PLANTED = "FASTVI_FUZZ_HANG"  # where the environment has it, a process hangs
_BYTES = (
    12 << 30
)  # of address space: a process that asks for more gets a MemoryError, not the machine's memory


@dataclass(frozen=True)
class Finding:
    """One case and what became of it."""

    case: str
    fault: str
    what: str


def _calls() -> dict[str, Any]:
    from .table import table

    return {call.name: call for call in table()}


def all_cases() -> list[str]:
    """Names of all cases: call / argument / odd value; "call/plain" first of each call."""
    found = []
    for name, call in _calls().items():
        found.append(f"{name}/plain")
        for argument, rules in call.arguments.items():
            found += [f"{name}/{argument}/{odd}" for odd in rules.odd]
    return found


def run(cases: list[str], workers: int = 1, limit: float = LIMIT_SECONDS) -> Iterator[Finding]:
    """Findings, good and bad, in the order in which they come."""
    groups: dict[str, list[str]] = {}
    for case in cases:
        groups.setdefault(case.split("/")[0], []).append(case)
    waiting: queue.Queue[list[str]] = queue.Queue()
    for name, each in groups.items():
        plain = f"{name}/plain"
        waiting.put([plain, *(case for case in each if case != plain)])
    done: queue.Queue[Finding | None] = queue.Queue()
    threads = [
        threading.Thread(target=_work, args=(waiting, done, limit), daemon=True) for _ in range(workers)
    ]
    for thread in threads:
        thread.start()
    left = len(threads)
    while left:
        finding = done.get()
        if finding is None:
            left -= 1
        else:
            yield finding


def _work(waiting: Any, done: Any, limit: float) -> None:
    worker = None
    try:
        while True:
            try:
                cases = waiting.get_nowait()
            except queue.Empty:
                return
            for case in cases:
                # twice: what was cut short in compiling goes on from the cache
                for _ in range(2):
                    worker = worker or _Worker(limit)
                    finding = worker.ask(case)
                    if finding is not None:
                        break
                    finding = Finding(case, "hang or crash", worker.last_words())
                    worker.close()
                    worker = None
                done.put(finding)
    finally:
        if worker is not None:
            worker.close()
        done.put(None)


class _Worker:
    """A process that tries one case at a time."""

    def __init__(self, limit: float) -> None:
        context = multiprocessing.get_context("spawn")
        self._words = tempfile.NamedTemporaryFile("w+", prefix="fuzz-", suffix=".trace")  # noqa: SIM115
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, limit, self._words.name), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, case: str) -> Finding | None:
        """None where the process has ended."""
        try:
            self._pipe.send(case)
            return Finding(*self._pipe.recv())
        except (EOFError, OSError):
            return None

    def last_words(self) -> str:
        """Where it was when it was ended."""
        self._process.join()
        with open(self._words.name, encoding="utf-8", errors="replace") as file:
            lines = [line.strip() for line in file if "File" in line and "fastvi" in line]
        return f"exit code {self._process.exitcode}; " + " < ".join(lines[:6])

    def close(self) -> None:
        self._pipe.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
        self._words.close()


def serve(pipe: Any, limit: float, words: str) -> None:
    """The process: take names of cases, send what became of them."""
    folder = tempfile.TemporaryDirectory(prefix="fastvi-fuzz-")  # for what a case writes
    os.chdir(folder.name)
    calls: dict[str, Any] = {}
    with open(words, "w", encoding="utf-8") as trace, open(os.devnull, "w") as nowhere:
        while True:
            try:
                case = pipe.recv()
            except EOFError:
                sys.stderr = sys.__stderr__
                os.chdir("/")
                folder.cleanup()
                return
            name, _, rest = case.partition("/")
            plain = rest == "plain"
            if PLANTED in os.environ:  # a test of this file
                faulthandler.dump_traceback_later(limit, exit=True, file=trace)
                while True:
                    pass
            if not calls:
                calls = _calls()
                _bound_memory()
                sys.stderr = nowhere  # progress lines
            # it ends the process also where a compiled loop never comes back to the interpreter
            faulthandler.dump_traceback_later(FIRST_SECONDS if plain else limit, exit=True, file=trace)
            verdict = _tried(calls[name], rest)
            faulthandler.cancel_dump_traceback_later()
            pipe.send((case, verdict.fault, verdict.what))


def _tried(call: Any, rest: str) -> Any:
    from .judge import try_case, try_plain

    if rest == "plain":
        return try_plain(call)
    argument, _, odd = rest.partition("/")
    return try_case(call, argument, call.arguments[argument].odd[odd])


def _bound_memory() -> None:
    """Where the system can."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
