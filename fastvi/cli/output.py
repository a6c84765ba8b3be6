"""Output of a command: text for people, or one JSON object for machines."""

from __future__ import annotations

import json
import logging
import math
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import TracebackType
from typing import Any

import click

from fastvi.cli.progress import Report, no_notice_of_compilation, progress_bar
from fastvi.cli.tables import print_table, screen_width, wrapped_item

_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


class Output:
    """Speaker of a command, in the form that its caller asked for.

    ``say``, ``table`` and ``finding`` are the answer, ``note`` is what a person wants to know beside it,
    ``facts`` is the answer for machines. With ``--json`` only the facts are printed, as one object, when the
    command is done. Where standard output carries a file (``stand_aside``), all text goes to standard error.
    """

    def __init__(self, command: str, *, as_json: bool, quiet: bool, verbosity: int) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.verbosity = verbosity
        self._aside = False
        self._facts: dict[str, Any] = {"command": command}
        self._around = ExitStack()

    def __enter__(self) -> Output:
        """Show the package's log as far as ``-v`` asks for it, and each warning as one line."""
        self._around.enter_context(_shown_log(_LEVELS[min(self.verbosity, 2)]))
        self._around.enter_context(_warnings_as_lines())
        if self.quiet:
            self._around.enter_context(no_notice_of_compilation())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Print the JSON object where the command has succeeded."""
        self._around.close()
        if self.as_json and kind is None:
            click.echo(json.dumps(_plain(self._facts), allow_nan=False), err=self._aside)

    def stand_aside(self) -> None:
        """Leave standard output to a file that the command writes there."""
        self._aside = True

    def facts(self, **values: Any) -> None:
        """Add to the JSON object: numbers, text, lists, mappings, arrays or paths."""
        self._facts |= values

    def say(self, text: str) -> None:
        """Print a line of the answer."""
        if not self.as_json:
            click.echo(text, err=self._aside)

    def note(self, text: str, mark: str | None = None) -> None:
        """Print a line that is no part of the answer; behind a ``mark`` it is wrapped at words."""
        if not self.quiet:
            self.say(text if mark is None else wrapped_item(text, screen_width(), mark))

    def note_written(self, path: str, detail: str = "") -> None:
        """Name a file that was written, unless it is standard output."""
        from fastvi.cli.files.outputs import is_standard_output  # NumPy comes with it, and help needs none

        if not is_standard_output(path):
            self.note(f"written: {path}{detail}")

    def finding(self, text: str) -> None:
        """Print a sentence of the answer as an item of a list, wrapped at words."""
        self.say(wrapped_item(text, screen_width()))

    def table(self, title: str, columns: Mapping[str, list[Any]], *, rest: str | None = None) -> None:
        """Print a table of the answer: column name -> one value a row.

        ``rest`` names the file that holds all columns, if one does: those that the screen is too narrow for
        are then left to it. Else each record becomes a block.
        """
        if not self.as_json:
            print_table(title, columns, stderr=self._aside, rest=rest)

    def progress(self, name: str, part: tuple[int, int] | None = None) -> AbstractContextManager[Report]:
        """Return a context that yields ``report(step, done, total)``. ``part`` (3, 6): the third of six."""
        return progress_bar(name, part=part, shown=not self.quiet)


class _Lines(logging.Handler):
    """Records as lines of standard error, wherever that leads at the time: above a bar, too."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record, whose text may have several lines, as one."""
        click.echo(f"fastvi: {' '.join(record.getMessage().split())}", err=True)


@contextmanager
def _shown_log(level: int) -> Iterator[None]:
    """Print the package's log from ``level`` on."""
    log, handler = logging.getLogger("fastvi"), _Lines(level)
    before = log.level
    log.addHandler(handler)
    if level < logging.WARNING:
        log.setLevel(level)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Print each warning once, as one line with its category."""
    seen = set()

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        line = f"fastvi: {category.__name__}: {' '.join(str(message).split())}"
        if line not in seen:
            seen.add(line)
            click.echo(line, err=True)

    before, warnings.showwarning = warnings.showwarning, show
    try:
        yield
    finally:
        warnings.showwarning = before


def _plain(value: Any) -> Any:
    """For JSON: arrays as lists, and "inf", "-inf" and "nan" as text, which ``float`` reads back."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return os.fspath(value) if isinstance(value, os.PathLike) else value
