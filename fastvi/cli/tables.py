"""Tables in the terminal: numbers to the right, text to the left, no number and no word broken."""

from __future__ import annotations

import io
import shutil
import textwrap
from collections.abc import Mapping
from typing import Any, NamedTuple

import click
from rich.console import Console
from rich.table import Table

_PLAIN_WIDTH = 100  # of a file or a pipe, which has no width of its own
_LEAST_WIDTH = 20
_GAP = 2  # blanks between columns
_MOST_BLOCKS = 3  # of longer tables columns are left out, where a file holds them


def screen_width() -> int:
    """Return the width of the terminal, or what COLUMNS says."""
    return max(shutil.get_terminal_size((_PLAIN_WIDTH, 24)).columns, _LEAST_WIDTH)


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


class _Column(NamedTuple):
    """Column as it is shown. Text may be wrapped at words, numbers never."""

    header: str
    cells: list[str]
    is_text: bool

    @classmethod
    def of(cls, name: str, values: list[Any]) -> _Column:
        """Return values as they are shown."""
        is_text = any(isinstance(value, str) and not _is_number(value) for value in values)
        return cls(name.replace("_", " "), [cell(value) for value in values], is_text)

    @property
    def least(self) -> int:
        """Width below which a word or a number would be broken."""
        words = [self.header, *(self.cells if self.is_text else ())]
        pieces = [word for text in words for word in text.split()] + ([] if self.is_text else self.cells)
        return max(map(len, pieces), default=1)

    @property
    def natural(self) -> int:
        """Width at which nothing is wrapped."""
        return max(map(len, [self.header, *self.cells]))


def _is_number(text: str) -> bool:
    """Tell whether text is a number with marks around, as "~0.25", "1,234" or "7%"."""
    try:
        float(text.strip("~<>=% ").replace(",", ""))
    except ValueError:
        return text in ("-", "")
    return True


def table_lines(columns: Mapping[str, list[Any]], width: int, rest: str | None = None) -> list[str]:
    """Return a table as lines of at most ``width``.

    What is too wide is shown with fewer columns where ``rest`` says where all of them are, or one record a
    block.
    """
    shown = [_Column.of(name, list(values)) for name, values in columns.items()]
    fitting = len(shown)
    while fitting and _total([column.least for column in shown[:fitting]]) > width:
        fitting -= 1
    if fitting == len(shown):
        return _side_by_side(shown, width)
    num_rows = len(shown[0].cells)
    if rest is None or fitting < 2 or num_rows <= _MOST_BLOCKS:
        return _blocks(shown, width)
    left = ", ".join(column.header for column in shown[fitting:])
    note = f"(too wide for here, in {rest}: {left})"
    return [*_side_by_side(shown[:fitting], width), *_wrapped(note, width, "", "  ")]


def _total(widths: list[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _side_by_side(columns: list[_Column], width: int) -> list[str]:
    """One line a row; the widest columns are narrowed until all fit."""
    widths = [column.natural for column in columns]
    least = [column.least for column in columns]
    while _total(widths) > width:
        _, widest = max((w, i) for i, w in enumerate(widths) if w > least[i])
        widths[widest] -= 1
    table = Table(header_style="", box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    for column, size in zip(columns, widths, strict=True):
        justify = "left" if column.is_text else "right"
        table.add_column(column.header, justify=justify, width=size)  # type: ignore[arg-type]
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*row)
    out = io.StringIO()
    # nothing of a table is markup: "[1, 2]" is text
    Console(file=out, width=_total(widths), markup=False, emoji=False, highlight=False).print(table)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def _blocks(columns: list[_Column], width: int) -> list[str]:
    """One record a block, a line for each of its values."""
    longest = max(len(column.header) for column in columns)
    lines: list[str] = []
    for row in zip(*(column.cells for column in columns), strict=True):
        if lines:
            lines.append("")
        for column, text in zip(columns, row, strict=True):
            lines += _wrapped(f"{column.header:<{longest}}{' ' * _GAP}{text}", width, "", "    ")
    return lines


def _wrapped(text: str, width: int, first: str, then: str) -> list[str]:
    """Lines of whole words, also of those that are longer than a line."""
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=then, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def wrapped_item(text: str, width: int, mark: str = "  * ") -> str:
    """Return text as an item of a list, wrapped at words."""
    return "\n".join(_wrapped(text, width, mark, " " * len(mark)))


def print_table(
    title: str, columns: Mapping[str, list[Any]], *, stderr: bool = False, rest: str | None = None
) -> None:
    """Print a table on standard output or error. ``rest`` says where the columns are that do not fit."""
    width = screen_width()
    heading = click.style("\n".join(_wrapped(title, width, "", "  ")), bold=True)
    click.echo("\n".join([heading, *table_lines(columns, width, rest)]), err=stderr)
