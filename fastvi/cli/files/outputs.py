"""Files that commands write: checked before the work, and never in place of their input."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from fastvi.cli.errors import WrongInput
from fastvi.cli.files.inputs import STANDARD_INPUT
from fastvi.core.files import check_writable, descriptor, write_whole

STANDARD_OUTPUT = "-"
_ARRAYS = (b"PK", b"\x93N")  # how .npz and .npy files begin

Paths = Mapping[str, str | os.PathLike[str] | None]


def check_files(inputs: Paths, outputs: Paths) -> None:
    """Refuse outputs that are an input, another output, standard output's file or not writable.

    Both map names on the command line to paths, None for those not given.
    """
    read = {name: os.fspath(path) for name, path in inputs.items() if path is not None}
    read = {name: path for name, path in read.items() if path != STANDARD_INPUT}
    for name, path in outputs.items():
        if path is None:
            continue
        text = os.fspath(path)
        kept = name == "--checkpoint"  # for which - is a file
        if kept or text != STANDARD_OUTPUT:
            for other, taken in read.items():
                if _same(text, taken):
                    raise WrongInput(f"{name} must be another file than {other}, got {text!r}")
            if descriptor(text) is None and any(_is_open_as(text, number) for number in (1, 2)):
                raise WrongInput(f"{name} must be another file than the output goes to, got {text!r}")
            try:
                check_writable(text, name, regular=kept)
            except ValueError as error:
                raise WrongInput(str(error)) from error
        read[name] = text


def check_is_new(text: str, name: str, *, force: bool) -> None:
    """Refuse to replace a file unless it comes with --force."""
    if not force and is_taken(text):
        raise WrongInput(f"{name} must be a new file or come with --force, got {text!r}, which exists")


def check_folders(folder: Path, names: Iterable[str]) -> None:
    """Make a folder of results; refuse it unless it and those of these names in it can be written."""
    folder.mkdir(parents=True, exist_ok=True)
    for place in (folder, *(folder / name for name in names)):
        if place.exists() and not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
            raise WrongInput(f"--out must lead to folders that can be written, got {str(place)!r}")


def check_holds_no_arrays(text: str, name: str) -> None:
    """Refuse to replace a model or data by text."""
    if not is_taken(text):
        return
    with open(text, "rb") as file:
        if file.read(2) in _ARRAYS:
            raise WrongInput(f"{name} must be a new file or one of text, got {text!r}, which holds arrays")


def is_taken(text: str) -> bool:
    """Tell whether there is a file that would be replaced."""
    return text != STANDARD_OUTPUT and os.path.isfile(text) and descriptor(text) is None


def is_standard_output(text: str | None) -> bool:
    """Tell whether it is where a command prints. Text for people then goes to standard error."""
    return text is not None and (text == STANDARD_OUTPUT or descriptor(text) == 1)


def kind_of_output(path: str, suffix: str | None, allowed: tuple[str, ...], usual: str, content: str) -> str:
    """Return the format of OUT: that of ``--format``, of its name, or the ``usual`` one of standard output.

    It must be one of those ``allowed`` for ``content``.
    """
    by_name = usual if is_standard_output(path) else path.rpartition(".")[2].lower()
    kind = by_name if suffix is None else suffix
    if kind not in allowed:
        name, came = ("OUT must end in", repr(path)) if suffix is None else ("--format must be", suffix)
        words = " or ".join(("." if suffix is None else "") + word for word in allowed)
        raise WrongInput(f"{name} {words} for {content}, got {came}")
    return kind


def free_name(text: str) -> str:
    """Return ``text`` with the first number behind it that no file has."""
    number = 1
    while os.path.lexists(f"{text}.{number}"):
        number += 1
    return f"{text}.{number}"


def write_output(text: str, write: Callable[[IO[bytes]], Any]) -> None:
    """Let ``write`` fill the file ``text``, whole or not at all, or standard output."""
    if text == STANDARD_OUTPUT:
        content = io.BytesIO()
        write(content)
        sys.stdout.flush()
        sys.stdout.buffer.write(content.getvalue())
        sys.stdout.buffer.flush()
    else:
        write_whole(text, write)


def _same(text: str, other: str) -> bool:
    """Tell whether both are one file, by any name of it. A character device can be read and written."""
    try:
        found = os.stat(text)
        return not stat.S_ISCHR(found.st_mode) and os.path.samestat(found, os.stat(other))
    except OSError:  # at most one of them exists
        return os.path.realpath(text) == os.path.realpath(other)


def _is_open_as(text: str, number: int) -> bool:
    """Tell whether a regular file is open under a descriptor."""
    try:
        found, opened = os.stat(text), os.fstat(number)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and os.path.samestat(found, opened)
