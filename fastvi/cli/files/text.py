"""Tables of numbers as text: CSV and TSV."""

from __future__ import annotations

import csv
import io
import os
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fastvi.cli.errors import WrongInput
from fastvi.core.archives import check_size

# a field takes two bytes at least, a value eight, and a row is a list of Python's before it is an array
_BYTES_A_BYTE = 5
_WORDS = {"": np.nan, "na": np.nan, "true": 1.0, "false": 0.0}
_LARGEST_EXACT = 2.0**53  # beyond it a float64 is not every whole number


def read_text(file: IO[bytes], path: str, name: str) -> NDArray[Any]:
    """Return the numbers in a CSV or TSV file (N, D).

    Fields are parted by tabs where the first line has one, else by commas. A first line without any number
    is a header. An empty field and NA are NaN. Whole numbers come as int64.
    """
    check_size(_BYTES_A_BYTE * os.fstat(file.fileno()).st_size, None)
    wrong = f"{name} must hold a row of numbers in each line, got {path!r} with "
    rows: list[NDArray[np.float64]] = []
    try:
        lines = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        first = lines.readline()
        lines.seek(0)
        reader = csv.reader(lines, delimiter="\t" if "\t" in first else ",", strict=True)
        may_be_header = True
        for fields in reader:
            if not fields:  # an empty line
                continue
            try:
                row = _numbers(fields)
            except ValueError as error:
                if not may_be_header or any(_is_number(field) for field in fields):
                    raise WrongInput(f"{wrong}{error} in line {reader.line_num}") from error
            else:
                if rows and len(row) != len(rows[0]):
                    counts = f"{len(row)} fields in line {reader.line_num}, {len(rows[0])} before"
                    raise WrongInput(f"{wrong}{counts}")
                rows.append(row)
            may_be_header = False
        lines.detach()  # the file is the caller's to close
    except (UnicodeDecodeError, csv.Error) as error:
        raise WrongInput(f"{wrong}text that is no CSV: {error}") from error
    if not rows:
        raise WrongInput(f"{wrong}no such line")
    x = np.array(rows)
    is_whole = bool((np.isfinite(x) & (np.abs(x) < _LARGEST_EXACT) & (x == np.trunc(x))).all())
    return x.astype(np.int64) if is_whole else x


def _numbers(fields: list[str]) -> NDArray[np.float64]:
    """Return the numbers of a line; ValueError names a field that is none."""
    try:
        return np.array([float(field) for field in fields])
    except ValueError:
        return np.array([_number(field) for field in fields])


def _number(field: str) -> float:
    text = field.strip()
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text[:40]!r}") from None


def _is_number(field: str) -> bool:
    try:
        return not np.isnan(_number(field))
    except ValueError:
        return False
