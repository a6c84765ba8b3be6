"""Files that commands read, standard input among them."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from fastvi.cli.errors import WrongInput
from fastvi.core.files import open_regular

STANDARD_INPUT = "-"


@contextmanager
def opened(text: str, name: str) -> Iterator[IO[bytes]]:
    """Open a regular file, or standard input: what comes from there is kept in a file until it is read."""
    if text != STANDARD_INPUT:
        with open_regular(text, name) as file:
            yield file
        return
    with tempfile.TemporaryFile() as kept:
        _copy_standard_input(kept)
        yield kept


@contextmanager
def named(text: str) -> Iterator[str]:
    """Yield the name of a file that holds what ``text`` holds."""
    if text != STANDARD_INPUT:
        yield text
        return
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "standard_input")
        with open(path, "wb") as kept:
            _copy_standard_input(kept)
        yield path


def _copy_standard_input(kept: IO[bytes]) -> None:
    if sys.stdin.isatty():
        raise WrongInput("- is standard input, which must be a file or a pipe, got a terminal")
    shutil.copyfileobj(sys.stdin.buffer, kept)
    kept.flush()
    kept.seek(0)
