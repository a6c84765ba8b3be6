"""Answers for each datum: a table of their means, a CSV file of all, arrays for machines."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from fastvi.cli.errors import WrongInput
from fastvi.cli.files.outputs import (
    Paths,
    check_files,
    check_holds_no_arrays,
    is_standard_output,
    write_output,
)
from fastvi.cli.options import OUTPUT_FILE, Function
from fastvi.cli.output import Output
from fastvi.core.results import flat_columns

Columns = Mapping[str, NDArray[Any]]
"""Name -> numbers with the data as their first axis."""


def csv_option(function: Function) -> Function:
    """Add ``--csv``: the function gets ``csv_path``."""
    return click.option(
        "--csv", "csv_path", type=OUTPUT_FILE,
        help="Write the numbers of each datum to this CSV file; - is standard output.",
    )(function)  # fmt: skip


def check_answer_files(
    out: Output, inputs: Paths, csv_path: str | None, outputs: Paths | None = None
) -> None:
    """Refuse outputs that would cost an input; text leaves standard output to a file that goes there."""
    outputs = {"--csv": csv_path, **(outputs or {})}
    check_files(inputs, outputs)
    if csv_path is not None:
        check_holds_no_arrays(csv_path, "--csv")
    given = {name: os.fspath(path) for name, path in outputs.items() if path is not None}
    printed = [name for name, path in given.items() if name != "--checkpoint" and is_standard_output(path)]
    if len(printed) > 1:
        raise WrongInput(f"only one file may be - (standard output), got {' and '.join(printed)}")
    if printed:
        out.stand_aside()


def write_answers(out: Output, columns: Columns, csv_path: str | None) -> None:
    """Give the columns to machines, and write a row for each datum where there is a file for them."""
    out.facts(num_data=len(next(iter(columns.values()))), **columns)
    if csv_path is None:
        return
    flat = {name: values.tolist() for name, values in flat_columns(columns).items()}
    rows = (",".join(map(_text, (n, *row))) for n, row in enumerate(zip(*flat.values(), strict=True)))
    lines = [",".join(("index", *flat)), *rows]
    write_output(csv_path, lambda file: file.write(("\n".join(lines) + "\n").encode()))
    out.note_written(csv_path)


def _text(value: Any) -> str:
    """Shortest text that reads back as the number; a truth is 1 or 0."""
    return str(int(value)) if isinstance(value, bool) else repr(value)


def _shown(value: Any) -> str:
    """Return a number with digits enough to tell the two ends of an interval apart."""
    return f"{float(value):.7g}"


def show_summary(out: Output, title: str, columns: Columns) -> None:
    """Print mean, smallest, median and largest of some columns, one row each; of one datum its values."""
    size = len(next(iter(columns.values())))
    if not size:
        return
    if size == 1:
        shown = [_shown(value[0]) for value in columns.values()]
        out.table(title, {"": list(columns), "value": shown})
        return
    with np.errstate(invalid="ignore"):  # of -inf and inf
        rows = [
            (name, *(_shown(f(values)) for f in (np.mean, np.min, np.median, np.max)))
            for name, values in columns.items()
        ]
    head = ("", "mean", "smallest", "median", "largest")
    out.table(title, {name: [row[i] for row in rows] for i, name in enumerate(head)})
