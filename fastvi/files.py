"""Files that are whole or not there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from typing import IO, Any


def write_whole(path: str | os.PathLike[str], write: Callable[[IO[bytes]], Any]) -> None:
    """Let ``write`` fill a new file beside ``path``, and rename it to ``path`` once it is on the disk."""
    target = os.path.realpath(os.fspath(path))
    folder, name = os.path.split(target)
    # not tempfile: its files are readable by the owner only, and the rename would keep that
    unfinished = os.path.join(folder, f".{name}.{secrets.token_hex(8)}.tmp")
    try:
        with open(unfinished, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, target)
    except BaseException:
        if os.path.exists(unfinished):
            os.unlink(unfinished)
        raise
