"""Files that are whole or not there; what may be read from and written to at all."""

from __future__ import annotations

import hashlib
import io
import os
import re
import secrets
import stat
import sys
from collections.abc import Callable
from functools import partial
from typing import IO, Any

from fastvi.core import validation

try:
    import fcntl
except ImportError:  # Windows: files of killed processes are left to their owner
    fcntl = None  # type: ignore[assignment]

_LONGEST_STEM = 200  # bytes: with what is added to it a name stays within the 255 that systems allow
_MOST_LINKS = 40  # as many symbolic links as Linux follows


# ---- checks ------------------------------------------------------------------------------------------------


def path_text(path: Any, name: str, *, optional: bool = False) -> str:
    """The path as a str; ``name`` is the argument that an error names, which may be None if ``optional``."""
    try:
        text: Any = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    except Exception:  # whatever the caller's class raises, or returns that is no name
        text = None
    if not isinstance(text, str):
        allowed = "None, a str or an os.PathLike" if optional else "a str or an os.PathLike"
        raise TypeError(f"{name} must be {allowed}, got {validation.shown(path)}")
    if not text or "\0" in text:
        raise ValueError(f"{name} must name a file, got {validation.shown(text)}")
    return text


def check_writable(text: str, name: str, *, regular: bool = False) -> None:
    """Refuse what :func:`write_whole` could not write, in words about the argument ``name``.

    Raises
    ------
    IsADirectoryError, FileNotFoundError, PermissionError, ValueError
        For a directory, a folder that is missing, what may not be written, and what is neither a regular file
        nor, unless it has to be ``regular``, a pipe or a character device.
    """
    found = _stat(text)
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(f"{name} must name a file, got the directory {text!r}")
    number = descriptor(text)
    if number is not None or (found is not None and not stat.S_ISREG(found.st_mode)):
        if regular:
            raise ValueError(f"{name} must name a regular file, got {text!r}")
        if number is None and found is not None and not _is_stream(found):
            raise ValueError(f"{name} must name a regular file, a pipe or a character device, got {text!r}")
        if not (os.access(text, os.W_OK) if number is None else _is_open_for_writing(number)):
            raise PermissionError(f"{name} must name a file that may be written, got {text!r}")
        return
    folder = os.path.dirname(os.path.realpath(text))
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{name} must name a file in a folder that exists, got {text!r}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{name} must name a file in a folder that can be written, got {text!r}")
    if found is not None and not os.access(text, os.W_OK):
        raise PermissionError(f"{name} must name a file that may be written, got {text!r}")


def open_regular(text: str, name: str) -> IO[bytes]:
    """Open a regular file for reading. A pipe or a device, which could block or never end, is refused."""
    if os.path.isdir(text):
        raise IsADirectoryError(f"{name} must name a file, got the directory {text!r}")
    found = _stat(text)
    if found is not None and not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{name} must name a regular file, got {text!r}, which is a pipe or a device")
    return open(text, "rb")


def descriptor(text: str) -> int | None:
    """Number of the open descriptor of this process that /dev/stdout, /dev/fd/3 and their like stand for.

    To open such a name anew would cut a regular file to nothing, and to rename over it would take the file
    away from whoever else writes to it.
    """
    folders = {os.path.realpath(f) for f in ("/dev/fd", "/proc/self/fd", "/proc/thread-self/fd")}
    for _ in range(_MOST_LINKS):
        folder, last = os.path.split(text)
        folder = os.path.realpath(folder or os.curdir)
        if folder in folders and last.isdecimal():
            return int(last)
        text = os.path.join(folder, last)
        if not os.path.islink(text):
            return None
        text = os.path.join(folder, os.readlink(text))
    return None


def _is_open_for_writing(number: int) -> bool:
    if fcntl is None:
        return True
    try:
        return fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    except OSError:  # it is not open
        return False


def _stat(text: str) -> os.stat_result | None:
    """Status of the file that ``text`` leads to; None where there is nothing yet."""
    try:
        return os.stat(text)
    except FileNotFoundError:
        return None
    except NotADirectoryError:  # said of the folder
        return None


def _is_stream(found: os.stat_result) -> bool:
    """Whether writing to it is all that can be done: a block device or a socket is no place for a file."""
    return stat.S_ISFIFO(found.st_mode) or stat.S_ISCHR(found.st_mode)


# ---- writing -----------------------------------------------------------------------------------------------


