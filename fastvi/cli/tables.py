"""Tables in the terminal: numbers to the right, text to the left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

_PLAIN_WIDTH = 120  # of a file or a pipe, which has no width of its own


def console(*, stderr: bool = False) -> Console:
    """Return a console for standard output (or error) as it is now.

    Tests and pipes may have replaced it.
    """
    found = Console(stderr=stderr, highlight=False)
    if not found.is_terminal:
        found.width = _PLAIN_WIDTH
    return found


def cell(value: Any) -> str:
    """Return one value as text, four digits where it is a float."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def print_table(title: str, columns: Mapping[str, list[Any]], *, stderr: bool = False) -> None:
    """Print a table on standard output or error, text to the left and numbers to the right."""
    screen = console(stderr=stderr)
    screen.print(title, style="bold")  # a title of the table itself would wrap at the table's width
    table = Table(header_style="", box=None, pad_edge=False)
    for name, values in columns.items():
        text = any(isinstance(value, str) for value in values)
        table.add_column(name.replace("_", " "), justify="left" if text else "right", overflow="fold")
    for row in zip(*columns.values(), strict=True):
        table.add_row(*(cell(value) for value in row))
    screen.print(table)
