"""Output of a command: text for people, or one JSON object for machines."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

import click

from fastvi.cli.progress import Report, progress_bar
from fastvi.cli.tables import print_table

_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


class Output:
    """What a command says, in the form that its caller asked for.

    ``say`` and ``table`` are the answer, ``note`` is what a person wants to know beside it, ``facts`` is the
    answer for machines. With ``--json`` only the facts are printed, as one object, when the command is done.
    Where standard output carries a file (``aside``), all text goes to standard error.
    """

    def __init__(self, command: str, *, as_json: bool, quiet: bool, verbosity: int) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self._aside = False
        self._facts: dict[str, Any] = {"command": command}
        self._level = _LEVELS[min(verbosity, 2)]

    def __enter__(self) -> Output:
        """Show the package's log as far as ``-v`` asks for it."""
        self._log = logging.getLogger("fastvi")
        self._handler = logging.StreamHandler(sys.stderr)
        self._handler.setFormatter(logging.Formatter("fastvi: %(message)s"))
        self._before = self._log.level
        if self._level < logging.WARNING:
            self._log.addHandler(self._handler)
            self._log.setLevel(self._level)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Print the JSON object where the command has succeeded."""
        self._log.removeHandler(self._handler)
        self._log.setLevel(self._before)
        if self.as_json and kind is None:
            click.echo(json.dumps(_plain(self._facts), allow_nan=False), err=self._aside)

    def stand_aside(self) -> None:
        """Leave standard output to a file that the command writes there."""
        self._aside = True

    def facts(self, **values: Any) -> None:
        """Add to the JSON object: numbers, text, lists, mappings or arrays."""
        self._facts |= values

    def say(self, text: str) -> None:
        """Print a line of the answer."""
        if not self.as_json:
            click.echo(text, err=self._aside)

    def note(self, text: str) -> None:
        """Print a line that is no part of the answer."""
        if not self.quiet:
            self.say(text)

    def table(self, title: str, columns: Mapping[str, list[Any]]) -> None:
        """Print a table of the answer: column name -> one value a row."""
        if not self.as_json:
            print_table(title, columns, stderr=self._aside)

    def progress(self, name: str) -> AbstractContextManager[Report]:
        """Return a context that yields ``report(step, done, total)``."""
        return progress_bar(name, shown=not self.quiet)


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
    return value
