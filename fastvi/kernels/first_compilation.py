"""One line where a process begins to compile: the first call takes seconds, and the user should know why."""

from __future__ import annotations

import logging
import multiprocessing
import sys

_LOG = logging.getLogger("fastvi")
_TEXT = "fastvi compiles its kernels once, which takes seconds; `fastvi warmup` does it ahead"


def _on_terminal() -> bool:
    """Tell whether a person looks on: a terminal takes both outputs, and this is no worker."""
    is_main = multiprocessing.parent_process() is None
    is_main = is_main and multiprocessing.current_process().name == "MainProcess"  # joblib's have another
    streams = (sys.stdout, sys.stderr)
    return is_main and all(stream is not None and stream.isatty() for stream in streams)


class Notice:
    """The line, said once in a process. ``quiet`` where something else tells of the compilation."""

    def __init__(self) -> None:
        self.quiet = False

    def __call__(self) -> None:
        """Say it to a person, or else to the log."""
        if self.quiet:
            return
        self.quiet = True
        if _on_terminal():
            print(_TEXT, file=sys.stderr, flush=True)
        else:
            _LOG.info(_TEXT)


say_that_it_compiles = Notice()