def write_whole(path: str | os.PathLike[str], write: Callable[[IO[bytes]], Any]) -> None:
    """Let ``write`` fill a new file beside ``path``, and rename it to ``path`` once it is on the disk.

    Symbolic links are followed; an existing file's permissions, owner and group are kept where the system
    lets us. A pipe, a character device or an open descriptor (/dev/stdout) is written into, once ``write`` is
    through, and stays what it is. New files that a killed process left beside ``path`` are removed.
    """
    text = path_text(path, "path")
    number, found = descriptor(text), _stat(text)
    if number is not None or (found is not None and _is_stream(found)):
        content = io.BytesIO()
        write(content)
        _write_into(text, number, content.getvalue())
        return
    if found is not None and not stat.S_ISREG(found.st_mode):
        check_writable(text, "path")  # which refuses it
    target = os.path.realpath(text)
    _remove_abandoned(target)
    while not _written(target, found, write):
        pass


def _write_into(text: str, number: int | None, content: bytes) -> None:
    if number is None:
        fd = os.open(text, os.O_WRONLY | getattr(os, "O_NOCTTY", 0))
    else:
        for stream in (sys.stdout, sys.stderr):  # what was printed before comes before
            if stream is not None:
                stream.flush()
        fd = os.dup(number)  # at its place in the file, or at its end where it appends
    with os.fdopen(fd, "wb") as file:
        file.write(content)


def _written(target: str, before: os.stat_result | None, write: Callable[[IO[bytes]], Any]) -> bool:
    """Write and rename; False where another process took the new file for one that was left behind."""
    folder, name = os.path.split(target)
    unfinished = os.path.join(folder, f".{_stem(name)}.{secrets.token_hex(8)}.tmp")
    # the rights of a new file follow from the umask; what replaces a private one is private from the start
    # (partial: in a function of our own Ctrl-C could fall between the opening and the return)
    opener = None if before is None else partial(os.open, mode=0o600)
    try:
        with open(unfinished, "xb", opener=opener) as file:
            if fcntl is not None:
                _lock(file)
                if not os.path.exists(unfinished):
                    return False
            if before is not None and hasattr(os, "fchown"):
                _take_rights(file.fileno(), before)
            write(file)
            file.flush()
            os.fsync(file.fileno())
            if fcntl is None:  # Windows renames no open file
                file.close()
            os.replace(unfinished, target)  # while it is locked
    except BaseException:
        if os.path.exists(unfinished):
            os.unlink(unfinished)
        raise
    _sync_folder(folder)
    return True


def _take_rights(fd: int, before: os.stat_result) -> None:
    """Permissions, owner and group of the file that is replaced."""
    mode, own = stat.S_IMODE(before.st_mode) & 0o777, os.fstat(fd)
    if (own.st_uid, own.st_gid) != (before.st_uid, before.st_gid):
        try:
            os.fchown(fd, before.st_uid, before.st_gid)
        except PermissionError:
            try:
                os.fchown(fd, -1, before.st_gid)
            except PermissionError:
                mode &= ~0o070  # they were meant for another group
    if mode != stat.S_IMODE(own.st_mode):  # some systems have no permissions to set
        os.fchmod(fd, mode)


def _sync_folder(folder: str) -> None:
    """Have the new name on the disk too, where the system can."""
    try:
        fd = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(fd)
    except OSError:  # the file is written and in its place
        pass
    finally:
        os.close(fd)


# ---- what killed processes leave ---------------------------------------------------------------------------


def _stem(name: str) -> str:
    """Beginning of the names of unfinished files."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= _LONGEST_STEM else hashlib.sha256(encoded).hexdigest()


def _lock(file: IO[bytes], *, wait: bool = True) -> bool:
    """Mark ``file`` as in use until it is closed or the process is gone; False where it is in use already."""
    assert fcntl is not None
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # also of file systems without locks: there nothing is ever taken to be left behind
        return False
    return True


def _remove_abandoned(target: str) -> None:
    """Remove unfinished files of ``target`` that no process has open."""
    if fcntl is None:
        return
    folder, name = os.path.split(target)
    unfinished = re.compile(rf"\.{re.escape(_stem(name))}\.[0-9a-f]{{16}}\.tmp")
    try:
        with os.scandir(folder) as entries:
            left = [entry.path for entry in entries if unfinished.fullmatch(entry.name)]
    except OSError:  # a folder that may be written but not listed, or that is not there
        return
    for path in left:
        try:
            with open(path, "r+b") as file:
                if _lock(file, wait=False):
                    os.unlink(path)
        except OSError:  # gone, or another user's
            pass
